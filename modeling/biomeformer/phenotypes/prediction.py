"""Predict the samples of a cohort from their reads."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from ..metagenomes import embed_sample
from ..metagenomes.read_sets import read_set
from ..models.metagenbert import MetagenBertForPhenotypeClassification
from ..models.metagenbert.modeling_metagenbert import set_options
from ..reads import Cohort, SampleReads
from ..runs.failures import failure_reason


def predict_reads(model: MetagenBertForPhenotypeClassification, reads: SampleReads) -> list[float]:
    """Predict the probability of each label, or a number, of a sample from its reads.

    Raises:
        ReadFileError: A file cannot be read, or is damaged.
    """
    if model.config.head == "linear":
        return [float(value) for value in model.predict_counts(embed_sample(model.metagenbert, reads).counts[None])[0]]
    parts = read_set(model.metagenbert, reads, **set_options(model.config)).parts(model.config.set_size)
    return [float(value) for value in model.predict_sets(*parts)]


def predict_cohort(
    model: MetagenBertForPhenotypeClassification,
    cohort: Cohort,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Predict every sample of a cohort; one that fails does not stop the others.

    Args:
        model: The checkpoint.
        cohort: Its samples.
        progress: Called after each sample with the number of samples done and their total number.

    Returns:
        One row per sample that could be used, one column per label; and why the others could not, by sample.
    """
    labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
    rows: dict[str, list[float]] = {}
    failed: dict[str, str] = {}
    for i, sample in enumerate(cohort.samples, 1):
        try:
            rows[sample.sample_id] = predict_reads(model, sample.reads)
        except Exception as error:
            failed[sample.sample_id] = failure_reason(error, f"sample {sample.sample_id}")
        if progress is not None:
            progress(i, len(cohort.samples))
    return pd.DataFrame(list(rows.values()), index=pd.Index(list(rows), dtype=object), columns=labels), failed


__all__ = ["predict_cohort", "predict_reads"]
