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
        target: Classes of the samples. Of several labels, their combinations are the classes (see `Target.grouped`).

    Returns:
        One row per feature that varies, the most discriminative first: `feature`; `median: CLASS` (share of the sample)
        of each class; for two classes `auc`, the probability that a sample of the second class has more of it than one
        of the first; the Kruskal-Wallis statistic `h` and its `p`; and `q`, adjusted over all features (Benjamini and
        Hochberg). Of a regression `median: GROUP` of each third of the numbers, and Spearman's `rho` with its `p` and
        `q`.
    """
    from scipy.stats import kruskal, rankdata

    if target.kind == "regression":
        return _correlated_features(table, target)
    target = target.grouped()

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


def _correlated_features(table: FeatureTable, target: Target) -> pd.DataFrame:
    """Rank features by their rank correlation with the target's numbers."""
    from scipy.stats import rankdata, t

    shares = table.take(target.sample_ids).shares
    varying = np.flatnonzero(np.ptp(shares, axis=0) > 0)
    values, groups = shares[:, varying], target.grouped()
    frame = pd.DataFrame({"feature": [table.names[i] for i in varying]})
    for i, name in enumerate(groups.classes):
        frame[f"median: {name}"] = np.median(values[groups.labels == i], axis=0)
    ranks, ranked = rankdata(values, axis=0), rankdata(target.labels)
    ranks, ranked = ranks - ranks.mean(0), ranked - ranked.mean()
    rho = ranked @ ranks / np.sqrt((ranked**2).sum() * (ranks**2).sum(0))
    # As in SciPy's spearmanr, for all features at once.
    degrees = len(ranked) - 2
    with np.errstate(divide="ignore"):
        statistic = rho * np.sqrt(degrees / ((rho + 1) * (1 - rho)).clip(0))
    frame["rho"], frame["p"] = rho, 2 * t.sf(np.abs(statistic), degrees)
    frame["q"] = benjamini_hochberg(frame["p"].tolist()) if len(frame) else []
    frame = frame.assign(strength=np.abs(rho)).sort_values(
        ["strength", "feature"], ascending=[False, True], kind="stable", ignore_index=True
    )
    return frame.drop(columns="strength")


__all__ = ["discriminative_features"]
