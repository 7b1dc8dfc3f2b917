"""Centroids of the cohort's own reads in one step, and reads that lie far from the centroids."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from typer.testing import CliRunner

import biomeformer
from biomeformer import AbundanceTable
from biomeformer.cli import app
from biomeformer.errors import InputError, TableError
from biomeformer.metagenomes import embed_cohort, run_kmeans
from biomeformer.metagenomes.distances import FAR_SHARE, count_far, far_distances, far_remark
from biomeformer.metagenomes.kmeans import run_distributed_kmeans
from biomeformer.metagenomes.own_centroids import fit_own_centroids
from biomeformer.metagenomes.points import Points
from factories import random_sequences, tiny_metagenbert, write_cohort, write_fastq


def test_far_reads_are_a_twentieth_of_those_learned_on_at_every_length():
    rng = np.random.default_rng(0)
    n_tokens = rng.integers(60, 250, 40_000)
    # Vectors of short reads are noisier.
    distances = rng.normal(1, 0.1, len(n_tokens)) * (100 / n_tokens) ** 0.5
    record = far_distances(distances, n_tokens)
    for shortest, longest, distance in record:
        own = (n_tokens >= shortest) & (n_tokens <= longest)
        assert distance == pytest.approx(np.percentile(distances[own], 95), abs=1e-6)
        n_compared, n_far = count_far(distances[own], n_tokens[own], record)
        assert n_compared == own.sum() and n_far == pytest.approx(FAR_SHARE * own.sum(), abs=1)
    assert sum(count_far(distances[own], n_tokens[own], record)[0] for own in [n_tokens < 90, n_tokens >= 90]) == 40_000


def test_reads_of_lengths_without_a_record_are_not_compared():
    record = far_distances(np.ones(500), np.full(500, 145))
    assert count_far(np.full(10, 2.0), np.full(10, 145), record) == (10, 10)
    assert count_far(np.full(10, 2.0), np.full(10, 70), record) == (0, 0)
    assert far_distances(np.ones(100), np.full(100, 145)) is None


def test_a_remark_names_the_remedy_where_many_reads_are_far():
    assert far_remark(1000, 60) is None and far_remark(0, 0) is None
    # 7.5 % of few reads may be chance.
    assert far_remark(1000, 75) is None and far_remark(12_000, 900) is not None
    remark = far_remark(1000, 120)
    assert "12.0%" in remark and "5%" in remark and "fit-centroids" in remark


def test_refining_is_lloyds_algorithm_from_the_given_centroids():
    rng = np.random.default_rng(1)
    points = np.concatenate([rng.normal(c, 0.3, (300, 8)) for c in rng.normal(0, 1, (5, 8))]).astype(np.float32)
    start = points[rng.choice(len(points), 5, replace=False)]
    fit = run_distributed_kmeans(Points.from_array(points), [5], n_iterations=3, initial=start)[0]
    expected = KMeans(5, init=start, n_init=1, max_iter=3, tol=0).fit(points).cluster_centers_
    np.testing.assert_allclose(fit.centroids, expected, atol=1e-5)
    with pytest.raises(InputError, match="start from"):
        run_distributed_kmeans(Points.from_array(points), [4], initial=start)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Two samples of the example cohort."""
    source = Path(biomeformer.__file__).parent / "example_cohort" / "cohort.csv"
    lines = source.read_text().splitlines()
    folder = tmp_path_factory.mktemp("cohort")
    (folder / "cohort.csv").write_text("\n".join([*lines[:2], lines[-1]]) + "\n")
    (folder / "reads").symlink_to(source.parent / "reads")
    return folder / "cohort.csv"


def run_command(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="biomeformer")
    assert result.exit_code == code, result.output
    return result


def test_embed_fits_own_centroids_in_one_step(small, tmp_path):
    command = ("embed", small, "-m", "metagenbert-mini", "-o", tmp_path / "run", "--fit-centroids", 8)
    first = run_command(*command)
    table = AbundanceTable.read(tmp_path / "run")
    fitted = biomeformer.load(tmp_path / "run.centroids")
    assert table.counts.shape == (2, 8) and "fitted" in table.provenance["centroids"]
    assert table.provenance["weights_sha256"] == fitted.weights_sha256
    np.testing.assert_array_equal(table.counts, embed_cohort(fitted, small).counts)
    # About as far as the reads that the centroids were learned on, since they are these.
    far = table.read_stats["n_far"].sum() / table.read_stats["n_compared"].sum()
    assert table.read_stats["n_compared"].sum() > 500 and 0.02 < far < 0.08, far
    assert "run.centroids" in first.stderr and not (tmp_path / "run.centroids.vectors").exists()
    # The same command resumes with the same centroids; other options are refused.
    assert "kept" in run_command(*command).stderr
    other = run_command(*command[:-1], 9, code=2)
    assert "remove it" in other.stderr
    mixed = embed_cohort(biomeformer.load("metagenbert-mini"), small)
    with pytest.raises(TableError, match="weights"):
        AbundanceTable.join([table, mixed])


def test_centroids_of_reads_that_changed_are_not_kept(tmp_path):
    model = tiny_metagenbert()
    sheet = write_cohort(tmp_path / "cohort", n_samples=2, n_reads=40)
    cohort = biomeformer.read_cohort(sheet)
    assert fit_own_centroids(model, cohort, tmp_path / "own", n_clusters=3)
    assert not fit_own_centroids(model, biomeformer.read_cohort(sheet), tmp_path / "own", n_clusters=3)
    changed = cohort.samples[0].files()[0]
    write_fastq(changed, random_sequences(40, seed=9))
    with pytest.raises(InputError, match="files of reads have changed since; remove it"):
        fit_own_centroids(model, biomeformer.read_cohort(sheet), tmp_path / "own", n_clusters=3)


def test_refined_centroids_are_nearer_than_the_checkpoints(small, tmp_path):
    model = biomeformer.load("metagenbert-mini")
    before = model.centroids.detach().numpy().copy()
    cohort = biomeformer.read_cohort(small)
    assert fit_own_centroids(model, cohort, tmp_path / "refined", refine_iterations=2)
    assert not fit_own_centroids(model, cohort, tmp_path / "refined", refine_iterations=2)
    refined = biomeformer.load(tmp_path / "refined")
    assert refined.config.centroids_from.startswith("refined by 2 iterations")
    objective = json.loads((tmp_path / "refined" / "training_record.json").read_text())["kmeans"]["objective"]
    assert len(objective) == 2 and objective[1] < objective[0]
    moved = cdist(before, refined.centroids.detach().numpy()).diagonal()
    assert refined.centroids.shape == before.shape and (moved > 0).mean() > 0.5 and np.median(moved) < 0.5
    with pytest.raises(InputError, match="either"):
        fit_own_centroids(model, cohort, tmp_path / "both", refine_iterations=2, n_clusters=4)


def test_a_checkpoint_without_a_record_says_that_far_reads_are_unknown(small):
    model = biomeformer.load("metagenbert-mini")
    model.config.far_distances = None
    table = embed_cohort(model, small)
    assert not table.read_stats["n_compared"].any()


def test_records_of_a_fit_do_not_depend_on_unrelated_vectors():
    vectors = np.random.default_rng(2).normal(size=(600, 4)).astype(np.float32)
    fit = run_kmeans(vectors, 3, seed=0)
    nearest = cdist(vectors, fit.centroids).min(1)
    record = far_distances(nearest, np.full(600, 100))
    assert record == [[100.0, 100.0, pytest.approx(np.quantile(nearest, 0.95), abs=1e-6)]]


def test_the_report_says_how_many_reads_are_far_or_that_it_is_unknown(small, tmp_path):
    from biomeformer.reports import cohort_report

    model = biomeformer.load("metagenbert-mini")
    # Every read is far from centroids of which all reads lay nearer.
    model.config.far_distances = [[40.0, 400.0, 0.0]] + [[float(n), float(n), 0.0] for n in (64, 77, 91, 108, 128)]
    table = embed_cohort(model, small)
    assert (table.read_stats["n_far"] == table.read_stats["n_compared"]).all() and table.read_stats["n_far"].all()
    page = cohort_report(table, tmp_path / "far.html").read_text()
    assert page.count("100.0%") > 2 and "fit-centroids" in page
    model.config.far_distances = None
    page = cohort_report(embed_cohort(model, small), tmp_path / "unknown.html").read_text()
    assert "unknown" in page and ">far<" not in page
