"""K-means: the same to the last bit from run to run, and as on the CPU."""

from __future__ import annotations

import numpy as np
import pytest

from biomeformer.metagenomes import run_kmeans


@pytest.mark.parametrize("spherical", [False, True])
def test_kmeans_repeats_exactly_and_agrees_with_the_cpu(device, spherical, record_property):
    rng = np.random.default_rng(0)
    centres = 3 * rng.normal(size=(200, 96))
    points = centres[rng.choice(200, 30_000)] + rng.normal(size=(30_000, 96))
    # Points that are there twice, and such that tie between centroids.
    points[:3000] = points[3000:6000]
    points[6000:7000] = rng.integers(-1, 2, size=(1000, 96))
    if spherical:
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    points = points.astype(np.float32)
    options = {"n_iterations": 8, "seed": 3, "spherical": spherical}
    first, again = (run_kmeans(points, 128, device=str(device), **options) for _ in range(2))
    assert np.array_equal(first.centroids, again.centroids) and first.objective == again.objective
    assert np.array_equal(first.cluster_sizes, again.cluster_sizes)
    cpu = run_kmeans(points, 128, device="cpu", **options)
    error = float(np.abs(first.centroids - cpu.centroids).max())
    record_property("error", error)
    record_property("points_moved", int(np.abs(first.cluster_sizes - cpu.cluster_sizes).sum()) // 2)
    assert np.array_equal(first.cluster_sizes, cpu.cluster_sizes) and error < 1e-5
    np.testing.assert_allclose(first.objective, cpu.objective, rtol=1e-6)
