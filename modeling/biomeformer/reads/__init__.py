"""Reads: opening FASTQ and FASTA by content, batches, subsampling by identity, cohort tables."""

from __future__ import annotations

from biomeformer.reads.batch import ReadBatch
from biomeformer.reads.cohort import Cohort, CohortSample, read_cohort
from biomeformer.reads.draw import draw_reads
from biomeformer.reads.genomes import GenomeSet
from biomeformer.reads.sample import SampleReader, SampleReads
from biomeformer.reads.subsampling import keep_reads, read_hash

__all__ = [
    "Cohort",
    "CohortSample",
    "GenomeSet",
    "ReadBatch",
    "SampleReader",
    "SampleReads",
    "draw_reads",
    "keep_reads",
    "read_cohort",
    "read_hash",
]
