"""K-means by FAISS's rules, over points on one process or many.

Each point's nearest centroid is found by torch on a CPU and by FAISS on a GPU; sums and counts are added up over
processes in float64. Initial choice, refill of empty clusters and the order of steps follow FAISS's `Clustering`
(faiss/Clustering.cpp), so that one process gives what FAISS gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..errors import InputError, MissingDependencyError
from ..metagenbert.modeling_metagenbert import two_nearest
from ..runs.process_group import ProcessGroup
from .points import Points, chunk_rows

# The halves of a cluster that is split to refill an empty one move apart by this share.
SPLIT_SHIFT = 1 / 1024
SPLIT_SEED = 1234
# A gap between the two nearest centroids under this share of the vectors' scale may be rounding.
TIE_TOLERANCE = 1e-6
# Of distances at once.
TILE_BYTES = 4 << 20
# Buffers of MKL and gloo.
LIBRARY_BYTES = 32 << 20


@dataclass(frozen=True)
class KMeansFit:
    """Centroids and how the fit went.

    Attributes:
        centroids: float32 `(n_clusters, hidden_size)`.
        objective: Sum of squared distances of all points to their nearest centroid at the start of each iteration, as
            FAISS reports it. With `spherical`, squared distances between unit vectors.
        cluster_sizes: int64 `(n_clusters,)`, points nearest to each final centroid.
        n_empty: Clusters without a point.
        device: What ran: `cpu`, or `cuda:N (name)`.
        n_points: Points given.
        n_iterations: Of Lloyd's algorithm.
        seed: Of the initial choice of points.
        spherical: Whether centroids were scaled to unit length at each iteration.
    """

    centroids: np.ndarray
    objective: tuple[float, ...]
    cluster_sizes: np.ndarray
    n_empty: int
    device: str
    n_points: int
    n_iterations: int
    seed: int
    spherical: bool


def import_faiss() -> Any:
    """FAISS, whichever build is installed.

    Raises:
        MissingDependencyError: None is, or its package is empty (as after removing one of two builds).
    """
    advice = "install one build: pip install 'biomeformer[cpu]', or 'biomeformer[gpu]' for CUDA, never both at once."
    try:
        import faiss
    except ImportError as error:
        raise MissingDependencyError(f"K-means needs faiss, which cannot be imported ({error}); {advice}") from error
    if not hasattr(faiss, "Clustering"):
        raise MissingDependencyError(f"K-means needs faiss, and the one installed is an empty package; {advice}")
    return faiss


def _gpu_number(faiss: Any, device: str) -> int | None:
    """The GPU that `device` names, None for the CPU."""
    kind, _, number = device.partition(":")
    if kind == "cpu":
        return None
    if kind != "cuda":
        raise InputError(f"device {device!r} is not one that faiss knows; give cpu, cuda or cuda:N.")
    n_gpus = faiss.get_num_gpus() if hasattr(faiss, "StandardGpuResources") else 0
    gpu = int(number or 0)
    if gpu >= n_gpus:
        build = "has GPU support" if hasattr(faiss, "StandardGpuResources") else "is built for the CPU"
        raise InputError(
            f"device {device!r} was asked for and faiss sees {n_gpus} GPUs (this build {build}); use the cpu, or "
            "install 'biomeformer[gpu]' in an environment without faiss-cpu."
        )
    return gpu


def run_kmeans(
    embeddings: np.ndarray,
    n_clusters: int,
    *,
    n_iterations: int = 20,
    seed: int = 0,
    spherical: bool = False,
    device: str = "cpu",
) -> KMeansFit:
    """Lloyd's k-means over all points given; large clusters are split to refill empty ones.

    Args:
        embeddings: float32 `(n_points, hidden_size)`; of unit length if `spherical`.
        n_clusters: How many centroids.
        n_iterations: Of Lloyd's algorithm.
        seed: Of the initial choice of points. Equal arguments give equal centroids on one device.
        spherical: Scale centroids to unit length at each iteration.
        device: `cpu`, `cuda` or `cuda:N`.

    Returns:
        Centroids, objective per iteration, cluster sizes and what ran.

    Raises:
        InputError: The array is not float32, two-dimensional and finite, has fewer points than clusters, or a number is
            out of range, or the device is absent.
        MissingDependencyError: No faiss is installed.
    """
    if embeddings.ndim != 2 or embeddings.dtype != np.float32:
        raise InputError(
            f"K-means was given an array of shape {embeddings.shape} and type {embeddings.dtype}; give float32 "
            "(n_points, hidden_size)."
        )
    if not np.isfinite(embeddings).all():
        raise InputError("K-means was given vectors with NaN or infinity; check the read encoder's weights.")
    points = Points.from_array(np.ascontiguousarray(embeddings))
    options: dict[str, Any] = {"n_iterations": n_iterations, "seed": seed, "spherical": spherical, "device": device}
    return run_distributed_kmeans(points, [n_clusters], **options)[0]


def run_distributed_kmeans(
    points: Points,
    n_clusters: Sequence[int],
    *,
    n_iterations: int = 20,
    seed: int = 0,
    spherical: bool = False,
    device: str = "cpu",
    processes: ProcessGroup | None = None,
    progress: Callable[[int, dict[int, float]], None] | None = None,
) -> list[KMeansFit]:
    """K-means over points that several processes share, for several numbers of clusters in one go.

    An iteration reads the points once, for all of `n_clusters`.

    Args:
        points: This process's share.
        n_clusters: Numbers of centroids.
        n_iterations: Of Lloyd's algorithm.
        seed: Of the initial choice of points, which does not depend on how they are shared out.
        spherical: Scale centroids to unit length at each iteration.
        device: Of this process: `cpu`, `cuda` or `cuda:N`.
        processes: The processes.
        progress: Called after each iteration with its number from 1, and the objective by number of clusters.

    Returns:
        A fit for each of `n_clusters`, equal on all processes.

    Raises:
        InputError: There are fewer points than clusters, or a number is out of range, or the device is absent.
        MissingDependencyError: No faiss is installed.
        RankError: Another process is gone.
    """
    processes = processes or ProcessGroup()
    faiss = import_faiss()
    for k in n_clusters:
        if k < 1 or n_iterations < 1:
            raise InputError(f"n_clusters is {k} and n_iterations {n_iterations}; both must be at least 1.")
        if points.n_points < k:
            raise InputError(
                f"{k} clusters were asked for and there are {points.n_points} points; ask for fewer clusters."
            )
    if not 0 <= seed < 2**31:
        raise InputError(f"seed is {seed}; FAISS takes 0 to 2147483647.")
    gpu = _gpu_number(faiss, device)
    resources = None if gpu is None else faiss.StandardGpuResources()
    states = [
        _Clusters(faiss, centroids, gpu, resources, spherical)
        for centroids in _initial_centroids(faiss, points, n_clusters, seed, processes)
    ]
    objectives: list[list[float]] = [[] for _ in states]
    for iteration in range(n_iterations):
        _pass_over(points, states, processes)
        for state, objective in zip(states, objectives, strict=True):
            objective.append(state.update(points.n_points, processes))
        if progress is not None:
            progress(iteration + 1, {k: objective[-1] for k, objective in zip(n_clusters, objectives, strict=True)})
    _pass_over(points, states, processes)
    fits = []
    for state, objective in zip(states, objectives, strict=True):
        sizes = processes.all_reduce(state.counts)
        fits.append(
            KMeansFit(
                centroids=state.centroids,
                objective=tuple(objective),
                cluster_sizes=sizes,
                n_empty=int((sizes == 0).sum()),
                device="cpu" if gpu is None else f"cuda:{gpu} ({torch.cuda.get_device_name(gpu)})",
                n_points=points.n_points,
                n_iterations=n_iterations,
                seed=seed,
                spherical=spherical,
            )
        )
    return fits


def kmeans_memory(n_clusters: Sequence[int], hidden_size: int) -> int:
    """Bytes that k-means takes on each process beside its points: centroids, sums, and the chunk at work."""
    # Centroids, the index's copy of them, and in float64 the sums, those of a chunk and their exchange.
    centroids = sum(n_clusters) * hidden_size * (4 + 4 + 3 * 8)
    # The chunk at work and the one that is read, each once more as it comes from the file or in float64, and a tile of
    # distances with what is freed of the one before, and in float64 where all are doubtful.
    chunks = chunk_rows(hidden_size) * hidden_size * (3 * 4 + 2 * 8) + 4 * max(TILE_BYTES, max(n_clusters) * 4)
    return centroids + chunks + LIBRARY_BYTES


class _Clusters:
    """The centroids of one number of clusters, and what a pass over the points adds up."""

    def __init__(self, faiss: Any, centroids: np.ndarray, gpu: int | None, resources: Any, spherical: bool) -> None:
        self.faiss, self.spherical = faiss, spherical
        self.index = None
        if gpu is not None:
            self.index = faiss.index_cpu_to_gpu(resources, gpu, faiss.IndexFlatL2(centroids.shape[1]))
        self._take(centroids)

    def _take(self, centroids: np.ndarray) -> None:
        if self.spherical:
            centroids = centroids / np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-30)
        self.centroids = np.ascontiguousarray(centroids, np.float32)
        if self.index is not None:
            self.index.reset()
            self.index.add(self.centroids)

    def start_pass(self) -> None:
        self.sums = torch.zeros(self.centroids.shape, dtype=torch.float64)
        self.counts = np.zeros(len(self.centroids), np.int64)
        self.objective = 0.0

    def add(self, chunk: np.ndarray, exact: torch.Tensor) -> None:
        """Count points `(n, hidden_size)`, in float32 and in float64, to their nearest centroids."""
        if self.index is None:
            distances, nearest = nearest_centroids(chunk, self.centroids)
        else:
            found = self.index.search(chunk, 1)
            distances, nearest = found[0][:, 0], found[1][:, 0]
        self.sums.index_add_(0, torch.from_numpy(nearest), exact)
        self.counts += np.bincount(nearest, minlength=len(self.counts))
        self.objective += float(distances.sum(dtype=np.float64))

    def update(self, n_points: int, processes: ProcessGroup) -> float:
        """Move the centroids to the means of all processes' points; gives the objective before."""
        sums, counts = processes.all_reduce(self.sums.numpy()), processes.all_reduce(self.counts)
        objective = float(processes.all_reduce(np.array([self.objective]))[0])
        centroids = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
        _refill_empty(self.faiss, centroids, counts, n_points)
        # Sums may differ in their last bit between processes; centroids must not.
        self._take(processes.broadcast_array(centroids))
        return objective


def nearest_centroids(points: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest centroids on the CPU, by torch: 1.3 to 1.5 times as fast there as FAISS's `IndexFlatL2`.

    Points about as near to two centroids are compared in float64, and of equally near centroids have the first.

    Args:
        points: float32 `(n_points, hidden_size)`.
        centroids: float32 `(n_clusters, hidden_size)`.

    Returns:
        Squared distances, float32 `(n_points,)`, and numbers of centroids, int64 `(n_points,)`.
    """
    table = torch.from_numpy(centroids)
    norms = table.square().sum(1)
    distances = np.empty(len(points), np.float32)
    nearest = np.empty(len(points), np.int64)
    n_rows = max(TILE_BYTES // (4 * len(centroids)), 1)
    for first in range(0, len(points), n_rows):
        tile = torch.from_numpy(points[first : first + n_rows])
        number, least, second = two_nearest(torch.addmm(norms, tile, table.T, alpha=-2))
        squares = tile.square().sum(1)
        doubtful = (second - least <= TIE_TOLERANCE * (squares + norms.max())).nonzero()[:, 0]
        if len(doubtful) and len(centroids) > 1:
            exact = torch.cdist(tile[doubtful].double(), table.double(), compute_mode="donot_use_mm_for_euclid_dist")
            number[doubtful] = exact.argmin(1)
        distances[first : first + n_rows] = (least + squares).clamp_min_(0).numpy()
        nearest[first : first + n_rows] = number.numpy()
    return distances, nearest


def _pass_over(points: Points, states: list[_Clusters], processes: ProcessGroup) -> None:
    for state in states:
        state.start_pass()
    for chunk in points.chunks():
        processes.check()
        exact = torch.from_numpy(chunk).double()
        for state in states:
            state.add(chunk, exact)
        # The next chunk is read before these names are given to it.
        del chunk, exact


def _initial_centroids(
    faiss: Any, points: Points, n_clusters: Sequence[int], seed: int, processes: ProcessGroup
) -> list[np.ndarray]:
    """For each number of clusters the first so many points of a random order of all, as FAISS draws it."""
    order = np.empty(points.n_points, np.int32)
    faiss.rand_perm(faiss.swig_ptr(order), points.n_points, seed + 1)
    chosen = order[: max(n_clusters)].astype(np.int64) - points.first
    found = np.zeros((len(chosen), points.hidden_size), np.float32)
    start = 0
    for chunk in points.chunks():
        rows = np.flatnonzero((chosen >= start) & (chosen < start + len(chunk)))
        found[rows] = chunk[chosen[rows] - start]
        start += len(chunk)
    # Each point is one process's; the others add zeros.
    found = processes.all_reduce(found)
    return [found[:k].copy() for k in n_clusters]


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


__all__ = ["KMeansFit", "import_faiss", "kmeans_memory", "run_distributed_kmeans", "run_kmeans"]
