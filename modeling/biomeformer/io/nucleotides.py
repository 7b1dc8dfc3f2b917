"""Nucleotide sequences: IUPAC letters, folding, the reverse complement, digests, and translation to protein."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, AnyStr

import numpy as np

from ..errors import InputError

LETTERS = b"ACGTRYSWKMBDHVN"
DIGEST_BYTES = 16
FOLD = bytes.maketrans(b"acgturyswkmbdhvnU", b"ACGTTRYSWKMBDHVNT")
_BASES, _PARTNERS = b"ACGTURYSWKMBDHVN", b"TGCAAYRSWMKVHDBN"
_COMPLEMENT = bytes.maketrans(_BASES + _BASES.lower(), _PARTNERS + _PARTNERS.lower())


def fold(sequence: bytes) -> bytes:
    """Return a sequence in upper case with U as T; letters that are not IUPAC nucleotides are left unchanged."""
    return sequence.translate(FOLD)


def reverse_complement(sequence: AnyStr) -> AnyStr:
    """Return the reverse complement, including of IUPAC ambiguity letters; upper and lower case are kept.

    Raises:
        UnicodeEncodeError: A string holds a letter that is not ASCII.
    """
    if isinstance(sequence, str):
        return sequence.encode("ascii").translate(_COMPLEMENT)[::-1].decode("ascii")
    return sequence.translate(_COMPLEMENT)[::-1]


def bad_letter(sequence: bytes) -> str | None:
    """Return the first letter of a folded sequence that is not an IUPAC nucleotide, or None."""
    bad_letters = sequence.translate(None, LETTERS)
    return bad_letters.decode("utf-8", "replace")[0] if bad_letters else None


def digests(sequences: Sequence[bytes], *, both_strands: bool) -> np.ndarray:
    """Compute 128-bit BLAKE2b digests.

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


def codon_table(number: int) -> Any:
    """Return NCBI's translation table of a number.

    Raises:
        InputError: The number is unknown.
    """
    from Bio.Data import CodonTable

    try:
        return CodonTable.unambiguous_dna_by_id[number]
    except KeyError:
        known = ", ".join(map(str, sorted(CodonTable.unambiguous_dna_by_id)))
        raise InputError(f"there is no translation table {number}; NCBI's are {known}.") from None


def translate(bases: str, table: int, *, has_start: bool) -> str:
    """Translate a coding sequence in frame to residues: X for an ambiguous codon, * for a stop codon.

    Args:
        bases: Upper case, coding strand; bases after the last whole codon are ignored.
        table: NCBI's number of the translation table.
        has_start: Whether the first codon is the gene's own start, which is read as methionine where the table
            lists it as a start codon.

    Raises:
        InputError: The table is unknown.
    """
    from Bio.Seq import Seq

    start_codons = codon_table(table).start_codons
    codons = bases[: len(bases) // 3 * 3]
    protein = str(Seq(codons).translate(table=table))
    if has_start and codons[:3] in start_codons:
        protein = "M" + protein[1:]
    return protein


__all__ = ["FOLD", "LETTERS", "bad_letter", "codon_table", "digests", "fold", "reverse_complement", "translate"]
