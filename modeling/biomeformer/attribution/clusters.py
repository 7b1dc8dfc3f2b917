"""Gene pairs of many genomes that are alike: DBSCAN over their vectors (arXiv 2405.05998)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from ..inference.faiss_build import import_faiss

BLOCK = 4096
BLOCK_BYTES = 64 << 20
# Points all the same: any distance above zero tells them from others.
LEAST_EPS = 1e-3


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
    index = import_faiss().IndexFlatL2(ways.shape[2])
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


def choose_eps(ways: np.ndarray, min_samples: int, check: Callable[[], None] | None = None) -> float:
    """A distance for `dbscan`: the knee of distances to the `min_samples - 1`-th neighbour, or less.

    Where points lie everywhere about as dense, clusters of that distance run into one. So it is lowered by tenths until
    no cluster holds more than half of the points.

    Args:
        ways: As for `neighbours`.
        min_samples: As for `dbscan`.
        check: Called between blocks; what it raises ends the work.
    """
    eps = max(knee(k_distances(ways, min_samples - 1, check)), LEAST_EPS)
    half = max(ways.shape[1] / 2, 2 * min_samples)
    while eps > LEAST_EPS:
        labels, _ = dbscan(ways, eps, min_samples, check)
        if np.bincount(labels[labels >= 0], minlength=1)[0] <= half:
            break
        eps = max(0.9 * eps, LEAST_EPS)
    return eps


def dbscan(
    ways: np.ndarray,
    eps: float,
    min_samples: int,
    check: Callable[[], None] | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> tuple[np.ndarray, np.ndarray]:
    """Clusters of points by density (Ester et al. 1996), in memory that does not grow with their neighbourhoods.

    Lists of neighbours, which scikit-learn's needs, take memory with the square of the largest cluster. Here clusters
    grow from core point to core point, and distances are made as they are needed, each about twice. A point at the
    border of several clusters goes to that of its nearest core point, whatever the order of points.

    Args:
        ways: As for `neighbours`.
        eps: Points within this distance are neighbours.
        min_samples: Neighbours of a core point, itself counted.
        check: Called between blocks; what it raises ends the work.
        block_bytes: What a block of distances may take.

    Returns:
        Number of each point's cluster, -1 for none, largest cluster first; and which points are core points.
    """
    if not eps > 0 or min_samples < 1:
        raise InputError(f"eps is {eps} and min_samples {min_samples}; give a distance above 0 and at least 1.")
    check = check or (lambda: None)
    limit, n = eps**2 * (1 + 1e-6), ways.shape[1]
    n_neighbours = np.zeros(n, np.int64)
    for rows, squares in _blocks(ways[0], ways, block_bytes):
        n_neighbours[rows] = (squares <= limit).sum(1)
        check()
    core = n_neighbours >= min_samples
    inside = np.ascontiguousarray(ways[:, core])
    of_core = np.full(inside.shape[1], -1, np.int64)
    cluster = 0
    for seed in range(len(of_core)):
        if of_core[seed] >= 0:
            continue
        of_core[seed] = cluster
        frontier = np.array([seed])
        while len(frontier):
            reached = np.zeros(len(of_core), bool)
            for _, squares in _blocks(inside[0, frontier], inside, block_bytes):
                reached |= (squares <= limit).any(0)
                check()
            frontier = np.flatnonzero(reached & (of_core < 0))
            of_core[frontier] = cluster
        cluster += 1
    labels = np.full(n, -1, np.int64)
    labels[core] = of_core
    others = np.flatnonzero(~core)
    if len(of_core) and len(others):
        for rows, squares in _blocks(ways[0, others], inside, block_bytes):
            nearest = squares.argmin(1)
            at_border = squares[np.arange(len(nearest)), nearest] <= limit
            labels[others[rows][at_border]] = of_core[nearest[at_border]]
            check()
    return _by_size(labels), core


def _blocks(points: np.ndarray, ways: np.ndarray, block_bytes: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Squared distances of points `(n, size)` to others by the nearest of their ways, float32, some rows at a time."""
    lengths = (ways**2).sum(2)
    n_rows = max(block_bytes // (4 * max(ways.shape[1], 1)), 1)
    for begin in range(0, len(points), n_rows):
        rows = slice(begin, min(begin + n_rows, len(points)))
        block = points[rows]
        squares: np.ndarray | None = None
        for way, length in zip(ways, lengths, strict=True):
            found = block @ (-2 * way.T)
            found += length
            squares = found if squares is None else np.minimum(squares, found, out=squares)
        assert squares is not None
        squares += (block**2).sum(1)[:, None]
        yield rows, squares


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
    index = import_faiss().IndexFlatL2(points.shape[1])
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


__all__ = [
    "LEAST_EPS",
    "GeneSpace",
    "choose_eps",
    "dbscan",
    "families",
    "k_distances",
    "knee",
    "neighbours",
    "pair_vectors",
]
