"""K-mer encoder configuration."""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

MAX_K = 10


def n_canonical_kmers(k: int) -> int:
    """Return the number of k-mers if a k-mer and its reverse complement count as one."""
    # Only k-mers of even length can equal their own reverse complement.
    palindromes = 4 ** (k // 2) if k % 2 == 0 else 0
    return (4**k + palindromes) // 2


@strict
class KmerEncoderConfig(PreTrainedConfig):
    r"""Configuration of a `KmerEncoderModel`.

    Args:
        k: Length of a k-mer in bases, 1 to 10.
        hidden_size: Width of a k-mer's vector and of a read's.
        num_gate_heads: With 0, a read's vector is the mean over its canonical k-mers. With more, tokens are the k-mers
            of the read's own strand, and its six reading frames are weighted against each other by this many heads.
        pad_token_id: Token id of padding; k-mers begin at 1.
        initializer_range: Standard deviation of new weights.
        classifier_hidden_size: Width of the classifier's hidden layer; with 0 the classifier is linear.
        classifier_dropout: Dropout of the inputs of the classifier's layers.

    Raises:
        ValueError: `k` is out of range, or `hidden_size` is not a multiple of `num_gate_heads`.
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
            # A checkpoint saved by this class has no code beside it, so it must not keep an `auto_map` that names some.
            kwargs.pop("auto_map", None)
        super().__post_init__(**kwargs)
        if not 1 <= self.k <= MAX_K:
            raise ValueError(f"k is {self.k}; it must be from 1 to {MAX_K}.")
        if self.num_gate_heads < 0 or (self.num_gate_heads and self.hidden_size % self.num_gate_heads):
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of num_gate_heads {self.num_gate_heads}.")

    @property
    def vocab_size(self) -> int:
        """Number of tokens: k-mers (without gates only canonical ones) and padding."""
        return (4**self.k if self.num_gate_heads else n_canonical_kmers(self.k)) + 1


__all__ = ["KmerEncoderConfig", "n_canonical_kmers"]
