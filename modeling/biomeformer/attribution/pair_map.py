"""Pairs of genes on a plane: UMAP of their vectors (the paper's Figure 3)."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from .clusters import neighbours

N_NEIGHBOURS = 15
MAX_MAPPED = 20_000


def pair_map(ways: np.ndarray, seed: int, check: Callable[[], None] | None = None) -> np.ndarray:
    """Places of pairs, float32 `(n_pairs, 2)`; NaN for all but `MAX_MAPPED` of them, drawn evenly.

    Args:
        ways: Both orders of each pair, as `pair_vectors` gives them.
        seed: Of the draw and of UMAP.
        check: Called between steps; what it raises ends the work.
    """
    n = ways.shape[1]
    found = np.full((n, 2), np.nan, np.float32)
    rows = np.sort(np.random.default_rng(seed).permutation(n)[:MAX_MAPPED])
    if len(rows) < 4:
        found[rows] = np.stack([np.arange(len(rows)), np.zeros(len(rows))], 1)
        return found
    points = np.ascontiguousarray(ways[:, rows])
    numbers, distances = neighbours(points, min(N_NEIGHBOURS, len(rows) - 1), check)
    # Imported late: it takes seconds.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import umap

        reducer = umap.UMAP(
            n_neighbors=numbers.shape[1],
            precomputed_knn=(numbers, distances),
            random_state=seed,
            n_jobs=1,
            init="random" if len(rows) < 50 else "spectral",
        )
        found[rows] = reducer.fit_transform(points[0])
    if check is not None:
        check()
    return found
