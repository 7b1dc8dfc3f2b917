"""Map pairs of genes to a plane: UMAP of their vectors (Figure 3 of arXiv 2405.05998)."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch

from .clusters import nearest_neighbours

# UMAP's default number of neighbours.
N_NEIGHBOURS = 15
# UMAP of more points takes minutes, and a scatter plot cannot show them.
MAX_MAPPED = 20_000


def pair_map(orientations: np.ndarray, seed: int, check: Callable[[], None] | None = None) -> np.ndarray:
    """Map pairs to two dimensions with UMAP.

    Args:
        orientations: Both orientations of each pair, as `pair_vectors` returns them.
        seed: Seed of the draw and of UMAP.
        check: Called between steps; an exception it raises stops the work.

    Returns:
        Coordinates, float32 `(n_pairs, 2)`; NaN for all but `MAX_MAPPED` pairs, drawn at random.
    """
    n = orientations.shape[1]
    coordinates = np.full((n, 2), np.nan, np.float32)
    rows = np.sort(np.random.default_rng(seed).permutation(n)[:MAX_MAPPED])
    if len(rows) < 4:
        # Too few for UMAP: put them on a line.
        coordinates[rows] = np.stack([np.arange(len(rows)), np.zeros(len(rows))], 1)
        return coordinates
    points = np.ascontiguousarray(orientations[:, rows])
    # UMAP's own search knows nothing of orientations, so it is given the neighbours.
    neighbours, distances = nearest_neighbours(points, min(N_NEIGHBOURS, len(rows) - 1), check)
    n_threads = torch.get_num_threads()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Imported late: it takes seconds.
            import umap

            reducer = umap.UMAP(
                n_neighbors=neighbours.shape[1],
                precomputed_knn=(neighbours, distances),
                random_state=seed,
                n_jobs=1,
                # The spectral initialisation fails on small graphs that are not connected.
                init="random" if len(rows) < 50 else "spectral",
            )
            coordinates[rows] = reducer.fit_transform(points[0])
    finally:
        # Numba starts one OpenMP thread per core, whatever OMP_NUM_THREADS says, and torch shares that OpenMP.
        torch.set_num_threads(n_threads)
    if check is not None:
        check()
    return coordinates
