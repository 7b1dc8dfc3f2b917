"""Permutation importance of groups of correlated features, on held-out folds.

A feature whose copy stays in place loses nothing when it alone is permuted. Features that go together across samples
are therefore grouped, by hierarchical clustering of their Spearman correlations as in scikit-learn's example
"Permutation importance with multicollinear or correlated features", and the columns of a group are permuted together.
The example cuts a Ward tree by eye; here groups are joined while the mean absolute correlation between them is at least
`LEAST_CORRELATION`, which has the same meaning for any number of features. Groups are formed without the target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ..errors import InputError
from ..metrics.targets import MAIN_METRIC, score_target
from .features import FeatureTable
from .models import predict_target
from .target import Target
from .transforms import design_matrix

LEAST_CORRELATION = 0.5
N_REPEATS = 5
# Bytes of permuted samples that are predicted at once.
PREDICTED_AT_ONCE = 100_000_000
# Drops of the score of less are rounding.
NO_DROP = 1e-12


@dataclass(frozen=True)
class GroupImportance:
    """Importance of one group of correlated features.

    Attributes:
        features: Name of the feature set.
        model: Name of the model.
        group: Number of the group, the most important first, from 1.
        members: Names of its features.
        importance: Mean drop of the score over test folds when the group is permuted; None if it is undefined.
        low: Lower end of its 95 % interval; None if it is undefined.
        high: Upper end.
        selected: Largest share of the folds in which L1 selected one of the features; None without an L1 model.
    """

    features: str
    model: str
    group: int
    members: tuple[str, ...]
    importance: float | None
    low: float | None = None
    high: float | None = None
    selected: float | None = None


def group_features(matrix: np.ndarray, least_correlation: float = LEAST_CORRELATION) -> np.ndarray:
    """Group features by average linkage of 1 - |Spearman's rho|.

    Args:
        matrix: float64 `(n_samples, n_features)`.
        least_correlation: Mean absolute correlation between two groups from which they are joined.

    Returns:
        Group of each feature, int64 `(n_features,)`, from 0. A feature that does not vary is a group of its own.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform
    from scipy.stats import rankdata

    n = matrix.shape[1]
    if n < 2:
        return np.zeros(n, np.int64)
    ranks = rankdata(matrix, axis=0)
    ranks -= ranks.mean(0)
    lengths = np.linalg.norm(ranks, axis=0)
    ranks = np.divide(ranks, lengths, out=np.zeros_like(ranks), where=lengths > 0)
    distances = 1 - np.minimum(np.abs(ranks.T @ ranks), 1)
    np.fill_diagonal(distances, 0)
    tree = linkage(squareform(distances, checks=False), "average")
    groups = fcluster(tree, 1 - least_correlation, criterion="distance")
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)


def permutation_drops(
    predict: Callable[[np.ndarray], np.ndarray],
    score: Callable[[np.ndarray], float],
    matrix: np.ndarray,
    groups: np.ndarray,
    *,
    n_repeats: int = N_REPEATS,
    seed: int = 0,
) -> np.ndarray:
    """Compute by how much a score drops when each group of features is permuted among held-out samples.

    Args:
        predict: Maps samples `(n, n_features)` to predictions `(n, n_outputs)`.
        score: Maps predictions of the samples of `matrix` to a score, the larger the better.
        matrix: Held-out samples, float64 `(n_samples, n_features)`.
        groups: Group of each feature, from 0.
        n_repeats: Permutations of each group.
        seed: Seed of the permutations.

    Returns:
        Mean drop of each group, float64 `(n_groups,)`; NaN if the score is undefined.
    """
    rng = np.random.default_rng(seed)
    n_groups, n = int(groups.max()) + 1, len(matrix)
    whole = score(predict(matrix))
    jobs = [(group, rng.permutation(n)) for group in range(n_groups) for _ in range(n_repeats)]
    drops = np.zeros((n_groups, n_repeats))
    at_once = max(1, PREDICTED_AT_ONCE // max(matrix.nbytes, 1))
    for first in range(0, len(jobs), at_once):
        part = jobs[first : first + at_once]
        permuted = np.tile(matrix, (len(part), 1, 1))
        for samples, (group, order) in zip(permuted, part, strict=True):
            columns = groups == group
            samples[:, columns] = matrix[order][:, columns]
        predicted = predict(permuted.reshape(-1, matrix.shape[1])).reshape(len(part), n, -1)
        for i, one in enumerate(predicted, first):
            drops[i // n_repeats, i % n_repeats] = whole - score(one)
    drops[np.abs(drops) < NO_DROP] = 0
    return np.asarray(drops.mean(1))


def rank_groups(
    drops: np.ndarray,
    groups: np.ndarray,
    names: Sequence[str],
    interval: Callable[[np.ndarray], Any],
    *,
    features: str,
    model: str,
) -> tuple[GroupImportance, ...]:
    """Summarise the drops of folds, the most important group first.

    Args:
        drops: float64 `(n_folds, n_groups)`.
        groups: Group of each feature, from 0.
        names: Names of the features.
        interval: Maps values of folds to an interval with `mean`, `low` and `high`.
        features: Name of the feature set.
        model: Name of the model.
    """
    spans = [interval(column) for column in drops.T]
    order = sorted(range(len(spans)), key=lambda i: -np.nan_to_num(spans[i].mean, nan=-np.inf))
    return tuple(
        GroupImportance(
            features,
            model,
            rank,
            tuple(name for name, group in zip(names, groups, strict=True) if group == i),
            *(None if np.isnan(value) else float(value) for value in (spans[i].mean, spans[i].low, spans[i].high)),
        )
        for rank, i in enumerate(order, 1)
    )


class HeldOutImportance:
    """Collects the importance of a model's features over the test folds of the first repeat.

    `cross_validate` calls it after each fold. Only the first repeat counts, since permuting costs many predictions.

    Args:
        blocks: Feature tables of the target's samples.
        target: What is predicted.
        transform: Transform of each block: `none` or `clr`.
        zeros: Rule for zeros of log-ratios.
        n_splits: Folds per repeat.
        seed: Seed of the permutations.

    Raises:
        InputError: The transform has no columns that belong to features.
    """

    def __init__(
        self, blocks: Sequence[FeatureTable], target: Target, transform: str, zeros: str, n_splits: int, seed: int
    ) -> None:
        if transform == "ilr":
            raise InputError("importance is of features, and the transform ilr mixes them; use clr or none.")
        self.names = [name for block in blocks for name in block.names]
        self.groups = group_features(design_matrix(blocks, transform, zeros))
        self.target, self.n_splits, self.seed = target, n_splits, seed
        self.drops: list[np.ndarray] = []

    def __call__(self, fitted: Any, rows: np.ndarray, test: np.ndarray) -> None:
        """Permute the groups among a fold's test samples.

        Args:
            fitted: The model of the fold.
            rows: Features of the test samples.
            test: Their rows of the target.
        """
        if len(self.drops) >= self.n_splits:
            return
        labels, task, n_classes = self.target.labels[test], self.target.task, len(self.target.classes)

        drops = permutation_drops(
            lambda matrix: predict_target(fitted, matrix, task, n_classes),
            lambda predicted: score_target(task, labels, predicted)[MAIN_METRIC[task]],
            rows,
            self.groups,
            seed=self.seed + len(self.drops),
        )
        self.drops.append(drops)

    def ranked(self, interval: Callable[[np.ndarray], Any], features: str, model: str) -> tuple[GroupImportance, ...]:
        """Return the groups, the most important first; arguments as for `rank_groups`."""
        return rank_groups(np.array(self.drops), self.groups, self.names, interval, features=features, model=model)


def with_selection(
    importance: Sequence[GroupImportance], chosen: Mapping[str, Mapping[str, float]]
) -> tuple[GroupImportance, ...]:
    """Add how often L1 selected the groups' features.

    Args:
        importance: The groups.
        chosen: Fraction of folds in which each feature was selected, by name, by feature set.
    """
    return tuple(
        replace(one, selected=max(chosen[one.features].get(name, 0.0) for name in one.members))
        if one.features in chosen
        else one
        for one in importance
    )


def importance_table(importance: Sequence[GroupImportance]) -> pd.DataFrame:
    """Return one row per group, its features joined by `;`."""
    rows = [asdict(one) | {"n_features": len(one.members), "members": ";".join(one.members)} for one in importance]
    order = ["features", "model", "group", "n_features", "importance", "low", "high", "selected", "members"]
    return pd.DataFrame(rows, columns=order)


__all__ = [
    "LEAST_CORRELATION",
    "N_REPEATS",
    "GroupImportance",
    "HeldOutImportance",
    "group_features",
    "importance_table",
    "permutation_drops",
    "rank_groups",
    "with_selection",
]
