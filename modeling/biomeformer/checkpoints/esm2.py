"""Vocabulary, tokenizer and configuration of ESM-2 for the `Esm` classes of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import EsmConfig, EsmTokenizer

# ESM-2 was trained on up to 1,024 tokens, two of them special; its configs add two more positions, as RoBERTa's do.
MAX_RESIDUES = 1022
MORE_POSITIONS = 4
ALPHABET = "LAGVSERTIDPKQNFYMHWCXBUZO"
# Token ids: the letters of ALPHABET start at FIRST.
CLS, PAD, EOS, UNK, FIRST, MASK, VOCAB_SIZE = 0, 1, 2, 3, 4, 32, 33


def esm_tokenizer(folder: str | Path) -> EsmTokenizer:
    """Return ESM-2's tokenizer, after writing its vocabulary (`vocab.txt`) to a folder."""
    tokens = ["<cls>", "<pad>", "<eos>", "<unk>", *ALPHABET, ".", "-", "<null_1>", "<mask>"]
    file = Path(folder) / "vocab.txt"
    file.write_text("\n".join(tokens))
    return EsmTokenizer(str(file))


def esm_config(max_residues: int = MAX_RESIDUES, **sizes: Any) -> EsmConfig:
    """Return a config of ESM-2's architecture.

    Args:
        max_residues: Length of the longest protein to train on.
        **sizes: Other fields of `EsmConfig`: `hidden_size`, `num_hidden_layers` and so on.
    """
    return EsmConfig(
        vocab_size=VOCAB_SIZE,
        pad_token_id=PAD,
        mask_token_id=MASK,
        max_position_embeddings=max_residues + MORE_POSITIONS,
        position_embedding_type="rotary",
        layer_norm_eps=1e-5,
        emb_layer_norm_before=False,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        **({"token_dropout": True} | sizes),
    )


__all__ = [
    "ALPHABET",
    "CLS",
    "EOS",
    "FIRST",
    "MASK",
    "MAX_RESIDUES",
    "MORE_POSITIONS",
    "PAD",
    "UNK",
    "VOCAB_SIZE",
    "esm_config",
    "esm_tokenizer",
]
