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
        num_gate_heads: 0: a read's vector is the mean over its canonical k-mers. More: tokens are the k-mers of the
            read as it stands, and its six reading frames are weighed against each other by this many heads.
        pad_token_id: Token id of padding; k-mers begin at 1.
        initializer_range: Standard deviation of new weights.
        classifier_hidden_size: Width of the classifier's hidden layer; 0: the classifier is linear.
        classifier_dropout: Of what goes into the classifier's layers.
    """

    model_type = "kmer_encoder"

    k: int = 8
    hidden_size: int = 64
    num_gate_heads: int = 0
    pad_token_id: int | None = 0
    initializer_range: float = 0.02
    classifier_hidden_size: int = 0
    classifier_dropout: float | int = 0.1

    def __post_init__(self, **kwargs: Any) -> None:
        if self._auto_class is None:
            # An `auto_map` stays with the class it names: what this one saves has no code beside it.
            kwargs.pop("auto_map", None)
        super().__post_init__(**kwargs)
        if not 1 <= self.k <= MAX_K:
            raise ValueError(f"k is {self.k}; it must be from 1 to {MAX_K}.")
        if self.num_gate_heads < 0 or (self.num_gate_heads and self.hidden_size % self.num_gate_heads):
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of num_gate_heads {self.num_gate_heads}.")

    @property
    def vocab_size(self) -> int:
        """K-mers, canonical ones alone where there are no gates, and padding."""
        return (4**self.k if self.num_gate_heads else n_canonical_kmers(self.k)) + 1


__all__ = ["KmerEncoderConfig", "n_canonical_kmers"]
