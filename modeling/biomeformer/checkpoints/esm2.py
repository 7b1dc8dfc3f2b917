"""Vocabulary, tokenizer and configuration of ESM-2 for the `Esm` classes of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import EsmConfig, EsmTokenizer

# ESM-2 was trained on up to 1,024 tokens, two of them special; its configs add two more positions, as RoBERTa's do.
MAX_RESIDUES = 1022
MORE_POSITIONS = 4
# Names of fair-esm (`esm.pretrained`), by layers, hidden size and attention heads; on the Hub they are of `facebook/`.
FAIR_ESM_SIZES = {
    "esm2_t6_8M_UR50D": (6, 320, 20),
    "esm2_t12_35M_UR50D": (12, 480, 20),
    "esm2_t30_150M_UR50D": (30, 640, 20),
    "esm2_t33_650M_UR50D": (33, 1280, 20),
    "esm2_t36_3B_UR50D": (36, 2560, 40),
    "esm2_t48_15B_UR50D": (48, 5120, 40),
}
HUB_OWNER = "facebook"
ALPHABET = "LAGVSERTIDPKQNFYMHWCXBUZO"
# Token ids: the letters of ALPHABET start at FIRST.
CLS, PAD, EOS, UNK, FIRST, MASK, VOCAB_SIZE = 0, 1, 2, 3, 4, 32, 33


def hub_name(name: str) -> str:
    """Return the Hub id of an ESM-2 given by fair-esm's name, such as `esm2_t36_3B_UR50D`; other names as they are."""
    return f"{HUB_OWNER}/{name}" if name in FAIR_ESM_SIZES and not Path(name).exists() else name


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
    "FAIR_ESM_SIZES",
    "FIRST",
    "MASK",
    "MAX_RESIDUES",
    "MORE_POSITIONS",
    "PAD",
    "UNK",
    "VOCAB_SIZE",
    "esm_config",
    "esm_tokenizer",
    "hub_name",
]
