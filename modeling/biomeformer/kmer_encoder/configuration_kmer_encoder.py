"""K-mer encoder configuration."""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

MAX_K = 10


def n_canonical_kmers(k: int) -> int:
    """How many k-mers there are when a k-mer and its reverse complement are one."""
    palindromes = 4 ** (k // 2) if k % 2 == 0 else 0
    return (4**k + palindromes) // 2


@strict
class KmerEncoderConfig(PreTrainedConfig):
    r"""Configuration of a `KmerEncoderModel`.

    Args:
        k: Bases of a k-mer, 1 to 10.
        hidden_size: Width of a k-mer's vector and of a read's.
        pad_token_id: Token id of padding; k-mers begin at 1.
        initializer_range: Standard deviation of new weights.
    """

    model_type = "kmer_encoder"

    k: int = 8
    hidden_size: int = 64
    pad_token_id: int | None = 0
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if not 1 <= self.k <= MAX_K:
            raise ValueError(f"k is {self.k}; it must be from 1 to {MAX_K}.")

    @property
    def vocab_size(self) -> int:
        """Canonical k-mers and padding."""
        return n_canonical_kmers(self.k) + 1


__all__ = ["KmerEncoderConfig", "n_canonical_kmers"]
