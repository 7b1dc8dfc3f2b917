"""Centroids fitted on the training samples of each fold, the leak of the usual way, and the mean-vector baseline."""

from __future__ import annotations

import csv
import json

import faiss
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import biomeformer
from biomeformer.cli import app
from biomeformer.errors import InputError, TableError
from biomeformer.metagenomes import fit_centroids
from biomeformer.metagenomes.drawn_vectors import DrawnVectors
from biomeformer.phenotypes import cross_validate, make_target
from biomeformer.phenotypes.evaluation import folds
from biomeformer.phenotypes.refitting import TRAINING_SAMPLES, mean_vectors, refitted_tables
from factories import write_large_cohort

N_SAMPLES, N_READS, K = 18, 60, 5


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A cohort, its table, and the vectors of its reads."""
    folder = tmp_path_factory.mktemp("work")
    cohort = write_large_cohort(folder / "cohort", [N_READS] * N_SAMPLES)
    model = biomeformer.load("metagenbert-mini")
    model.embed_cohort(cohort, output=folder / "table")
    fit_centroids(
        cohort, model.encoder, model.processor, n_clusters=K, reads_per_sample=N_READS, vectors=folder / "vectors"
    )
    return folder


@pytest.fixture(scope="module")
def vectors(work):
    return DrawnVectors.read(work / "vectors")


def ids():
    return tuple(f"s{i}" for i in range(N_SAMPLES))


def stored(vectors, names):
    return {name: vectors.parts[name].arrays()["vectors"] for name in names}


def faiss_centroids(points, seed=0):
    """FAISS's own k-means."""
    kmeans = faiss.Kmeans(
        points.shape[1], K, niter=20, seed=seed, min_points_per_centroid=1, max_points_per_centroid=len(points)
    )
    kmeans.train(points)
    return kmeans.centroids


def test_the_mean_vector_is_the_mean_of_a_samples_reads(vectors):
    table = mean_vectors(vectors, ids())
    arrays = stored(vectors, ids())
    assert all(len(array) == N_READS for array in arrays.values())
    np.testing.assert_allclose(table.values, [array.mean(0) for array in arrays.values()], atol=1e-5)
    assert not table.is_composition and table.names[0] == "dimension_0"


def test_each_fold_has_counts_by_faiss_centroids_of_its_training_samples(vectors):
    """No read of a test sample takes part."""
    table = refitted_tables(vectors, ids(), K)[TRAINING_SAMPLES]
    arrays = stored(vectors, ids())
    target = target_of()
    for train, _ in folds(target, 3, 1, 0):
        centroids = faiss_centroids(np.concatenate([arrays[ids()[i]] for i in train]))
        index = faiss.IndexFlatL2(centroids.shape[1])
        index.add(centroids)
        expected = [
            np.bincount(index.search(array, 1)[1][:, 0], minlength=K) for array in (arrays[name] for name in ids())
        ]
        assert np.array_equal(table.fitted_on(train), expected)
    assert not np.array_equal(table.fitted_on(train), table.values)


def target_of():
    metadata = pd.DataFrame({"group": ["a", "b"] * (N_SAMPLES // 2)}, index=ids())
    return make_target(metadata, "group", ids())


def test_cross_validation_fits_on_training_samples_only(vectors):
    """Values that give away what they were fitted on."""
    seen = []
    table = refitted_tables(vectors, ids(), K)[TRAINING_SAMPLES]
    refit = table.refit

    def spy(training, rows):
        seen.append(set(training))
        return refit(training, rows)

    object.__setattr__(table, "refit", spy)
    target = target_of()
    evaluation = cross_validate([table], target, "l1", transform="clr", n_splits=3, n_repeats=2, n_jobs=1)
    splits = list(folds(target, 3, 2, 0))
    assert seen == [{ids()[i] for i in train} for train, _ in splits]
    assert evaluation.chosen == {} and len(evaluation.fold_scores["roc_auc"]) == 6


def test_other_samples_and_other_folders_are_refused(work, vectors, tmp_path):
    with pytest.raises(TableError, match=r"has no vectors of 1 of 2 samples \(such as 'x'\)"):
        vectors.means(["s0", "x"])
    for folder in (tmp_path, work / "table"):
        with pytest.raises(InputError, match="holds no vectors of drawn reads"):
            DrawnVectors.read(folder)
    with pytest.raises(InputError, match="clusters were asked for and there are 120 points"):
        vectors.fit(["s0", "s1"], 121)


def test_evaluate_tells_the_leak(work, tmp_path):
    arguments = ["phenotype", "evaluate", work / "table", "--target", "group", "--output", tmp_path / "out"]
    quick = ["--folds", 3, "--repeats", 1, "--estimator", "l1", "--threads", 1, "--confounders", "none"]
    result = CliRunner().invoke(app, list(map(str, [*arguments, *quick, "--refit-centroids", K])))
    assert result.exit_code == 2 and "give --read-vectors" in " ".join(result.stderr.split())
    options = ["--refit-centroids", K, "--read-vectors", work / "vectors"]
    result = CliRunner().invoke(app, list(map(str, [*arguments, *quick, *options])))
    assert result.exit_code == 0, result.stderr
    assert "l1: centroids of all samples gain" in result.stdout
    with (tmp_path / "out" / "centroid_leak.csv").open() as file:
        (row,) = csv.DictReader(file)
    with (tmp_path / "out" / "scores.csv").open() as file:
        names = {line["features"] for line in csv.DictReader(file)}
    assert names == {"vectors", "mean vector", "centroids of all samples", "centroids of training samples"}
    assert float(row["leak"]) == pytest.approx(float(row["all_samples"]) - float(row["training_samples"]), abs=1e-9)
    record = json.loads((tmp_path / "out" / "study.json").read_text())
    assert record["inputs"]["read_vectors"] == {"folder": "vectors", "refit_centroids": K}
