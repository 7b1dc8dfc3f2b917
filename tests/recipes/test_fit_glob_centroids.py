"""Centroids of a cohort by the recipe, on several processes."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest

import biomeformer
from biomeformer.metagenomes.centroids import memory_needed
from biomeformer.models.metagenbert import MetagenBertProcessor
from biomeformer.runs.run_folder import run_status
from factories import bpe_tokenizer, write_fastq, write_large_cohort
from processes import ROOT, Job, recipe, run_recipe

CONFIGS = ROOT / "recipes" / "configs" / "fit_glob_centroids"
SIZES = [2_000, 150, 3_000, 2_000, 2_500]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return write_large_cohort(tmp_path_factory.mktemp("cohort"), SIZES)


def arguments(cohort: Path, output: Path, config: Path = CONFIGS / "smoke.yaml") -> list[str]:
    return ["--config", str(config), "--cohort", str(cohort), "--output", str(output)]


def fit(cohort: Path, output: Path, n_ranks: int, *config: Path) -> Job:
    folder = output.with_name(f"{output.name}.text")
    return Job(folder, n_ranks, run_recipe, "fit_glob_centroids", arguments(cohort, output, *config))


@pytest.fixture(scope="module")
def single(cohort, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("single") / "run"
    job = fit(cohort, output, 1)
    assert job.wait() == [0], job.text()
    return output


def centroids(output: Path, k: int) -> np.ndarray:
    return biomeformer.load(output / f"k{k}").centroids.numpy()


def test_one_process_fits_normalised_centroids_and_records_them(cohort, single):
    model = biomeformer.load(single / "k24")
    assert model.config.normalize_embeddings and model.processor.preprocessing["min_read_length"] == 32
    np.testing.assert_allclose(np.linalg.norm(model.centroids.numpy(), axis=1), 1, atol=1e-5)
    assert centroids(single, 8).shape == (8, 128)
    record = json.loads((single / "k24" / "training_record.json").read_text())
    assert record["n_reads_used"] == record["n_reads_drawn"] == 4 * 300 + 150
    objective = record["kmeans"]["objective"]
    assert len(objective) == 6 and objective[-1] < objective[0]
    assert record["memory"]["peak_process_bytes"][0] > record["memory"]["vectors_bytes"][0] == 1350 * 128 * 4
    counts = model.embed_cohort(cohort).counts
    assert counts.sum(1).tolist() == SIZES


@pytest.mark.parametrize("n_ranks", [2, 4])
def test_any_number_of_processes_gives_the_same_centroids(cohort, single, tmp_path, n_ranks):
    job = fit(cohort, tmp_path / "run", n_ranks)
    assert job.wait() == [0] * n_ranks, job.text()
    for k in (8, 24):
        np.testing.assert_allclose(centroids(tmp_path / "run", k), centroids(single, k), atol=1e-4)
    record = json.loads((tmp_path / "run" / "k8" / "training_record.json").read_text())
    assert len(record["memory"]["peak_process_bytes"]) == n_ranks


def test_killed_while_drawing_then_resumed(cohort, single, tmp_path):
    output = tmp_path / "run"
    job = fit(cohort, output, 2)
    while not list((output / "vectors" / "run" / "parts").glob("[!.]*.safetensors")):
        assert job.processes[0].is_alive(), job.text()
        time.sleep(0.005)
    job.signal(signal.SIGKILL)
    job.wait()
    status = run_status(output / "vectors")
    assert status.n_done and not (output / "k8").exists()
    job = fit(cohort, output, 1)
    assert job.wait() == [0], job.text()
    assert job.text().count(" drawn") == len(SIZES) - status.n_done
    np.testing.assert_allclose(centroids(output, 24), centroids(single, 24), atol=1e-4)


def test_other_numbers_of_clusters_need_no_new_draw(cohort, single, tmp_path):
    text = (CONFIGS / "smoke.yaml").read_text().replace("[8, 24]", "[5]")
    (tmp_path / "five.yaml").write_text(text)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "vectors").symlink_to(single / "vectors")
    job = fit(cohort, tmp_path / "run", 2, tmp_path / "five.yaml")
    assert job.wait() == [0, 0] and " drawn" not in job.text(), job.text()
    assert centroids(tmp_path / "run", 5).shape == (5, 128)


def test_failing_samples_are_listed_and_nothing_is_fitted(tmp_path):
    cohort = write_large_cohort(tmp_path / "cohort", [500, 500, 500])
    write_fastq(cohort.parent / "s1.fastq", [])
    job = fit(cohort, tmp_path / "run", 2)
    assert job.wait() == [1, 1], job.text()
    assert job.text().count("error: 1 of 3 samples failed (s1)") == 1
    assert f"failed  s1: {cohort.parent / 's1.fastq'} holds no reads" in job.text()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["vectors"]


def test_vectors_on_the_disk_give_the_same(cohort, single, tmp_path):
    text = (CONFIGS / "smoke.yaml").read_text()
    allowed = memory_needed([8, 24], 128, 300) + 1000
    (tmp_path / "tight.yaml").write_text(text.replace("500000000", str(allowed)))
    job = fit(cohort, tmp_path / "run", 2, tmp_path / "tight.yaml")
    assert job.wait() == [0, 0], job.text()
    record = json.loads((tmp_path / "run" / "k24" / "training_record.json").read_text())
    assert record["memory"]["vectors_bytes"] == [675 * 128 * 4, "on disk"]
    assert record["memory"]["allowed_bytes"] == allowed
    np.testing.assert_allclose(centroids(tmp_path / "run", 24), centroids(single, 24), atol=1e-4)


def test_limits_of_reads_per_centroid_are_kept_and_said(cohort, single, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "vectors").symlink_to(single / "vectors")
    text = (CONFIGS / "smoke.yaml").read_text() + "max_points_per_centroid: 30\nmin_points_per_centroid: 100\n"
    (tmp_path / "limits.yaml").write_text(text)
    job = fit(cohort, tmp_path / "run", 2, tmp_path / "limits.yaml")
    assert job.wait() == [0, 0], job.text()
    assert job.text().count("note: 1,350 reads are fewer than 100 per centroid for K = 24; draw more reads") == 1
    for k, n_trained in ((8, 240), (24, 720)):
        record = json.loads((tmp_path / "run" / f"k{k}" / "training_record.json").read_text())
        assert (record["kmeans"]["n_trained"], record["kmeans"]["n_points"]) == (n_trained, 1350)
        assert sum(record["kmeans"]["cluster_sizes"]) == 1350
        assert np.abs(centroids(tmp_path / "run", k) - centroids(single, k)).max() > 1e-3


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configs_are_valid(path):
    config = recipe("fit_glob_centroids").RecipeConfig.from_yaml(path)
    assert config.n_clusters == sorted(set(config.n_clusters)) and config.reads_per_sample > 0
    MetagenBertProcessor(bpe_tokenizer(), **config.preprocessing)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n_cluster: [8]", "unknown field n_cluster; known are read_encoder, n_clusters"),
        ("read_encoder: metagenbert-mini\nn_clusters: [8]", "reads_per_sample is missing"),
        ("read_encoder: [", "cannot be read"),
        ("read_encoder: metagenbert-mini\nn_clusters: [8]\nreads_per_sample: 0", "reads_per_sample is 0"),
        ("read_encoder: metagenbert-mini\nn_clusters: []\nreads_per_sample: 5", "n_clusters is 0"),
        (
            "read_encoder: metagenbert-mini\nn_clusters: [8]\nreads_per_sample: 5\npreprocessing: {pool: x}",
            "g config: ",
        ),
        ("read_encoder: metagenbert-mini\nn_clusters: [8]\nreads_per_sample: 5\ncontract: {pool: x}", "g config: "),
        (
            "read_encoder: metagenbert-mini\nn_clusters: [8]\nreads_per_sample: 9\nmax_memory: 9000",
            "memory were allowed",
        ),
    ],
)
def test_centroid_recipe_refuses_bad_configs(cohort, tmp_path, capsys, text, message):
    (tmp_path / "c.yaml").write_text(text)
    assert recipe("fit_glob_centroids").main(arguments(cohort, tmp_path / "run", tmp_path / "c.yaml")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line
    assert not (tmp_path / "run").exists()
