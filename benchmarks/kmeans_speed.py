"""Measure nearest centroids and k-means fits, compared with FAISS's flat index and its k-means.

Points are random and read in the same chunks as in a fit. FAISS takes part on a CUDA device if its GPU build is
installed (`pip install 'biomeformer[gpu]'` in an environment without faiss-cpu), and flash-kmeans (Triton; in float32
its products may be TF32) where it can be imported. Ratios are of the same round; their median and range are kept.

    python benchmarks/kmeans_speed.py --threads 2
    python benchmarks/kmeans_speed.py --device cuda --points 2000000
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hardware import describe, seconds
from rich.console import Console

from biomeformer.inference.faiss_build import faiss_state, import_faiss
from biomeformer.metagenomes import run_kmeans
from biomeformer.metagenomes.device_points import DevicePoints
from biomeformer.metagenomes.kmeans import free_memory, nearest_centroids
from biomeformer.metagenomes.points import Points

RESULTS = Path(__file__).parent / "results"
Work = Callable[[], Any]


def faiss_index(hidden_size: int, device: torch.device) -> Any:
    """FAISS's flat index on the device; None where its build has no GPU support."""
    faiss = import_faiss()
    index = faiss.IndexFlatL2(hidden_size)
    if device.type == "cpu":
        return index
    if not hasattr(faiss, "StandardGpuResources") or device.index >= faiss.get_num_gpus():
        return None
    return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), device.index, index)


def flash_kmeans() -> Any:
    """The package flash-kmeans; None where it cannot be imported."""
    try:
        return import_module("flash_kmeans")
    except Exception as error:
        print(f"Without flash-kmeans: {error}")
        return None


def nearest_works(vectors: np.ndarray, k: int, device: torch.device) -> dict[str, Work]:
    """Ways to the number of each point's nearest of `k` centroids; for ours points and centroids lie on the device."""
    centroids, points = np.ascontiguousarray(vectors[:k]), Points.from_array(vectors)
    room = free_memory(device) // 2 if device.type == "cuda" else 0
    local, table = DevicePoints.from_points(points, device, room), torch.from_numpy(centroids).to(device)
    works: dict[str, Work] = {
        "torch": lambda: torch.cat([nearest_centroids(chunk, table)[1] for chunk in local.chunks()]).cpu().numpy()
    }
    index = faiss_index(vectors.shape[1], device)
    if index is not None:
        index.add(centroids)
        works["faiss"] = lambda: np.concatenate([index.search(chunk, 1)[1][:, 0] for chunk in points.chunks()])
    return works


def fit_works(vectors: np.ndarray, k: int, n_iterations: int, device: torch.device) -> dict[str, Work]:
    """Ways to k-means from points in the CPU's memory; ours counts the points of each cluster once more at the end."""
    works: dict[str, Work] = {"torch": lambda: run_kmeans(vectors, k, n_iterations=n_iterations, device=str(device))}
    index = faiss_index(vectors.shape[1], device)
    if index is not None:

        def by_faiss() -> None:
            clustering = import_faiss().Clustering(vectors.shape[1], k)
            clustering.niter, clustering.max_points_per_centroid = n_iterations, len(vectors)
            clustering.min_points_per_centroid = 1
            clustering.train(vectors, index)

        works["faiss"] = by_faiss
    flash = flash_kmeans() if device.type == "cuda" else None
    if flash is not None:
        works["flash-kmeans"] = lambda: flash.batch_kmeans_Euclid(
            torch.from_numpy(vectors).to(device)[None], n_clusters=k, max_iters=n_iterations, tol=0.0
        )
    return works


def compare(works: dict[str, Work], rounds: int, device: torch.device) -> dict[str, Any]:
    """Median seconds of each, after one call each to warm up, and how many times as fast as the others ours is."""
    for work in works.values():
        work()
    took: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds):
        for name in list(works)[:: 1 if number % 2 == 0 else -1]:
            took[name].append(seconds(works[name], device))
    result: dict[str, Any] = {"seconds": {name: round(statistics.median(times), 4) for name, times in took.items()}}
    for name in works.keys() - {"torch"}:
        ratios = [a / b for a, b in zip(took[name], took["torch"], strict=True)]
        result[f"torch_over_{name}"] = round(statistics.median(ratios), 2)
        result[f"torch_over_{name}_range"] = [round(min(ratios), 2), round(max(ratios), 2)]
    return result


def measure(
    n_points: int, hidden_size: int, clusters: list[int], rounds: int, n_iterations: int, device: torch.device
) -> list[dict[str, Any]]:
    """One row a number of clusters."""
    vectors = np.random.default_rng(0).standard_normal((n_points, hidden_size), np.float32)
    rows = []
    for k in clusters:
        works = nearest_works(vectors, k, device)
        assignments = {name: work() for name, work in works.items()}
        nearest = compare(works, rounds, device)
        row = {
            "n_clusters": k,
            "points_per_second": {name: round(n_points / took) for name, took in nearest.pop("seconds").items()},
            **nearest,
            "equal": float((assignments["torch"] == assignments["faiss"]).mean()) if "faiss" in assignments else None,
        }
        # Points on a device make room for the fit's.
        works.clear()
        rows.append({**row, "fit": compare(fit_works(vectors, k, n_iterations, device), rounds, device)})
    return rows


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=50_000)
    parser.add_argument("--hidden-size", type=int, default=768)
    parser.add_argument("--clusters", default="256,1024,4096", help="by commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=3, help="of a fit")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--output", type=Path, help="default: results/kmeans_speed.DEVICE.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    # The OpenBLAS inside the faiss-cpu wheel takes processors newer than itself for one of 2004: five times slower.
    if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"):
        os.environ.setdefault("OPENBLAS_CORETYPE", "Zen")
    import_faiss().omp_set_num_threads(args.threads)
    device = torch.device(args.device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    clusters = [int(k) for k in args.clusters.split(",")]
    state = faiss_state()
    result = {
        **describe(device, args.threads),
        "faiss": {"imports": state.imports, "version": state.version},
        "n_points": args.points,
        "hidden_size": args.hidden_size,
        "n_iterations": args.iterations,
        "clusters": measure(args.points, args.hidden_size, clusters, args.rounds, args.iterations, device),
    }
    Console().print(result["clusters"])
    output = args.output or RESULTS / f"kmeans_speed.{device.type}.json"
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(f"Written to {output}")


if __name__ == "__main__":
    main()
