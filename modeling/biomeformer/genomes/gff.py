"""Read GFF3 with its sequence, as Prokka and Bakta write it, and join tables of annotations to genes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from ..errors import GenomeError, InputError
from ..io.nucleotides import codon_table, reverse_complement, translate
from ..io.tables import TableFormat, read_table
from .fasta import read_contigs
from .genome import Gene

# Names of annotations by the attribute of GFF3 they come from; the same names as of GenBank files.
ANNOTATIONS = {"gene": "gene", "product": "product", "Name": "name", "eC_number": "EC_number", "Dbxref": "db_xref"}
NO_ANNOTATION = ("", "-")
FASTA_LINE = re.compile(r"^##FASTA[ \t\r]*$", re.M)
# Parts of a coding sequence of which some programs state a phase too.
WITH_PHASE = ("CDS", "exon", "start_codon", "stop_codon")
ANNOTATION_FORMAT = TableFormat(
    "table of annotations",
    "give a TSV whose first column names genes",
    GenomeError,
    comments=True,
    row_names=True,
    tab_quotes=False,
)


@dataclass
class _Coding:
    """A coding sequence: one or several `CDS` lines with the same ID, such as those of a spliced gene.

    Attributes:
        line: Number of its first line, for messages.
        contig: Name of its contig.
        strand: 1, -1 or 0.
        attributes: Of its first line.
        parts: Start, end (both from 1, inclusive) and phase of each line.
    """

    line: int
    contig: str
    strand: int
    attributes: dict[str, str]
    parts: list[tuple[int, int, int]]


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
    features, *sequence_parts = FASTA_LINE.split(text, maxsplit=1)
    embedded = sequence_parts[0] if sequence_parts else ""
    if fasta is not None:
        where, contigs = fasta[0], read_contigs(*fasta)
    elif embedded.strip():
        where, contigs = path, read_contigs(path, embedded.strip())
    else:
        raise GenomeError(f"{path} has no sequence (no ##FASTA part); give the genome's FASTA with it.")
    codings: dict[str, _Coding] = {}
    n_pseudo = 0
    # Only coding sequences have a phase, so that others may be misnamed ones.
    phases: Counter[str] = Counter()
    for number, line in enumerate(features.splitlines(), 1):
        if line.startswith("##sequence-region"):
            _check_region(f"{path}, line {number}", line, contigs, where)
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != 9:
            raise GenomeError(f"{path}, line {number}: {len(fields)} columns where GFF3 has 9, separated by tabs.")
        if not (fields[3].isdecimal() and fields[4].isdecimal()):
            raise GenomeError(f"{path}, line {number}: start or end is no number; correct the line.")
        if fields[2] != "CDS":
            if fields[7] in ("0", "1", "2") and fields[2] not in WITH_PHASE:
                phases[fields[2]] += 1
            continue
        attributes = _attributes(fields[8])
        if attributes.get("pseudo", "").lower() == "true" or "pseudogene" in attributes:
            n_pseudo += 1
            continue
        contig, strand = unquote(fields[0]), {"+": 1, "-": -1}.get(fields[6], 0)
        if not strand:
            raise GenomeError(f"{path}, line {number}: the strand of a coding sequence is {fields[6]!r}; give + or -.")
        if contig not in contigs:
            raise GenomeError(
                f"{path}, line {number}: contig {contig!r} is not in {where} (which has {next(iter(contigs))!r} and "
                f"{len(contigs) - 1} others); give the sequence that was annotated."
            )
        try:
            start, end, phase = int(fields[3]), int(fields[4]), int(fields[7].replace(".", "0"))
        except ValueError:
            raise GenomeError(f"{path}, line {number}: start, end or phase is no number.") from None
        if phase not in (0, 1, 2):
            raise GenomeError(f"{path}, line {number}: the phase is {phase}; it must be 0, 1 or 2.")
        if not 1 <= start <= end <= len(contigs[contig]):
            raise GenomeError(
                f"{path}, line {number}: {start} to {end} lies beyond contig {contig!r} of {len(contigs[contig])} "
                f"bases in {where}; give the sequence that was annotated."
            )
        key = attributes.get("ID") or attributes.get("locus_tag") or f"{contig}_{number}"
        coding = codings.setdefault(key, _Coding(number, contig, strand, attributes, []))
        if (coding.contig, coding.strand) != (contig, strand):
            raise GenomeError(
                f"{path}, line {number}: the coding sequence {key!r} of line {coding.line} lies elsewhere; give each "
                "an ID of its own."
            )
        if attributes.get("locus_tag") != coding.attributes.get("locus_tag"):
            raise GenomeError(
                f"{path}, line {number}: the ID {key!r} is that of line {coding.line} too, with another locus_tag; "
                "give each coding sequence an ID of its own."
            )
        coding.parts.append((start, end, phase))
    genes = [_gene(path, key, coding, contigs[coding.contig], translation_table) for key, coding in codings.items()]
    notes = tuple(
        f"{count} features of the type {kind!r} have a phase, as only coding sequences (CDS) have"
        for kind, count in phases.items()
    )
    return contigs, genes, n_pseudo, notes


def _check_region(where: str, line: str, contigs: Mapping[str, str], source: Path) -> None:
    """Check that the sequence is as long as a `##sequence-region` line says.

    Raises:
        GenomeError: It is shorter, or is not there.
    """
    words = line.split()
    if len(words) != 4 or not words[3].isdecimal():
        raise GenomeError(f"{where}: a sequence-region has a name, a start and an end; correct the line.")
    n_bases = len(contigs.get(unquote(words[1]), ""))
    if n_bases < int(words[3]):
        raise GenomeError(
            f"{where}: contig {words[1]!r} has {int(words[3]):,} bases there and {n_bases:,} in {source}, which is cut "
            "or another genome's; give the sequence that was annotated."
        )


def _gene(path: Path, key: str, coding: _Coding, contig: str, translation_table: int) -> Gene:
    """Translate a coding sequence; `contig` is the sequence of its contig."""
    parts = sorted(coding.parts)
    bases = "".join(contig[start - 1 : end] for start, end, _ in parts)
    if coding.strand < 0:
        bases = reverse_complement(bases)
    # The phase, bases to skip before the first codon, is that of the part in which translation begins.
    phase = parts[-1 if coding.strand < 0 else 0][2]
    try:
        table = int(coding.attributes.get("transl_table", translation_table))
    except ValueError:
        raise GenomeError(f"{path}, line {coding.line}: transl_table is no number.") from None
    try:
        codon_table(table)
    except InputError as error:
        raise GenomeError(f"{path}, line {coding.line}: {error}") from None
    partial = any(name in coding.attributes for name in ("partial", "start_range", "end_range"))
    return Gene(
        gene_id=coding.attributes.get("locus_tag", key),
        contig=coding.contig,
        start=parts[0][0],
        end=parts[-1][1],
        strand=coding.strand,
        protein=translate(bases[phase:], table, has_start=not phase and not partial),
        source="annotated",
        partial=partial,
        annotations={
            name: coding.attributes[attribute]
            for attribute, name in ANNOTATIONS.items()
            if coding.attributes.get(attribute)
        },
    )


def _attributes(field: str) -> dict[str, str]:
    """Parse the ninth column of GFF3: `name=value` pairs, percent-encoded, separated by semicolons."""
    pairs = (part.partition("=") for part in field.split(";") if part.strip())
    return {name.strip(): unquote(value.strip()) for name, _, value in pairs}


def read_annotations(path: Path) -> dict[str, dict[str, str]]:
    """Read annotations by gene id and kind from a table of eggNOG-mapper, or any table whose first column names genes.

    If a gene has several rows, as in tables of InterProScan and dbCAN, its different values are joined by `; `.

    Args:
        path: Path of the table.

    Raises:
        GenomeError: The table cannot be read, or has a single column.
    """
    table = read_table(path, ANNOTATION_FORMAT)
    if len(table.columns) < 2:
        raise GenomeError(f"{path}: the header has one column; give a table separated by tabs.")
    values: dict[str, dict[str, list[str]]] = {}
    for gene, *row in table.rows:
        gene_values = values.setdefault(gene, {})
        for name, value in zip(table.columns[1:], row, strict=True):
            if value not in NO_ANNOTATION and value not in gene_values.setdefault(name, []):
                gene_values[name].append(value)
    return {
        gene: {name: "; ".join(column_values) for name, column_values in gene_values.items() if column_values}
        for gene, gene_values in values.items()
    }


def join_annotations(path: Path, genes: list[Gene], table: Mapping[str, Mapping[str, str]]) -> list[Gene]:
    """Return genes with the annotations of a table added; they take precedence over those of the genome's own file.

    Args:
        path: The table, for messages.
        genes: Genes of one genome.
        table: What `read_annotations` returned.

    Raises:
        GenomeError: The table has none of the genes, so it is of another genome.
    """
    if genes and table and not any(gene.gene_id in table for gene in genes):
        raise GenomeError(
            f"{path} names none of the genome's {len(genes)} genes (it has {next(iter(table))!r}, the genome "
            f"{genes[0].gene_id!r}); give the table of this genome."
        )
    return [
        replace(gene, annotations={**gene.annotations, **table[gene.gene_id]}) if gene.gene_id in table else gene
        for gene in genes
    ]


__all__ = ["join_annotations", "read_annotations", "read_gff"]
