"""ESM-2's vocabulary, tokenizer and configuration, as transformers' `Esm` classes take them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import EsmConfig, EsmTokenizer

# ESM-2 was trained on at most 1,024 tokens, of which two are special; its configs count two more positions.
MAX_RESIDUES = 1022
MORE_POSITIONS = 4
ALPHABET = "LAGVSERTIDPKQNFYMHWCXBUZO"
# How ESM-2's vocabulary is laid out: these letters from 4 on, beside the special tokens.
CLS, PAD, EOS, UNK, FIRST, MASK, VOCAB_SIZE = 0, 1, 2, 3, 4, 32, 33


def esm_tokenizer(folder: str | Path) -> EsmTokenizer:
    """ESM-2's tokenizer, its vocabulary written to a folder."""
    tokens = ["<cls>", "<pad>", "<eos>", "<unk>", *ALPHABET, ".", "-", "<null_1>", "<mask>"]
    file = Path(folder) / "vocab.txt"
    file.write_text("\n".join(tokens))
    return EsmTokenizer(str(file))


def esm_config(max_residues: int = MAX_RESIDUES, **sizes: Any) -> EsmConfig:
    """ESM-2's config with sizes of one's own: `hidden_size`, `num_hidden_layers` and so on."""
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
