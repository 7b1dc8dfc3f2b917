"""Embed proteins with ESM-2 (Lin et al. 2023, doi:10.1126/science.ade2574), through transformers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import EsmModel

from ..checkpoints.errors import wrong_model_type
from ..checkpoints.esm2 import (
    ALPHABET,
    CLS,
    EOS,
    FIRST,
    MASK,
    MAX_RESIDUES,
    MORE_POSITIONS,
    PAD,
    UNK,
    VOCAB_SIZE,
    esm_config,
    esm_tokenizer,
)
from ..checkpoints.loader import load_from
from ..checkpoints.loading import resolve_device, resolve_dtype
from ..checkpoints.source import open_checkpoint
from ..errors import CheckpointError, InputError
from ..inference.batching import embed_batches
from ..inference.packed_esm import looks_up_residues, mean_residue_vectors
from ..inference.token_budget import TokenBudget
from ..io.short_repr import short_repr
from ..models.metagenbert.weight_hash import hash_weights
from ..moved import renamed

# Folder of a genome model's checkpoint that holds its own protein encoder.
PROTEIN_ENCODER = "protein_encoder"
# What becomes of a protein longer than `max_residues`: its first residues are used, or windows of it.
LONG_PROTEINS = ("truncate", "windows")
POOLING = {"truncate": "mean over residues", "windows": "mean over residues of all windows"}
# By type of device.
DEFAULT_BATCH_TOKENS = {"cpu": 1_024, "cuda": 65_536}
# A batch of an encoder that looks residues up has few operations, which should be worth their calls.
LOOKUP_BATCH_TOKENS = 65_536


@dataclass(frozen=True)
class ProteinVectors:
    """Vectors of proteins.

    Attributes:
        vectors: float32 `(n_proteins, hidden_size)`, means over residues.
        n_truncated: Number of proteins that were longer than `max_residues`, and lost their end; 0 with windows.
    """

    vectors: np.ndarray
    n_truncated: int

    __repr__ = short_repr


@dataclass(frozen=True)
class ProteinEncoder:
    """An ESM-2 with the settings that turn a protein into one vector.

    Attributes:
        model: The encoder, without a head.
        name: Folder or Hub id it was loaded from.
        max_residues: Most residues in one pass. By default the length the encoder was trained on:
            `max_position_embeddings` of its config minus four (1,022 for the published models).
        weights_sha256: SHA-256 over names, shapes, types and values of the weights that affect the vectors, as stored
            in the checkpoint; computed from `model` by default.
        long_proteins: What becomes of proteins longer than `max_residues`: `truncate` uses their first residues,
            `windows` splits them into windows of equal length and averages over the residues of all. By default
            `long_proteins` of the encoder's config, else `truncate`.

    Raises:
        CheckpointError: `long_proteins` is unknown.
    """

    model: EsmModel
    name: str
    max_residues: int = 0
    weights_sha256: str = ""
    long_proteins: str = ""

    def __post_init__(self) -> None:
        if not self.max_residues:
            object.__setattr__(self, "max_residues", int(self.model.config.max_position_embeddings) - MORE_POSITIONS)
        if not self.weights_sha256:
            object.__setattr__(self, "weights_sha256", hash_encoder(self.model))
        if not self.long_proteins:
            object.__setattr__(self, "long_proteins", getattr(self.model.config, "long_proteins", LONG_PROTEINS[0]))
        if self.long_proteins not in LONG_PROTEINS:
            raise CheckpointError(
                f"{self.name}: long_proteins is {self.long_proteins!r}; this version knows {', '.join(LONG_PROTEINS)}."
            )

    @property
    def hidden_size(self) -> int:
        """Width of a protein's vector."""
        return int(self.model.config.hidden_size)

    contract = renamed("contract", "preprocessing")

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Everything that determines a protein's vector besides its sequence, for fingerprints."""
        return {
            "weights_sha256": self.weights_sha256,
            "hidden_size": self.hidden_size,
            "max_residues": self.max_residues,
            "pooling": POOLING[self.long_proteins],
            "dtype": str(self.model.dtype).removeprefix("torch."),
        }

    def embed(
        self,
        proteins: Sequence[str],
        *,
        batch_tokens: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        check: Callable[[], None] | None = None,
    ) -> ProteinVectors:
        """Embed proteins: means of the last hidden states over residues, without CLS and EOS.

        Proteins are processed in order of length and concatenated, so nothing is padded; a vector does not depend on
        its batch beyond rounding. If a batch does not fit into the device's memory, the budget is halved with a
        warning.

        Args:
            proteins: Sequences in upper-case letters of ESM-2's alphabet.
            batch_tokens: Token budget of one pass through the encoder; `default_batch_tokens` by default.
            progress: Called after each batch with the numbers of residues done and in total.
            check: Called after each batch; an exception it raises stops the work.

        Returns:
            Vectors in the order of `proteins`.

        Raises:
            InputError: A protein is empty, or a letter is not in the alphabet.
            RunError: A single protein does not fit into the device's memory.
        """
        if batch_tokens is not None and batch_tokens < 1:
            raise InputError(f"batch_tokens is {batch_tokens}; it must be at least 1 token.")
        device = self.model.device
        pieces, rows_of_pieces = self._pieces(proteins)
        packed = pack_proteins(pieces)
        budget = TokenBudget(
            self.model,
            batch_tokens or default_batch_tokens(self.model),
            what="protein",
            advice="give a lower max_residues",
        )
        vectors = np.empty((len(pieces), self.hidden_size), np.float32)
        # Of each piece's tokens, two are CLS and EOS.
        n_done, n_total = 0, int(packed.lengths.sum()) - 2 * len(pieces)
        with closing(embed_batches(partial(mean_residue_vectors, self.model), packed, budget, device)) as batches:
            for values, rows in batches:
                vectors[rows] = values
                n_done += int(packed.lengths[rows].sum()) - 2 * len(rows)
                if progress is not None:
                    progress(n_done, n_total)
                if check is not None:
                    check()
        if len(pieces) > len(proteins):
            vectors = _mean_of_pieces(vectors, packed.lengths - 2, rows_of_pieces)
        return ProteinVectors(vectors, self.n_truncated(proteins))

    def n_truncated(self, proteins: Sequence[str]) -> int:
        """Return how many proteins lose their end."""
        return 0 if self.long_proteins == "windows" else sum(len(protein) > self.max_residues for protein in proteins)

    def _pieces(self, proteins: Sequence[str]) -> tuple[list[str], np.ndarray]:
        """Return the parts of proteins to embed, and the index of each one's protein, in ascending order."""
        if self.long_proteins == "truncate":
            return [protein[: self.max_residues] for protein in proteins], np.arange(len(proteins))
        pieces, rows = [], []
        for row, protein in enumerate(proteins):
            # Of equal length, so that none is a remnant of a few residues.
            n_windows = max(-(-len(protein) // self.max_residues), 1)
            bounds = [len(protein) * i // n_windows for i in range(n_windows + 1)]
            pieces += [protein[begin:end] for begin, end in pairwise(bounds)]
            rows += [row] * n_windows
        return pieces, np.array(rows, np.int64)


def default_batch_tokens(model: EsmModel) -> int:
    """Return the default token budget of a batch."""
    if looks_up_residues(model):
        return LOOKUP_BATCH_TOKENS
    return DEFAULT_BATCH_TOKENS["cpu" if model.device.type == "cpu" else "cuda"]


def _mean_of_pieces(vectors: np.ndarray, n_residues: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Average the vectors of each protein's pieces, weighted by residues: float32 `(n_proteins, hidden_size)`."""
    first = np.searchsorted(rows, np.arange(int(rows[-1]) + 1))
    weighted = vectors.astype(np.float64) * n_residues[:, None]
    sums = np.add.reduceat(weighted, first) / np.add.reduceat(n_residues, first)[:, None]
    return sums.astype(np.float32)


def hash_encoder(model: EsmModel) -> str:
    """Return the SHA-256 of the weights that affect the vectors; pooler and contact head do not."""
    ignored = ("pooler.", "contact_head.")
    return hash_weights({name: value for name, value in model.state_dict().items() if not name.startswith(ignored)})


@dataclass(frozen=True)
class PackedProteins:
    """Tokens of proteins, equal to those of ESM-2's tokenizer, concatenated.

    Attributes:
        input_ids: int64 `(n_tokens,)`.
        lengths: int64 `(n_proteins,)`, number of tokens of each protein, CLS and EOS included.
    """

    input_ids: np.ndarray
    lengths: np.ndarray


def pack_proteins(proteins: Sequence[str]) -> PackedProteins:
    """Tokenise proteins.

    Args:
        proteins: Sequences in upper-case letters of ESM-2's alphabet.

    Raises:
        InputError: A protein is empty, or a letter is not in the alphabet.
    """
    # Token id of each byte, -1 of those that are not in the alphabet.
    table = np.full(256, -1, np.int64)
    table[np.frombuffer(ALPHABET.encode(), np.uint8)] = np.arange(FIRST, FIRST + len(ALPHABET))
    lengths = np.array([len(protein) for protein in proteins], np.int64)
    if not lengths.all():
        raise InputError(f"protein {int(lengths.argmin())} is empty; leave it out.")
    residue_ids = table[np.frombuffer("".join(proteins).encode("latin-1", "replace"), np.uint8)]
    if (residue_ids < 0).any():
        ends = np.cumsum(lengths)
        position = int((residue_ids < 0).argmax())
        row = int(np.searchsorted(ends, position, side="right"))
        letter = proteins[row][position - int(ends[row] - lengths[row])]
        raise InputError(f"protein {row} has the letter {letter!r}, which ESM-2 does not know; write X.")
    ends = np.cumsum(lengths + 2)
    input_ids = np.empty(int(lengths.sum()) + 2 * len(lengths), np.int64)
    is_residue = np.ones(len(input_ids), bool)
    is_residue[ends - 1] = is_residue[ends - lengths - 2] = False
    input_ids[ends - lengths - 2], input_ids[ends - 1] = CLS, EOS
    input_ids[is_residue] = residue_ids
    return PackedProteins(input_ids, lengths + 2)


def pad_proteins(packed: PackedProteins) -> np.ndarray:
    """Pad tokens on the right: int64 `(n_proteins, longest)`."""
    ids = np.full((len(packed.lengths), int(packed.lengths.max())), PAD, np.int64)
    ids[np.arange(ids.shape[1]) < packed.lengths[:, None]] = packed.input_ids
    return ids


def cast_encoder(model: EsmModel, dtype: torch.dtype, device: torch.device | None = None) -> EsmModel:
    """Cast an encoder in place to another precision, except the frequencies of its rotary positions.

    Rounded to bfloat16, the frequencies' angles would be wrong by whole turns within a long protein.

    Args:
        model: The encoder.
        dtype: Type of its weights.
        device: Device to move it to; its own by default.

    Returns:
        The same encoder.
    """
    frequencies = None if model.rotary_embeddings is None else model.rotary_embeddings.inv_freq
    model.to(device=device or model.device, dtype=dtype)
    if frequencies is not None:
        model.rotary_embeddings.inv_freq = frequencies.to(model.device)
    return model


def load_protein_encoder(
    name: str | Path,
    *,
    revision: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    **hub_options: Any,
) -> ProteinEncoder:
    """Load ESM-2 of any size: a folder, or a Hub id such as `facebook/esm2_t36_3B_UR50D` (the paper's).

    Args:
        name: Folder, Hub id, fair-esm's name of an ESM-2 (`esm2_t36_3B_UR50D`), or folder within a Hub repository
            (`lab/model/protein_encoder`). If it is a genome model, also a shipped one, the protein encoder in its
            checkpoint is loaded.
        revision: Branch, tag or commit of a Hub id.
        device: `cpu`, `cuda`, `cuda:N`, `mps`, or `auto`: a CUDA device if there is one, else the CPU.
        dtype: `float32`, `bfloat16` or `float16`.
        **hub_options: `cache_dir`, `local_files_only` and `token`.

    Returns:
        The encoder, in evaluation mode.

    Raises:
        CheckpointError: The checkpoint cannot be found, is damaged, or is not an ESM-2.
        InputError: The device or the dtype is unknown or not available.
    """
    target, torch_dtype = resolve_device(device), resolve_dtype(dtype)
    name = str(name)
    if name.endswith(".pt") and not Path(name).is_dir():
        raise CheckpointError(
            f"{name} is a pickle of fair-esm; convert it once with: biomeformer convert {name} FOLDER"
        )
    repository, subfolder = _split(name)
    source = open_checkpoint(name, repository, revision=revision, subfolder=subfolder, **hub_options)
    if source.model_type == "genome_transformer" and not subfolder:
        if source.folder is not None and not (source.folder / PROTEIN_ENCODER).is_dir():
            raise CheckpointError(
                f"{name} is a genome model without a protein encoder of its own; give the one that its "
                "processor_config.json names."
            )
        source = source.part(PROTEIN_ENCODER)
    if source.model_type != "esm":
        raise wrong_model_type(source.name, source.model_type, "esm")
    with warnings.catch_warnings():
        # The contact head of an encoder without layers, which is not used, has no weights.
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")
        model = load_from(source, EsmModel, dtype="auto", add_pooling_layer=False)
    # A name by which it can be loaded again: the folder itself, not that of the genome model around it.
    name = source.name if source.folder is None else str(source.folder)
    if model.config.max_position_embeddings <= MORE_POSITIONS:
        raise CheckpointError(
            f"{name}: its config's max_position_embeddings is {model.config.max_position_embeddings}, which leaves no "
            "residue; ESM-2's is 1026."
        )
    if model.config.vocab_size != VOCAB_SIZE or model.config.pad_token_id != PAD:
        raise CheckpointError(f"{name}: its vocabulary is not ESM-2's of 33 tokens; give an ESM-2.")
    digest = hash_encoder(model)
    return ProteinEncoder(cast_encoder(model, torch_dtype, target).eval(), name, weights_sha256=digest)


def _split(name: str) -> tuple[str, str]:
    """Split a Hub name of three parts, `owner/name/folder`, into repository and folder; others have no folder."""
    if name.count("/") != 2 or name.startswith((".", "/", "~")) or Path(name).exists():
        return name, ""
    repository, subfolder = name.rsplit("/", 1)
    return repository, subfolder


__all__ = [
    "ALPHABET",
    "CLS",
    "EOS",
    "FIRST",
    "MASK",
    "MAX_RESIDUES",
    "PAD",
    "PROTEIN_ENCODER",
    "UNK",
    "VOCAB_SIZE",
    "PackedProteins",
    "ProteinEncoder",
    "ProteinVectors",
    "cast_encoder",
    "esm_config",
    "esm_tokenizer",
    "load_protein_encoder",
    "pack_proteins",
    "pad_proteins",
]
