"""DeepSets heads and end-to-end training by the recipe: no leak, round trips, resumes, any number of processes."""

from __future__ import annotations

import csv
import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

import biomeformer
from biomeformer import MetagenBertForPhenotypeClassification
from biomeformer.checkpoints.loading import load_phenotype_model
from biomeformer.cli import app
from biomeformer.errors import InputError
from biomeformer.metagenomes import read_set
from biomeformer.models.metagenbert.modeling_metagenbert import set_options
from biomeformer.phenotypes import Study, predict_table
from biomeformer.reads import read_cohort
from factories import random_sequences, tiny_metagenbert, write_fastq
from processes import ROOT, Job, recipe, run_recipe

CONFIGS = ROOT / "recipes" / "configs" / "finetune_phenotype"
EXAMPLE = ROOT / "modeling" / "biomeformer" / "example_cohort" / "cohort.csv"
SMALL = {
    "model": "metagenbert-mini",
    "set_size": 12,
    "reads_per_sample": 300,
    "n_epochs": 8,
    "n_folds": 2,
    "dropout": 0,
}


def write_config(path: Path, **values) -> Path:
    path.write_text(yaml.safe_dump(SMALL | values))
    return path


def arguments(config: Path, output: Path, cohort: Path, *others: str) -> list[str]:
    paths = ["--config", str(config), "--cohort", str(cohort), "--output", str(output)]
    return [*paths, "--target", "group", "--cpu", *others]


def launch(folder: Path, n_ranks: int, *options) -> Job:
    return Job(folder, n_ranks, run_recipe, "finetune_phenotype", arguments(*options))


def finished(folder: Path, n_ranks: int, *options) -> Path:
    job = launch(folder, n_ranks, *options)
    assert job.wait() == [0] * n_ranks, job.text()
    return options[1]


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Path:
    """A small run over own centroids."""
    folder = tmp_path_factory.mktemp("local")
    config = write_config(folder / "c.yaml", elements="centroids")
    return finished(folder, 1, config, folder / "run", EXAMPLE)


def probabilities(output: Path) -> np.ndarray:
    return Study.read(output).evaluations[0].probabilities


def test_the_shipped_config_on_the_example_cohort(tmp_path):
    began = time.monotonic()
    output = finished(tmp_path, 1, CONFIGS / "local.yaml", tmp_path / "run", EXAMPLE)
    assert time.monotonic() - began < 120
    study = Study.read(output)
    assert study.scores["roc_auc"][0] == 1 and study.target.sizes == {"control": 6, "case": 6}
    assert "DeepSets" in study.methods and "sets of vectors" in study.methods
    model = biomeformer.MetagenBertForPhenotypeClassification.from_pretrained(output / "model")
    sample = list(read_cohort(EXAMPLE))[-1]
    predicted = model.predict(*sample.reads.paths())
    assert predicted["case"] > 0.5 and sum(predicted.values()) == pytest.approx(1)
    record = json.loads((output / "training_record.json").read_text())
    assert record["n_epochs"] == int(np.median(record["best_epochs"])) and record["wall_time_s"] < 120


def test_the_checkpoint_predicts_as_it_was_trained(local):
    model = load_phenotype_model(local / "model")
    assert model.config.head == "deep_sets" and model.config.set_pooling == "attention"
    for sample in list(read_cohort(EXAMPLE))[:2]:
        found = read_set(model.metagenbert, sample.reads, **set_options(model.config))
        assert len(found.weights) <= 12 and found.weights.sum() == pytest.approx(1)
        direct = model.predict_sets(*found.parts(12))
        assert list(model.predict(*sample.reads.paths()).values()) == pytest.approx(direct.tolist(), abs=1e-9)
    again = model.config.to_dict()
    assert again["set_reads"] == 300 and again["head_dropout"] == 0
    with pytest.raises(InputError, match="sets of read vectors"):
        predict_table(model, model.metagenbert.embed_cohort(EXAMPLE))
    with pytest.raises(ValueError, match="give elements"):
        model(counts=torch.ones(1, 512))


def test_run_folder_holds_history_predictions_and_read_sets(local):
    rows = list(csv.DictReader((local / "history.csv").open()))
    assert {row["stage"] for row in rows} == {"0", "1", "2"}
    assert all(row["validation_loss"] for row in rows if row["stage"] != "2")
    first = [float(row["training_loss"]) for row in rows if row["stage"] == "2"]
    assert first[-1] < first[0]
    predictions = list(csv.DictReader((local / "predictions.csv").open()))
    assert len(predictions) == 12 and set(predictions[0]) >= {"own centroids.deep_sets.case", "class"}
    assert len(list((local / "sets").glob("*.safetensors"))) == 12


def test_goes_on_where_it_was_interrupted(local, tmp_path):
    config = local.parent / "c.yaml"
    job = launch(tmp_path, 1, config, tmp_path / "run", EXAMPLE)
    while not (tmp_path / "run" / "folds" / "0.json").is_file():
        assert job.processes[0].is_alive(), job.text()
        time.sleep(0.002)
    job.signal(signal.SIGTERM)
    assert job.wait() == [143], job.text()
    assert "error: interrupted by SIGTERM; the same command resumes" in job.text()
    assert not (tmp_path / "run" / "model").exists()
    kept = (tmp_path / "run" / "folds" / "0.json").stat().st_mtime_ns
    finished(tmp_path, 1, config, tmp_path / "run", EXAMPLE)
    assert (tmp_path / "run" / "folds" / "0.json").stat().st_mtime_ns == kept
    np.testing.assert_array_equal(probabilities(tmp_path / "run"), probabilities(local))
    a, b = (load_phenotype_model(path / "model").state_dict() for path in (tmp_path / "run", local))
    assert all(torch.equal(a[name], b[name]) for name in b)


def test_two_processes_give_what_one_gives(local, tmp_path):
    output = finished(tmp_path, 2, local.parent / "c.yaml", tmp_path / "run", EXAMPLE)
    np.testing.assert_allclose(probabilities(output), probabilities(local), atol=1e-4)
    assert json.loads((output / "training_record.json").read_text())["n_processes"] == 2


@pytest.fixture(scope="module")
def dnabert2(tmp_path_factory) -> tuple[Path, Path]:
    """A tiny DNABERT-2 with centroids, and a cohort of two kinds of reads."""
    folder = tmp_path_factory.mktemp("dnabert2")
    model = tiny_metagenbert(min_read_length=20)
    # Processes drop out what they like.
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        assert hasattr(model.config.encoder_config, name)
        setattr(model.config.encoder_config, name, 0.0)
    model.save_pretrained(folder / "model")
    rows = ["sample_id,fastq,group"]
    for i in range(12):
        reads = random_sequences(40, seed=i)
        if i % 2:
            reads = [read.replace("G", "A") for read in reads]
        write_fastq(folder / f"s{i}.fastq", reads)
        rows.append(f"s{i},s{i}.fastq,{'ab'[i % 2]}")
    (folder / "cohort.csv").write_text("\n".join(rows) + "\n")
    return folder / "model", folder / "cohort.csv"


def test_the_whole_stack_learns(dnabert2, tmp_path):
    model, cohort = dnabert2
    values = {"elements": "reads", "set_size": 16, "reads_per_sample": 32, "n_epochs": 3, "pooling": "mean"}
    options = {"train_encoder": True, "encoder_learning_rate": 1e-3, "gradient_checkpointing": True, **values}
    config = write_config(tmp_path / "c.yaml", model=str(model), **options)
    one = finished(tmp_path / "one", 1, config, tmp_path / "run1", cohort)
    two = finished(tmp_path / "two", 2, config, tmp_path / "run2", cohort)
    np.testing.assert_allclose(probabilities(two), probabilities(one), atol=1e-3)
    trained, before = load_phenotype_model(one / "model"), biomeformer.load(model)
    change = [
        float((value - before.encoder.state_dict()[name]).abs().max())
        for name, value in trained.metagenbert.encoder.state_dict().items()
        if "weight" in name and "pooler" not in name
    ]
    assert min(change) > 0
    assert torch.equal(trained.metagenbert.centroids, before.centroids)
    predicted = trained.predict(cohort.parent / "s1.fastq")
    # Two sets of 16 reads, whose probabilities are averaged.
    found = read_set(trained.metagenbert, list(read_cohort(cohort))[1].reads, **set_options(trained.config))
    assert found.parts(16)[0].shape == (2, 16, 24)
    assert list(predicted.values()) == pytest.approx(trained.predict_sets(*found.parts(16)).tolist(), abs=1e-7)


@pytest.fixture(scope="module")
def mixtures(tmp_path_factory) -> tuple[Path, Path]:
    """A tiny model, and a cohort of two kinds of reads whose share is a number; with labels of which some have both."""
    folder = tmp_path_factory.mktemp("mixtures")
    tiny_metagenbert(min_read_length=20).save_pretrained(folder / "model")
    rows = ["sample_id,fastq,bmi,labels"]
    for i in range(24):
        reads, share = random_sequences(48, seed=i), i / 23
        n_changed = round(share * len(reads))
        reads = [read.replace("G", "A").replace("C", "T") for read in reads[:n_changed]] + reads[n_changed:]
        write_fastq(folder / f"s{i}.fastq", reads)
        labels = [name for name, has in (("low", share < 0.7), ("high", share > 0.3)) if has]
        rows.append(f"s{i},s{i}.fastq,{20 + 15 * share:.3f},{';'.join(labels)}")
    (folder / "cohort.csv").write_text("\n".join(rows) + "\n")
    return folder / "model", folder / "cohort.csv"


@pytest.mark.parametrize(
    ("column", "task", "problem", "metric"),
    [
        ("bmi", "auto", "regression", "R²"),
        ("labels", "multilabel", "multi_label_classification", "ROC-AUC"),
    ],
)
def test_numbers_and_labels_are_learned(mixtures, tmp_path, column, task, problem, metric):
    model, cohort = mixtures
    values = {"elements": "reads", "set_size": 48, "reads_per_sample": 48, "n_epochs": 40, "pooling": "mean"}
    config = write_config(tmp_path / "c.yaml", model=str(model), learning_rate=3e-3, n_folds=3, **values)
    options = ["--target", column, "--task", task]
    job = launch(tmp_path, 1, config, tmp_path / "run", cohort, *options)
    assert job.wait() == [0] and f"{column}: {metric} " in job.text(), job.text()
    study = Study.read(tmp_path / "run")
    main = study.evaluations[0].scores[study.evaluations[0].main_metric].mean
    assert main > (0.7 if column == "bmi" else 0.8)
    trained = load_phenotype_model(tmp_path / "run" / "model")
    assert trained.config.problem_type == problem
    # In the unit of the numbers, though the head learns standardised ones.
    predicted = [list(trained.predict(*one.reads.paths()).values()) for one in list(read_cohort(cohort))[::8]]
    if column == "bmi":
        assert list(trained.predict(cohort.parent / "s0.fastq")) == ["bmi"]
        np.testing.assert_allclose(np.ravel(predicted), [20, 25.2, 30.4], atol=3)
    else:
        assert list(trained.config.id2label.values()) == ["high", "low"]
        assert predicted[0][1] > 0.5 > predicted[0][0]
    record = json.loads((tmp_path / "run" / "training_record.json").read_text())
    assert record["target"]["kind"] == study.target.kind
    page = tmp_path / "report.html"
    assert CliRunner().invoke(app, ["phenotype", "report", str(tmp_path / "run"), "--output", str(page)]).exit_code == 0
    assert metric in page.read_text()


@pytest.mark.parametrize(
    ("values", "options", "fragments"),
    [
        ({"colour": 1}, [], ["unknown field colour"]),
        ({"set_size": "many"}, [], ["set_size is 'many'; give a whole number"]),
        ({"pooling": "median"}, [], ["pooling is 'median'; give mean, sum, max, attention"]),
        ({"train_encoder": True}, [], ["train_encoder needs elements: reads"]),
        ({"set_size": 500}, [], ["set_reads is 300 and set_size 500"]),
        ({"n_folds": 9}, [], ["9 folds", "rarest class has 6"]),
        ({"model": "metagenbert-mimi"}, [], ["metagenbert-mimi", "did you mean"]),
        ({}, ["--target", "diagnosis"], ["no column 'diagnosis'"]),
        ({}, ["--task", "regression"], ["column 'group' of", "which is no number"]),
        ({}, ["--group", "group"], ["1 group of column 'group'"]),
    ],
)
def test_phenotype_recipe_refuses_bad_input(tmp_path, capfd, values, options, fragments):
    config = write_config(tmp_path / "c.yaml", **values)
    assert run_recipe("finetune_phenotype", arguments(config, tmp_path / "run", EXAMPLE, *options)) == 2
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ") and all(fragment in line for fragment in fragments), line
    assert not (tmp_path / "run").exists()


def test_another_run_in_the_folder(local, tmp_path, capfd):
    config = write_config(tmp_path / "c.yaml", seed=1)
    assert run_recipe("finetune_phenotype", arguments(config, local, EXAMPLE)) == 2
    assert "holds a run with another config; give a new folder, or --overwrite" in capfd.readouterr().err
    assert (local / "model").is_dir()


def test_a_damaged_sample(tmp_path, capfd):
    rows = ["sample_id,fastq,group"]
    for i in range(12):
        write_fastq(tmp_path / f"s{i}.fastq", random_sequences(20, seed=i))
        rows.append(f"s{i},s{i}.fastq,{'ab'[i % 2]}")
    (tmp_path / "s5.fastq").write_text("@r\nACGT\n+\nII\n")
    (tmp_path / "cohort.csv").write_text("\n".join(rows) + "\n")
    config = write_config(tmp_path / "c.yaml")
    job = launch(tmp_path, 2, config, tmp_path / "run", tmp_path / "cohort.csv")
    assert all(job.wait()), job.text()
    errors = [line for line in job.text().splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "s5.fastq" in errors[0]
    # Sets that were finished are kept.
    assert list((tmp_path / "run" / "sets").glob("*.safetensors"))


@pytest.mark.parametrize(("name", "elements"), [("local_paper", "centroids"), ("sub_paper", "reads")])
def test_paper_configs_have_the_published_numbers(name, elements):
    config = recipe("finetune_phenotype").RecipeConfig.from_yaml(CONFIGS / f"{name}.yaml")
    published = {
        "elements": elements,
        "head_layout": "published",
        "pooling": "mean",
        "hidden_size": 512,
        "dropout": 0.4,
        "pooled_hidden_size": 256,
        "pooled_dropout": 0.2,
        "learning_rate": 3e-3,
        "weight_decay": 0.0,
        "batch_samples": 32,
        "n_epochs": 250,
        "n_folds": 10,
    }
    assert {field: getattr(config, field) for field in published} == published


def test_a_paper_config_trains_and_predicts(tmp_path):
    config = tmp_path / "sub.yaml"
    values = yaml.safe_load((CONFIGS / "sub_paper.yaml").read_text())
    config.write_text(yaml.safe_dump(values | {"set_size": 40, "reads_per_sample": 40, "n_epochs": 3, "n_folds": 2}))
    output = finished(tmp_path, 1, config, tmp_path / "run", EXAMPLE)
    model = MetagenBertForPhenotypeClassification.from_pretrained(output / "model")
    assert (model.config.head_layout, model.config.head_hidden_size) == ("published", 512)
    assert (model.config.pooled_hidden_size, model.config.head_dropout) == (256, 0.4)
