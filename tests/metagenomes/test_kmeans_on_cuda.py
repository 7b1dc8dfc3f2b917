"""K-means as it runs on a CUDA device, executed on a card that is emulated, and what is checked before it."""

import sys
import types

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans

import biomeformer.metagenomes.device_points
import biomeformer.metagenomes.kmeans
from biomeformer.errors import InputError, MissingDependencyError
from biomeformer.inference.faiss_build import import_faiss
from biomeformer.metagenomes import Points, fit_several_centroids, run_distributed_kmeans, run_kmeans
from biomeformer.metagenomes.device_points import DevicePoints
from biomeformer.metagenomes.kmeans import add_rows, kmeans_device_memory, nearest_centroids
from biomeformer.models.metagenbert import MetagenBertProcessor
from emulated_card import EmulatedCard, install
from factories import bpe_tokenizer, tiny_dnabert2, write_cohort

# https://docs.pytorch.org/docs/stable/generated/torch.use_deterministic_algorithms.html: what depends on the order in
# which threads of a GPU arrive. Of `index_put_` that is the one without `accumulate` where an index comes twice.
NONDETERMINISTIC = {
    *("index_add_", "index_add", "scatter_add_", "scatter_add", "scatter_reduce_", "scatter_reduce", "index_reduce_"),
    *("put_", "cumsum", "cumsum_", "cumprod", "histc", "kthvalue", "median", "nanmedian", "index_copy_", "index_copy"),
    *("_cdist_backward", "embedding_bag", "_embedding_bag", "segment_reduce", "grid_sampler_2d", "nll_loss2d"),
}


@pytest.fixture(scope="module")
def points():
    """20,000 points in 64 dimensions: groups of unequal size, a tenth of them twice, and coarse ones that tie."""
    rng = np.random.default_rng(5)
    centres = 3 * rng.normal(size=(100, 64))
    groups = rng.choice(100, 14_000, p=rng.dirichlet(np.ones(100)))
    near = centres[groups] + rng.normal(size=(14_000, 64))
    coarse = rng.integers(-1, 2, size=(4000, 64))
    rows = np.concatenate([near, coarse, near[:1400], coarse[:600]])
    return rows[rng.permutation(len(rows))].astype(np.float32)


@pytest.fixture
def card(monkeypatch):
    install(monkeypatch)
    return EmulatedCard()


def test_the_emulated_card_refuses_what_a_card_refuses(card):
    with card:
        there = torch.ones(3, device="cuda:0")
        assert (there + 1).cpu().tolist() == [2, 2, 2] and there.device == torch.device("cuda:0")
        with pytest.raises(AssertionError, match="mixes"):
            there + torch.ones(3)
        with pytest.raises(AssertionError, match="mixes"):
            there[torch.tensor([0])]
        assert card.ran["add"] == 1 and card.peak >= 12
    with pytest.raises(AssertionError, match="outside"):
        there + 1


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("spherical", [True, False])
def test_equals_the_cpu(points, card, monkeypatch, resident, spherical):
    if spherical:
        points = points / np.linalg.norm(points, axis=1, keepdims=True)
    # Several chunks, of which the last is short.
    monkeypatch.setattr("biomeformer.metagenomes.points.CHUNK_BYTES", 3000 * 256)
    monkeypatch.setattr(biomeformer.metagenomes.device_points, "DEVICE_CHUNK_BYTES", 7000 * 256)
    if not resident:
        monkeypatch.setattr(biomeformer.metagenomes.kmeans, "RESIDENT_SHARE", 0)
    cpu = run_kmeans(points, 128, n_iterations=6, seed=3, spherical=spherical)
    with card:
        fit = run_kmeans(points, 128, n_iterations=6, seed=3, spherical=spherical, device="cuda")
    assert (fit.device, fit.resident, cpu.resident) == ("cuda:0 (Emulated)", resident, True)
    np.testing.assert_allclose(fit.centroids, cpu.centroids, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(fit.objective, cpu.objective, rtol=1e-6)
    assert np.array_equal(fit.cluster_sizes, cpu.cluster_sizes)
    assert card.ran["addmm"] and card.ran["index_put_"] and not set(card.ran) & NONDETERMINISTIC


def test_close_to_faiss(points, card):
    """FAISS's own k-means: a point whose two nearest centroids are alike in float32 may go to the other there."""
    faiss = import_faiss()
    clustering = faiss.Clustering(64, 128)
    clustering.niter, clustering.seed = 10, 3
    clustering.min_points_per_centroid, clustering.max_points_per_centroid = 1, len(points)
    clustering.train(points, faiss.IndexFlatL2(64))
    theirs = faiss.vector_to_array(clustering.centroids).reshape(128, 64)
    objective = [clustering.iteration_stats.at(i).obj for i in range(clustering.iteration_stats.size())]
    with card:
        fit = run_kmeans(points, 128, n_iterations=10, seed=3, device="cuda:0")
    assert len(objective) == 10
    np.testing.assert_allclose(fit.objective, objective, rtol=1e-3)
    assert (np.abs(fit.centroids - theirs).max(1) < 1e-4).mean() > 0.9


def test_equals_scikit_learn(points, card):
    """In float64, from the same initial centroids, over points without ties; no cluster is ever empty."""
    points = np.unique(points[(points != np.rint(points)).all(1)], axis=0)
    order, faiss = np.empty(len(points), np.int32), import_faiss()
    faiss.rand_perm(faiss.swig_ptr(order), len(points), 3 + 1)
    judge = KMeans(40, init=points[order[:40]].astype(np.float64), n_init=1, max_iter=10, tol=0, algorithm="lloyd")
    judge.fit(points.astype(np.float64))
    with card:
        fit = run_kmeans(points, 40, n_iterations=10, seed=3, device="cuda:0")
    np.testing.assert_allclose(fit.centroids, judge.cluster_centers_, atol=1e-5)
    assert fit.n_empty == 0 and np.array_equal(fit.cluster_sizes, np.bincount(judge.labels_, minlength=40))


def test_nearest_equals_float64(points, card):
    """Ties go to the first; a float64 search by SciPy is the judge."""
    centroids = np.concatenate([points[:90], points[20:40], points[:18]])
    with card:
        distances, nearest = nearest_centroids(*(torch.from_numpy(a).to("cuda:0") for a in (points, centroids)))
        distances, nearest = distances.cpu().numpy(), nearest.cpu().numpy()
    exact = cdist(points[:4000].astype(np.float64), centroids.astype(np.float64), "sqeuclidean")
    assert np.array_equal(nearest[:4000], exact.argmin(1))
    assert (nearest < 90).all()
    scale = (points.astype(np.float64) ** 2).sum(1).max()
    np.testing.assert_allclose(distances[:4000], exact.min(1), atol=1e-6 * scale)


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_sums_by_cluster(points, card, device):
    """Against NumPy's, in float64, with values of very different size."""
    rng = np.random.default_rng(1)
    rows = points.astype(np.float64) * 10.0 ** rng.integers(-8, 9, size=(len(points), 1))
    rows[::7] = -0.0
    numbers = rng.choice(128, len(rows), p=rng.dirichlet(np.full(128, 0.1)))
    expected, size = np.zeros((128, 64)), np.zeros((128, 64))
    np.add.at(expected, numbers, rows)
    np.add.at(size, numbers, np.abs(rows))
    found = []
    with card:
        for _ in range(2):
            sums = torch.zeros(128, 64, dtype=torch.float64, device=device)
            for begin in range(0, len(rows), 6000):
                part = slice(begin, begin + 6000)
                add_rows(sums, *(torch.from_numpy(array[part]).to(device) for array in (numbers, rows)))
            found.append(sums.cpu().numpy())
    assert np.array_equal(*found) and not set(card.ran) & NONDETERMINISTIC
    assert (np.abs(found[0] - expected) <= 1e-13 * size).all()
    assert ("index_put_" in card.ran) == (device != "cpu")


def test_full_float32_beside_tf32(points, card):
    """A host program that has products made in TF32 does not change ours."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with card:
            run_kmeans(points[:2000], 16, n_iterations=2, device="cuda")
        assert card.precisions and card.precisions <= {"ieee", "none"}
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("on_disk", [True, False])
def test_resident_points_are_read_once(tmp_path, points, card, monkeypatch, on_disk):
    save_file({"vectors": points}, tmp_path / "vectors.safetensors")
    source = Points.from_files([(tmp_path / "vectors.safetensors", len(points))], 64, 0, 1, 0 if on_disk else 1 << 30)
    n_readings = []

    def counted():
        n_readings.append(1)
        return source.chunks()

    watched = Points(source.n_points, 0, source.n_local, 64, counted, source.on_disk)
    with card:
        first = run_distributed_kmeans(watched, [32, 8], n_iterations=4, device="cuda")
        assert len(n_readings) == 1 and first[0].resident
        monkeypatch.setattr(biomeformer.metagenomes.kmeans, "RESIDENT_SHARE", 0)
        second = run_distributed_kmeans(watched, [32, 8], n_iterations=4, device="cuda")
    # The initial choice, four iterations and the last count.
    assert len(n_readings) == 1 + 6 and not second[0].resident
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a.centroids, b.centroids, rtol=1e-6, atol=1e-6)


def test_no_point_of_mine(card):
    """More processes than points: one of them has none."""
    with card:
        nothing = Points.from_array(np.empty((0, 4), np.float32), first=3, n_points=3)
        assert list(DevicePoints.from_points(nothing, torch.device("cuda:0"), 100).chunks()) == []
        assert list(DevicePoints.from_points(nothing, torch.device("cuda:0"), -1).chunks()) == []


@pytest.mark.parametrize("resident", [True, False])
def test_memory_on_the_device(card, monkeypatch, resident):
    """What is asked for is enough, also where every point is as near to all centroids."""
    monkeypatch.setattr("biomeformer.metagenomes.points.CHUNK_BYTES", 2000 * 256)
    monkeypatch.setattr(biomeformer.metagenomes.device_points, "DEVICE_CHUNK_BYTES", 2000 * 256)
    monkeypatch.setattr(biomeformer.metagenomes.kmeans, "DEVICE_TILE_BYTES", 1 << 20)
    if not resident:
        monkeypatch.setattr(biomeformer.metagenomes.kmeans, "RESIDENT_SHARE", 0)
    points = np.ones((5000, 64), np.float32)
    with card:
        run_distributed_kmeans(Points.from_array(points), [300, 700], n_iterations=1, device="cuda")
    allowed = kmeans_device_memory([300, 700], 64)
    assert allowed / 3 < card.peak - (points.nbytes if resident else 0) <= allowed


def without_faiss(monkeypatch, encoder):
    monkeypatch.setitem(sys.modules, "faiss", None)


def with_an_empty_faiss(monkeypatch, encoder):
    monkeypatch.setitem(sys.modules, "faiss", types.ModuleType("faiss"))


def on_an_absent_card(monkeypatch, encoder):
    monkeypatch.setattr(type(encoder), "device", torch.device("cuda:3"))


def on_a_full_card(monkeypatch, encoder):
    install(monkeypatch, free=1 << 20)
    monkeypatch.setattr(type(encoder), "device", torch.device("cuda:0"))


@pytest.mark.parametrize(
    ("spoil", "options", "error", "message"),
    [
        (without_faiss, {}, MissingDependencyError, r"cannot be imported.*biomeformer\[cpu\]"),
        (with_an_empty_faiss, {}, MissingDependencyError, r"the package is empty.*biomeformer\[cpu\]"),
        (on_an_absent_card, {}, InputError, "'cuda:3' was asked for and 0 CUDA devices are here"),
        (on_a_full_card, {}, InputError, r"needs \d\.\d\d GB of memory on cuda:0 and 0\.00 GB are free"),
        (None, {"n_iterations": 0}, InputError, "n_iterations 0"),
        (None, {"seed": -1}, InputError, "seed is -1"),
    ],
)
def test_what_can_fail_is_checked_before_a_read_is_drawn(tmp_path, monkeypatch, spoil, options, error, message):
    def draw(*arguments, **options):
        raise AssertionError("reads were drawn")

    monkeypatch.setattr("biomeformer.metagenomes.centroids.draw_reads", draw)
    cohort, encoder = write_cohort(tmp_path, n_samples=2, n_reads=20), tiny_dnabert2()
    arguments = {"n_clusters": [4], "vectors": tmp_path / "vectors", **options}
    if spoil is None:
        with pytest.raises(error, match=message):
            fit_several_centroids(cohort, encoder, MetagenBertProcessor(bpe_tokenizer()), **arguments)
    else:
        with monkeypatch.context() as patch, pytest.raises(error, match=message):
            spoil(patch, encoder)
            fit_several_centroids(cohort, encoder, MetagenBertProcessor(bpe_tokenizer()), **arguments)
    assert not (tmp_path / "vectors").exists()


def test_an_encoder_on_mps_is_clustered_on_the_cpu(tmp_path, monkeypatch):
    """MPS has no float64."""
    asked = []

    def check(*arguments, device, **options):
        asked.append(str(device))
        raise KeyboardInterrupt

    encoder = tiny_dnabert2()
    monkeypatch.setattr("biomeformer.metagenomes.centroids.check_kmeans", check)
    cohort = write_cohort(tmp_path, n_samples=2, n_reads=20)
    with monkeypatch.context() as patch:
        patch.setattr(type(encoder), "device", torch.device("mps"))
        with pytest.raises(KeyboardInterrupt):
            fit_several_centroids(cohort, encoder, MetagenBertProcessor(bpe_tokenizer()), n_clusters=[4])
    assert asked == ["cpu"]
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(InputError, match="float64, which device 'mps' does not have"):
        run_kmeans(np.zeros((9, 4), np.float32), 2, device="mps")
