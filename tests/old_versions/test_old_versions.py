"""What version 0.1.0 left on a disk stays readable, with the numbers it gave then."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest
from typer.testing import CliRunner

import biomeformer
from biomeformer.checkpoints.loading import load_genome_model, load_phenotype_model
from biomeformer.cli import app
from biomeformer.genomes.embedding import EmbeddedGenomes
from biomeformer.phenotypes import Study
from biomeformer.runs.run_folder import run_status

VERSION = Path(__file__).parent / "v0_1_0"
EXPECTED = json.loads((VERSION / "expected.json").read_text())


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> Path:
    """A copy that may be written to."""
    return Path(shutil.copytree(VERSION, tmp_path_factory.mktemp("old") / "data"))


def test_old_abundance_table_is_read(old):
    table = biomeformer.AbundanceTable.read(old / "embed_run" / "abundance.parquet")
    assert list(table.sample_ids) == EXPECTED["abundance"]["sample_ids"]
    assert np.array_equal(table.counts, EXPECTED["abundance"]["counts"])
    assert table.to_pandas()["group"].tolist() == ["a", "b"] * 6


def test_checkpoint_gives_the_counts_of_the_table(old):
    model = biomeformer.load(old / "metagenbert")
    sample = model.embed_sample(old / "inputs/cohort/s4.fastq.gz")
    assert sample.counts.tolist() == EXPECTED["abundance"]["counts"][4]


def test_old_centroids_give_the_same_counts(old):
    model = biomeformer.load(old / "centroids")
    assert model.embed_sample(old / "inputs/cohort/s3.fastq.gz").counts.tolist() == EXPECTED["centroids"]


def test_interrupted_run_is_read_and_resumed(old, monkeypatch):
    folder = old / "embed_interrupted"
    status = run_status(folder)
    assert (status.n_samples, status.n_done, set(status.left)) == (12, 10, {"s10", "s11"})
    cohort, model = old / "inputs/cohort/cohort.csv", old / "metagenbert"
    arguments = ["embed", str(cohort), "--model", str(model), "--output", str(folder), "--device", "cpu"]
    # One table is computed by one version.
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2 and "versions.biomeformer was 0.1.0 and is now" in result.stderr, result.stderr
    assert run_status(folder).n_done == 10
    # But for that, the folder is one that this version goes on with.
    monkeypatch.setattr(biomeformer.version, "__version__", "0.1.0")
    result = CliRunner().invoke(app, arguments)
    if result.exit_code:
        # Another torch may round otherwise, so it is refused, with the difference named.
        assert result.exit_code == 2 and "torch" in result.stderr, result.stderr
        pytest.skip("the run was begun with another version of torch")
    counts = biomeformer.AbundanceTable.read(folder / "abundance.parquet").counts
    assert np.array_equal(counts, EXPECTED["abundance"]["counts"])


@pytest.mark.parametrize("sample", ["s0", "s5"])
def test_old_phenotype_head_predicts_the_same(old, sample):
    model = load_phenotype_model(old / "phenotype_head")
    predicted = model.predict(old / f"inputs/cohort/{sample}.fastq.gz")
    assert predicted == pytest.approx(EXPECTED["phenotype"][sample], abs=1e-6)


def test_old_study_gives_the_same_scores(old):
    scores = Study.read(old / "study").scores.to_dict("records")
    assert len(scores) == len(EXPECTED["study"])
    for now, then in zip(scores, EXPECTED["study"], strict=True):
        numbers = {name: value for name, value in then.items() if isinstance(value, float)}
        for metric in [name.removesuffix("_low") for name in numbers if name.endswith("_low")]:
            # Folds that were all equal had an interval of width zero; now they have none.
            if numbers[f"{metric}_low"] == numbers[f"{metric}_high"]:
                numbers[f"{metric}_low"] = numbers[f"{metric}_high"] = float("nan")
        assert {name: now[name] for name in numbers} == pytest.approx(numbers, abs=1e-9, nan_ok=True)


def test_embedded_genomes_and_store(old):
    genomes = EmbeddedGenomes.read(old / "genome_run")
    assert np.allclose(genomes.vectors("g1")[:3], EXPECTED["genomes"]["g1"], atol=1e-3)


def test_old_genome_model_predicts_the_same(old, monkeypatch):
    # Its protein encoder was named by a relative path.
    monkeypatch.chdir(old)
    model = load_genome_model(old / "train_genome_run" / "model")
    assert model.predict(old / "inputs/genomes/g0.faa") == pytest.approx(EXPECTED["habitat"]["g0"], abs=1e-5)


def test_old_sequence_classifier_predicts_the_same(old):
    classifier = biomeformer.SequenceClassifier.load(old / "train_sequences_run" / "model")
    sequences = ["ACGTTGCATTACGGATTCCA" * 3, "AACAGTAACAGGTAACGTTA" * 3]
    assert np.allclose(classifier.predict(sequences), EXPECTED["sequences"], atol=1e-5)


def test_old_prepared_sequences_are_read(old):
    prepared = datasets.load_dataset("parquet", data_dir=str(old / "prepared" / "data"))
    record = json.loads((old / "prepared" / "prepare.json").read_text())
    assert sum(len(split) for split in prepared.values()) == 80 and record["label_names"] == ["no", "yes"]
