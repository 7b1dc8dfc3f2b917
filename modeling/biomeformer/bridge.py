"""The parts of the package that models call.

Model folders import only files beside them, so that they can be exported with a checkpoint as remote code. This module
is their only access to the rest of the package: `biomeformer.registration` sets each folder's
`StrictPreTrainedModel.bridge` to it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .checkpoints.loader import load_strict

Files = str | Path | list[str | Path] | tuple[str | Path, ...]


def sample_reads(fastq_1: Files, fastq_2: Files | None = None) -> Any:
    """Return the reads of one sample, in one file or several (runs, lanes), as `biomeformer.reads.SampleReads`.

    Args:
        fastq_1: File of single reads or of first mates, or a list of such files.
        fastq_2: File of second mates, or a list of as many.
    """
    from .reads import SampleReads

    if fastq_2 is not None:
        return SampleReads.paired(fastq_1, fastq_2)
    return SampleReads.single(*fastq_1) if isinstance(fastq_1, list | tuple) else SampleReads.single(fastq_1)


def embed_sample(model: Any, reads: Any, **options: Any) -> Any:
    """Call `biomeformer.metagenomes.sample.embed_sample`."""
    from .metagenomes import embed_sample as embed

    return embed(model, reads, **options)


def embed_cohort(model: Any, cohort: Any, **options: Any) -> Any:
    """Call `biomeformer.metagenomes.cohort.embed_cohort`."""
    from .metagenomes import embed_cohort as embed

    return embed(model, cohort, **options)


def read_set(model: Any, reads: Any, **options: Any) -> Any:
    """Call `biomeformer.metagenomes.read_sets.read_set`."""
    from .metagenomes import read_set as cluster

    return cluster(model, reads, **options)


def predict_genome(model: Any, path: str | Path, **options: Any) -> Any:
    """Call `biomeformer.genomes.prediction.predict_genome`."""
    from .genomes.prediction import predict_genome as predict

    return predict(model, path, **options)


def read_kernels(n_tokens: int) -> Any:
    """Return `biomeformer.inference.kernels` if compiled kernels are in use after so many more tokens, or None."""
    from .inference import kernels

    return kernels if kernels.KERNELS.after(n_tokens) else None


def number_kmers(sequence: Any, offsets: Any, codes: Any, k: int) -> Any:
    """Call `biomeformer.inference.kernels.number_kmers`."""
    from .inference.kernels import number_kmers as number

    return number(sequence, offsets, codes, k)


def nearest_kernel(former: Any, centroids: Any, n_vectors: int) -> Any:
    """Call `biomeformer.inference.kernels.nearest_kernel`."""
    from .inference.kernels import nearest_kernel as nearest

    return nearest(former, centroids, n_vectors)


__all__ = [
    "embed_cohort",
    "embed_sample",
    "load_strict",
    "nearest_kernel",
    "number_kmers",
    "predict_genome",
    "read_kernels",
    "read_set",
    "sample_reads",
]
