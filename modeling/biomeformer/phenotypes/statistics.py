"""Tests of whether groups of samples differ: PERMANOVA, PERMDISP and entropy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import InputError
from ..metrics.diversity import shannon_entropy
from ..metrics.group_tests import design_columns, marginal_permanova, permanova, permdisp
from ..metrics.p_values import benjamini_hochberg
from .features import FeatureTable
from .transforms import resolve_zeros, transform_shares

DISTANCES = ("bray_curtis", "jensen_shannon", "aitchison")
# Entropies that differ by less, in bits, differ by rounding only.
SAME_ENTROPY = 1e-9
# Divergences in bits of less are rounding errors of entropies.
SAME_DIVERGENCE = 1e-14


@dataclass(frozen=True)
class GroupTest:
    """Result of one test of whether groups differ.

    Attributes:
        test: `permanova` (centroids), `permanova_marginal` (what one term explains beyond the others), `permdisp`
            (dispersions) or `entropy` (Kruskal-Wallis of Shannon entropies).
        distance: Distance between samples; empty for entropy.
        statistic: Pseudo-F, F or H; NaN if it is undefined.
        p: Permutation p value; for entropy that of the chi-squared distribution; NaN if the statistic is undefined.
        q: p adjusted by Benjamini and Hochberg's procedure over all tests of one call.
        effect: For PERMANOVA the fraction of variance between groups (R²), for entropy the range of the group means in
            bits, for PERMDISP the ratio of the largest to the smallest mean distance to the center, which are those
            that its F is computed from.
        n_samples: Number of samples.
        n_groups: Number of groups.
        n_permutations: Number of permutations that p is from; None if it is from a distribution.
        note: Why the statistic or p is undefined, or what was changed to compute it; else empty.
        term: Term of the model that a marginal test is of; else empty.
    """

    test: str
    distance: str
    statistic: float
    p: float
    q: float
    effect: float
    n_samples: int
    n_groups: int
    n_permutations: int | None = None
    note: str = ""
    term: str = ""


def distance_matrix(values: np.ndarray, distance: str, zeros: str = "fixed") -> np.ndarray:
    """Compute distances between compositions.

    Args:
        values: float64 `(n_samples, n_features)`: shares, or counts where the rule for zeros needs them.
        distance: `bray_curtis`, `jensen_shannon` (square root of the divergence in bits) or `aitchison` (Euclidean
            between centred log-ratios).
        zeros: Rule for zeros of `aitchison`, one of `transforms.ZERO_RULES`.

    Returns:
        float64 `(n_samples, n_samples)`, symmetric, zeros on the diagonal.

    Raises:
        InputError: The distance is unknown.

    Examples:
        >>> distance_matrix(np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]), "bray_curtis")
        array([[0. , 0.5],
               [0.5, 0. ]])
    """
    from scipy.spatial.distance import pdist, squareform

    shares = values / values.sum(1, keepdims=True)
    if distance == "bray_curtis":
        return np.asarray(squareform(pdist(shares, "braycurtis")))
    if distance == "jensen_shannon":
        return np.sqrt(_jensen_shannon_divergence(shares))
    if distance == "aitchison":
        return np.asarray(squareform(pdist(transform_shares(values, "clr", zeros))))
    raise InputError(f"distance is {distance!r}; give {', '.join(DISTANCES)}.")


def _jensen_shannon_divergence(shares: np.ndarray) -> np.ndarray:
    """Compute divergences in bits from entropies, many times faster than SciPy's sums of relative entropies.

    A feature that a sample lacks needs no logarithm of a mean: of its share q in the other sample q/2 log(q/2) remains.
    """
    by_feature = np.ascontiguousarray(shares.T)
    own_terms = by_feature * np.log2(np.where(by_feature > 0, by_feature, 1.0))
    own = own_terms.sum(0)
    divergence = np.zeros((len(shares), len(shares)))
    for i in range(len(shares)):
        present = np.flatnonzero(by_feature[:, i])
        others = by_feature[present, i:]
        middle = (others + others[:, :1]) / 2
        shared = np.einsum("ij,ij->j", middle, np.log2(middle))
        absent = (own[i:] - own_terms[present, i:].sum(0) - (1 - others.sum(0))) / 2
        divergence[i, i:] = (own[i] + own[i:]) / 2 - shared - absent
    divergence[divergence < SAME_DIVERGENCE] = 0
    return divergence + divergence.T


def compare_groups(
    table: FeatureTable,
    groups: Sequence[str],
    *,
    distances: Sequence[str] = DISTANCES,
    zeros: str = "auto",
    center: str = "median",
    bias_adjust: bool = False,
    strata: Sequence[str] | None = None,
    terms: Mapping[str, np.ndarray] | None = None,
    group_term: str = "groups",
    n_permutations: int = 999,
    seed: int = 0,
) -> list[GroupTest]:
    """Test groups by PERMANOVA (Anderson 2001), PERMDISP (Anderson 2006) and Kruskal-Wallis of Shannon entropies.

    PERMANOVA is also sensitive to dispersion: if PERMDISP is significant, a small p of PERMANOVA may be due to that.

    Args:
        table: Features of the samples.
        groups: Group of each sample.
        distances: Names of the distances to use.
        zeros: Rule for zeros of the Aitchison distance, one of `transforms.ZERO_CHOICES`.
        center: Center of a group in PERMDISP: `median` or `centroid`.
        bias_adjust: Whether PERMDISP enlarges the distances of small groups: see `biomeformer.metrics.group_tests`.
        strata: Block of each sample, such as its study: permutations exchange samples only within blocks. The test of
            entropies, which has no permutations, ignores them.
        terms: Further terms of PERMANOVA by name, each a number (float) or class (int) per sample. The groups and each
            term are then tested for what they explain beyond all others (vegan's `adonis2(by = "margin")`).
        group_term: Name of the groups among these terms.
        n_permutations: Number of permutations.
        seed: Seed of the permutations.

    Returns:
        Both tests for each distance, with the marginal tests of terms, and one of entropies, with q values over all of
        them. A test whose statistic is undefined has neither p nor q, and does not count for the others' q values.

    Raises:
        InputError: There are fewer than two groups, a group has a single sample, or a name is unknown or given twice.

    Examples:
        >>> values = np.random.default_rng(0).dirichlet(np.ones(6), 20)
        >>> values[:10, 0] += 1
        >>> table = FeatureTable(tuple(f"s{i}" for i in range(20)), tuple("abcdef"), values)
        >>> tests = compare_groups(table, ["a"] * 10 + ["b"] * 10, distances=["bray_curtis"], n_permutations=99)
        >>> tests[0].test, tests[0].p < 0.05
        ('permanova', True)
    """
    names, labels, sizes = np.unique(list(map(str, groups)), return_inverse=True, return_counts=True)
    if len(labels) != len(table):
        raise InputError(f"{len(labels)} groups were given for {len(table)} samples; give one per sample.")
    if len(names) < 2 or sizes.min() < 2:
        small = str(names[int(np.argmin(sizes))])
        raise InputError(
            f"at least two groups of two samples are needed; group {small!r} has {sizes.min()} and there "
            f"are {len(names)} groups."
        )
    size: dict[str, Any] = {"n_samples": len(labels), "n_groups": len(names)}
    blocks = None if strata is None else np.unique(list(map(str, strata)), return_inverse=True)[1]
    if blocks is not None and len(blocks) != len(labels):
        raise InputError(f"{len(blocks)} strata were given for {len(labels)} samples; give one per sample.")
    if terms and group_term in terms:
        raise InputError(f"{group_term!r} is the groups and a further term; give other columns as terms.")
    model = {name: design_columns(values) for name, values in {group_term: labels, **(terms or {})}.items()}
    rule = resolve_zeros(table.values, zeros) if "aitchison" in distances else "fixed"
    tests: list[GroupTest] = []
    for distance in distances:
        matrix = distance_matrix(table.values, distance, rule)
        options: dict[str, Any] = {"n_permutations": n_permutations, "seed": seed, "strata": blocks}
        centers = permanova(matrix, labels, **options)
        spreads = permdisp(matrix, labels, center=center, bias_adjust=bias_adjust, **options)
        note = spreads.reason
        if spreads.n_negative and not np.isnan(spreads.f):
            note = f"{note}; " if note else ""
            note += f"{spreads.n_negative} squared distances to the center are negative and were set to 0"
        size_and_permutations = {**size, "n_permutations": n_permutations}
        tests += [
            GroupTest(
                "permanova",
                distance,
                centers.f,
                centers.p,
                np.nan,
                centers.r2,
                note=centers.reason,
                **size_and_permutations,
            ),
            GroupTest(
                "permdisp",
                distance,
                spreads.f,
                spreads.p,
                np.nan,
                _ratio(spreads.means),
                note=note,
                **size_and_permutations,
            ),
        ]
        marginal = marginal_permanova(matrix, model, **options) if terms else {}
        tests += [
            GroupTest(
                "permanova_marginal",
                distance,
                result.f,
                result.p,
                np.nan,
                result.r2,
                note=result.reason,
                term=name,
                **size_and_permutations,
            )
            for name, result in marginal.items()
        ]
    tests.append(_compare_entropies(table.shares, labels, size))
    q = benjamini_hochberg([test.p for test in tests])
    return [replace(test, q=float(value)) for test, value in zip(tests, q, strict=True)]


def _compare_entropies(shares: np.ndarray, labels: np.ndarray, size: dict[str, Any]) -> GroupTest:
    from scipy.stats import kruskal

    entropy = shannon_entropy(shares)
    by_group = [entropy[labels == group] for group in range(size["n_groups"])]
    effect = float(np.ptp([values.mean() for values in by_group]))
    if np.ptp(entropy) <= SAME_ENTROPY:
        return GroupTest("entropy", "", np.nan, np.nan, np.nan, effect, note="all entropies are equal", **size)
    statistic, p = map(float, kruskal(*by_group))
    return GroupTest("entropy", "", statistic, p, np.nan, effect, **size)


def _ratio(means: np.ndarray) -> float:
    """Return the ratio of the largest to the smallest mean; NaN if both are 0."""
    if means.min() > 0:
        return float(means.max() / means.min())
    return float("inf") if means.max() > 0 else float("nan")


__all__ = ["DISTANCES", "GroupTest", "benjamini_hochberg", "compare_groups", "distance_matrix"]
