"""Protein vectors of amino-acid composition, as an ESM-2 without layers."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from transformers import EsmModel

from ..checkpoints.esm2 import ALPHABET, FIRST, esm_config

# The standard amino acids, in the order of ESM-2's vocabulary.
AMINO_ACIDS = ALPHABET[:20]


def composition_encoder(mean: np.ndarray, spread: np.ndarray, max_residues: int) -> EsmModel:
    """Build an encoder whose vectors are standardised shares of the 20 standard amino acids.

    It has the architecture of ESM-2 with no layer: the embedding of a residue is one-hot, and the layer normalisation
    behind the layers is the standardisation. So everything that loads an ESM-2 loads it.

    Args:
        mean: Mean share of each amino acid over proteins, `(20,)`, in the order of `AMINO_ACIDS`.
        spread: Standard deviation of the shares over proteins, `(20,)`.
        max_residues: Most residues in one pass; longer proteins are split into windows, which does not change their
            composition.

    Returns:
        The encoder. The vector of a protein is `(share - mean) / spread`, up to the epsilon of the normalisation.
    """
    size = len(AMINO_ACIDS)
    config = esm_config(
        hidden_size=size,
        num_hidden_layers=0,
        num_attention_heads=1,
        intermediate_size=size,
        max_residues=max_residues,
        long_proteins="windows",
    )
    with warnings.catch_warnings():
        # The contact head, which is not used, has no weights.
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")
        model = EsmModel(config, add_pooling_layer=False).eval()
    # A one-hot vector has this standard deviation, by which the normalisation divides, after it subtracts 1 / size.
    deviation = float(np.sqrt((size - 1) / size**2))
    scale, norm = np.asarray(spread, np.float64), model.encoder.emb_layer_norm_after
    with torch.no_grad():
        embeddings = model.embeddings.word_embeddings.weight.zero_()
        embeddings[FIRST : FIRST + size] = torch.eye(size)
        norm.weight.copy_(torch.from_numpy(deviation / scale))
        norm.bias.copy_(torch.from_numpy((1 / size - np.asarray(mean, np.float64)) / scale))
    return model


def composition_statistics(letters: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute mean and standard deviation of each amino acid's share over proteins.

    Args:
        letters: Concatenated sequences, uint8 `(n_residues,)`.
        offsets: Boundaries of the proteins in `letters`, int64 `(n_proteins + 1,)`; no protein is empty.

    Returns:
        float64 `(20,)` each, in the order of `AMINO_ACIDS`.
    """
    lengths = np.diff(offsets)
    means, spreads = [], []
    for letter in AMINO_ACIDS.encode():
        shares = np.add.reduceat(letters == letter, offsets[:-1], dtype=np.int64) / lengths
        means.append(shares.mean())
        spreads.append(shares.std())
    return np.array(means), np.array(spreads)


__all__ = ["AMINO_ACIDS", "composition_encoder", "composition_statistics"]
