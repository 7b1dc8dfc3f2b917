"""Reads simulated from the genomes of a reference, each with its place in the genome."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from biomeformer.errors import InputError
from biomeformer.reads.batch import ReadBatch
from biomeformer.reads.genomes import cut_reads, substitute

IS_BASE = np.isin(np.arange(256), list(b"ACGT"))


@dataclass(frozen=True)
class ReferenceGenome:
    """A genome that reads are simulated from.

    Attributes:
        genome_id: Unique within the reference.
        sequence: uint8 `(length,)`, upper-case letters, contigs joined by N.
        taxa: Name of the genome's taxon by rank; empty where it is unknown.
        gene_spans: First base (from 0) and end (exclusive) of each gene in `sequence`, int64 `(n_genes, 2)`; None if
            genes were not read.
        functions: Function of each gene; empty where it is unknown.
    """

    genome_id: str
    sequence: np.ndarray
    taxa: Mapping[str, str] = field(default_factory=dict)
    gene_spans: np.ndarray | None = None
    functions: tuple[str, ...] = ()

    def gene_of_bases(self) -> np.ndarray:
        """Return the number of each base's gene, int32 `(length,)`: of several the shortest, -1 for none."""
        gene_of = np.full(len(self.sequence), -1, np.int32)
        if self.gene_spans is not None:
            sizes = self.gene_spans[:, 1] - self.gene_spans[:, 0]
            for gene in np.argsort(-sizes, kind="stable"):
                start, end = self.gene_spans[gene]
                gene_of[start:end] = gene
        return gene_of


def simulate_reads(
    genome: ReferenceGenome, n_reads: int, length: int, *, error_rate: float = 0.0, seed: int = 0
) -> tuple[ReadBatch, np.ndarray]:
    """Simulate reads of one length from a genome: uniform over it, from either strand, without ambiguous bases.

    Args:
        genome: The genome.
        n_reads: Number of reads.
        length: Bases of a read.
        error_rate: Chance that a base is replaced by a random one.
        seed: Seed of the draw, which also depends on the genome's id alone, so not on the other genomes.

    Returns:
        The reads, and the position of each read's middle base in the genome's sequence, int64 `(n_reads,)`.

    Raises:
        InputError: No read of that length fits into the genome's contigs.
    """
    known = np.concatenate([[0], np.cumsum(IS_BASE[genome.sequence])])
    starts = np.flatnonzero(known[length:] - known[:-length] == length)
    if not len(starts):
        raise InputError(
            f"genome {genome.genome_id} has no stretch of {length} bases without ambiguous ones, so no read can be cut "
            "from it; lower the read length, or leave the genome out."
        )
    rng = np.random.default_rng([seed, zlib.crc32(genome.genome_id.encode())])
    drawn = rng.choice(starts, n_reads)
    steps = np.where(rng.random(n_reads) < 0.5, 1, -1)
    sizes = np.full(n_reads, length)
    bases = cut_reads(genome.sequence, drawn, sizes, steps)
    substitute(bases, error_rate, rng)
    offsets = np.arange(n_reads + 1, dtype=np.int64) * length
    return ReadBatch(bases, offsets, np.arange(n_reads, dtype=np.int64)), drawn + length // 2


__all__ = ["ReferenceGenome", "simulate_reads"]
