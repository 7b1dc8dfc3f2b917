"""Letters of sequences: folding, checking, the reverse complement, and one digest for both strands."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

LETTERS = b"ACGTRYSWKMBDHVN"
DIGEST_BYTES = 16
FOLD = bytes.maketrans(b"acgturyswkmbdhvnU", b"ACGTTRYSWKMBDHVNT")
_COMPLEMENT = bytes.maketrans(LETTERS, b"TGCAYRSWMKVHDBN")


def fold(sequence: bytes) -> bytes:
    """The sequence in capital letters, U as T; letters that are no IUPAC nucleotides stay as they are."""
    return sequence.translate(FOLD)


def reverse_complement(sequence: bytes) -> bytes:
    """The other strand of a folded sequence, IUPAC letters included."""
    return sequence.translate(_COMPLEMENT)[::-1]


def bad_letter(sequence: bytes) -> str | None:
    """The first letter of a folded sequence that is no IUPAC nucleotide, or None."""
    others = sequence.translate(None, LETTERS)
    return others.decode("utf-8", "replace")[0] if others else None


def digests(sequences: Sequence[bytes], *, both_strands: bool) -> np.ndarray:
    """BLAKE2b digests of 128 bits.

    Args:
        sequences: Folded sequences.
        both_strands: Whether a sequence and its reverse complement get the same digest.

    Returns:
        uint64 `(n_sequences, 2)`.
    """
    if both_strands:
        sequences = [min(sequence, reverse_complement(sequence)) for sequence in sequences]
    joined = b"".join([blake2b(sequence, digest_size=DIGEST_BYTES).digest() for sequence in sequences])
    return np.frombuffer(joined, "<u8").reshape(-1, 2)


__all__ = ["bad_letter", "digests", "fold", "reverse_complement"]
