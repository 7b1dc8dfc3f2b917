"""From a coding sequence to its protein."""

from __future__ import annotations

from typing import Any

from ..errors import InputError


def codon_table(number: int) -> Any:
    """NCBI's translation table of that number.

    Raises:
        InputError: There is none.
    """
    from Bio.Data import CodonTable

    try:
        return CodonTable.unambiguous_dna_by_id[number]
    except KeyError:
        known = ", ".join(map(str, sorted(CodonTable.unambiguous_dna_by_id)))
        raise InputError(f"there is no translation table {number}; NCBI's are {known}.") from None


def translate(bases: str, table: int, *, has_start: bool) -> str:
    """A coding sequence in frame as residues, X where a codon is ambiguous, * where it stops.

    Args:
        bases: Capital letters, coding strand; bases beyond the last whole codon are not used.
        table: NCBI's number.
        has_start: Whether the first codon is the gene's own start, which is read as methionine where it can be one.
    """
    from Bio.Seq import Seq

    codons = bases[: len(bases) // 3 * 3]
    protein = str(Seq(codons).translate(table=table))
    if has_start and codons[:3] in codon_table(table).start_codons:
        protein = "M" + protein[1:]
    return protein


def reverse_complement(bases: str) -> str:
    """The other strand."""
    from Bio.Seq import Seq

    return str(Seq(bases).reverse_complement())


__all__ = ["codon_table", "reverse_complement", "translate"]
