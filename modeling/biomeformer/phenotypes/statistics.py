"""Tests of whether groups of samples differ: PERMANOVA, PERMDISP and entropy, with scikit-bio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..metrics.diversity import shannon_entropy
from .features import FeatureTable
from .transforms import transform_shares

DISTANCES = ("bray_curtis", "jensen_shannon", "aitchison")


@dataclass(frozen=True)
class GroupTest:
    """Result of one test of whether groups differ.

    Attributes:
        test: `permanova` (centroids), `permdisp` (dispersions) or `entropy` (Kruskal-Wallis of Shannon entropies).
        distance: Distance between samples; empty for entropy.
        statistic: Pseudo-F, F or H.
        p: Permutation p value; for entropy that of the chi-squared distribution.
        q: p adjusted by Benjamini and Hochberg's procedure over all tests of one call.
        effect: For PERMANOVA the fraction of variance between groups (R²), for entropy the range of the group means in
            bits, for PERMDISP the ratio of the largest to the smallest mean distance to the centroid.
        n_samples: Number of samples.
        n_groups: Number of groups.
    """

    test: str
    distance: str
    statistic: float
    p: float
    q: float
    effect: float
    n_samples: int
    n_groups: int


def distance_matrix(shares: np.ndarray, distance: str) -> np.ndarray:
    """Compute distances between compositions.

    Args:
        shares: float64 `(n_samples, n_features)`, rows that sum to one.
        distance: `bray_curtis`, `jensen_shannon` (square root of the divergence in bits) or `aitchison` (Euclidean
            between centred log-ratios, zeros replaced as by `transform_shares`).

    Returns:
        float64 `(n_samples, n_samples)`, symmetric, zeros on the diagonal.

    Raises:
        InputError: The distance is unknown.
    """
    from scipy.spatial.distance import pdist, squareform

    if distance == "bray_curtis":
        return np.asarray(squareform(pdist(shares, "braycurtis")))
    if distance == "jensen_shannon":
        return np.nan_to_num(squareform(pdist(shares, "jensenshannon")) / np.sqrt(np.log(2)))
    if distance == "aitchison":
        return np.asarray(squareform(pdist(transform_shares(shares, "clr"))))
    raise InputError(f"distance is {distance!r}; give {', '.join(DISTANCES)}.")


def compare_groups(
    table: FeatureTable,
    groups: Sequence[str],
    *,
    distances: Sequence[str] = DISTANCES,
    n_permutations: int = 999,
    seed: int = 0,
) -> list[GroupTest]:
    """Test groups by PERMANOVA (Anderson 2001), PERMDISP (Anderson 2006) and Kruskal-Wallis of Shannon entropies.

    PERMANOVA is also sensitive to dispersion: if PERMDISP is significant, a small p of PERMANOVA may be due to that.

    Args:
        table: Features of the samples.
        groups: Group of each sample.
        distances: Names of the distances to use.
        n_permutations: Number of permutations of the labels.
        seed: Seed of the permutations.

    Returns:
        Both tests for each distance, and one of entropies, with q values over all of them.

    Raises:
        InputError: There are fewer than two groups, or a group has a single sample.
    """
    from scipy.stats import kruskal
    from skbio.stats.distance import DistanceMatrix, permanova, permdisp

    labels = np.asarray(list(map(str, groups)))
    if len(labels) != len(table):
        raise InputError(f"{len(labels)} groups were given for {len(table)} samples; give one per sample.")
    names, sizes = np.unique(labels, return_counts=True)
    if len(names) < 2 or sizes.min() < 2:
        small = str(names[int(np.argmin(sizes))])
        raise InputError(
            f"at least two groups of two samples are needed; group {small!r} has {sizes.min()} and there "
            f"are {len(names)} groups."
        )
    shares = table.shares
    results: list[tuple[str, str, float, float, float]] = []
    for distance in distances:
        matrix = DistanceMatrix(np.ascontiguousarray(distance_matrix(shares, distance)), table.sample_ids)
        centres = permanova(matrix, labels, permutations=n_permutations, seed=seed)
        # R² of the pseudo-F: between over total sum of squares.
        f, between, within = float(centres["test statistic"]), len(names) - 1, len(labels) - len(names)
        results.append(("permanova", distance, f, float(centres["p-value"]), f * between / (f * between + within)))
        spreads = permdisp(matrix, labels, permutations=n_permutations, seed=seed)
        means = [_mean_distance(np.asarray(matrix.data)[np.ix_(labels == name, labels == name)]) for name in names]
        effect = max(means) / min(means) if min(means) > 0 else float("inf")
        results.append(("permdisp", distance, float(spreads["test statistic"]), float(spreads["p-value"]), effect))
    entropy = shannon_entropy(shares)
    by_group = [entropy[labels == name] for name in names]
    if np.ptp(entropy) > 0:
        statistic, p = map(float, kruskal(*by_group))
    else:
        statistic, p = 0.0, 1.0
    results.append(("entropy", "", statistic, p, float(np.ptp([values.mean() for values in by_group]))))
    q = benjamini_hochberg([p for _, _, _, p, _ in results])
    return [
        GroupTest(test, distance, statistic, p, float(q[i]), effect, len(labels), len(names))
        for i, (test, distance, statistic, p, effect) in enumerate(results)
    ]


def benjamini_hochberg(p: Sequence[float]) -> np.ndarray:
    """Return adjusted p values, float64 `(n_tests,)` (Benjamini and Hochberg 1995)."""
    from scipy.stats import false_discovery_control

    return np.asarray(false_discovery_control(np.asarray(p, np.float64)))


def _mean_distance(within: np.ndarray) -> float:
    """Compute the mean distance of a group's samples to its centroid from the distances between them."""
    n = len(within)
    squares = (within**2).mean(1) - (within**2).sum() / (2 * n * n)
    return float(np.sqrt(np.maximum(squares, 0)).mean())


__all__ = ["DISTANCES", "GroupTest", "benjamini_hochberg", "compare_groups", "distance_matrix"]
