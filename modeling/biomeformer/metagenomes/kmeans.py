"""K-means by FAISS's rules, over points on one process or many.

Distances, nearest centroids and sums are torch's, on a CPU or a CUDA device; sums and counts are added up over
processes in float64. Initial choice, refill of empty clusters and the order of steps follow FAISS's `Clustering`
(faiss/Clustering.cpp), so that one process gives what FAISS gives. Of FAISS only the random generators are used, which
every build has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from ..checkpoints.loading import resolve_device
from ..errors import InputError
from ..inference.faiss_build import import_faiss
from ..models.metagenbert.full_float32 import full_float32_matmul
from ..models.metagenbert.modeling_metagenbert import two_nearest
from ..runs.process_group import ProcessGroup
from .device_points import DevicePoints, device_chunk_rows
from .points import Points, chunk_rows

# The halves of a cluster that is split to refill an empty one move apart by this share.
SPLIT_SHIFT = 1 / 1024
SPLIT_SEED = 1234
# A gap between the two nearest centroids under this share of the vectors' scale may be rounding.
TIE_TOLERANCE = 1e-6
# Of distances at once: on a CPU, and on a CUDA device.
TILE_BYTES = 4 << 20
DEVICE_TILE_BYTES = 256 << 20
# Of a CUDA device's free memory, what points may take to stay there; the rest is for what fragments and other programs.
RESIDENT_SHARE = 0.9
# Those with float64.
DEVICES = ("cpu", "cuda")
# Buffers of MKL and gloo.
LIBRARY_BYTES = 32 << 20


@dataclass(frozen=True)
class KMeansFit:
    """Centroids and how the fit went.

    Attributes:
        centroids: float32 `(n_clusters, hidden_size)`.
        objective: Sum of squared distances of the points fitted on to their nearest centroid at the start of each
            iteration, as FAISS reports it. With `spherical`, squared distances between unit vectors.
        cluster_sizes: int64 `(n_clusters,)`, of all points given, those nearest to each final centroid.
        n_empty: Clusters without a point.
        device: What ran: `cpu`, or `cuda:N (name)`.
        resident: Whether this process's points stayed in the device's memory; otherwise each iteration read them again.
        n_points: Points given.
        n_iterations: Of Lloyd's algorithm.
        seed: Of the initial choice of points.
        spherical: Whether centroids were scaled to unit length at each iteration.
        n_trained: Points that the centroids were fitted on: all, or those that a cap per centroid leaves.
    """

    centroids: np.ndarray
    objective: tuple[float, ...]
    cluster_sizes: np.ndarray
    n_empty: int
    device: str
    resident: bool
    n_points: int
    n_iterations: int
    seed: int
    spherical: bool
    n_trained: int


def run_kmeans(
    embeddings: np.ndarray,
    n_clusters: int,
    *,
    n_iterations: int = 20,
    seed: int = 0,
    spherical: bool = False,
    max_points_per_centroid: int | None = None,
    device: str = "cpu",
) -> KMeansFit:
    """Run Lloyd's k-means over all points given; large clusters are split to refill empty ones.

    Args:
        embeddings: float32 `(n_points, hidden_size)`; of unit length if `spherical`.
        n_clusters: How many centroids.
        n_iterations: Of Lloyd's algorithm.
        seed: Of the initial choice of points. Equal arguments give equal centroids on one device.
        spherical: Scale centroids to unit length at each iteration.
        max_points_per_centroid: As for `run_distributed_kmeans`.
        device: `cpu`, `cuda` or `cuda:N`.

    Returns:
        Centroids, objective per iteration, cluster sizes and what ran.

    Raises:
        InputError: The array is not float32, two-dimensional and finite, has fewer points than clusters, or a number is
            out of range, or the device is absent, has no float64 or too little memory.
        MissingDependencyError: No faiss is installed.

    Examples:
        >>> import numpy as np
        >>> points = np.float32([[0, 0], [0, 1], [9, 9], [9, 8]])
        >>> fit = run_kmeans(points, 2, n_iterations=5)
        >>> sorted(map(tuple, fit.centroids.tolist()))
        [(0.0, 0.5), (9.0, 8.5)]
    """
    if embeddings.ndim != 2 or embeddings.dtype != np.float32:
        raise InputError(
            f"K-means was given an array of shape {embeddings.shape} and type {embeddings.dtype}; give float32 "
            "(n_points, hidden_size)."
        )
    if not np.isfinite(embeddings).all():
        raise InputError("K-means was given vectors with NaN or infinity; check the read encoder's weights.")
    points = Points.from_array(np.ascontiguousarray(embeddings))
    options: dict[str, Any] = {
        "n_iterations": n_iterations,
        "seed": seed,
        "spherical": spherical,
        "max_points_per_centroid": max_points_per_centroid,
        "device": device,
    }
    return run_distributed_kmeans(points, [n_clusters], **options)[0]


def run_distributed_kmeans(
    points: Points,
    n_clusters: Sequence[int],
    *,
    n_iterations: int = 20,
    seed: int = 0,
    spherical: bool = False,
    max_points_per_centroid: int | None = None,
    device: str = "cpu",
    processes: ProcessGroup | None = None,
    progress: Callable[[int, dict[int, float]], None] | None = None,
) -> list[KMeansFit]:
    """Run k-means over points that several processes share, for several numbers of clusters at once.

    An iteration reads the points once, for all of `n_clusters`.

    Args:
        points: This process's share.
        n_clusters: Numbers of centroids.
        n_iterations: Of Lloyd's algorithm.
        seed: Of the initial choice of points, which does not depend on how they are shared out.
        spherical: Scale centroids to unit length at each iteration.
        max_points_per_centroid: Fit on a random sample of this many points per centroid where there are more, the
            sample that FAISS draws with this limit; on all points by default.
        device: Of this process: `cpu`, `cuda` or `cuda:N`.
        processes: The processes.
        progress: Called after each iteration with its number from 1, and the objective by number of clusters.

    Returns:
        A fit for each of `n_clusters`, equal on all processes.

    Raises:
        InputError: There are fewer points than clusters, or as `check_kmeans`.
        MissingDependencyError: No faiss is installed.
        RankError: Another process is gone.
    """
    processes = processes or ProcessGroup()
    where = check_kmeans(n_clusters, points.hidden_size, n_iterations=n_iterations, seed=seed, device=device)
    if max_points_per_centroid is not None and max_points_per_centroid < 1:
        raise InputError(f"max_points_per_centroid is {max_points_per_centroid}; it must be at least 1.")
    for k in n_clusters:
        if points.n_points < k:
            raise InputError(
                f"{k} clusters were asked for and there are {points.n_points} points; ask for fewer clusters."
            )
    faiss = import_faiss()
    room = 0
    if where.type == "cuda":
        room = int(RESIDENT_SHARE * (free_memory(where) - kmeans_device_memory(n_clusters, points.hidden_size)))
    local = DevicePoints.from_points(points, where, room, processes.check)
    samples = [_sample(faiss, points.n_points, k, max_points_per_centroid, seed) for k in n_clusters]
    states = [
        _Clusters(faiss, centroids, where, spherical, points, sample)
        for centroids, sample in zip(
            _initial_centroids(faiss, points, local, n_clusters, samples, seed, processes), samples, strict=True
        )
    ]
    objectives: list[list[float]] = [[] for _ in states]
    for iteration in range(n_iterations):
        _pass_over(local, states, processes)
        for state, objective in zip(states, objectives, strict=True):
            objective.append(state.update(processes))
        if progress is not None:
            progress(iteration + 1, {k: objective[-1] for k, objective in zip(n_clusters, objectives, strict=True)})
    for state in states:
        state.is_trained_on = None
    _pass_over(local, states, processes)
    fits = []
    for state, objective in zip(states, objectives, strict=True):
        sizes = processes.all_reduce(state.counts.cpu().numpy())
        fits.append(
            KMeansFit(
                centroids=state.centroids,
                objective=tuple(objective),
                cluster_sizes=sizes,
                n_empty=int((sizes == 0).sum()),
                device="cpu" if where.type == "cpu" else f"{where} ({torch.cuda.get_device_name(where)})",
                resident=local.resident,
                n_points=points.n_points,
                n_iterations=n_iterations,
                seed=seed,
                spherical=spherical,
                n_trained=state.n_trained,
            )
        )
    return fits


def check_kmeans(
    n_clusters: Sequence[int], hidden_size: int, *, n_iterations: int, seed: int, device: str | torch.device
) -> torch.device:
    """Check all that k-means needs beside its points, so that it can be done before they are made.

    Args:
        n_clusters: Numbers of centroids.
        hidden_size: Dimensions of the points.
        n_iterations: Of Lloyd's algorithm.
        seed: Of the initial choice of points.
        device: `cpu`, `cuda` or `cuda:N`.

    Returns:
        The device.

    Raises:
        InputError: A number is out of range, or the device is absent, has no float64 or too little memory.
        MissingDependencyError: No faiss is installed, or it is broken.
    """
    import_faiss()
    k = min(n_clusters, default=0)
    if k < 1 or n_iterations < 1:
        raise InputError(f"n_clusters is {k} and n_iterations {n_iterations}; both must be at least 1.")
    if not 0 <= seed < 2**31:
        raise InputError(f"seed is {seed}; FAISS takes 0 to 2147483647.")
    resolved = resolve_device(str(device))
    if resolved.type not in DEVICES:
        raise InputError(f"K-means adds up in float64, which device {str(device)!r} does not have; give cpu or cuda.")
    if resolved.type == "cuda":
        if resolved.index is None:
            resolved = torch.device("cuda", torch.cuda.current_device())
        needed, free = kmeans_device_memory(n_clusters, hidden_size), free_memory(resolved)
        if needed > free:
            raise InputError(
                f"K-means for {sum(n_clusters):,} clusters of {hidden_size} dimensions needs {needed / 1e9:.2f} GB of "
                f"memory on {resolved} and {free / 1e9:.2f} GB are free; ask for fewer clusters, or use the cpu."
            )
    return resolved


def kmeans_memory(n_clusters: Sequence[int], hidden_size: int, *, is_capped: bool = False) -> int:
    """Return the bytes that k-means takes on each process beside its points: centroids, sums, and a chunk.

    Args:
        n_clusters: Numbers of centroids.
        hidden_size: Dimensions of the points.
        is_capped: Whether there is a limit of points per centroid, with which the points of a chunk are copied.
    """
    # Centroids, a new version of them, and in float64 the sums, those of a chunk and their exchange.
    centroids = sum(n_clusters) * hidden_size * (4 + 4 + 3 * 8)
    # The chunk at work and the one that is read, each once more as it comes from the file or in float64, and a tile of
    # distances with what is freed of the one before, and in float64 where all are doubtful. Chunks on their way to a
    # CUDA device take no more: at most five of them, in pinned memory, and one as it comes from the file.
    n_bytes = 3 * 4 + 2 * 8 + is_capped * (4 + 8)
    chunks = chunk_rows(hidden_size) * hidden_size * n_bytes + 4 * max(TILE_BYTES, max(n_clusters) * 4)
    return centroids + chunks + LIBRARY_BYTES


def kmeans_device_memory(n_clusters: Sequence[int], hidden_size: int) -> int:
    """Return the bytes that k-means takes on a CUDA device beside its points: centroids, sums, and a chunk."""
    # Centroids and their sums, and the largest set of them in float64 to settle ties.
    centroids = (sum(n_clusters) * (4 + 8) + max(n_clusters) * 8) * hidden_size
    # The chunk at work, in float32 (it and the one behind it where they are streamed) and in float64, which is sorted.
    chunks = device_chunk_rows(hidden_size) * (hidden_size * (2 * 4 + 8) + 8 * 8)
    # A tile of distances, its minima by blocks, and points and distances in float64 where all are doubtful.
    tile_rows = max(DEVICE_TILE_BYTES // (4 * max(n_clusters)), 1)
    tiles = tile_rows * (max(n_clusters) * (2 * 4 + 8) + hidden_size * (2 * 4 + 8))
    return centroids + chunks + tiles


def free_memory(device: torch.device) -> int:
    """Return the bytes of a CUDA device that this process can take: what is free, and what torch reserves."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def tile_bytes(device: torch.device) -> int:
    """Return the bytes of distances computed at once: what stays in a CPU's cache, or what keeps a GPU busy."""
    return TILE_BYTES if device.type == "cpu" else DEVICE_TILE_BYTES


class _Clusters:
    """The centroids of one number of clusters, and what a pass over the points adds up.

    Attributes:
        is_trained_on: Which of this process's points a pass takes, bool `(n_local,)`; None for all.
        n_trained: Points of all processes that the centroids are fitted on.
    """

    def __init__(
        self,
        faiss: Any,
        centroids: np.ndarray,
        device: torch.device,
        spherical: bool,
        points: Points,
        sample: np.ndarray | None,
    ) -> None:
        self.faiss, self.device, self.spherical = faiss, device, spherical
        self.n_trained = points.n_points if sample is None else len(sample)
        self.is_trained_on: torch.Tensor | None = None
        if sample is not None:
            own = sample[(sample >= points.first) & (sample < points.first + points.n_local)] - points.first
            self.is_trained_on = torch.zeros(points.n_local, dtype=torch.bool)
            self.is_trained_on[torch.from_numpy(own)] = True
            self.is_trained_on = self.is_trained_on.to(device)
        self._take(centroids)

    def _take(self, centroids: np.ndarray) -> None:
        if self.spherical:
            centroids = centroids / np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-30)
        self.centroids = np.ascontiguousarray(centroids, np.float32)
        self.table = torch.from_numpy(self.centroids).to(self.device)

    def start_pass(self) -> None:
        self.sums = torch.zeros(self.table.shape, dtype=torch.float64, device=self.device)
        self.counts = torch.zeros(len(self.table), dtype=torch.int64, device=self.device)
        self.objective = torch.zeros((), dtype=torch.float64, device=self.device)

    def add(self, chunk: torch.Tensor, exact: torch.Tensor, start: int) -> None:
        """Count points to their nearest centroids.

        Args:
            chunk: float32 `(n, hidden_size)`.
            exact: The same in float64.
            start: Number of the first of them among this process's points.
        """
        if self.is_trained_on is not None:
            rows = self.is_trained_on[start : start + len(chunk)]
            chunk, exact = chunk[rows], exact[rows]
            if not len(chunk):
                return
        distances, nearest = nearest_centroids(chunk, self.table)
        add_rows(self.sums, nearest, exact)
        self.counts += torch.bincount(nearest, minlength=len(self.counts))
        self.objective += distances.sum(dtype=torch.float64)

    def update(self, processes: ProcessGroup) -> float:
        """Move the centroids to the means of all processes' points; return the objective before."""
        sums, counts = processes.all_reduce(self.sums.cpu().numpy()), processes.all_reduce(self.counts.cpu().numpy())
        objective = float(processes.all_reduce(np.array([self.objective.item()]))[0])
        centroids = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
        _refill_empty(self.faiss, centroids, counts, self.n_trained)
        # Sums may differ in their last bit between processes; centroids must not.
        self._take(processes.broadcast_array(centroids))
        return objective


@full_float32_matmul()
def nearest_centroids(points: torch.Tensor, centroids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return nearest centroids; on a CPU 1.3 to 1.5 times as fast as FAISS's `IndexFlatL2`.

    Points about as near to two centroids are compared in float64, and of equally near centroids have the first.

    Args:
        points: float32 `(n_points, hidden_size)`.
        centroids: float32 `(n_clusters, hidden_size)`, on the same device.

    Returns:
        Squared distances, float32 `(n_points,)`, and numbers of centroids, int64 `(n_points,)`.
    """
    norms = centroids.square().sum(1)
    distances = points.new_empty(len(points))
    nearest = torch.empty(len(points), dtype=torch.int64, device=points.device)
    n_rows = max(tile_bytes(points.device) // (4 * len(centroids)), 1)
    for first in range(0, len(points), n_rows):
        tile = points[first : first + n_rows]
        number, least, second = two_nearest(torch.addmm(norms, tile, centroids.T, alpha=-2))
        squares = tile.square().sum(1)
        near_tie = (second - least <= TIE_TOLERANCE * (squares + norms.max())).nonzero()[:, 0]
        if len(near_tie) and len(centroids) > 1:
            exact = torch.cdist(
                tile[near_tie].double(), centroids.double(), compute_mode="donot_use_mm_for_euclid_dist"
            )
            number[near_tie] = exact.argmin(1)
        distances[first : first + n_rows] = (least + squares).clamp_min_(0)
        nearest[first : first + n_rows] = number
    return distances, nearest


def add_rows(sums: torch.Tensor, numbers: torch.Tensor, rows: torch.Tensor) -> None:
    """Add each row to the sum of its number, in the same order each time.

    On CUDA `index_add_` adds by atomic instructions, in whatever order threads arrive. `index_put_` that accumulates
    sorts the numbers there, stably, and adds the rows of each in their order: no more than a pass over the rows, where
    a one-hot product takes as many float64 operations as the distances take float32 ones. On a CPU it is the other way
    round: `index_add_` adds row after row, and `index_put_` by atomic additions from several threads
    (https://docs.pytorch.org/docs/stable/generated/torch.use_deterministic_algorithms.html).

    Args:
        sums: float64 `(n_clusters, hidden_size)`, changed in place.
        numbers: int64 `(n,)`.
        rows: float64 `(n, hidden_size)`.
    """
    if sums.device.type == "cpu":
        sums.index_add_(0, numbers, rows)
    else:
        sums.index_put_((numbers,), rows, accumulate=True)


def _pass_over(points: DevicePoints, states: list[_Clusters], processes: ProcessGroup) -> None:
    for state in states:
        state.start_pass()
    start = 0
    for chunk in points.chunks():
        processes.check()
        exact = chunk.double()
        for state in states:
            state.add(chunk, exact, start)
        start += len(chunk)
        # The next chunk is read before these names are given to it.
        del chunk, exact


def _sample(faiss: Any, n_points: int, k: int, max_points_per_centroid: int | None, seed: int) -> np.ndarray | None:
    """Return the numbers of the points that k centroids are fitted on, as FAISS draws them; None for all.

    Returns:
        int64 `(k * max_points_per_centroid,)`, in the order of the draw, or None.
    """
    if max_points_per_centroid is None or n_points <= k * max_points_per_centroid:
        return None
    order = np.empty(n_points, np.int32)
    faiss.rand_perm(faiss.swig_ptr(order), n_points, seed)
    return order[: k * max_points_per_centroid].astype(np.int64)


def _initial_centroids(
    faiss: Any,
    points: Points,
    local: DevicePoints,
    n_clusters: Sequence[int],
    samples: Sequence[np.ndarray | None],
    seed: int,
    processes: ProcessGroup,
) -> list[np.ndarray]:
    """Return for each k that many points, the first of a random order of those it is fitted on, as FAISS draws it."""
    numbers = []
    for k, sample in zip(n_clusters, samples, strict=True):
        order = np.empty(points.n_points if sample is None else len(sample), np.int32)
        faiss.rand_perm(faiss.swig_ptr(order), len(order), seed + 1)
        first = order[:k].astype(np.int64)
        numbers.append(first if sample is None else sample[first])
    # A larger k shares its first points with a smaller one unless samples were drawn.
    distinct, position = np.unique(np.concatenate(numbers), return_inverse=True)
    chosen = distinct - points.first
    values = np.zeros((len(chosen), points.hidden_size), np.float32)
    start = 0
    for chunk in local.chunks():
        rows = np.flatnonzero((chosen >= start) & (chosen < start + len(chunk)))
        if len(rows):
            values[rows] = chunk[torch.from_numpy(chosen[rows] - start).to(chunk.device)].cpu().numpy()
        start += len(chunk)
    # Each point belongs to one process; the others add zeros.
    values = processes.all_reduce(values)
    borders = np.cumsum([0, *n_clusters])
    return [values[position[first:last]] for first, last in pairwise(borders)]


def _refill_empty(faiss: Any, centroids: np.ndarray, counts: np.ndarray, n_points: int) -> None:
    """Give each empty cluster half of a large one, as FAISS does: drawn by size, and moved apart a little.

    Args:
        faiss: The module, for its random numbers.
        centroids: `(n_clusters, hidden_size)`, changed in place.
        counts: `(n_clusters,)`.
        n_points: Points in all.
    """
    empty = np.flatnonzero(counts == 0)
    k = len(centroids)
    if not len(empty) or n_points == k:
        return
    random = faiss.RandomGenerator(SPLIT_SEED)
    weights = counts.astype(np.float32)
    shift = np.where(np.arange(centroids.shape[1]) % 2 == 0, SPLIT_SHIFT, -SPLIT_SHIFT).astype(np.float32)
    for i in empty:
        j = 0
        while random.rand_float() >= (weights[j] - 1) / (n_points - k):
            j = (j + 1) % k
        centroids[i] = centroids[j] * (1 + shift)
        centroids[j] *= 1 - shift
        weights[i] = weights[j] / 2
        weights[j] -= weights[i]


__all__ = ["DEVICES", "KMeansFit", "check_kmeans", "kmeans_memory", "run_distributed_kmeans", "run_kmeans"]
