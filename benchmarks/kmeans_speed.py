"""How fast k-means finds each point's nearest centroid: FAISS's flat index beside torch, in turn.

Points are random and read by the same chunks as in a fit. Ratios are of the same round; their median and range are
kept. On a GPU FAISS's index lies there, and torch's centroids and points do.

    python benchmarks/kmeans_speed.py --threads 2
    python benchmarks/kmeans_speed.py --device cuda --points 2000000
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hardware import describe, seconds
from rich.console import Console

from biomeformer.clustering.kmeans import import_faiss, nearest_centroids
from biomeformer.clustering.points import Points

RESULTS = Path(__file__).parent / "results"


def by_faiss(index: Any, points: Points) -> np.ndarray:
    """Numbers of the nearest centroids of all points."""
    return np.concatenate([index.search(chunk, 1)[1][:, 0] for chunk in points.chunks()])


def by_torch(centroids: np.ndarray, points: Points, device: torch.device) -> np.ndarray:
    """As `by_faiss`; on the CPU as a fit does it."""
    if device.type == "cpu":
        return np.concatenate([nearest_centroids(chunk, centroids)[1] for chunk in points.chunks()])
    table = torch.from_numpy(centroids).to(device)
    norms = table.square().sum(1)
    found = [
        torch.addmm(norms, torch.from_numpy(chunk).to(device), table.T, alpha=-2).argmin(1) for chunk in points.chunks()
    ]
    return torch.cat(found).cpu().numpy()


def measure(
    n_points: int, hidden_size: int, clusters: list[int], rounds: int, device: torch.device
) -> list[dict[str, Any]]:
    """One row a number of clusters."""
    faiss = import_faiss()
    vectors = np.random.default_rng(0).normal(size=(n_points, hidden_size)).astype(np.float32)
    points = Points.from_array(vectors)
    rows = []
    for k in clusters:
        centroids = np.ascontiguousarray(vectors[:k])
        index = faiss.IndexFlatL2(hidden_size)
        if device.type == "cuda":
            index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), device.index or 0, index)
        index.add(centroids)
        equal = float((by_faiss(index, points) == by_torch(centroids, points, device)).mean())
        took: dict[str, list[float]] = {"faiss": [], "torch": []}
        works = [
            ("faiss", lambda i=index: by_faiss(i, points)),
            ("torch", lambda c=centroids: by_torch(c, points, device)),
        ]
        for number in range(rounds):
            for name, work in works if number % 2 == 0 else works[::-1]:
                took[name].append(seconds(work, device))
        ratios = [a / b for a, b in zip(took["faiss"], took["torch"], strict=True)]
        rows.append(
            {
                "n_clusters": k,
                "points_per_second": {name: round(n_points / statistics.median(times)) for name, times in took.items()},
                "torch_over_faiss": round(statistics.median(ratios), 2),
                "range": [round(min(ratios), 2), round(max(ratios), 2)],
                "equal": equal,
            }
        )
    return rows


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=50_000)
    parser.add_argument("--hidden-size", type=int, default=768)
    parser.add_argument("--clusters", default="256,1024,4096", help="by commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    # The OpenBLAS inside the faiss-cpu wheel takes processors newer than itself for one of 2004: five times slower.
    if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"):
        os.environ.setdefault("OPENBLAS_CORETYPE", "Zen")
    import_faiss().omp_set_num_threads(args.threads)
    device = torch.device(args.device)
    clusters = [int(k) for k in args.clusters.split(",")]
    result = {
        **describe(device, args.threads),
        "n_points": args.points,
        "hidden_size": args.hidden_size,
        "clusters": measure(args.points, args.hidden_size, clusters, args.rounds, device),
    }
    Console().print(result["clusters"])
    output = RESULTS / f"kmeans_speed.{device.type}.json"
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(f"Written to {output}")


if __name__ == "__main__":
    main()
