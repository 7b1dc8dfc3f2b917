"""Whether groups of samples differ as wholes: PERMANOVA, PERMDISP and entropy, through scikit-bio."""

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
    """One test of whether groups differ.

    Attributes:
        test: `permanova` (centres), `permdisp` (spreads) or `entropy` (Kruskal-Wallis of Shannon entropies).
        distance: Between samples; empty for entropy.
        statistic: Pseudo-F, F or H.
        p: Of the permutations, or of the chi-squared distribution for entropy.
        q: The p value after Benjamini and Hochberg's control over all tests of one call.
        effect: Of PERMANOVA the share of variance between groups (R²); of entropy the range of group means in bits; of
            PERMDISP the largest over the smallest mean distance to the centre.
        n_samples: Samples.
        n_groups: Groups.
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
    """Distances between compositions.

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
    """PERMANOVA (Anderson 2001), PERMDISP (Anderson 2006) and Kruskal-Wallis of entropies between groups of samples.

    PERMANOVA also answers to spreads: where PERMDISP finds them to differ, a small p of PERMANOVA may be theirs.

    Args:
        table: Features.
        groups: Of each sample.
        distances: Which.
        n_permutations: Of labels.
        seed: Of the permutations.

    Returns:
        A test for each distance and kind, and one of entropies, with q values over all of them.

    Raises:
        InputError: There are fewer than two groups, or a group of one sample.
    """
    from scipy.stats import kruskal
    from skbio.stats.distance import DistanceMatrix, permanova, permdisp

    labels = np.asarray(list(map(str, groups)))
    if len(labels) != len(table):
        raise InputError(f"{len(labels)} groups were given for {len(table)} samples; give one a sample.")
    names, sizes = np.unique(labels, return_counts=True)
    if len(names) < 2 or sizes.min() < 2:
        small = names[int(np.argmin(sizes))]
        raise InputError(
            f"groups are compared from two samples each and two groups on; group {small!r} has {sizes.min()} and there "
            f"are {len(names)} groups."
        )
    shares = table.shares
    found: list[tuple[str, str, float, float, float]] = []
    for distance in distances:
        matrix = DistanceMatrix(np.ascontiguousarray(distance_matrix(shares, distance)), table.sample_ids)
        centres = permanova(matrix, labels, permutations=n_permutations, seed=seed)
        # R² of the pseudo-F: between over total sum of squares.
        f, between, within = float(centres["test statistic"]), len(names) - 1, len(labels) - len(names)
        found.append(("permanova", distance, f, float(centres["p-value"]), f * between / (f * between + within)))
        spreads = permdisp(matrix, labels, permutations=n_permutations, seed=seed)
        means = [_mean_distance(np.asarray(matrix.data)[np.ix_(labels == name, labels == name)]) for name in names]
        effect = max(means) / min(means) if min(means) > 0 else float("inf")
        found.append(("permdisp", distance, float(spreads["test statistic"]), float(spreads["p-value"]), effect))
    entropy = shannon_entropy(shares)
    by_group = [entropy[labels == name] for name in names]
    if np.ptp(entropy) > 0:
        statistic, p = map(float, kruskal(*by_group))
    else:
        statistic, p = 0.0, 1.0
    found.append(("entropy", "", statistic, p, float(np.ptp([values.mean() for values in by_group]))))
    q = benjamini_hochberg([p for _, _, _, p, _ in found])
    return [
        GroupTest(test, distance, statistic, p, float(q[i]), effect, len(labels), len(names))
        for i, (test, distance, statistic, p, effect) in enumerate(found)
    ]


def benjamini_hochberg(p: Sequence[float]) -> np.ndarray:
    """Adjusted p values, float64 `(n_tests,)` (Benjamini and Hochberg 1995)."""
    from scipy.stats import false_discovery_control

    return np.asarray(false_discovery_control(np.asarray(p, np.float64)))


def _mean_distance(within: np.ndarray) -> float:
    """Mean distance of a group's samples to its centre, from the distances among them."""
    n = len(within)
    squares = (within**2).mean(1) - (within**2).sum() / (2 * n * n)
    return float(np.sqrt(np.maximum(squares, 0)).mean())


__all__ = ["DISTANCES", "GroupTest", "benjamini_hochberg", "compare_groups", "distance_matrix"]
