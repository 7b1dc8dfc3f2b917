"""A genome from any of its files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from ..errors import GenomeError
from .calling import call_genes
from .fasta import read_contigs, read_protein_records
from .genbank import read_genbank
from .genome import GENE_STATS, Gene, Genome
from .gff import join_annotations, read_annotations, read_gff
from .text import read_text

ENDINGS = (".fasta", ".fna", ".fa", ".ffn", ".fas", ".faa", ".gbk", ".gbff", ".gb", ".genbank", ".gff3", ".gff")
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
KINDS = ("fasta", "genbank", "gff", "proteins")
# Residues ESM-2 knows; J, and what is no residue's letter, become X.
NOT_RESIDUES = re.compile(r"[^ACDEFGHIKLMNPQRSTVWYXBUZO]")
AMBIGUOUS_RESIDUES = re.compile(r"[XBZJ]")


def genome_name(path: str | Path) -> str:
    """A file's name without its FASTA, GenBank or GFF endings."""
    name = Path(path).name
    for ending in (*COMPRESSIONS, *ENDINGS):
        if name.lower().endswith(ending) and len(name) > len(ending):
            name = name[: -len(ending)]
    return name


def kind_of(path: Path, text: str) -> str:
    """What a file holds: `fasta`, `genbank`, `gff` or `proteins`.

    Raises:
        GenomeError: None of these, as far as can be seen.
    """
    start = text.lstrip()
    if start.startswith("LOCUS"):
        return "genbank"
    if start.startswith("##gff-version") or re.match(r"(#.*\n)*[^\t\n]+\t[^\t\n]*\t[^\t\n]+\t\d+\t\d+\t", start):
        return "gff"
    if start.startswith(">"):
        name = path.name.lower()
        for ending in COMPRESSIONS:
            name = name.removesuffix(ending)
        return "proteins" if name.endswith(".faa") else "fasta"
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
    """Read a genome and its genes, calling them where the file has none.

    Args:
        path: FASTA of contigs, GenBank, GFF3, or FASTA of proteins (`.faa`), plain or compressed.
        genome_id: Its name; the file's, without its endings, by default.
        kind: `fasta`, `genbank`, `gff` or `proteins`, where the file's content and name do not tell.
        fasta: The contigs of a GFF3 file without a ##FASTA part.
        annotations: eggNOG-mapper's table, or another TSV whose first column names genes.
        translation_table: NCBI's number, of genes that do not say.
        threads: Contigs at once while genes are called.

    Returns:
        Genes in the order of contigs and starts. Left out, and tallied: pseudogenes, genes with a stop inside (in a
        file of proteins too), genes without a known residue.

    Raises:
        GenomeError: A file cannot be read as such, breaks at a record, or does not fit another; or no gene is left.
    """
    path = Path(path)
    text = read_text(path)
    kind = kind or kind_of(path, text)
    if kind not in KINDS:
        raise GenomeError(f"{path}: kind is {kind!r}; give {', '.join(KINDS)}.")
    n_pseudo, method = 0, "annotated"
    if kind == "proteins":
        contigs, genes = _proteins(path, text)
        method = "proteins given"
        lengths = dict.fromkeys(dict.fromkeys(gene.contig for gene in genes), 0)
    else:
        if kind == "genbank":
            contigs, genes, n_pseudo = read_genbank(path, text)
        elif kind == "gff":
            other = None if fasta is None else (Path(fasta), read_text(Path(fasta)))
            contigs, genes, n_pseudo = read_gff(path, text, other, translation_table)
        else:
            contigs, genes = read_contigs(path, text), []
        if not genes:
            genes, method = call_genes(contigs, translation_table=translation_table, threads=threads)
        lengths = {name: len(sequence) for name, sequence in contigs.items()}
    if annotations is not None:
        genes = join_annotations(Path(annotations), genes, read_annotations(Path(annotations)))
    order = {name: i for i, name in enumerate(lengths)}
    if kind != "proteins":
        genes = sorted(genes, key=lambda gene: (order[gene.contig], gene.start, gene.end))
    kept, gene_stats = _usable(path, genes)
    counts = {letter: sum(sequence.count(letter) for sequence in contigs.values()) for letter in "ACGT"}
    n_bases, n_known = sum(map(len, contigs.values())), sum(counts.values())
    gene_stats |= {
        "n_contigs": len(lengths),
        "n_empty_contigs": sum(not length for length in lengths.values()) if contigs else 0,
        "n_bases": n_bases,
        "n_ambiguous_bases": n_bases - n_known,
        "n_genes": len(kept),
        "n_partial": sum(gene.partial for gene in kept),
        "n_pseudo": n_pseudo,
    }
    if not kept:
        raise GenomeError(
            f"{path}: no gene was found in {n_bases:,} bases ({len(genes)} were left out); is this a bacterial or "
            "archaeal genome, and complete?"
        )
    return Genome(
        genome_id=genome_id or genome_name(path),
        genes=tuple(kept),
        contigs=lengths,
        gene_stats={name: gene_stats[name] for name in GENE_STATS},
        method=method,
        gc=(counts["G"] + counts["C"]) / n_known if n_known else float("nan"),
    )


def _proteins(path: Path, text: str) -> tuple[Mapping[str, str], list[Gene]]:
    genes = []
    for name, sequence, place in read_protein_records(path, text):
        contig, start, end, strand, cut = place or ("", 0, 0, 0, False)
        genes.append(Gene(name, contig, start, end, strand, sequence, "given", cut))
    return {}, genes


def _usable(path: Path, genes: Iterable[Gene]) -> tuple[list[Gene], dict[str, int]]:
    """Genes with clean proteins, and how many were left out or hold unknown residues."""
    kept: list[Gene] = []
    gene_stats = dict.fromkeys(GENE_STATS, 0)
    seen: set[str] = set()
    for gene in genes:
        protein = gene.protein.upper().replace("-", "").replace(".", "")
        protein = protein.removesuffix("*")
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
        protein = NOT_RESIDUES.sub("X", protein)
        kept.append(gene if protein == gene.protein else replace(gene, protein=protein))
    return kept, gene_stats


__all__ = ["KINDS", "genome_name", "kind_of", "read_genome"]
