"""Read a genome from a file of any supported format."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from ..errors import GenomeError
from ..io.compression import remove_compression_suffix
from ..io.nucleotides import codon_table
from .annotation_tables import annotate
from .calling import call_genes
from .fasta import read_contigs, read_protein_records
from .genbank import read_genbank
from .genome import GENE_STATS, Gene, Genome
from .gff import has_sequence, read_gff
from .text import read_text

SUFFIXES = (".fasta", ".fna", ".fa", ".ffn", ".fas", ".faa", ".gbk", ".gbff", ".gb", ".genbank", ".gff3", ".gff")
KINDS = ("fasta", "genbank", "gff", "proteins")
# Letters that are not in ESM-2's alphabet, such as J; they become X.
NOT_IN_ALPHABET = re.compile(r"[^ACDEFGHIKLMNPQRSTVWYXBUZO]")
FASTA_SUFFIXES = (".fna", ".fa", ".fasta", ".fas")
GFF_SUFFIXES = (".gff", ".gff3")
COMPRESSION_SUFFIXES = ("", ".gz", ".zst", ".bz2", ".xz")
GFF_LINE = re.compile(r"(?:#.*\n|[ \t]*\n)*[^\t\n]+\t[^\t\n]*\t[^\t\n]+\t\d+\t\d+\t")
# Beyond this share of genes with a stop inside, the genetic code is probably another.
MANY_INTERNAL_STOPS = 0.05
AMBIGUOUS_RESIDUES = re.compile(r"[XBZJ]")


def genome_name(path: str | Path) -> str:
    """Return a file's name without the suffixes of compression, FASTA, GenBank and GFF3: the default id of a genome."""
    name = remove_compression_suffix(Path(path).name)
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            name = name[: -len(suffix)]
    return name


def detect_kind(path: Path, text: str) -> str:
    """Detect what a file holds from its first lines: `fasta`, `genbank`, `gff` or `proteins`.

    FASTA of proteins is told from FASTA of contigs by the suffix `.faa` alone.

    Args:
        path: The file.
        text: Its content.

    Raises:
        GenomeError: It is none of these.
    """
    start = text.lstrip()
    if start.startswith("LOCUS"):
        return "genbank"
    if start.startswith("##gff-version") or GFF_LINE.match(start):
        return "gff"
    if start.startswith(">"):
        return "proteins" if remove_compression_suffix(path.name).lower().endswith(".faa") else "fasta"
    if start.startswith("@"):
        raise GenomeError(f"{path} holds reads in FASTQ; give an assembled genome.")
    raise GenomeError(f"{path} is neither FASTA, GenBank nor GFF3; give one of these.")


def has_gff_name(path: Path) -> bool:
    """Return whether a file's name is that of a GFF3 file, plain or compressed."""
    return remove_compression_suffix(path.name).lower().endswith(GFF_SUFFIXES)


def fasta_beside(path: Path) -> list[Path]:
    """Return the FASTA files of contigs with the name of a GFF3 file, such as `x.fna` beside `x.gff`."""
    name = remove_compression_suffix(path.name)
    stem = next((name[: -len(end)] for end in GFF_SUFFIXES if name.lower().endswith(end)), None)
    if not stem:
        return []
    endings = [suffix + compression for suffix in FASTA_SUFFIXES for compression in COMPRESSION_SUFFIXES]
    return [file for file in (path.with_name(stem + ending) for ending in endings) if file.is_file()]


def needed_fasta(path: Path) -> Path | None:
    """Return the FASTA beside a GFF3 file that has no sequence of its own, if there is one and no other.

    Raises:
        GenomeError: The GFF3 file cannot be read.
    """
    files = fasta_beside(path)
    return files[0] if len(files) == 1 and not has_sequence(read_text(path)) else None


def read_genome(
    path: str | Path,
    *,
    genome_id: str | None = None,
    kind: str | None = None,
    fasta: str | Path | None = None,
    annotations: str | Path | None = None,
    translation_table: int = 11,
    threads: int = 1,
) -> Genome:
    r"""Read a genome and its genes; call the genes if the file has none.

    Args:
        path: FASTA of contigs, GenBank, GFF3, or FASTA of proteins (`.faa`), plain or compressed.
        genome_id: Id of the genome; `genome_name(path)` by default.
        kind: `fasta`, `genbank`, `gff` or `proteins`; detected from the file's content and name by default.
        fasta: FASTA with the contigs of a GFF3 file; by default those in the file itself (behind ##FASTA or the first
            `>`), or those in a FASTA of the same name beside it.
        annotations: Table of eggNOG-mapper, or another TSV whose first column names genes.
        translation_table: Number of NCBI's translation table, of genes without one of their own.
        threads: Number of contigs in which genes are called at a time.

    Returns:
        The genome, with genes in the order of contigs and starts. Pseudogenes, genes with an internal stop (also in a
        file of proteins) and genes without a known residue are left out; `gene_stats` counts them.

    Raises:
        GenomeError: A file cannot be read or is malformed, files do not match, or no gene is left.

    Examples:
        >>> from pathlib import Path
        >>> _ = Path("two.faa").write_text(">a\nMKTAYIAKQR*\n>b\nMSDNE\n")
        >>> genome = read_genome("two.faa")
        >>> [gene.protein for gene in genome.genes]
        ['MKTAYIAKQR', 'MSDNE']
    """
    path = Path(path)
    text = read_text(path)
    kind = kind or detect_kind(path, text)
    if kind not in KINDS:
        raise GenomeError(f"{path}: kind is {kind!r}; give {', '.join(KINDS)}.")
    n_pseudo, method = 0, "annotated"
    notes: tuple[str, ...] = ()
    codon_table(translation_table)
    if kind == "proteins":
        contigs, genes = _proteins(path, text)
        method = "proteins given"
        lengths = dict.fromkeys(dict.fromkeys(gene.contig for gene in genes), 0)
    else:
        if kind == "genbank":
            contigs, genes, n_pseudo, notes = read_genbank(path, text, translation_table)
        elif kind == "gff":
            file = _sequence_file(path, text) if fasta is None else Path(fasta)
            sequence = None if file is None else (file, read_text(file))
            contigs, genes, n_pseudo, notes = read_gff(path, text, sequence, translation_table)
            if fasta is None and file is not None:
                notes = (f"its contigs were read from {file.name} beside it", *notes)
        else:
            contigs, genes = read_contigs(path, text), []
        # Also a GenBank or GFF3 file without a single gene, as assemblers write them.
        if not genes:
            genes, method = call_genes(contigs, translation_table=translation_table, threads=threads)
        lengths = {name: len(sequence) for name, sequence in contigs.items()}
    contig_order = {name: i for i, name in enumerate(lengths)}
    if kind != "proteins":
        genes = sorted(genes, key=lambda gene: (contig_order[gene.contig], gene.start, gene.end))
    genes, n_renamed = _unique_names(genes)
    if n_renamed:
        notes = (*notes, f"{n_renamed} coding sequences have the name of an earlier one, and got a suffix such as -2")
    if annotations is not None:
        genes, note = annotate(Path(annotations), genes)
        notes = notes if note is None else (*notes, note)
    usable, gene_stats = _usable_genes(genes)
    code_note = genetic_code_note(gene_stats["n_internal_stop"], len(usable), kind == "proteins")
    if code_note is not None:
        notes = (*notes, code_note)
    counts = {letter: sum(sequence.count(letter) for sequence in contigs.values()) for letter in "ACGT"}
    n_bases, n_known = sum(map(len, contigs.values())), sum(counts.values())
    gene_stats |= {
        "n_contigs": len(lengths),
        "n_empty_contigs": sum(not length for length in lengths.values()) if contigs else 0,
        "n_bases": n_bases,
        "n_ambiguous_bases": n_bases - n_known,
        "n_genes": len(usable),
        "n_partial": sum(gene.partial for gene in usable),
        "n_pseudo": n_pseudo,
    }
    if not usable:
        advice = "" if code_note is None else f" Of those left out, {code_note}."
        raise GenomeError(
            f"{path}: no gene was found in {n_bases:,} bases ({len(genes)} were left out); is this a bacterial or "
            f"archaeal genome, and complete?{advice}"
        )
    return Genome(
        genome_id=genome_id or genome_name(path),
        genes=tuple(usable),
        contigs=lengths,
        gene_stats={name: gene_stats[name] for name in GENE_STATS},
        method=method,
        gc=(counts["G"] + counts["C"]) / n_known if n_known else float("nan"),
        notes=notes,
    )


def _proteins(path: Path, text: str) -> tuple[Mapping[str, str], list[Gene]]:
    """Return the genes of a FASTA of proteins, and no contigs."""
    genes = []
    for name, sequence, location in read_protein_records(path, text):
        contig, start, end, strand, partial = location or ("", 0, 0, 0, False)
        genes.append(Gene(name, contig, start, end, strand, sequence, "given", partial))
    return {}, genes


def _sequence_file(path: Path, text: str) -> Path | None:
    """Return the FASTA beside a GFF3 file without sequence, or None.

    Raises:
        GenomeError: There are several.
    """
    files = [] if has_sequence(text) else fasta_beside(path)
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise GenomeError(
            f"{path} has no sequence (no ##FASTA part), and beside it are {names}; say which with the option --fasta "
            "or the column fasta of a table of genomes."
        )
    return files[0] if files else None


def has_many_internal_stops(n_internal_stop: int, n_usable: int) -> bool:
    """Return whether the share of genes with a stop inside is so large that the genetic code is probably another."""
    return n_internal_stop > MANY_INTERNAL_STOPS * (n_internal_stop + n_usable)


def genetic_code_note(n_internal_stop: int, n_usable: int, are_proteins: bool = False) -> str | None:
    """Return a warning if many genes have a stop inside, else None."""
    if not has_many_internal_stops(n_internal_stop, n_usable):
        return None
    n_genes = n_internal_stop + n_usable
    what = f"{n_internal_stop:,} of {n_genes:,} genes ({n_internal_stop / n_genes:.0%}) have a stop inside"
    if are_proteins:
        return f"{what}; translate them with the genome's genetic code, which is table 4 of Mycoplasma and its kin"
    return (
        f"{what}; if its genetic code is that of Mycoplasma and its kin, give --translation-table 4 (a transl_table in "
        "the file itself goes before it)"
    )


def _unique_names(genes: list[Gene]) -> tuple[list[Gene], int]:
    """Return genes with a suffix at names that an earlier gene has, and their number.

    Public annotation has several coding sequences of one locus_tag (a programmed frameshift, another start) and
    paralogues with one protein_id.
    """
    taken = {gene.gene_id for gene in genes}
    if len(taken) == len(genes):
        return genes, 0
    seen: Counter[str] = Counter()
    unique, n_renamed = [], 0
    for gene in genes:
        name = gene.gene_id
        seen[name] += 1
        if seen[name] > 1:
            while (suffixed := f"{name}-{seen[name]}") in taken:
                seen[name] += 1
            taken.add(suffixed)
            n_renamed += 1
            gene = replace(gene, gene_id=suffixed, aliases=(*gene.aliases, name))
        unique.append(gene)
    return unique, n_renamed


def _usable_genes(genes: Iterable[Gene]) -> tuple[list[Gene], dict[str, int]]:
    """Clean the proteins, and leave out genes without a usable one.

    Returns:
        Genes, and `GENE_STATS` with the numbers of genes left out or with ambiguous residues.
    """
    usable: list[Gene] = []
    gene_stats = dict.fromkeys(GENE_STATS, 0)
    for gene in genes:
        protein = gene.protein.upper().replace("-", "").replace(".", "").removesuffix("*")
        if not protein.strip("X"):
            gene_stats["n_no_protein"] += 1
            continue
        if "*" in protein:
            gene_stats["n_internal_stop"] += 1
            continue
        if AMBIGUOUS_RESIDUES.search(protein):
            gene_stats["n_ambiguous_residues"] += 1
        protein = NOT_IN_ALPHABET.sub("X", protein)
        usable.append(gene if protein == gene.protein else replace(gene, protein=protein))
    return usable, gene_stats


__all__ = [
    "KINDS",
    "detect_kind",
    "fasta_beside",
    "genetic_code_note",
    "genome_name",
    "has_gff_name",
    "has_many_internal_stops",
    "needed_fasta",
    "read_genome",
]
