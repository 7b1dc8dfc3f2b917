"""The parts of the package that models call.

Model folders import only files beside them, so that they can be exported with a checkpoint as remote code. This module is
their only access to the rest of the package: `biomeformer.registration` sets each folder's `StrictPreTrainedModel.bridge` to it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .checkpoints.loader import load_strict


def sample_reads(fastq_1: str | Path, fastq_2: str | Path | None = None) -> Any:
    """Return the reads of one file, or of two mates' files, as `biomeformer.reads.SampleReads`."""
    from .reads import SampleReads

    return SampleReads.single(fastq_1) if fastq_2 is None else SampleReads.paired(fastq_1, fastq_2)


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


__all__ = ["embed_cohort", "embed_sample", "load_strict", "predict_genome", "read_set", "sample_reads"]
