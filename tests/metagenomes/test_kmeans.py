"""K-means on FAISS, and centroids of a cohort."""

import json
import sys
import tracemalloc
import types

import numpy as np
import pytest
from safetensors.numpy import save_file

import biomeformer
from biomeformer.errors import InputError, MissingDependencyError
from biomeformer.metagenomes import Points, fit_centroids, run_distributed_kmeans, run_kmeans
from biomeformer.metagenomes.kmeans import LIBRARY_BYTES, import_faiss, kmeans_memory
from biomeformer.metagenomes.points import CHUNK_BYTES
from biomeformer.models.metagenbert import MetagenBertProcessor
from factories import bpe_tokenizer, tiny_dnabert2, write_cohort


@pytest.fixture
def blobs():
    """Five well-separated groups, with their centres."""
    rng = np.random.default_rng(0)
    centres = 20 * np.eye(5, 8)
    points = centres[np.arange(1000) % 5] + rng.normal(size=(1000, 8))
    return points.astype(np.float32), centres


def test_finds_planted_centres(blobs):
    points, centres = blobs
    best = min((run_kmeans(points, 5, seed=seed) for seed in range(5)), key=lambda fit: fit.objective[-1])
    distance = np.linalg.norm(best.centroids[:, None] - centres, axis=2).min(0)
    assert distance.max() < 0.5
    assert best.cluster_sizes.tolist() == [200] * 5 and best.n_empty == 0 and best.device == "cpu"
    exact = ((points[:, None] - best.centroids) ** 2).sum(2).min(1).sum()
    assert best.objective[-1] == pytest.approx(exact, rel=1e-3)


def test_objective_falls_and_seed_decides(blobs):
    points, _ = blobs
    first, again, other = (run_kmeans(points, 12, seed=seed, n_iterations=8) for seed in (1, 1, 2))
    assert np.array_equal(first.centroids, again.centroids) and not np.array_equal(first.centroids, other.centroids)
    assert all(late <= early * (1 + 1e-6) for early, late in zip(first.objective, first.objective[1:], strict=False))
    assert first.centroids.shape == (12, 8) and first.cluster_sizes.sum() == 1000


def test_spherical_centroids_have_unit_length(blobs):
    points = blobs[0] / np.linalg.norm(blobs[0], axis=1, keepdims=True)
    fit = run_kmeans(points, 5, spherical=True)
    np.testing.assert_allclose(np.linalg.norm(fit.centroids, axis=1), 1, atol=1e-5)


def faiss_kmeans(points, k, seed, n_iterations, spherical=False, max_points=None):
    """Centroids, objectives and numbers of splits of FAISS's own k-means."""
    faiss = import_faiss()
    clustering = faiss.Clustering(points.shape[1], k)
    clustering.niter, clustering.seed, clustering.spherical = n_iterations, seed, spherical
    clustering.min_points_per_centroid, clustering.max_points_per_centroid = 1, max_points or len(points)
    clustering.train(points, faiss.IndexFlatL2(points.shape[1]))
    # It stops when nothing moves any more.
    stats = [clustering.iteration_stats.at(i) for i in range(clustering.iteration_stats.size())]
    centroids = faiss.vector_to_array(clustering.centroids).reshape(k, -1)
    return centroids, [s.obj for s in stats], [s.nsplit for s in stats]


@pytest.mark.parametrize(
    ("kind", "spherical"),
    [("blobs", False), ("blobs", True), ("noise", False), ("noise", True), ("with empty clusters", False)],
)
def test_kmeans_gives_the_centroids_of_faiss(blobs, kind, spherical):
    rng = np.random.default_rng(2)
    points = {
        "blobs": blobs[0],
        "noise": rng.normal(size=(3000, 16)).astype(np.float32),
        "with empty clusters": rng.integers(0, 3, size=(600, 3)).astype(np.float32) + 1,
    }[kind]
    if spherical:
        points = points / np.linalg.norm(points, axis=1, keepdims=True)
    k = 60
    centroids, objective, n_splits = faiss_kmeans(points, k, 7, 12, spherical)
    fit = run_kmeans(points, k, seed=7, n_iterations=12, spherical=spherical)
    assert (max(n_splits) > 0) == (kind == "with empty clusters")
    scale = (points**2).sum()
    np.testing.assert_allclose(fit.objective[: len(objective)], objective, rtol=1e-2, atol=1e-6 * scale)
    np.testing.assert_allclose(fit.centroids, centroids, atol=1e-4)


@pytest.mark.parametrize("spherical", [False, True])
def test_a_limit_of_points_per_centroid_samples_as_faiss_does(spherical):
    points = np.random.default_rng(3).normal(size=(3000, 16)).astype(np.float32)
    if spherical:
        points = points / np.linalg.norm(points, axis=1, keepdims=True)
    centroids, objective, _ = faiss_kmeans(points, 40, 7, 12, spherical, max_points=20)
    fit = run_kmeans(points, 40, seed=7, n_iterations=12, spherical=spherical, max_points_per_centroid=20)
    np.testing.assert_allclose(fit.objective[: len(objective)], objective, rtol=1e-2)
    np.testing.assert_allclose(fit.centroids, centroids, atol=1e-4)
    assert (fit.n_trained, fit.n_points) == (800, 3000) and fit.cluster_sizes.sum() == 3000
    everything = run_kmeans(points, 40, seed=7, n_iterations=12, spherical=spherical)
    loose = run_kmeans(points, 40, seed=7, n_iterations=12, spherical=spherical, max_points_per_centroid=75)
    assert np.array_equal(loose.centroids, everything.centroids) and loose.n_trained == 3000
    assert np.abs(everything.centroids - fit.centroids).max() > 0.01


def test_each_number_of_clusters_has_its_own_limit():
    points = np.random.default_rng(4).normal(size=(900, 6)).astype(np.float32)
    fits = run_distributed_kmeans(
        Points.from_array(points), [4, 30], n_iterations=4, seed=1, max_points_per_centroid=20
    )
    assert [fit.n_trained for fit in fits] == [80, 600]
    for k, fit in zip((4, 30), fits, strict=True):
        alone = run_kmeans(points, k, n_iterations=4, seed=1, max_points_per_centroid=20)
        assert np.array_equal(fit.centroids, alone.centroids)
    with pytest.raises(InputError, match="max_points_per_centroid is 0; it must be at least 1"):
        run_kmeans(points, 4, max_points_per_centroid=0)


def test_several_numbers_of_clusters_at_once(blobs):
    points = Points.from_array(blobs[0])
    seen = []
    fits = run_distributed_kmeans(points, [3, 11], n_iterations=5, seed=1, progress=lambda i, o: seen.append((i, o)))
    for k, fit in zip((3, 11), fits, strict=True):
        alone = run_kmeans(blobs[0], k, n_iterations=5, seed=1)
        assert np.array_equal(fit.centroids, alone.centroids) and fit.objective == alone.objective
        assert np.array_equal(fit.cluster_sizes, alone.cluster_sizes)
    assert [i for i, _ in seen] == [1, 2, 3, 4, 5] and list(seen[0][1]) == [3, 11]


@pytest.mark.parametrize("chunk_bytes", [1, 300, 5000, 1 << 20])
@pytest.mark.parametrize("n_ranks", [1, 3])
def test_points_of_files(tmp_path, monkeypatch, chunk_bytes, n_ranks):
    """Every row once, in order, whatever files, processes and chunks."""
    monkeypatch.setattr("biomeformer.metagenomes.points.CHUNK_BYTES", chunk_bytes)
    rows = np.arange(100 * 4, dtype=np.float32).reshape(100, 4)
    files = []
    for i, (first, last) in enumerate([(0, 30), (30, 30), (30, 31), (31, 100)]):
        save_file({"vectors": rows[first:last].copy()}, tmp_path / f"{i}.safetensors")
        files.append((tmp_path / f"{i}.safetensors", last - first))
    for max_bytes in (0, 1 << 20):
        shares = [Points.from_files(files, 4, rank, n_ranks, max_bytes) for rank in range(n_ranks)]
        assert [share.on_disk for share in shares] == [max_bytes == 0] * n_ranks
        assert [share.first for share in shares] == [100 * rank // n_ranks for rank in range(n_ranks)]
        for _ in range(2):
            chunks = [chunk for share in shares for chunk in share.chunks()]
            assert np.array_equal(np.concatenate(chunks), rows)
            assert all(chunk.nbytes <= max(chunk_bytes, 16) for chunk in chunks)


def test_points_on_the_disk_take_no_memory(tmp_path):
    """What Python and NumPy allocate, which is the same on every machine; a process's size depends on its allocator."""
    n, hidden_size = 300_000, 128
    path = tmp_path / "vectors.safetensors"
    save_file({"vectors": np.random.default_rng(0).normal(size=(n, hidden_size)).astype(np.float32)}, path)
    allowed = kmeans_memory([8, 24], hidden_size) - LIBRARY_BYTES
    peaks = {}
    for max_bytes in (0, n * hidden_size * 4):
        tracemalloc.start()
        points = Points.from_files([(path, n)], hidden_size, 0, 1, max_bytes)
        run_distributed_kmeans(points, [8, 24], n_iterations=1)
        peaks[points.on_disk] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert CHUNK_BYTES < peaks[True] <= allowed
    assert peaks[False] > n * hidden_size * 4 > allowed


def test_as_many_clusters_as_points():
    points = np.repeat(np.arange(5, dtype=np.float32), 2)[:, None]
    fit = run_kmeans(points, 10)
    assert fit.cluster_sizes.sum() == 10 and fit.objective[-1] == 0


@pytest.mark.parametrize(
    ("points", "options", "message"),
    [
        (np.zeros((3, 4), np.float32), {}, "5 clusters were asked for and there are 3 points"),
        (np.zeros((9, 4)), {}, "type float64"),
        (np.zeros(9, np.float32), {}, r"shape \(9,\)"),
        (np.full((9, 4), np.nan, np.float32), {}, "NaN"),
        (np.zeros((9, 4), np.float32), {"n_iterations": 0}, "n_iterations 0"),
        (np.zeros((9, 4), np.float32), {"seed": 2**31}, "seed is 2147483648"),
        (np.zeros((9, 4), np.float32), {"device": "tpu"}, "'tpu'"),
        (np.zeros((9, 4), np.float32), {"device": "cuda:99"}, "'cuda:99' was asked for and 0 CUDA devices are here"),
    ],
)
def test_kmeans_refuses_bad_arguments(points, options, message):
    with pytest.raises(InputError, match=message):
        run_kmeans(points, 5, **options)


@pytest.mark.parametrize("module", [None, types.ModuleType("faiss")])
def test_faiss_missing_or_empty(monkeypatch, module):
    monkeypatch.setitem(sys.modules, "faiss", module)
    with pytest.raises(MissingDependencyError, match=r"biomeformer\[cpu\]"):
        run_kmeans(np.zeros((9, 4), np.float32), 2)


@pytest.mark.parametrize("spherical", [False, True])
def test_fit_centroids_to_checkpoint(tmp_path, spherical):
    cohort = write_cohort(tmp_path, n_samples=3, n_reads=60)
    processor = MetagenBertProcessor(bpe_tokenizer(), max_length=42, pooling="mean_over_max_length")
    fit = fit_centroids(
        cohort, tiny_dnabert2(), processor, n_clusters=6, reads_per_sample=40, n_iterations=5, spherical=spherical
    )
    assert fit.n_reads_used == {"s0": 40, "s1": 40, "s2": 40} and fit.kmeans.n_points == 120
    folder = fit.save(tmp_path / "checkpoint")
    record = json.loads((folder / "training_record.json").read_text())
    assert record["kmeans"]["objective"] == list(fit.kmeans.objective) and record["n_reads_used"] == 120
    model = biomeformer.load(folder)
    assert np.array_equal(model.centroids.numpy(), fit.kmeans.centroids)
    assert model.config.normalize_embeddings == spherical and model.config.pooling == "mean_over_max_length"
    counts = model.embed_cohort(cohort).counts
    assert counts.shape == (3, 6) and (counts.sum(1) == 60).all() and (counts.sum(0) > 0).sum() > 1


def test_fit_centroids_refuses(tmp_path):
    cohort = write_cohort(tmp_path, n_samples=2, n_reads=10)
    processor = MetagenBertProcessor(bpe_tokenizer())
    with pytest.raises(InputError, match="30 clusters were asked for and the cohort gives 20 usable reads"):
        fit_centroids(cohort, tiny_dnabert2(), processor, n_clusters=30)
    with pytest.raises(InputError, match="n_clusters is 0"):
        fit_centroids(cohort, tiny_dnabert2(), processor, n_clusters=0)
    with pytest.raises(InputError, match="reads_per_sample is 0"):
        fit_centroids(cohort, tiny_dnabert2(), processor, n_clusters=2, reads_per_sample=0)
    with pytest.raises(InputError, match=r"0.01 GB of memory were allowed and 0.1\d GB are needed"):
        fit_centroids(cohort, tiny_dnabert2(), processor, n_clusters=2, max_memory=10_000_000)
