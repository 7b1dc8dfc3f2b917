"""Features that are fitted within the training samples, and by how much the usual way leaks.

Centroids that are fitted on all samples of a cohort have seen the test samples' reads, if not their labels. Here they
are fitted again on the training samples of each fold; what the usual way gains on the same folds is the leak.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from ..metagenomes.drawn_vectors import DrawnVectors
from .evaluation import compare
from .features import FeatureTable
from .study import Study

MEAN_VECTOR = "mean vector"
ALL_SAMPLES, TRAINING_SAMPLES = "centroids of all samples", "centroids of training samples"
# Fits kept: those of the folds of one repeat serve all models.
N_KEPT = 64


def mean_vectors(vectors: DrawnVectors, sample_ids: Sequence[str]) -> FeatureTable:
    """Return the baseline of one vector per sample: the mean of its reads' vectors.

    Raises:
        TableError: A sample has no vectors.
    """
    names = tuple(f"dimension_{i}" for i in range(vectors.hidden_size))
    return FeatureTable(tuple(sample_ids), names, vectors.means(sample_ids), is_composition=False)


def refitted_tables(
    vectors: DrawnVectors, sample_ids: Sequence[str], n_clusters: int, **kmeans: Any
) -> dict[str, FeatureTable]:
    """Return counts by centroids of all samples, and by centroids fitted on the training samples of each fold.

    Args:
        vectors: Vectors of the samples' reads.
        sample_ids: The samples.
        n_clusters: Number of centroids of both.
        **kmeans: Options of `DrawnVectors.fit`.

    Raises:
        InputError: There are fewer reads than clusters.
        TableError: A sample has no vectors.
    """
    ids = tuple(sample_ids)

    @lru_cache(maxsize=N_KEPT)
    def counts(fitted_on: frozenset[str]) -> np.ndarray:
        centroids = vectors.fit(fitted_on, n_clusters, **kmeans).centroids
        return vectors.counts(ids, centroids).astype(np.float64)

    def refit(training: Sequence[str], rows: Sequence[str]) -> np.ndarray:
        row_of = {name: i for i, name in enumerate(ids)}
        return counts(frozenset(training))[[row_of[name] for name in rows]]

    names = tuple(f"cluster_{i}" for i in range(n_clusters))
    usual = FeatureTable(ids, names, counts(frozenset(ids)))
    return {ALL_SAMPLES: usual, TRAINING_SAMPLES: FeatureTable(ids, names, usual.values, refit=refit)}


def leak_table(study: Study) -> pd.DataFrame:
    """Compare centroids of all samples with centroids of training samples, on the same folds.

    Returns:
        One row per model: the main metric of both, their difference with its 95 % interval, and the p value of the
        corrected resampled t-test. The columns are `model`, `metric`, `all_samples`, `training_samples`, `leak`, `low`,
        `high` and `p`.
    """
    by_set: dict[str, dict[str, Any]] = {ALL_SAMPLES: {}, TRAINING_SAMPLES: {}}
    for evaluation in study.evaluations:
        if evaluation.features in by_set:
            by_set[evaluation.features][evaluation.model] = evaluation
    rows = []
    for model, usual in by_set[ALL_SAMPLES].items():
        refitted = by_set[TRAINING_SAMPLES][model]
        result = compare(usual, refitted)
        rows.append(
            {
                "model": model,
                "metric": result.metric,
                "all_samples": usual.scores[result.metric].mean,
                "training_samples": refitted.scores[result.metric].mean,
                "leak": result.difference.mean,
                "low": result.difference.low,
                "high": result.difference.high,
                "p": result.p,
            }
        )
    return pd.DataFrame(rows)


__all__ = ["ALL_SAMPLES", "MEAN_VECTOR", "TRAINING_SAMPLES", "leak_table", "mean_vectors", "refitted_tables"]
