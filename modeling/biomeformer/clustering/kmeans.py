"""K-means on FAISS, on the CPU or a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError, MissingDependencyError


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
    """Lloyd's k-means over all points given; FAISS splits large clusters to refill empty ones.

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
    faiss = import_faiss()
    if embeddings.ndim != 2 or embeddings.dtype != np.float32:
        raise InputError(
            f"K-means was given an array of shape {embeddings.shape} and type {embeddings.dtype}; give float32 "
            "(n_points, hidden_size)."
        )
    n_points, hidden_size = embeddings.shape
    if n_clusters < 1 or n_iterations < 1:
        raise InputError(f"n_clusters is {n_clusters} and n_iterations {n_iterations}; both must be at least 1.")
    if not 0 <= seed < 2**31:
        raise InputError(f"seed is {seed}; FAISS takes 0 to 2147483647.")
    if n_points < n_clusters:
        raise InputError(
            f"{n_clusters} clusters were asked for and there are {n_points} points; ask for fewer clusters."
        )
    if not np.isfinite(embeddings).all():
        raise InputError("K-means was given vectors with NaN or infinity; check the read encoder's weights.")
    gpu = _gpu_number(faiss, device)
    embeddings = np.ascontiguousarray(embeddings)

    index: Any = faiss.IndexFlatL2(hidden_size)
    ran = "cpu"
    if gpu is not None:
        import torch

        index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), gpu, index)
        ran = f"cuda:{gpu} ({torch.cuda.get_device_name(gpu)})"
    clustering = faiss.Clustering(hidden_size, n_clusters)
    clustering.niter = n_iterations
    clustering.seed = seed
    clustering.spherical = spherical
    clustering.min_points_per_centroid = 1
    # By default FAISS draws 256 points a centroid and leaves the rest out.
    clustering.max_points_per_centroid = n_points
    clustering.train(embeddings, index)
    centroids = faiss.vector_to_array(clustering.centroids).reshape(n_clusters, hidden_size).copy()
    stats = clustering.iteration_stats
    objective = tuple(float(stats.at(i).obj) for i in range(stats.size()))
    index.reset()
    index.add(centroids)
    _, nearest = index.search(embeddings, 1)
    sizes = np.bincount(nearest[:, 0], minlength=n_clusters).astype(np.int64)
    return KMeansFit(
        centroids=centroids,
        objective=objective,
        cluster_sizes=sizes,
        n_empty=int((sizes == 0).sum()),
        device=ran,
        n_points=n_points,
        n_iterations=n_iterations,
        seed=seed,
        spherical=spherical,
    )


__all__ = ["KMeansFit", "import_faiss", "run_kmeans"]
