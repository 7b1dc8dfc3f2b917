"""A genome: its contigs, and its genes with their proteins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

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
        contig: Where it lies.
        start: First base, from 1, on the contig's own strand; 0 where it is not known.
        end: Last base, included; 0 where it is not known.
        strand: 1, -1, or 0 where it is not known.
        protein: Residues as capital letters, without a final stop.
        source: `called` here, `annotated` in a file, or `given` as a protein.
        partial: Whether an end of the contig cuts it.
        annotations: What is known of it, such as `product`.
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


@dataclass(frozen=True)
class Genome:
    """Genes in the order of contigs and of their starts.

    Attributes:
        genome_id: Its name.
        genes: The genes.
        contigs: Length in bases of each contig, in the order of the file; 0 where it is not known.
        gene_stats: What was found and what was left out, by reason; see `GENE_STATS`.
        method: How the genes came about, in words.
        gc: Share of G and C among the known bases; NaN without bases.
    """

    genome_id: str
    genes: tuple[Gene, ...]
    contigs: Mapping[str, int]
    gene_stats: Mapping[str, int]
    method: str
    gc: float = float("nan")

    tallies = renamed("tallies", "gene_stats")

    def __len__(self) -> int:
        return len(self.genes)

    @cached_property
    def contig_ids(self) -> np.ndarray:
        """Number of each gene's contig, int64 `(n_genes,)`, in the order of `contigs`."""
        place = {name: i for i, name in enumerate(self.contigs)}
        return np.array([place[gene.contig] for gene in self.genes], np.int64)


__all__ = ["GENE_STATS", "Gene", "Genome"]
