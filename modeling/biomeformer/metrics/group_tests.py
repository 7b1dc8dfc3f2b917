"""PERMANOVA and PERMDISP of a distance matrix, equal to R's vegan (`adonis2`, `betadisper` and `permutest`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from .ordination import principal_coordinates, squared_distances_to_center
from .p_values import permutation_p

# Distances up to this, absolute or relative to the largest distance, are rounding errors.
NO_DISTANCE = 1e-6
PERMUTED_AT_ONCE = 256
# Singular values of a design of less than this fraction of the largest are 0.
SMALLEST_SINGULAR_VALUE = 1e-9
FIXED = "the groups do not vary within the strata, so that there is nothing to permute"


@dataclass(frozen=True)
class Permanova:
    """Test of whether the centroids of groups differ (Anderson 2001).

    Attributes:
        f: Pseudo-F; NaN if it is undefined, infinite if samples differ between groups only.
        r2: Share of the total sum of squares that is between groups.
        p: Permutation p value; NaN if F is undefined, or if permutations within strata change nothing.
        reason: Why F or p is undefined; else empty.
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
        p: Permutation p value; NaN if F is undefined, or if permutations within strata change nothing.
        distances: Distance of each sample to the center of its group, float64 `(n_samples,)`.
        means: Mean distance of each group, float64 `(n_groups,)`.
        reason: Why F or p is undefined; else empty.
        n_negative: Number of samples whose squared distance is negative and was set to 0.
    """

    f: float
    p: float
    distances: np.ndarray
    means: np.ndarray
    reason: str = ""
    n_negative: int = 0


def permanova(
    distances: np.ndarray,
    labels: np.ndarray,
    *,
    strata: np.ndarray | None = None,
    n_permutations: int = 999,
    seed: int = 0,
) -> Permanova:
    """Test whether the centroids of groups differ.

    Args:
        distances: float64 `(n_samples, n_samples)`, symmetric.
        labels: Group of each sample, int `(n_samples,)`, from 0.
        strata: Block of each sample, int `(n_samples,)`, within which labels are permuted; all samples by default.
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
    is_fixed = strata is not None and not varies_within(labels, strata)
    n_permutations = 0 if is_fixed else n_permutations
    chunks = [total - within(labels[rows]) for rows in permutations(n, n_permutations, seed, strata)]
    p = permutation_p(between, np.concatenate(chunks)) if chunks else float("nan")
    has_residual = abs(inside) > NO_DISTANCE**2 * total
    f = between / (n_groups - 1) / (inside / (n - n_groups)) if has_residual else float("inf")
    return Permanova(f, between / total, p, FIXED if is_fixed else "")


def marginal_permanova(
    distances: np.ndarray,
    terms: Mapping[str, np.ndarray],
    *,
    strata: np.ndarray | None = None,
    n_permutations: int = 999,
    seed: int = 0,
) -> dict[str, Permanova]:
    """Test what each term explains beyond all others, as `adonis2(by = "margin")` of R's vegan.

    Args:
        distances: float64 `(n_samples, n_samples)`, symmetric.
        terms: Columns of the design of each term, float64 `(n_samples, n_columns)`, by name: see `design_columns`.
        strata: As for `permanova`.
        n_permutations: Number of permutations of the samples; terms are permuted together.
        seed: Seed of the permutations.

    Returns:
        By term the F of its marginal sum of squares, its share of the total, and p. F is undefined if other terms
        determine the term.
    """
    n = len(distances)
    if distances.max() <= NO_DISTANCE:
        nothing = Permanova(float("nan"), float("nan"), float("nan"), "all samples have the same profile")
        return dict.fromkeys(terms, nothing)
    squared = np.asarray(distances, np.float64) ** 2
    gower = (squared - squared.mean(0) - squared.mean(1, keepdims=True) + squared.mean()) / -2
    total = float(np.trace(gower))
    bases = {name: _basis(n, [columns for other, columns in terms.items() if other != name]) for name in terms}
    full = _basis(n, list(terms.values()))
    n_residual = n - full.shape[1]

    def explained(rows: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the sums of squares of the whole model, and of the model without each term, `(n_permutations,)`."""
        without = {name: _explained(gower, basis, rows) for name, basis in bases.items()}
        return _explained(gower, full, rows), without

    def statistics(rows: np.ndarray) -> dict[str, np.ndarray]:
        whole, without = explained(rows)
        residual = (total - whole) / max(n_residual, 1)
        return {
            name: (whole - sums) / max(full.shape[1] - bases[name].shape[1], 1) / residual
            for name, sums in without.items()
        }

    identity = np.arange(n)[None]
    whole, without = explained(identity)
    observed = statistics(identity)
    chunks = [statistics(rows) for rows in permutations(n, n_permutations, seed, strata)]
    results = {}
    for name, columns in terms.items():
        r2 = float(whole[0] - without[name][0]) / total
        reason = ""
        if full.shape[1] == bases[name].shape[1]:
            reason = "other terms determine this one" if len(terms) > 1 else "it does not vary"
        elif n_residual < 1 or abs(total - whole[0]) <= NO_DISTANCE**2 * total:
            reason = "the terms leave no residual"
        if reason:
            results[name] = Permanova(float("nan"), r2, float("nan"), reason)
            continue
        f = float(observed[name][0])
        is_fixed = strata is not None and not any(varies_within(column, strata) for column in columns.T)
        p = float("nan")
        if chunks and not is_fixed:
            p = permutation_p(f, np.concatenate([chunk[name] for chunk in chunks]))
        results[name] = Permanova(f, r2, p, FIXED if is_fixed else "")
    return results


def design_columns(values: np.ndarray) -> np.ndarray:
    """Return the columns of a term's design: a number as it is, classes (int) as one column each."""
    if np.issubdtype(values.dtype, np.integer):
        return (values[:, None] == np.unique(values)).astype(np.float64)
    return np.asarray(values, np.float64)[:, None]


def varies_within(values: np.ndarray, strata: np.ndarray) -> bool:
    """Tell whether values `(n,)` differ between samples of one stratum."""
    return any(len(np.unique(values[strata == stratum])) > 1 for stratum in np.unique(strata))


def _basis(n: int, designs: list[np.ndarray]) -> np.ndarray:
    """Return an orthonormal basis of designs and intercept, `(n, rank)`."""
    columns = np.concatenate([np.ones((n, 1)), *designs], axis=1)
    # Columns are centred and scaled, so that the rank does not depend on their units.
    columns[:, 1:] -= columns[:, 1:].mean(0)
    columns = columns / np.maximum(np.linalg.norm(columns, axis=0), 1e-300)
    vectors, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(vectors[:, sizes > SMALLEST_SINGULAR_VALUE * sizes[0]])


def _explained(gower: np.ndarray, basis: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the sum of squares that a permuted basis explains, for each permutation `(n_permutations, n)`."""
    permuted = basis[rows]
    n_permutations, n, rank = permuted.shape
    side_by_side = permuted.transpose(1, 0, 2).reshape(n, -1)
    sums = np.einsum("ij,ij->j", gower @ side_by_side, side_by_side)
    return np.asarray(sums.reshape(n_permutations, rank).sum(1))


def permdisp(
    distances: np.ndarray,
    labels: np.ndarray,
    *,
    center: str = "median",
    bias_adjust: bool = False,
    strata: np.ndarray | None = None,
    n_permutations: int = 999,
    seed: int = 0,
) -> Permdisp:
    """Test whether the dispersions of groups differ.

    Distances to the centers are taken in all principal coordinates. Permuted are the residuals of these distances from
    their groups' means, as `permutest` does. Within strata the distances themselves are permuted, unlike `permutest`:
    where groups follow strata, residuals would count a difference between strata as one between groups.

    Args:
        distances: float64 `(n_samples, n_samples)`, symmetric.
        labels: Group of each sample, int `(n_samples,)`, from 0.
        center: `median` (spatial median, vegan's default) or `centroid`.
        bias_adjust: Whether to enlarge the distances of a group of n by `sqrt(n / (n - 1))` (Stier et al. 2013), which
            vegan calls `bias.adjust`.
        strata: Block of each sample, int `(n_samples,)`, within which distances are permuted; all samples by default.
        n_permutations: Number of permutations.
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
    is_fixed = strata is not None and not varies_within(labels, strata)
    n_permutations = 0 if is_fixed else n_permutations
    permuted = residuals if strata is None else to_center
    chunks = [f_statistics(permuted[rows]) for rows in permutations(n, n_permutations, seed, strata)]
    p = permutation_p(f, np.concatenate(chunks)) if chunks else float("nan")
    return Permdisp(f, p, to_center, means, FIXED if is_fixed else "", n_negative)


def permutations(n: int, n_permutations: int, seed: int, strata: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Yield random permutations of n in chunks, int64 `(n_chunk, n)`; equal seeds give equal permutations.

    Args:
        n: Number of samples.
        n_permutations: Number of permutations.
        seed: Seed of the permutations.
        strata: Block of each sample, int `(n,)`: samples are exchanged only within their block.
    """
    rng = np.random.default_rng(seed)
    identity = np.arange(n)
    by_stratum = None if strata is None else np.argsort(strata, kind="stable")
    for first in range(0, n_permutations, PERMUTED_AT_ONCE):
        n_chunk = min(PERMUTED_AT_ONCE, n_permutations - first)
        if strata is None:
            yield rng.permuted(np.broadcast_to(identity, (n_chunk, n)), axis=1)
            continue
        # Sorted by stratum and, within it, at random.
        rows = np.empty((n_chunk, n), np.int64)
        rows[:, by_stratum] = np.lexsort((rng.random((n_chunk, n)), np.broadcast_to(strata, (n_chunk, n))))
        yield rows


__all__ = [
    "Permanova",
    "Permdisp",
    "design_columns",
    "marginal_permanova",
    "permanova",
    "permdisp",
    "permutations",
    "varies_within",
]
