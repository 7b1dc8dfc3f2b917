"""The data model of a genome: contigs, and genes with their proteins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..io.short_repr import short_repr
from ..moved import renamed

GENE_STATS = (
    "n_contigs",
    "n_empty_contigs",
    "n_bases",
    "n_ambiguous_bases",
    "n_genes",
    "n_partial",
    "n_pseudo",
    "n_internal_stop",
    "n_no_protein",
    "n_ambiguous_residues",
)


@dataclass(frozen=True, slots=True)
class Gene:
    """A protein-coding gene.

    Attributes:
        gene_id: Unique within the genome.
        contig: Name of its contig; empty if unknown.
        start: First base, counted from 1 on the contig's forward strand; 0 if unknown.
        end: Last base, inclusive; beyond the contig's length if the gene runs across the origin of a circular contig,
            as in GFF3; 0 if unknown.
        strand: 1, -1, or 0 if unknown.
        protein: Residues in upper case, without a final stop.
        source: `called` by Pyrodigal, `annotated` in the genome's file, or `given` as a protein.
        partial: Whether the gene is cut by an end of the contig.
        annotations: Annotations by kind, such as `product`.
        aliases: Other names of the gene or its protein in its file, which need not be unique.
    """

    gene_id: str
    contig: str
    start: int
    end: int
    strand: int
    protein: str
    source: str
    partial: bool = False
    annotations: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Genome:
    """A genome with its genes.

    Attributes:
        genome_id: Id of the genome.
        genes: Genes in the order of contigs and of their starts.
        contigs: Length of each contig in bases, in the order of the file; 0 if unknown.
        gene_stats: Number of contigs, bases and genes, and of genes left out by reason; its keys are `GENE_STATS`.
        method: How the genes were obtained, in words.
        gc: Fraction of G and C among the unambiguous bases; NaN without bases.
        notes: Remarks on the file, such as on oddities that were read all the same.
    """

    genome_id: str
    genes: tuple[Gene, ...]
    contigs: Mapping[str, int]
    gene_stats: Mapping[str, int]
    method: str
    gc: float = float("nan")
    notes: tuple[str, ...] = ()

    __repr__ = short_repr

    tallies = renamed("tallies", "gene_stats")

    def __len__(self) -> int:
        return len(self.genes)

    @cached_property
    def contig_ids(self) -> np.ndarray:
        """Index of each gene's contig in `contigs`, int64 `(n_genes,)`."""
        index_of = {name: i for i, name in enumerate(self.contigs)}
        return np.array([index_of[gene.contig] for gene in self.genes], np.int64)


__all__ = ["GENE_STATS", "Gene", "Genome"]
