"""Ordination of samples."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import pdist, squareform

from ..metrics.ordination import principal_coordinates

# The time of an ordination grows with the third power of the samples, and its memory with the second.
MAX_DRAWN_SAMPLES = 1000


def bray_curtis_pcoa(abundance: np.ndarray, n_axes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Return the first principal coordinates of Bray-Curtis dissimilarities (Gower 1966).

    Args:
        abundance: float64 `(n_samples, n_clusters)`.
        n_axes: Number of axes; axes beyond the rank are zero.

    Returns:
        Coordinates `(n_samples, n_axes)`, and the share of variance per axis `(n_axes,)`: of the total sum of squares,
        imaginary axes included, as in the R² of PERMANOVA.
    """
    n_samples = len(abundance)
    coordinates, shares = np.zeros((n_samples, n_axes)), np.zeros(n_axes)
    if n_samples < 2:
        return coordinates, shares
    points = principal_coordinates(squareform(pdist(abundance, "braycurtis")))
    n_real = min(n_axes, points.real.shape[1])
    coordinates[:, :n_real] = points.real[:, :n_real]
    shares[:n_real] = points.shares[:n_real]
    return coordinates, shares


def drawn_rows(n_samples: int) -> np.ndarray:
    """Return the rows of the samples that are drawn: all, or `MAX_DRAWN_SAMPLES` of them at random, in order."""
    if n_samples <= MAX_DRAWN_SAMPLES:
        return np.arange(n_samples)
    return np.sort(np.random.default_rng(0).choice(n_samples, MAX_DRAWN_SAMPLES, replace=False))
