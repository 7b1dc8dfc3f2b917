"""Read GFF3 with its sequence, as Prokka, Bakta, PGAP, Prodigal and others write it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

from ..errors import GenomeError, InputError
from ..io.nucleotides import codon_table, reverse_complement, translate
from .fasta import circular_contigs, read_contigs
from .genome import Gene

# Names of annotations by the attribute of GFF3 they come from; the same names as of GenBank files.
ANNOTATIONS = {"gene": "gene", "product": "product", "Name": "name", "eC_number": "EC_number", "Dbxref": "db_xref"}
# The sequence follows a line ##FASTA, or begins with the first header.
SEQUENCE = re.compile(r"^(?:##[ \t]*FASTA[ \t]*$|(?=>))", re.M | re.I)
# What databases put before an accession in one of two files alone.
NAME_PREFIX = re.compile(r"^(?:gi\|\d+\|)?(?:(?:accn|lcl|ref|gb|emb|dbj)\||gnl\|[^|]+\|)")
# Parts of a coding sequence of which some programs state a phase too.
WITH_PHASE = ("CDS", "exon", "start_codon", "stop_codon")
# Parts of one gene overlap by no more, where the ribosome shifts its frame.
MAX_OVERLAP = 2
# Prodigal's ID: the numbers of the contig and of the gene on it.
PRODIGAL_ID = re.compile(r"\d+_(\d+)")


@dataclass
class _Coding:
    """A coding sequence: one or several `CDS` lines with the same ID, such as those of a spliced gene.

    Attributes:
        name: Its locus_tag, ID or protein_id; not unique.
        line: Number of its first line, for messages.
        contig: Name of its contig.
        strand: 1, -1 or 0.
        attributes: Of its first line.
        parts: Start, end (both from 1, inclusive) and phase of each line.
    """

    name: str
    line: int
    contig: str
    strand: int
    attributes: dict[str, str]
    parts: list[tuple[int, int, int]]

    def overlaps(self, start: int, end: int) -> bool:
        """Return whether a line lies upon one of the parts, so that it is no other part of the same gene."""
        return any(min(end, last) - max(start, first) >= MAX_OVERLAP for first, last, _ in self.parts)


def has_sequence(text: str) -> bool:
    """Return whether the text of a GFF3 file holds its sequence."""
    match = SEQUENCE.search(text)
    return match is not None and bool(text[match.end() :].strip())


def read_gff(
    path: Path, text: str, fasta: tuple[Path, str] | None, translation_table: int = 11
) -> tuple[dict[str, str], list[Gene], int, tuple[str, ...]]:
    """Read the contigs and the protein-coding genes.

    Args:
        path: The GFF3 file, for messages.
        text: Its content.
        fasta: Path and content of the sequence, if the GFF3 file has no ##FASTA part.
        translation_table: Number of NCBI's translation table, of genes without `transl_table`.

    Returns:
        Contigs by name, in upper case, U as T; genes; the number of pseudogenes, which are not among the genes; and
        remarks on details of the file, with their counts.

    Raises:
        GenomeError: A line is malformed, there is no sequence, or annotation and sequence do not match.
    """
    match = SEQUENCE.search(text)
    if fasta is not None:
        where, sequence = fasta
    elif match is not None and text[match.end() :].strip():
        # Lines are counted from the beginning of the file.
        where, sequence = path, "\n" * text.count("\n", 0, match.end()) + text[match.end() :]
    else:
        raise GenomeError(
            f"{path} has no sequence (no ##FASTA part); give the genome's FASTA with it (the option --fasta, the "
            "column fasta of a table of genomes, or a file of the same name with .fna beside it)."
        )
    contigs = read_contigs(where, sequence)
    find_contig = _contig_finder(contigs)
    lines = (text if match is None else text[: match.start()]).split("\n")
    circular = _circular_landmarks(lines) | circular_contigs(sequence)
    circular_names = {find_contig(name) for name in circular}
    codings: dict[tuple[str, str], list[_Coding]] = {}
    n_pseudo = 0
    # Only coding sequences have a phase, so that others may be misnamed ones.
    phases: Counter[str] = Counter()
    for number, line in enumerate(lines, 1):
        at = f"{path}, line {number}"
        if line.startswith("##sequence-region"):
            _check_region(at, line, contigs, find_contig, where)
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != 9:
            raise GenomeError(f"{at}: {len(fields)} columns where GFF3 has 9, separated by tabs.")
        if not (fields[3].isdecimal() and fields[4].isdecimal()):
            raise GenomeError(f"{at}: start or end is no number; correct the line.")
        if fields[2] != "CDS":
            if fields[7] in ("0", "1", "2") and fields[2] not in WITH_PHASE:
                phases[fields[2]] += 1
            continue
        if "=" not in fields[8] and 'gene_id "' in fields[8]:
            raise GenomeError(f"{at}: this is GTF, not GFF3; give the annotation as GFF3 (.gff) or GenBank.")
        attributes = _attributes(fields[8])
        if attributes.get("pseudo", "").lower() == "true" or "pseudogene" in attributes:
            n_pseudo += 1
            continue
        contig, strand = find_contig(unquote(fields[0])), {"+": 1, "-": -1}.get(fields[6], 0)
        if not strand:
            raise GenomeError(f"{at}: the strand of a coding sequence is {fields[6]!r}; give + or -.")
        if contig is None:
            raise GenomeError(
                f"{at}: contig {unquote(fields[0])!r} is not in {where} (which has {next(iter(contigs))!r} and "
                f"{len(contigs) - 1} others); give the sequence that was annotated."
            )
        try:
            start, end, phase = int(fields[3]), int(fields[4]), int(fields[7].replace(".", "0"))
        except ValueError:
            raise GenomeError(f"{at}: start, end or phase is no number.") from None
        if phase not in (0, 1, 2):
            raise GenomeError(f"{at}: the phase is {phase}; it must be 0, 1 or 2.")
        _check_range(at, start, end, contig, len(contigs[contig]), contig in circular_names, where)
        coding = _coding_of_line(at, number, codings, contig, strand, attributes, (start, end))
        coding.parts.append((start, end, phase))
    genes, n_unstated = [], 0
    for coding in (coding for group in codings.values() for coding in group):
        contig = coding.contig
        unrolled = _unroll(coding.parts, len(contigs[contig]))
        n_unstated += unrolled != sorted(coding.parts) and contig not in circular_names
        genes.append(_gene(path, coding, unrolled, contigs[contig], translation_table))
    notes = [
        f"{count} features of the type {kind!r} have a phase, as only coding sequences (CDS) have"
        for kind, count in phases.items()
    ]
    if n_unstated:
        notes.append(
            f"{n_unstated} coding sequences have parts at both ends of a contig, which was read as circular; the file "
            "does not say so (Is_circular=true)"
        )
    return contigs, genes, n_pseudo, tuple(notes)


def _contig_finder(contigs: Mapping[str, str]) -> Callable[[str], str | None]:
    """Return a function that gives the name of a contig in the sequence by that in the annotation, or None.

    Names are the same, or differ in a prefix such as `accn|` or `gi|123|ref|`.
    """

    def bare(name: str) -> str:
        return NAME_PREFIX.sub("", name).rstrip("|")

    names: dict[str, list[str]] = {}
    for contig in contigs:
        names.setdefault(bare(contig), []).append(contig)

    def find(name: str) -> str | None:
        if name in contigs:
            return name
        alike = names.get(bare(name), [])
        return alike[0] if len(alike) == 1 else None

    return find


def _circular_landmarks(lines: list[str]) -> set[str]:
    """Return the contigs of which a feature such as a region has `Is_circular=true`."""
    fields = (line.split("\t") for line in lines if "is_circular=true" in line.lower() and not line.startswith("#"))
    return {unquote(values[0]) for values in fields if len(values) == 9 and values[2] != "CDS"}


def _check_range(at: str, start: int, end: int, contig: str, n_bases: int, is_circular: bool, where: Path) -> None:
    """Check that a coding sequence lies on its contig; one across the origin of a circular contig ends beyond it.

    Raises:
        GenomeError: It does not.
    """
    if start > end:
        advice = f"; across the origin, give {end + n_bases} as its end" if is_circular and end <= n_bases else ""
        raise GenomeError(f"{at}: the start {start} lies behind the end {end}{advice}; correct the line.")
    if 1 <= start and end <= n_bases:
        return
    if not is_circular:
        circular = "" if end > 2 * n_bases else " (if it is circular, its region's line needs Is_circular=true)"
        raise GenomeError(
            f"{at}: {start} to {end} lies beyond contig {contig!r} of {n_bases} bases in {where}; give the sequence "
            f"that was annotated{circular}."
        )
    if start < 1 or end > 2 * n_bases or end - start >= n_bases:
        raise GenomeError(
            f"{at}: {start} to {end} is more than once around the circular contig {contig!r} of {n_bases} bases in "
            f"{where}; give the sequence that was annotated."
        )


def _coding_of_line(
    at: str,
    number: int,
    codings: dict[tuple[str, str], list[_Coding]],
    contig: str,
    strand: int,
    attributes: dict[str, str],
    span: tuple[int, int],
) -> _Coding:
    """Return the coding sequence of which a line is a part, which is added to `codings` if it is new.

    Lines with one ID, or without IDs with one locus_tag or parent, are parts of one coding sequence, unless they lie
    upon each other: such are several products of one gene.

    Raises:
        GenomeError: The line is there twice, or the ID is that of a coding sequence elsewhere, or with another
            locus_tag.
    """
    names = [attributes[name] for name in ("locus_tag", "ID", "protein_id", "Parent") if attributes.get(name)]
    new = _Coding(names[0] if names else f"{contig}_{number}", number, contig, strand, attributes, [])
    own_id = attributes.get("ID")
    shared = own_id or attributes.get("locus_tag") or attributes.get("Parent") or f"line {number}"
    group = codings.setdefault(("ID" if own_id else "", shared), [])
    for coding in group:
        if attributes == coding.attributes and span in [part[:2] for part in coding.parts]:
            raise GenomeError(
                f"{at}: the coding sequence of line {coding.line} stands there again; remove one of them."
            )
        is_elsewhere = (coding.contig, coding.strand) != (contig, strand)
        if own_id and is_elsewhere:
            raise GenomeError(
                f"{at}: the coding sequence {own_id!r} of line {coding.line} lies elsewhere; give each an ID of its "
                "own."
            )
        if own_id and attributes.get("locus_tag") != coding.attributes.get("locus_tag"):
            raise GenomeError(
                f"{at}: the ID {own_id!r} is that of line {coding.line} too, with another locus_tag; give each coding "
                "sequence an ID of its own."
            )
        if not is_elsewhere and not coding.overlaps(*span):
            return coding
    group.append(new)
    return new


def _unroll(parts: list[tuple[int, int, int]], n_bases: int) -> list[tuple[int, int, int]]:
    """Return parts in their order on the forward strand; those behind the origin of a circular contig come last.

    Their positions are beyond the contig's length. Parts that touch both ends of the contig run across its origin,
    which lies within the run; they are taken apart at their widest gap.
    """
    parts = sorted(parts)
    if len(parts) == 1 or parts[0][0] != 1 or parts[-1][1] != n_bases:
        return parts
    gaps = [after[0] - before[1] for before, after in pairwise(parts)]
    cut = gaps.index(max(gaps)) + 1
    return [*parts[cut:], *((start + n_bases, end + n_bases, phase) for start, end, phase in parts[:cut])]


def _check_region(
    where: str, line: str, contigs: Mapping[str, str], find_contig: Callable[[str], str | None], source: Path
) -> None:
    """Check that the sequence is as long as a `##sequence-region` line says.

    Raises:
        GenomeError: It is shorter, or is not there.
    """
    words = line.split()
    if len(words) != 4 or not words[3].isdecimal():
        raise GenomeError(f"{where}: a sequence-region has a name, a start and an end; correct the line.")
    n_bases = len(contigs.get(find_contig(unquote(words[1])) or "", ""))
    if n_bases < int(words[3]):
        raise GenomeError(
            f"{where}: contig {words[1]!r} has {int(words[3]):,} bases there and {n_bases:,} in {source}, which is cut "
            "or another genome's; give the sequence that was annotated."
        )


def _gene(path: Path, coding: _Coding, parts: list[tuple[int, int, int]], contig: str, translation_table: int) -> Gene:
    """Translate a coding sequence; `contig` is the sequence of its contig."""
    attributes, n_bases = coding.attributes, len(contig)
    bases = "".join(_bases(contig, start, end) for start, end, _ in parts)
    if coding.strand < 0:
        bases = reverse_complement(bases)
    # The phase, bases to skip before the first codon, is that of the part in which translation begins.
    phase = parts[-1 if coding.strand < 0 else 0][2]
    try:
        table = int(attributes.get("transl_table", translation_table))
    except ValueError:
        raise GenomeError(f"{path}, line {coding.line}: transl_table is no number.") from None
    try:
        codon_table(table)
    except InputError as error:
        raise GenomeError(f"{path}, line {coding.line}: {error}") from None
    is_open = _open_ends(attributes)
    has_start = not phase and not is_open[1 if coding.strand < 0 else 0]
    before_origin = parts[0][0] > n_bases
    start, end = parts[0][0], parts[-1][1]
    aliases = [attributes[name] for name in ("ID", "protein_id") if attributes.get(name)]
    prodigal = PRODIGAL_ID.fullmatch(attributes.get("ID", ""))
    if prodigal is not None and "start_type" in attributes:
        # The name of the protein in Prodigal's FASTA.
        aliases.append(f"{coding.contig}_{prodigal[1]}")
    return Gene(
        gene_id=coding.name,
        contig=coding.contig,
        start=start - n_bases if before_origin else start,
        end=end - n_bases if before_origin else end,
        strand=coding.strand,
        protein=translate(bases[phase:], table, has_start=has_start),
        source="annotated",
        partial=any(is_open),
        annotations={
            name: attributes[attribute] for attribute, name in ANNOTATIONS.items() if attributes.get(attribute)
        },
        aliases=tuple(aliases),
    )


def _bases(contig: str, start: int, end: int) -> str:
    """Return the bases from start to end, both from 1 and inclusive; beyond the contig's length it begins again."""
    n_bases = len(contig)
    if start > n_bases:
        start, end = start - n_bases, end - n_bases
    return contig[start - 1 : end] + contig[: max(end - n_bases, 0)]


def _open_ends(attributes: Mapping[str, str]) -> tuple[bool, bool]:
    """Return whether a gene goes on beyond its lower and its upper end.

    Prodigal writes `partial` as a digit for each, NCBI `partial=true` with `start_range` or `end_range`.
    """
    partial = attributes.get("partial", "").lower()
    if re.fullmatch("[01]{2}", partial):
        return partial[0] == "1", partial[1] == "1"
    ranges = "start_range" in attributes, "end_range" in attributes
    if not any(ranges) and partial not in ("", "0", "false", "no"):
        return True, True
    return ranges


def _attributes(field: str) -> dict[str, str]:
    """Parse the ninth column of GFF3: `name=value` pairs, percent-encoded, separated by semicolons."""
    pairs = (part.partition("=") for part in field.split(";") if part.strip())
    return {name.strip(): unquote(value.strip()) for name, _, value in pairs}


__all__ = ["has_sequence", "read_gff"]
