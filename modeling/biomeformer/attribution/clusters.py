"""Cluster similar gene pairs of many genomes: DBSCAN over their vectors (arXiv 2405.05998).

A pair has no order, so each is held in both: as `orientations`, float32 `(2, n_pairs, 2 * size)`, whose first entry
concatenates first and second gene, and whose second entry concatenates them the other way round. The distance between
two pairs is the smaller of the distances over the orientations of one of them. Single genes have one orientation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from ..inference.faiss_build import import_faiss

# Points per FAISS query.
BLOCK = 4096
# Memory of one block of distances in `dbscan`.
BLOCK_BYTES = 64 << 20
# Smallest distance that is chosen automatically: if all points coincide, the knee is at 0, which DBSCAN refuses.
MIN_EPS = 1e-3


@dataclass(frozen=True)
class GeneSpace:
    """The space in which distances between genes are measured: centred protein vectors, projected and normalised.

    Vectors of all proteins share a large common component, which would dominate every distance. So the mean is
    subtracted and the principal components are kept.

    Attributes:
        mean: `(protein_size,)`.
        components: `(n_components, protein_size)`, orthonormal, in descending order of explained variance.
        explained_variance: Fraction of the total variance within the components.
    """

    mean: np.ndarray
    components: np.ndarray
    explained_variance: float

    @classmethod
    def fit(cls, blocks: Iterable[np.ndarray], n_components: int = 64) -> GeneSpace:
        """Fit mean and principal components to vectors that are read block by block.

        Args:
            blocks: Vectors `(n_genes, protein_size)`, of which one block is in memory at a time.
            n_components: Number of principal components to keep; all where the vectors have fewer dimensions.

        Raises:
            InputError: There is no vector.
        """
        # One pass over the blocks: the covariance follows from sums and from sums of products, in float64.
        n, total, products = 0, np.zeros(0), np.zeros(0)
        for block in blocks:
            values = block.astype(np.float64)
            n += len(values)
            total = values.sum(0) if not total.size else total + values.sum(0)
            products = values.T @ values if not products.size else products + values.T @ values
        if not n:
            raise InputError("there is no gene to measure distances between.")
        mean = total / n
        eigenvalues, eigenvectors = np.linalg.eigh(products - n * np.outer(mean, mean))
        # Rounding may leave tiny negative eigenvalues. `eigh` returns them in ascending order.
        variances = eigenvalues.clip(min=0)[::-1]
        components = eigenvectors[:, ::-1][:, :n_components].T
        # The sign of an eigenvector is arbitrary and differs between LAPACK builds: make the largest entry positive.
        components = components * np.sign(components[np.arange(len(components)), np.abs(components).argmax(1)])[:, None]
        explained = float(variances[:n_components].sum() / variances.sum()) if variances.sum() > 0 else 1.0
        return cls(mean.astype(np.float32), np.ascontiguousarray(components, np.float32), explained)

    def project(self, vectors: np.ndarray) -> np.ndarray:
        """Project vectors `(n, protein_size)` and scale them to unit length: float32 `(n, n_components)`."""
        projected = (vectors.astype(np.float32) - self.mean) @ self.components.T
        return projected / np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-12)


def pair_vectors(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return both orientations of each pair.

    Args:
        first: `(n_pairs, size)`, vector of each pair's first gene.
        second: `(n_pairs, size)`, vector of its second gene.

    Returns:
        float32 `(2, n_pairs, 2 * size)`, see the module.
    """
    orientations = [np.concatenate([first, second], 1), np.concatenate([second, first], 1)]
    return np.ascontiguousarray(np.stack(orientations), np.float32)


def _index(orientations: np.ndarray) -> tuple[Any, int]:
    """Return a FAISS index of all orientations, and the number of points; entry `i` is of point `i % n_points`."""
    index = import_faiss().IndexFlatL2(orientations.shape[2])
    for points in orientations:
        index.add(points)
    return index, orientations.shape[1]


def nearest_neighbours(
    orientations: np.ndarray, k: int, check: Callable[[], None] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest neighbours of each point, beginning with the point itself.

    Args:
        orientations: `(n_orientations, n_points, size)`; the distance to a point is that to its nearest orientation.
        k: Number of neighbours, the point itself included; at most `n_points`.
        check: Called between blocks; an exception it raises stops the search.

    Returns:
        Indices, int64 `(n_points, k)`, and Euclidean distances, float32 `(n_points, k)`, in ascending order.
    """
    index, n = _index(orientations)
    k = min(k, n)
    indices, distances = np.empty((n, k), np.int64), np.empty((n, k), np.float32)
    for begin in range(0, n, BLOCK):
        # A point can be hit once per orientation, so this many hits contain at least k different points.
        squares, hits = index.search(orientations[0, begin : begin + BLOCK], len(orientations) * k)
        for row, (row_squares, points) in enumerate(zip(squares, hits % n, strict=True), begin):
            # The point itself comes first, also among others at the same place.
            row_squares = np.where(points == row, -1.0, row_squares)
            order = np.lexsort((points, row_squares))
            _, first_hit = np.unique(points[order], return_index=True)
            chosen = order[np.sort(first_hit)[:k]]
            indices[row], distances[row] = points[chosen], np.sqrt(row_squares[chosen].clip(min=0))
        if check is not None:
            check()
    return indices, distances


def k_distances(orientations: np.ndarray, k: int, check: Callable[[], None] | None = None) -> np.ndarray:
    """Return the distance of each point to its k-th nearest neighbour, not counting itself, sorted: `(n_points,)`."""
    return np.sort(nearest_neighbours(orientations, k + 1, check)[1][:, -1])


def knee(distances: np.ndarray) -> float:
    """Return the value at the knee of a rising curve: its point farthest below the line from its first to its last."""
    if len(distances) < 3 or distances[-1] <= distances[0]:
        return float(distances[-1])
    x = np.linspace(0, 1, len(distances))
    y = (distances - distances[0]) / (distances[-1] - distances[0])
    return float(distances[int((x - y).argmax())])


def choose_eps(orientations: np.ndarray, min_samples: int, check: Callable[[], None] | None = None) -> float:
    """Choose `eps` for `dbscan`: the knee of the distances to the `min_samples - 1`-th neighbour, or less.

    Where the density of points is nearly uniform, that distance merges most clusters into one. So `eps` is lowered by
    10 % at a time until no cluster holds more than half of the points.

    Args:
        orientations: As for `nearest_neighbours`.
        min_samples: As for `dbscan`.
        check: Called between blocks; an exception it raises stops the search.
    """
    eps = max(knee(k_distances(orientations, min_samples - 1, check)), MIN_EPS)
    # Of very few points, half would be less than two clusters need.
    max_size = max(orientations.shape[1] / 2, 2 * min_samples)
    while eps > MIN_EPS:
        labels, _ = dbscan(orientations, eps, min_samples, check)
        # Clusters are numbered by size, so 0 is the largest.
        if np.bincount(labels[labels >= 0], minlength=1)[0] <= max_size:
            break
        eps = max(0.9 * eps, MIN_EPS)
    return eps


def dbscan(
    orientations: np.ndarray,
    eps: float,
    min_samples: int,
    check: Callable[[], None] | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> tuple[np.ndarray, np.ndarray]:
    """Cluster points by density (DBSCAN, Ester et al. 1996), in memory independent of the size of neighbourhoods.

    scikit-learn's implementation holds the neighbours of every point, which takes memory quadratic in the size of the
    largest cluster. Here clusters grow from core point to core point, and distances are computed as they are needed,
    each about twice. A point at the border of several clusters is assigned to that of its nearest core point, so the
    result does not depend on the order of the points.

    Args:
        orientations: As for `nearest_neighbours`.
        eps: Largest distance between neighbours.
        min_samples: Smallest number of neighbours of a core point, itself included.
        check: Called between blocks; an exception it raises stops the clustering.
        block_bytes: Memory of one block of distances, in bytes.

    Returns:
        Cluster of each point, int64 `(n_points,)`, numbered from the largest and -1 for noise; and a mask of core
        points, bool `(n_points,)`.

    Raises:
        InputError: `eps` is not positive, or `min_samples` is below 1.
    """
    if not eps > 0 or min_samples < 1:
        raise InputError(f"eps is {eps} and min_samples {min_samples}; give a distance above 0 and at least 1.")
    check = check or (lambda: None)
    # Distances are float32: the margin keeps points at exactly `eps` from depending on their rounding.
    limit, n = eps**2 * (1 + 1e-6), orientations.shape[1]
    n_neighbours = np.zeros(n, np.int64)
    for rows, squares in _squared_distances(orientations[0], orientations, block_bytes):
        n_neighbours[rows] = (squares <= limit).sum(1)
        check()
    is_core = n_neighbours >= min_samples
    core = np.ascontiguousarray(orientations[:, is_core])
    core_labels = np.full(core.shape[1], -1, np.int64)
    cluster = 0
    # Breadth-first search over core points: each round reaches the neighbours of those reached in the last.
    for seed in range(len(core_labels)):
        if core_labels[seed] >= 0:
            continue
        core_labels[seed] = cluster
        frontier = np.array([seed])
        while len(frontier):
            reached = np.zeros(len(core_labels), bool)
            for _, squares in _squared_distances(core[0, frontier], core, block_bytes):
                reached |= (squares <= limit).any(0)
                check()
            frontier = np.flatnonzero(reached & (core_labels < 0))
            core_labels[frontier] = cluster
        cluster += 1
    labels = np.full(n, -1, np.int64)
    labels[is_core] = core_labels
    others = np.flatnonzero(~is_core)
    if len(core_labels) and len(others):
        for rows, squares in _squared_distances(orientations[0, others], core, block_bytes):
            nearest = squares.argmin(1)
            at_border = squares[np.arange(len(nearest)), nearest] <= limit
            labels[others[rows][at_border]] = core_labels[nearest[at_border]]
            check()
    return _rank_by_size(labels), is_core


def _squared_distances(
    points: np.ndarray, orientations: np.ndarray, block_bytes: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield squared distances of points `(n, size)` to the nearest orientation of others, a block of rows at a time.

    Yields:
        The rows, and float32 `(n_rows, n_others)`.
    """
    norms = (orientations**2).sum(2)
    n_rows = max(block_bytes // (4 * max(orientations.shape[1], 1)), 1)
    for begin in range(0, len(points), n_rows):
        rows = slice(begin, min(begin + n_rows, len(points)))
        block = points[rows]
        nearest: np.ndarray | None = None
        for others, norm in zip(orientations, norms, strict=True):
            squares = block @ (-2 * others.T)
            squares += norm
            nearest = squares if nearest is None else np.minimum(nearest, squares, out=nearest)
        assert nearest is not None
        # The points' own norms are the same for every orientation, and added last.
        nearest += (block**2).sum(1)[:, None]
        yield rows, nearest


def gene_families(points: np.ndarray, distance: float) -> np.ndarray:
    """Group similar genes around representatives, as CD-HIT clusters sequences (doi:10.1093/bioinformatics/btl158).

    Each gene in turn joins the family of the nearest representative within `distance`, or becomes the representative
    of a new family. Unlike in single linkage, no chain of neighbours can join genes that are far apart.

    Args:
        points: `(n_genes, size)`, in the order in which genes are assigned.
        distance: Largest distance of a gene from its family's representative.

    Returns:
        Family of each gene, int64 `(n_genes,)`, numbered from the largest.
    """
    index = import_faiss().IndexFlatL2(points.shape[1])
    labels = np.empty(len(points), np.int64)
    for begin in range(0, len(points), BLOCK):
        block = np.ascontiguousarray(points[begin : begin + BLOCK], np.float32)
        least, nearest = np.full(len(block), np.inf, np.float32), np.zeros(len(block), np.int64)
        if index.ntotal:
            squares, representatives = index.search(block, 1)
            least, nearest = squares[:, 0].copy(), representatives[:, 0].copy()
        for row in range(len(block)):
            if least[row] <= distance**2:
                labels[begin + row] = nearest[row]
                continue
            family = index.ntotal
            index.add(block[row : row + 1])
            # The block was searched before this representative existed: later genes of the block can still join it.
            squares = ((block[row:] - block[row]) ** 2).sum(1)
            closer = squares < least[row:]
            least[row:][closer], nearest[row:][closer] = squares[closer], family
            labels[begin + row] = family
    return _rank_by_size(labels)


def _rank_by_size(labels: np.ndarray) -> np.ndarray:
    """Renumber groups from the largest, of equally large ones the lower number first; -1 stays."""
    ranked = labels.copy()
    groups, sizes = np.unique(labels[labels >= 0], return_counts=True)
    ranks = np.empty(len(groups), np.int64)
    ranks[np.lexsort((groups, -sizes))] = np.arange(len(groups))
    ranked[labels >= 0] = ranks[np.searchsorted(groups, labels[labels >= 0])]
    return ranked


__all__ = [
    "MIN_EPS",
    "GeneSpace",
    "choose_eps",
    "dbscan",
    "gene_families",
    "k_distances",
    "knee",
    "nearest_neighbours",
    "pair_vectors",
]
