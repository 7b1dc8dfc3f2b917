"""Gene pairs of many genomes that are alike: DBSCAN over their vectors (arXiv 2405.05998)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from ..errors import InputError

BLOCK = 4096


@dataclass(frozen=True)
class GeneSpace:
    """Where distances between genes are measured: centred protein vectors of unit length, in their main directions.

    Protein encoders give all proteins much the same vector; what tells them apart is what is left without it.

    Attributes:
        mean: `(protein_size,)`.
        directions: `(n_directions, protein_size)`, orthonormal.
        kept: Share of the variance that the directions keep.
    """

    mean: np.ndarray
    directions: np.ndarray
    kept: float

    @classmethod
    def fit(cls, blocks: Iterable[np.ndarray], n_directions: int = 64) -> GeneSpace:
        """Learn it from blocks of vectors `(n_genes, protein_size)`, of which one is held at a time."""
        n, total, products = 0, np.zeros(0), np.zeros(0)
        for block in blocks:
            values = block.astype(np.float64)
            n += len(values)
            total = values.sum(0) if not total.size else total + values.sum(0)
            products = values.T @ values if not products.size else products + values.T @ values
        if not n:
            raise InputError("there is no gene to measure distances between.")
        mean = total / n
        spreads, axes = np.linalg.eigh(products - n * np.outer(mean, mean))
        spreads = spreads.clip(min=0)
        axes = axes[:, ::-1][:, :n_directions].T
        # The sign of an axis is anyone's choice: make it ours.
        axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
        kept = float(spreads[::-1][:n_directions].sum() / spreads.sum()) if spreads.sum() > 0 else 1.0
        return cls(mean.astype(np.float32), np.ascontiguousarray(axes, np.float32), kept)

    def place(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors `(n, protein_size)` as unit vectors, float32 `(n, n_directions)`."""
        found = (vectors.astype(np.float32) - self.mean) @ self.directions.T
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)


def pair_vectors(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Both orders of each pair, float32 `(2, n_pairs, 2 * size)`.

    A pair has no order, so the distance of two pairs is that of the better of both ways to lay one on the other.
    """
    ways = [np.concatenate([first, second], 1), np.concatenate([second, first], 1)]
    return np.ascontiguousarray(np.stack(ways), np.float32)


def _index(ways: np.ndarray) -> tuple[Any, int]:
    import faiss

    index = faiss.IndexFlatL2(ways.shape[2])
    for way in ways:
        index.add(way)
    return index, ways.shape[1]


def neighbours(ways: np.ndarray, k: int, check: Callable[[], None] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The nearest points of each point, itself first.

    Args:
        ways: `(n_ways, n_points, size)`; a point is as near another as the nearest of its ways is.
        k: How many, the point itself counted; at most all.
        check: Called between blocks; what it raises ends the work.

    Returns:
        Their numbers, int64 `(n_points, k)`, and distances, float32 `(n_points, k)`.
    """
    index, n = _index(ways)
    k = min(k, n)
    numbers, distances = np.empty((n, k), np.int64), np.empty((n, k), np.float32)
    for begin in range(0, n, BLOCK):
        # Each point may be found by all its ways.
        squares, places = index.search(ways[0, begin : begin + BLOCK], len(ways) * k)
        for row, (found, names) in enumerate(zip(squares, places % n, strict=True), begin):
            found = np.where(names == row, -1.0, found)
            order = np.lexsort((names, found))
            _, at = np.unique(names[order], return_index=True)
            chosen = order[np.sort(at)[:k]]
            numbers[row], distances[row] = names[chosen], np.sqrt(found[chosen].clip(min=0))
        if check is not None:
            check()
    return numbers, distances


def k_distances(ways: np.ndarray, k: int, check: Callable[[], None] | None = None) -> np.ndarray:
    """Distance of each point to its k-th neighbour, itself not counted, from the nearest up: `(n_points,)`."""
    return np.sort(neighbours(ways, k + 1, check)[1][:, -1])


def knee(distances: np.ndarray) -> float:
    """Where a rising curve bends most: its point farthest below the line from its first to its last."""
    if len(distances) < 3 or distances[-1] <= distances[0]:
        return float(distances[-1])
    x = np.linspace(0, 1, len(distances))
    y = (distances - distances[0]) / (distances[-1] - distances[0])
    return float(distances[int((x - y).argmax())])


def dbscan(
    ways: np.ndarray, eps: float, min_samples: int, check: Callable[[], None] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Clusters of points by density.

    Args:
        ways: As for `k_distances`.
        eps: Points within this distance are neighbours.
        min_samples: Neighbours of a core point, itself counted.
        check: Called between blocks; what it raises ends the work.

    Returns:
        Number of each point's cluster, -1 for none, largest cluster first; and which points are core points.
    """
    from sklearn.cluster import DBSCAN

    if not eps > 0 or min_samples < 1:
        raise InputError(f"eps is {eps} and min_samples {min_samples}; give a distance above 0 and at least 1.")
    index, n = _index(ways)
    rows, columns, values = [], [], []
    for begin in range(0, n, BLOCK):
        block = ways[0, begin : begin + BLOCK]
        limits, squares, places = index.range_search(block, eps**2 * (1 + 1e-6))
        rows.append(np.repeat(np.arange(begin, begin + len(block)), np.diff(limits.astype(np.int64))))
        columns.append(places % n)
        values.append(np.sqrt(np.maximum(squares, 0)))
        if check is not None:
            check()
    row, column, value = np.concatenate(rows), np.concatenate(columns), np.concatenate(values)
    order = np.lexsort((value, column, row))
    row, column, value = row[order], column[order], value[order]
    once = np.ones(len(row), bool)
    once[1:] = (row[1:] != row[:-1]) | (column[1:] != column[:-1])
    # Stored zeros are neighbours; what is not stored is far.
    graph = csr_matrix((value[once].clip(1e-12), (row[once], column[once])), shape=(n, n))
    found = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed").fit(graph)
    labels = np.asarray(found.labels_, np.int64)
    core = np.zeros(n, bool)
    core[found.core_sample_indices_] = True
    return _by_size(labels), core


def families(points: np.ndarray, distance: float) -> np.ndarray:
    """Genes that are alike, by representatives, as CD-HIT clusters sequences (doi:10.1093/bioinformatics/btl158).

    One gene after the other joins the family of the nearest representative within `distance`, or founds its own, so
    that no chain of neighbours joins what is far apart.

    Args:
        points: `(n_genes, size)`, in the order in which they are taken.
        distance: Of a gene from its family's representative at most.

    Returns:
        Number of each gene's family, largest first.
    """
    import faiss

    index = faiss.IndexFlatL2(points.shape[1])
    labels = np.empty(len(points), np.int64)
    for begin in range(0, len(points), BLOCK):
        block = np.ascontiguousarray(points[begin : begin + BLOCK], np.float32)
        n_before = index.ntotal
        best, nearest = np.full(len(block), np.inf, np.float32), np.zeros(len(block), np.int64)
        if n_before:
            squares, places = index.search(block, 1)
            best, nearest = squares[:, 0].copy(), places[:, 0].copy()
        # Representatives that this block adds count for the genes after them.
        for row in range(len(block)):
            if best[row] <= distance**2:
                labels[begin + row] = nearest[row]
                continue
            number = index.ntotal
            index.add(block[row : row + 1])
            squares = ((block[row:] - block[row]) ** 2).sum(1)
            closer = squares < best[row:]
            best[row:][closer], nearest[row:][closer] = squares[closer], number
            labels[begin + row] = number
    return _by_size(labels)


def _by_size(labels: np.ndarray) -> np.ndarray:
    """Groups renumbered from the largest down; -1 stays."""
    found = labels.copy()
    names, sizes = np.unique(labels[labels >= 0], return_counts=True)
    ranks = np.empty(len(names), np.int64)
    ranks[np.lexsort((names, -sizes))] = np.arange(len(names))
    found[labels >= 0] = ranks[np.searchsorted(names, labels[labels >= 0])]
    return found


__all__ = ["GeneSpace", "dbscan", "families", "k_distances", "knee", "neighbours", "pair_vectors"]
