"""Predict the samples of a cohort from their reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from ..checkpoints.loading import DTYPES, FLOAT8, load
from ..errors import CheckpointError, InputError
from ..metagenomes import embed_sample
from ..metagenomes.cohort import provenance
from ..metagenomes.read_sets import read_set
from ..models.metagenbert import MetagenBertForPhenotypeClassification, MetagenBertModel
from ..models.metagenbert.modeling_metagenbert import set_options
from ..reads import Cohort, SampleReads
from ..runs.failures import failure_reason
from .checkpoint import check_same_provenance
from .features import FeatureTable
from .predictor import PhenotypePredictor

Result = TypeVar("Result")


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
    rows, failed = _map_samples(cohort, lambda reads: predict_reads(model, reads), progress)
    return pd.DataFrame(list(rows.values()), index=pd.Index(list(rows), dtype=object), columns=labels), failed


def embed_table(
    model: MetagenBertModel, cohort: Cohort, progress: Callable[[int, int], None] | None = None
) -> tuple[FeatureTable, dict[str, str]]:
    """Embed every sample of a cohort as the block `vectors` of a predictor; one that fails does not stop the others.

    Args:
        model: Checkpoint of the clusters.
        cohort: The samples.
        progress: Called after each sample with the number of samples done and their total number.

    Returns:
        The cluster counts of the samples that could be used; and why the others could not, by sample.
    """
    rows, failed = _map_samples(cohort, lambda reads: embed_sample(model, reads).counts, progress)
    n_clusters = model.config.n_clusters
    values = np.array(list(rows.values()), np.float64).reshape(len(rows), n_clusters)
    names = tuple(f"cluster_{i}" for i in range(n_clusters))
    return FeatureTable(tuple(rows), names, values, provenance(model, read_fraction=1.0, seed=0)), failed


def load_base_model(
    predictor: PhenotypePredictor, name: str | Path | None = None, *, device: str = "cpu"
) -> MetagenBertModel:
    """Load the checkpoint of a predictor's clusters, which embeds reads for it.

    Args:
        predictor: The predictor.
        name: Folder, shipped name or Hub id, instead of the one that the predictor names.
        device: As for `biomeformer.load`.

    Raises:
        InputError: The predictor takes no clusters.
        CheckpointError: The checkpoint cannot be found, or is damaged.
        TableError: It is another checkpoint than that of the predictor.
    """
    block, base = predictor.block("clusters"), predictor.base_model or {}
    if block is None or block.provenance is None:
        raise InputError(f"the predictor was fitted on {predictor.needs}, which are not embedded; give tables of them.")
    dtype = str(block.provenance.get("dtype", "float32"))
    try:
        model = load(
            name or str(base.get("id")),
            revision=base.get("revision") if name is None else None,
            device=device,
            dtype=dtype if dtype in (*DTYPES, FLOAT8) else "float32",
        )
    except CheckpointError as error:
        if name is not None:
            raise
        raise CheckpointError(
            f"the predictor's clusters are of the checkpoint {base.get('id')!r}, which cannot be loaded "
            f"({str(error).rstrip('.')}); say where it is by --model."
        ) from error
    check_same_provenance(model, block.provenance)
    return model


def _map_samples(
    cohort: Cohort, compute: Callable[[SampleReads], Result], progress: Callable[[int, int], None] | None
) -> tuple[dict[str, Result], dict[str, str]]:
    """Return what is computed from each sample, and why it could not be computed from others, by sample."""
    rows: dict[str, Result] = {}
    failed: dict[str, str] = {}
    for i, sample in enumerate(cohort.samples, 1):
        try:
            rows[sample.sample_id] = compute(sample.reads)
        except Exception as error:
            failed[sample.sample_id] = failure_reason(error, f"sample {sample.sample_id}")
        if progress is not None:
            progress(i, len(cohort.samples))
    return rows, failed


__all__ = ["embed_table", "load_base_model", "predict_cohort", "predict_reads"]
