"""Discriminative features: univariate association of each feature with the classes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .features import FeatureTable
from .statistics import benjamini_hochberg
from .target import Target


def discriminative_features(table: FeatureTable, target: Target) -> pd.DataFrame:
    """Rank features by how well each discriminates the classes on its own, over all samples.

    This describes a cohort; it does not estimate predictive performance, since every sample is used.

    Args:
        table: Features of the target's samples, in any order.
        target: Classes of the samples.

    Returns:
        One row per feature that varies, the most discriminative first: `feature`; `median: CLASS` (share of the sample)
        of each class; for two classes `auc`, the probability that a sample of the second class has more of it than one
        of the first; the Kruskal-Wallis statistic `h` and its `p`; and `q`, adjusted over all features (Benjamini and
        Hochberg).
    """
    from scipy.stats import kruskal, rankdata

    shares = table.take(target.sample_ids).shares
    varying = np.flatnonzero(np.ptp(shares, axis=0) > 0)
    values = shares[:, varying]
    groups = [values[target.labels == i] for i in range(len(target.classes))]
    frame = pd.DataFrame({"feature": [table.names[i] for i in varying]})
    for name, group in zip(target.classes, groups, strict=True):
        frame[f"median: {name}"] = np.median(group, axis=0)
    if len(groups) == 2:
        n_first, n_second = len(groups[0]), len(groups[1])
        ranks = rankdata(values, axis=0)[target.labels == 1].sum(0)
        frame["auc"] = (ranks - n_second * (n_second + 1) / 2) / (n_first * n_second)
    test = kruskal(*groups, axis=0)
    frame["h"], frame["p"] = np.asarray(test.statistic), np.asarray(test.pvalue)
    frame["q"] = benjamini_hochberg(frame["p"].tolist()) if len(frame) else []
    return frame.sort_values(["h", "feature"], ascending=[False, True], kind="stable", ignore_index=True)


__all__ = ["discriminative_features"]
