"""Ordination of samples."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import pdist, squareform

# The time of an ordination grows with the third power of the samples, and its memory with the second.
MAX_DRAWN_SAMPLES = 1000


def bray_curtis_pcoa(abundance: np.ndarray, n_axes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Return the principal coordinates of Bray-Curtis dissimilarities (Gower 1966).

    Args:
        abundance: float64 `(n_samples, n_clusters)`.
        n_axes: Number of axes; axes beyond the rank are zero.

    Returns:
        Coordinates `(n_samples, n_axes)`, and the share of variance per axis `(n_axes,)`: its eigenvalue divided by the
        sum of the positive eigenvalues.
    """
    n_samples = len(abundance)
    coordinates, shares = np.zeros((n_samples, n_axes)), np.zeros(n_axes)
    if n_samples < 2:
        return coordinates, shares
    squared = squareform(pdist(abundance, "braycurtis")) ** 2
    centred = squared - squared.mean(0) - squared.mean(1, keepdims=True) + squared.mean()
    values, vectors = np.linalg.eigh(-centred / 2)
    order = np.argsort(-values)[:n_axes]
    positive = np.clip(values, 0, None)
    eigenvalues = np.clip(values[order], 0, None)
    coordinates[:, : len(order)] = vectors[:, order] * np.sqrt(eigenvalues)
    if positive.sum() > 0:
        shares[: len(order)] = eigenvalues / positive.sum()
    # The sign of an eigenvector is arbitrary: make the largest entry of each axis positive.
    for axis in range(n_axes):
        if coordinates[np.abs(coordinates[:, axis]).argmax(), axis] < 0:
            coordinates[:, axis] *= -1
    return coordinates, shares


def drawn_rows(n_samples: int) -> np.ndarray:
    """Return the rows of the samples that are drawn: all, or `MAX_DRAWN_SAMPLES` of them at random, in order."""
    if n_samples <= MAX_DRAWN_SAMPLES:
        return np.arange(n_samples)
    return np.sort(np.random.default_rng(0).choice(n_samples, MAX_DRAWN_SAMPLES, replace=False))
