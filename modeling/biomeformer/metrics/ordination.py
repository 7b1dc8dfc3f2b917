"""Principal coordinates of a distance matrix in full dimension, and centers of groups of points.

Distances that are not Euclidean, such as Bray-Curtis, have axes with negative eigenvalues. They are kept as imaginary
axes, whose squared distances count as negative, so that distances between points are those of the matrix (Gower 1966,
Anderson 2006).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..io.short_repr import short_repr

CENTERS = ("median", "centroid")
# Axes of a smaller share of the largest eigenvalue are rounding errors; vegan's betadisper uses the same limit.
SMALLEST_EIGENVALUE = float(np.sqrt(np.finfo(np.float64).eps))


@dataclass(frozen=True)
class PrincipalCoordinates:
    """Points whose squared distances are those of a matrix.

    Attributes:
        coordinates: float64 `(n_samples, n_axes)`, real axes first, each group of axes from the largest to the smallest
            absolute eigenvalue.
        eigenvalues: float64 `(n_axes,)`, negative for imaginary axes. Their sum is the total sum of squares.
    """

    coordinates: np.ndarray
    eigenvalues: np.ndarray

    __repr__ = short_repr

    @property
    def real(self) -> np.ndarray:
        """Coordinates on the real axes."""
        return self.coordinates[:, self.eigenvalues > 0]

    @property
    def imaginary(self) -> np.ndarray:
        """Coordinates on the imaginary axes."""
        return self.coordinates[:, self.eigenvalues < 0]

    @property
    def shares(self) -> np.ndarray:
        """Each axis's share of the total sum of squares, as in PERMANOVA's R²; imaginary axes have negative shares."""
        return self.eigenvalues / self.eigenvalues.sum() if len(self.eigenvalues) else self.eigenvalues


def principal_coordinates(distances: np.ndarray) -> PrincipalCoordinates:
    """Compute all principal coordinates of a distance matrix.

    Args:
        distances: float64 `(n_samples, n_samples)`, symmetric.
    """
    squared = np.asarray(distances, np.float64) ** 2
    centered = (squared - squared.mean(0) - squared.mean(1, keepdims=True) + squared.mean()) / -2
    eigenvalues, vectors = np.linalg.eigh(centered)
    order = np.lexsort((-np.abs(eigenvalues), eigenvalues <= 0))
    eigenvalues, vectors = eigenvalues[order], vectors[:, order]
    kept = np.abs(eigenvalues) > SMALLEST_EIGENVALUE * max(eigenvalues.max(initial=0.0), 0.0)
    eigenvalues, vectors = eigenvalues[kept], vectors[:, kept]
    # The sign of an eigenvector is arbitrary: make the largest entry of each axis positive.
    if len(eigenvalues):
        largest = np.abs(vectors).argmax(0)
        vectors = vectors * np.where(vectors[largest, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)
    return PrincipalCoordinates(vectors * np.sqrt(np.abs(eigenvalues)), eigenvalues)


def squared_distances_to_center(points: PrincipalCoordinates, rows: np.ndarray, center: str) -> np.ndarray:
    """Compute the squared distances of a group's samples to its center.

    Centers on the real and on the imaginary axes are computed separately, as vegan's betadisper does.

    Args:
        points: Principal coordinates of all samples.
        rows: Samples of the group, bool `(n_samples,)`.
        center: `median` (spatial median) or `centroid`.

    Returns:
        float64 `(n_rows,)`; negative where the imaginary part is larger than the real one.

    Raises:
        InputError: The center is unknown.
    """
    if center not in CENTERS:
        raise InputError(f"center is {center!r}; give {' or '.join(CENTERS)}.")
    center_of: Callable[[np.ndarray], np.ndarray] = spatial_median if center == "median" else lambda x: x.mean(0)
    squares = np.zeros(int(rows.sum()))
    for axes, sign in ((points.real, 1.0), (points.imaginary, -1.0)):
        if axes.shape[1]:
            squares += sign * ((axes[rows] - center_of(axes[rows])) ** 2).sum(1)
    return squares


def spatial_median(points: np.ndarray) -> np.ndarray:
    """Find the point with the smallest sum of distances to others.

    The search is that of vegan's `ordimedian`, R's `optim(method = "BFGS")` from the median of each coordinate, with
    R's tolerances. R stops it about 1e-4 of a distance before the minimum, which shows in the fifth digit of an F
    statistic; stopping at the same point makes F equal to vegan's.

    Args:
        points: float64 `(n_points, n_axes)`.

    Returns:
        float64 `(n_axes,)`.
    """

    def sum_of_distances(center: np.ndarray) -> float:
        return float(np.sqrt(((points - center) ** 2).sum(1)).sum())

    def gradient(center: np.ndarray) -> np.ndarray:
        offsets = center - points
        lengths = np.sqrt((offsets**2).sum(1, keepdims=True))
        # A point at the center has no direction.
        return np.divide(offsets, lengths, out=np.zeros_like(offsets), where=lengths > 0).sum(0)

    return minimize_as_r(sum_of_distances, gradient, np.median(points, axis=0))


def minimize_as_r(
    function: Callable[[np.ndarray], float],
    gradient: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    *,
    max_iterations: int = 100,
    relative_tolerance: float = SMALLEST_EIGENVALUE,
) -> np.ndarray:
    """Minimize a function by the variable metric method of R's `optim` (Nash 1990, algorithm 21), with its defaults.

    Args:
        function: Function to minimize.
        gradient: Its gradient.
        start: float64 `(n,)`.
        max_iterations: Largest number of gradients.
        relative_tolerance: Relative decrease below which the search starts over once, and then stops.
    """
    step_reduction, sufficient_decrease, change_offset = 0.2, 1e-4, 10.0
    n = len(start)
    position, value, slope = start, function(start), gradient(start)
    n_gradients = restarted_at = 1
    inverse_hessian = np.eye(n)
    while n_gradients < max_iterations:
        if restarted_at == n_gradients:
            inverse_hessian = np.eye(n)
        direction = -inverse_hessian @ slope
        descent = float(direction @ slope)
        if descent >= 0:
            if restarted_at == n_gradients:
                break
            restarted_at = n_gradients
            continue
        step, origin, new_value = 1.0, position, value
        while True:
            position = origin + step * direction
            has_moved = bool((change_offset + origin != change_offset + position).any())
            if not has_moved:
                break
            new_value = function(position)
            if np.isfinite(new_value) and new_value <= value + descent * step * sufficient_decrease:
                break
            step *= step_reduction
        decrease = abs(new_value - value)
        is_enough = decrease > relative_tolerance * (abs(value) + relative_tolerance)
        if not (has_moved and is_enough):
            value = value if is_enough else new_value
            if restarted_at == n_gradients:
                break
            restarted_at = n_gradients
            continue
        value, previous_slope, slope = new_value, slope, gradient(position)
        n_gradients += 1
        moved, turned = step * direction, slope - previous_slope
        curvature = float(moved @ turned)
        if curvature > 0:
            product = inverse_hessian @ turned
            factor = 1 + float(product @ turned) / curvature
            inverse_hessian += (
                factor * np.outer(moved, moved) - np.outer(moved, product) - np.outer(product, moved)
            ) / curvature
        else:
            restarted_at = n_gradients
        if n_gradients - restarted_at > 2 * n:
            restarted_at = n_gradients
    return position


__all__ = [
    "CENTERS",
    "PrincipalCoordinates",
    "minimize_as_r",
    "principal_coordinates",
    "spatial_median",
    "squared_distances_to_center",
]
