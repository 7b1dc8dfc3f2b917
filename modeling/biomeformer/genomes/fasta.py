"""Read FASTA files of contigs or of proteins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import GenomeError
from ..io.fasta import FastaError, iter_fasta
from ..io.limits import RECORD_BASES

NOT_NUCLEOTIDE = re.compile(r"[^ACGTUNRYSWKMBDHVacgtunryswkmbdhv\-.]")
NOT_RESIDUE = re.compile(r"[^A-Za-z*\-.]")
NOT_UNAMBIGUOUS_DNA = re.compile(r"[^ACGTNacgtn]")
# Letters that are residues and never nucleotides.
ONLY_RESIDUE = re.compile(r"[EFILPQZXJOefilpqzxjo*]")
# Headers of Prodigal's proteins: >contig_7 # start # end # strand # ID=...;partial=00;...
PRODIGAL_HEADER = re.compile(r"^(\S+)_\d+ # (\d+) # (\d+) # (-?1) # (\S*)")

# 64 bits hold any number of as many digits.
MAX_DIGITS = 18
# Headers of assemblers and of NCBI's submissions that state a circular contig.
CIRCULAR = re.compile(r"\b(?:topology=circular|circular=(?:true|yes|y)\b)", re.I)
HEADER = re.compile(r"^>.*", re.M)

# Contig, start, end, strand, and whether the gene is cut by an end of the contig.
ProdigalLocation = tuple[str, int, int, int, bool]


def iter_records(path: Path, text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the line, the header without `>`, and the sequence of each record.

    Args:
        path: The file, for messages.
        text: Its content.

    Raises:
        GenomeError: There is no record, text precedes the first header, a record has no name, or two have the same.
    """
    seen: dict[str, int] = {}
    try:
        for number, raw_header, sequence in iter_fasta(text.encode().splitlines(), RECORD_BASES.get()):
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
    """Read contigs by name: in upper case, U as T, gap characters removed. Empty contigs are kept.

    Args:
        path: The file, for messages.
        text: Its content.

    Raises:
        GenomeError: The text is not FASTA, a letter is no nucleotide, or all contigs are empty.
    """
    contigs = {}
    for line, header, sequence in iter_records(path, text):
        name = header.split(maxsplit=1)[0]
        invalid = NOT_NUCLEOTIDE.search(sequence)
        if invalid is not None:
            if ONLY_RESIDUE.search(sequence):
                raise GenomeError(
                    f"{path}, record {name!r} (line {line}): {invalid.group()!r} is no nucleotide, this looks like a "
                    "protein; give a genome's DNA, or the file as proteins (.faa, or the column proteins)."
                )
            raise GenomeError(f"{path}, record {name!r} (line {line}): {invalid.group()!r} is no nucleotide.")
        contigs[name] = sequence.upper().replace("U", "T").replace("-", "").replace(".", "")
    if not any(contigs.values()):
        raise GenomeError(f"{path}: all {len(contigs)} records are empty; is the file complete?")
    return contigs


def circular_contigs(text: str) -> set[str]:
    """Return the names of the contigs whose headers state that they are circular (`topology=circular`)."""
    names = set()
    for header in HEADER.findall(text):
        name, *description = header[1:].split(maxsplit=1)[:2] or [""]
        if description and CIRCULAR.search(description[0]):
            names.add(name)
    return names


def read_protein_records(path: Path, text: str) -> Iterator[tuple[str, str, ProdigalLocation | None]]:
    """Yield the name, the residues and the location of each protein; the location is known from Prodigal's headers.

    Args:
        path: The file, for messages.
        text: Its content.

    Raises:
        GenomeError: The text is not FASTA, a letter is no residue, or all sequences are nucleotides.
    """
    looks_like_dna = True
    for line, header, sequence in iter_records(path, text):
        name = header.split(maxsplit=1)[0]
        invalid = NOT_RESIDUE.search(sequence)
        if invalid is not None:
            raise GenomeError(f"{path}, record {name!r} (line {line}): {invalid.group()!r} is no residue.")
        # A, C, G, T and N are residues too, so only the file as a whole can give nucleotides away.
        looks_like_dna = looks_like_dna and not NOT_UNAMBIGUOUS_DNA.search(sequence)
        match = PRODIGAL_HEADER.match(header)
        location = None
        if match is not None:
            contig, start, end, strand, attributes = match.groups()
            if max(len(start), len(end)) > MAX_DIGITS:
                raise GenomeError(f"{path}, record {name!r} (line {line}): its start or end is no position.")
            # One digit for each end of the gene: 1 if the contig ends before the gene does.
            partial = re.search(r"partial=(\d\d)", attributes)
            location = (contig, int(start), int(end), int(strand), partial is not None and partial.group(1) != "00")
        yield name, sequence, location
    if looks_like_dna:
        raise GenomeError(f"{path}: the records are nucleotides, not proteins; give them as a genome (.fna).")


__all__ = ["circular_contigs", "iter_records", "read_contigs", "read_protein_records"]
