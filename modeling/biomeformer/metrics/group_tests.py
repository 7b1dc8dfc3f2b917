"""PERMANOVA and PERMDISP of a distance matrix, equal to R's vegan (`adonis2`, `betadisper` and `permutest`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .ordination import principal_coordinates, squared_distances_to_center
from .p_values import permutation_p

# Distances up to this, absolute or relative to the largest distance, are rounding errors.
NO_DISTANCE = 1e-6
PERMUTED_AT_ONCE = 256


@dataclass(frozen=True)
class Permanova:
    """Test of whether the centroids of groups differ (Anderson 2001).

    Attributes:
        f: Pseudo-F; NaN if it is undefined, infinite if samples differ between groups only.
        r2: Share of the total sum of squares that is between groups.
        p: Permutation p value; NaN if F is undefined.
        reason: Why F is undefined; else empty.
    """

    f: float
    r2: float
    p: float
    reason: str = ""


@dataclass(frozen=True)
class Permdisp:
    """Test of whether the dispersions of groups differ (Anderson 2006).

    Attributes:
        f: F of an analysis of variance of the distances; NaN if it is undefined.
        p: Permutation p value; NaN if F is undefined.
        distances: Distance of each sample to the center of its group, float64 `(n_samples,)`.
        means: Mean distance of each group, float64 `(n_groups,)`.
        reason: Why F is undefined; else empty.
        n_negative: Number of samples whose squared distance is negative and was set to 0.
    """

    f: float
    p: float
    distances: np.ndarray
    means: np.ndarray
    reason: str = ""
    n_negative: int = 0


def permanova(distances: np.ndarray, labels: np.ndarray, *, n_permutations: int = 999, seed: int = 0) -> Permanova:
    """Test whether the centroids of groups differ.

    Args:
        distances: float64 `(n_samples, n_samples)`, symmetric.
        labels: Group of each sample, int `(n_samples,)`, from 0.
        n_permutations: Number of permutations of the labels.
        seed: Seed of the permutations.
    """
    n, n_groups = len(labels), int(labels.max()) + 1
    squared = distances**2
    total = float(squared.sum()) / (2 * n)
    if distances.max() <= NO_DISTANCE:
        return Permanova(float("nan"), float("nan"), float("nan"), "all samples have the same profile")
    if n <= n_groups:
        return Permanova(float("nan"), float("nan"), float("nan"), "each group has a single sample")
    sizes = np.bincount(labels, minlength=n_groups)

    def within(rows: np.ndarray) -> np.ndarray:
        """Return the sum of squares within groups of each labelling `(n_labellings, n)`."""
        sums = np.zeros(len(rows))
        for group in range(n_groups):
            members = (rows == group).astype(np.float64)
            sums += ((members @ squared) * members).sum(1) / (2 * sizes[group])
        return sums

    inside = float(within(labels[None])[0])
    between = total - inside
    # F is a monotone function of the sum of squares between groups, which is defined for every permutation.
    chunks = [total - within(labels[rows]) for rows in permutations(n, n_permutations, seed)]
    p = permutation_p(between, np.concatenate(chunks)) if chunks else float("nan")
    has_residual = abs(inside) > NO_DISTANCE**2 * total
    f = between / (n_groups - 1) / (inside / (n - n_groups)) if has_residual else float("inf")
    return Permanova(f, between / total, p)


def permdisp(
    distances: np.ndarray,
    labels: np.ndarray,
    *,
    center: str = "median",
    bias_adjust: bool = False,
    n_permutations: int = 999,
    seed: int = 0,
) -> Permdisp:
    """Test whether the dispersions of groups differ.

    Distances to the centers are taken in all principal coordinates. Permuted are the residuals of these distances from
    their groups' means, as `permutest` does.

    Args:
        distances: float64 `(n_samples, n_samples)`, symmetric.
        labels: Group of each sample, int `(n_samples,)`, from 0.
        center: `median` (spatial median, vegan's default) or `centroid`.
        bias_adjust: Whether to enlarge the distances of a group of n by `sqrt(n / (n - 1))` (Stier et al. 2013), which
            vegan calls `bias.adjust`.
        n_permutations: Number of permutations of the residuals.
        seed: Seed of the permutations.

    Raises:
        InputError: The center is unknown.
    """
    n, n_groups = len(labels), int(labels.max()) + 1
    sizes = np.bincount(labels, minlength=n_groups)
    points = principal_coordinates(distances)
    squares = np.zeros(n)
    for group in range(n_groups):
        rows = labels == group
        squares[rows] = squared_distances_to_center(points, rows, center)
    to_center = np.sqrt(np.maximum(squares, 0))
    if bias_adjust:
        to_center *= np.sqrt(sizes / np.maximum(sizes - 1, 1))[labels]
    n_negative = int((squares < 0).sum())
    means = np.bincount(labels, to_center, n_groups) / sizes
    residuals = to_center - means[labels]
    reason = ""
    if distances.max() <= NO_DISTANCE:
        reason = "all samples have the same profile"
        to_center, means = np.zeros(n), np.zeros(n_groups)
    elif n <= n_groups or (residuals**2).sum() <= n * (NO_DISTANCE * distances.max()) ** 2:
        reason = "within each group all samples are equally far from its center"
    if reason:
        return Permdisp(float("nan"), float("nan"), to_center, means, reason, n_negative)

    def f_statistics(values: np.ndarray) -> np.ndarray:
        """Return F of each set of values `(n_sets, n)`."""
        # A sum over groups of squares of means; the mean of all values is subtracted first, for precision.
        values = values - values.mean(1, keepdims=True)
        between = sum(values[:, labels == group].sum(1) ** 2 / sizes[group] for group in range(n_groups))
        inside = (values**2).sum(1) - between
        return np.asarray(between / (n_groups - 1) / (inside / (n - n_groups)))

    f = float(f_statistics(to_center[None])[0])
    chunks = [f_statistics(residuals[rows]) for rows in permutations(n, n_permutations, seed)]
    p = permutation_p(f, np.concatenate(chunks)) if chunks else float("nan")
    return Permdisp(f, p, to_center, means, "", n_negative)


def permutations(n: int, n_permutations: int, seed: int) -> Iterator[np.ndarray]:
    """Yield random permutations of n in chunks, int64 `(n_chunk, n)`; equal seeds give equal permutations."""
    rng = np.random.default_rng(seed)
    identity = np.arange(n)
    for first in range(0, n_permutations, PERMUTED_AT_ONCE):
        n_chunk = min(PERMUTED_AT_ONCE, n_permutations - first)
        yield rng.permuted(np.broadcast_to(identity, (n_chunk, n)), axis=1)


__all__ = ["Permanova", "Permdisp", "permanova", "permdisp", "permutations"]
