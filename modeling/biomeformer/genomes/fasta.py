"""FASTA: contigs or proteins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import GenomeError
from ..io.fasta import FastaError, iter_fasta

NUCLEOTIDES = re.compile(r"[^ACGTUNRYSWKMBDHVacgtunryswkmbdhv\-.]")
RESIDUES = re.compile(r"[^A-Za-z*\-.]")
# Letters that are residues and never nucleotides.
ONLY_RESIDUES = re.compile(r"[EFILPQZXJOefilpqzxjo*]")
PRODIGAL = re.compile(r"^(\S+)_\d+ # (\d+) # (\d+) # (-?1) # (\S*)")


def iter_named(path: Path, text: str) -> Iterator[tuple[int, str, str]]:
    """Yield line number, header without `>`, and sequence of each record.

    Raises:
        GenomeError: Text stands in front of the first header, a record has no name, or two have the same.
    """
    seen: dict[str, int] = {}
    try:
        for number, raw_header, sequence in iter_fasta(text.encode().splitlines()):
            header = raw_header.decode().strip()
            name = header.split(maxsplit=1)[0] if header else ""
            if not name:
                raise GenomeError(f"{path}, line {number}: the record has no name; write one after '>'.")
            if name in seen:
                raise GenomeError(
                    f"{path}, line {number}: the record {name!r} stands on line {seen[name]} already; give each a name "
                    "of its own."
                )
            seen[name] = number
            yield number, header, sequence.decode()
    except FastaError as error:
        raise GenomeError(f"{path}, {error}.") from None
    if not seen:
        raise GenomeError(f"{path} has no FASTA record; one begins with '>' and a name.")


def read_contigs(path: Path, text: str) -> dict[str, str]:
    """Contigs by name, in capital letters, U as T, gaps taken out; empty ones too.

    Raises:
        GenomeError: A letter is no nucleotide, or all contigs are empty.
    """
    contigs = {}
    for line, header, sequence in iter_named(path, text):
        name = header.split(maxsplit=1)[0]
        bad = NUCLEOTIDES.search(sequence)
        if bad is not None:
            if ONLY_RESIDUES.search(sequence):
                raise GenomeError(
                    f"{path}, record {name!r} (line {line}): {bad.group()!r} is no nucleotide, this looks like a "
                    "protein; give a genome's DNA, or the file as proteins (.faa, or the column proteins)."
                )
            raise GenomeError(f"{path}, record {name!r} (line {line}): {bad.group()!r} is no nucleotide.")
        contigs[name] = sequence.upper().replace("U", "T").replace("-", "").replace(".", "")
    if not any(contigs.values()):
        raise GenomeError(f"{path}: all {len(contigs)} records are empty; is the file complete?")
    return contigs


def read_protein_records(path: Path, text: str) -> Iterator[tuple[str, str, tuple[str, int, int, int, bool] | None]]:
    """Name, residues and, from Prodigal's headers, place of each protein: contig, start, end, strand, partial.

    Raises:
        GenomeError: A letter is no residue, or all sequences are nucleotides.
    """
    looks_like_dna = True
    for line, header, sequence in iter_named(path, text):
        name = header.split(maxsplit=1)[0]
        bad = RESIDUES.search(sequence)
        if bad is not None:
            raise GenomeError(f"{path}, record {name!r} (line {line}): {bad.group()!r} is no residue.")
        looks_like_dna = looks_like_dna and not re.search(r"[^ACGTNacgtn]", sequence)
        found = PRODIGAL.match(header)
        place = None
        if found is not None:
            contig, start, end, strand, attributes = found.groups()
            cut = re.search(r"partial=(\d\d)", attributes)
            place = (contig, int(start), int(end), int(strand), cut is not None and cut.group(1) != "00")
        yield name, sequence, place
    if looks_like_dna:
        raise GenomeError(f"{path}: the records are nucleotides, not proteins; give them as a genome (.fna).")


__all__ = ["iter_named", "read_contigs", "read_protein_records"]
