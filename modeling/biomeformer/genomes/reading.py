"""Read a genome from a file of any supported format."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from ..errors import GenomeError
from ..io.compression import remove_compression_suffix
from ..io.nucleotides import codon_table
from .calling import call_genes
from .fasta import read_contigs, read_protein_records
from .genbank import read_genbank
from .genome import GENE_STATS, Gene, Genome
from .gff import join_annotations, read_annotations, read_gff
from .text import read_text

SUFFIXES = (".fasta", ".fna", ".fa", ".ffn", ".fas", ".faa", ".gbk", ".gbff", ".gb", ".genbank", ".gff3", ".gff")
KINDS = ("fasta", "genbank", "gff", "proteins")
# Letters that are not in ESM-2's alphabet, such as J; they become X.
NOT_IN_ALPHABET = re.compile(r"[^ACDEFGHIKLMNPQRSTVWYXBUZO]")
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
    if start.startswith("##gff-version") or re.match(r"(#.*\n)*[^\t\n]+\t[^\t\n]*\t[^\t\n]+\t\d+\t\d+\t", start):
        return "gff"
    if start.startswith(">"):
        return "proteins" if remove_compression_suffix(path.name).lower().endswith(".faa") else "fasta"
    if start.startswith("@"):
        raise GenomeError(f"{path} holds reads in FASTQ; give an assembled genome.")
    raise GenomeError(f"{path} is neither FASTA, GenBank nor GFF3; give one of these.")


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
    """Read a genome and its genes; call the genes if the file has none.

    Args:
        path: FASTA of contigs, GenBank, GFF3, or FASTA of proteins (`.faa`), plain or compressed.
        genome_id: Id of the genome; `genome_name(path)` by default.
        kind: `fasta`, `genbank`, `gff` or `proteins`; detected from the file's content and name by default.
        fasta: FASTA with the contigs of a GFF3 file that has no ##FASTA part.
        annotations: Table of eggNOG-mapper, or another TSV whose first column names genes.
        translation_table: Number of NCBI's translation table, of genes without one of their own.
        threads: Number of contigs in which genes are called at a time.

    Returns:
        The genome, with genes in the order of contigs and starts. Pseudogenes, genes with an internal stop (also in a
        file of proteins) and genes without a known residue are left out; `gene_stats` counts them.

    Raises:
        GenomeError: A file cannot be read or is malformed, files do not match, or no gene is left.
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
            contigs, genes, n_pseudo, notes = read_genbank(path, text)
        elif kind == "gff":
            sequence_file = None if fasta is None else (Path(fasta), read_text(Path(fasta)))
            contigs, genes, n_pseudo, notes = read_gff(path, text, sequence_file, translation_table)
        else:
            contigs, genes = read_contigs(path, text), []
        # Also a GenBank or GFF3 file without a single gene, as assemblers write them.
        if not genes:
            genes, method = call_genes(contigs, translation_table=translation_table, threads=threads)
        lengths = {name: len(sequence) for name, sequence in contigs.items()}
    if annotations is not None:
        genes = join_annotations(Path(annotations), genes, read_annotations(Path(annotations)))
    contig_order = {name: i for i, name in enumerate(lengths)}
    if kind != "proteins":
        genes = sorted(genes, key=lambda gene: (contig_order[gene.contig], gene.start, gene.end))
    usable, gene_stats = _usable_genes(path, genes)
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
        raise GenomeError(
            f"{path}: no gene was found in {n_bases:,} bases ({len(genes)} were left out); is this a bacterial or "
            "archaeal genome, and complete?"
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


def _usable_genes(path: Path, genes: Iterable[Gene]) -> tuple[list[Gene], dict[str, int]]:
    """Clean the proteins, and leave out genes without a usable one.

    Returns:
        Genes, and `GENE_STATS` with the numbers of genes left out or with ambiguous residues.

    Raises:
        GenomeError: Two genes have the same id.
    """
    usable: list[Gene] = []
    gene_stats = dict.fromkeys(GENE_STATS, 0)
    seen: set[str] = set()
    for gene in genes:
        protein = gene.protein.upper().replace("-", "").replace(".", "").removesuffix("*")
        if not protein.strip("X"):
            gene_stats["n_no_protein"] += 1
            continue
        if "*" in protein:
            gene_stats["n_internal_stop"] += 1
            continue
        if gene.gene_id in seen:
            raise GenomeError(f"{path}: two genes are called {gene.gene_id!r}; give each a name of its own.")
        seen.add(gene.gene_id)
        if AMBIGUOUS_RESIDUES.search(protein):
            gene_stats["n_ambiguous_residues"] += 1
        protein = NOT_IN_ALPHABET.sub("X", protein)
        usable.append(gene if protein == gene.protein else replace(gene, protein=protein))
    return usable, gene_stats


__all__ = ["KINDS", "detect_kind", "genome_name", "read_genome"]
