"""A genome transformer by the recipe: grouped folds, resumes, any number of processes, a checkpoint that loads."""

from __future__ import annotations

import csv
import json
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from sklearn.metrics import classification_report
from transformers import AutoModelForSequenceClassification, AutoProcessor

from biomeformer.genomes.catalog import read_catalog
from biomeformer.genomes.embedding import EmbeddedGenomes, embed_genomes
from biomeformer.genomes.proteins import load_protein_encoder
from biomeformer.phenotypes import Study
from biomeformer.training.config import build_config, read_yaml
from factories import tiny_esm, write_protein_genomes
from processes import ROOT, Job, recipe, run_recipe

CONFIGS = ROOT / "recipes" / "configs" / "train_genome_transformer"


@pytest.fixture(scope="module")
def genomes(tmp_path_factory) -> Path:
    """Sixteen embedded genomes of eight genera."""
    folder = tmp_path_factory.mktemp("genomes")
    catalog = read_catalog(write_protein_genomes(folder, 16))
    embed_genomes(load_protein_encoder(tiny_esm(folder / "esm")), catalog, folder / "out").raise_for_failures()
    return folder / "out"


def arguments(genomes: Path, output: Path, config: Path = CONFIGS / "smoke.yaml", *others: str) -> list[str]:
    paths = ["--config", str(config), "--genomes", str(genomes), "--output", str(output)]
    return [*paths, "--target", "habitat", "--group", "genus", "--cpu", *others]


def launch(folder: Path, n_ranks: int, *options) -> Job:
    return Job(folder, n_ranks, run_recipe, "train_genome_transformer", arguments(*options))


@pytest.fixture(scope="module")
def single(genomes, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("single")
    job = launch(folder, 1, genomes, folder / "run")
    assert job.wait() == [0], job.text()
    return folder / "run"


def history(output: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((output / "history.csv").open()))


def test_checkpoint_scores_and_record(single, genomes):
    model = AutoModelForSequenceClassification.from_pretrained(single / "model")
    processor = AutoProcessor.from_pretrained(single / "model")
    processor.check_agrees(model.config)
    found = EmbeddedGenomes.read(genomes)
    assert processor.protein_encoder_sha256 == found.record["protein_encoder"]["weights_sha256"]
    assert model.config.id2label == {0: "host", 1: "soil"} and model.config.num_hidden_layers == 2
    with torch.no_grad():
        logits = model(**processor(found.vectors("g0"), found.contig_ids("g0"))).logits
    assert logits.shape == (1, 2) and torch.isfinite(logits).all()
    # The small protein encoder came along: the checkpoint goes from a file to the label by itself.
    predicted = model.predict(genomes.parent / "g0.faa")
    calibrated = (logits / model.config.temperature).softmax(1)[0].tolist()
    assert list(predicted.values()) == pytest.approx(calibrated, abs=1e-5)
    assert model.config.label_name == "habitat" and processor.protein_encoder == "protein_encoder"
    study = Study.read(single)
    assert study.target.sizes == {"host": 8, "soil": 8} and study.target.group_column == "genus"
    assert study.scores["balanced_accuracy"][0] >= 0.5 and "transformer" in study.methods
    record = json.loads((single / "training_record.json").read_text())
    assert record["n_epochs"] == max(round(float(np.median(record["best_epochs"]))), 1)
    # Each genome is tested once in a repeat.
    accuracy = record["accuracy"]
    assert {name: sum(row.values()) for name, row in accuracy["confusion"].items()} == {"host": 8, "soil": 8}
    right = [accuracy["confusion"][name][name] for name in ("host", "soil")]
    assert list(accuracy["by_class"].values()) == [n / 8 for n in right] and accuracy["accuracy"] == sum(right) / 16
    assert sum(study.evaluations[0].probabilities.argmax(1) == study.target.labels) == sum(right)
    known = model.config.training_range
    assert known["n_genomes"] == 16 and known["n_genes"] == [40, 40, 40] and "gc" not in known
    means = np.array([vectors.astype(np.float32).mean(0) for _, vectors, _ in found])
    assert known["mean_vector"] == pytest.approx(means.mean(0), rel=1e-3, abs=1e-5)
    rows = history(single)
    assert {row["stage"] for row in rows} == {"0", "1", "2"}
    assert all(row["validation_loss"] for row in rows if row["stage"] != "2")
    first = [float(row["training_loss"]) for row in rows if row["stage"] == "0"]
    assert first[-1] < first[0]


def test_the_temperature_is_the_one_of_the_held_out_predictions(single):
    from sklearn.metrics import log_loss

    study, record = Study.read(single), json.loads((single / "training_record.json").read_text())
    calibration = record["calibration"]
    probabilities = study.evaluations[0].probabilities
    assert calibration["log_loss"] == pytest.approx(log_loss(study.target.labels, probabilities), abs=2e-3)
    assert (calibration["temperature"] == 1) == (calibration["log_loss_calibrated"] >= calibration["log_loss"])
    config = json.loads((single / "model" / "config.json").read_text())
    assert config["temperature"] == calibration["temperature"]


def test_two_processes_train_to_equal_losses(single, genomes, tmp_path):
    job = launch(tmp_path, 2, genomes, tmp_path / "run")
    assert job.wait() == [0, 0], job.text()
    for ours, theirs in zip(history(tmp_path / "run"), history(single), strict=True):
        assert (ours["stage"], ours["step"]) == (theirs["stage"], theirs["step"])
        assert float(ours["training_loss"]) == pytest.approx(float(theirs["training_loss"]), abs=1e-4)
    np.testing.assert_allclose(
        Study.read(tmp_path / "run").evaluations[0].probabilities,
        Study.read(single).evaluations[0].probabilities,
        atol=1e-3,
    )


@pytest.mark.parametrize("streamed", [False, True])
def test_from_a_dataset(single, genomes, tmp_path, streamed):
    dataset = EmbeddedGenomes.read(genomes).to_dataset()
    if streamed:
        dataset.to_parquet(tmp_path / "d" / "train-0.parquet", batch_size=1)
    else:
        dataset.save_to_disk(tmp_path / "d")
    job = launch(tmp_path, 1, tmp_path / "d", tmp_path / "run")
    assert job.wait() == [0], job.text()
    assert history(tmp_path / "run") == history(single)


def test_nothing_set_aside(genomes, tmp_path):
    values = read_yaml(CONFIGS / "smoke.yaml") | {"patience": None, "n_epochs": 3, "genes_per_step": 12}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(values))
    assert run_recipe("train_genome_transformer", arguments(genomes, tmp_path / "run", tmp_path / "c.yaml")) == 0
    rows = history(tmp_path / "run")
    assert [(row["stage"], row["epoch"]) for row in rows] == [(str(i), str(j)) for i in range(3) for j in (1, 2, 3)]
    assert not any(row["validation_loss"] for row in rows)
    record = json.loads((tmp_path / "run" / "training_record.json").read_text())
    assert record["n_epochs"] == 3 and record["best_epochs"] == [3, 3]


def test_held_out_genera_are_trained_on_by_no_fold_and_evaluated_once(genomes, tmp_path, capfd):
    metadata = EmbeddedGenomes.read(genomes).metadata
    genera = list(dict.fromkeys(metadata["genus"]))
    held_out = [*genera[:1], *genera[-1:]]
    (tmp_path / "held_out.txt").write_text("\n".join([*held_out, "Elsewhere"]) + "\n")
    values = read_yaml(CONFIGS / "smoke.yaml") | {"patience": None, "n_epochs": 2, "held_out_genera": "held_out.txt"}
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump(values))
    assert run_recipe("train_genome_transformer", arguments(genomes, tmp_path / "run", config)) == 0
    record = json.loads((tmp_path / "run" / "training_record.json").read_text())
    expected = set(metadata.index[metadata["genus"].isin(held_out)])
    result = record["held_out"]
    assert set(result["genomes"]) == expected and result["n_genomes"] == len(expected) == 4
    assert not expected & set(Study.read(tmp_path / "run").target.sample_ids)
    # The written model gives these probabilities from a file.
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "model")
    assert model.config.training_range["n_genomes"] == 12
    for name, row in result["genomes"].items():
        assert row["true"] == metadata.loc[name, "habitat"]
        predicted = model.predict(genomes.parent / f"{name}.faa")
        assert predicted == pytest.approx({c: row[c] for c in predicted}, abs=1e-4)
    right = [max(("host", "soil"), key=row.__getitem__) == row["true"] for row in result["genomes"].values()]
    assert result["accuracy"] == pytest.approx(np.mean(right), abs=1e-4)
    assert "4 genomes of held-out groups" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("text", "options", "fragments"),
    [
        ("Elsewhere\n", [], ["column genus", "no genome is of a held-out group"]),
        ("\n", [], ["lists no id"]),
        (None, [], ["cannot be read", "held_out.txt"]),
        ("Elsewhere\n", ["--group", "family"], ["held_out_genera needs the column with the genera", "--group"]),
    ],
)
def test_held_out_genera_that_cannot_be_held_out_are_refused(genomes, tmp_path, capfd, text, options, fragments):
    if text is not None:
        (tmp_path / "held_out.txt").write_text(text)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"n_folds": 2, "held_out_genera": "held_out.txt"}))
    command = arguments(genomes, tmp_path / "run", tmp_path / "c.yaml", *options)
    assert run_recipe("train_genome_transformer", command) == 2
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ") and all(fragment in line for fragment in fragments), line


@pytest.fixture(scope="module")
def split(genomes, tmp_path_factory) -> Path:
    """A run on one split, of which the genomes g12 to g15 are tested."""
    folder = tmp_path_factory.mktemp("split")
    (folder / "validation.txt").write_text("# held out\ng12\ng13\n\ng14\ng15\n")
    options = arguments(genomes, folder / "run", CONFIGS / "smoke.yaml", "--validation", str(folder / "validation.txt"))
    assert run_recipe("train_genome_transformer", [*options, "patience=null", "n_epochs=3"]) == 0
    return folder / "run"


def test_one_split_tests_the_listed_genomes_and_trains_on_the_others(split, genomes):
    study, record = Study.read(split), json.loads((split / "training_record.json").read_text())
    assert study.target.sample_ids == ("g12", "g13", "g14", "g15") and study.evaluations[0].n_folds == 1
    assert record["training_genomes"] == [f"g{i}" for i in range(12)] and record["n_epochs"] == 3
    assert {row["stage"] for row in history(split)} == {"0"}
    # The checkpoint is the model that was tested.
    model = AutoModelForSequenceClassification.from_pretrained(split / "model")
    processor, embedded = AutoProcessor.from_pretrained(split / "model"), EmbeddedGenomes.read(genomes)
    for name, expected in zip(study.target.sample_ids, study.evaluations[0].probabilities, strict=True):
        with torch.no_grad():
            logits = model(**processor(embedded.vectors(name), embedded.contig_ids(name))).logits
        np.testing.assert_allclose(logits.softmax(1)[0], expected, atol=1e-4)
    assert model.config.training_range["n_genomes"] == 12


def test_accuracy_is_a_table_by_class_with_its_total(split, single):
    for run, n_tested in ((split, 4), (single, 16)):
        rows = list(csv.DictReader((run / "accuracy.csv").open()))
        assert [row["class"] for row in rows] == ["host", "soil", "all"]
        assert int(rows[-1]["n_genomes"]) == n_tested == sum(int(row["n_genomes"]) for row in rows[:-1])
        record = json.loads((run / "training_record.json").read_text())["accuracy"]
        assert [round(float(row["accuracy"]), 4) for row in rows] == [*record["by_class"].values(), record["accuracy"]]
        # As scikit-learn has them, from the predictions of the run.
        told = pd.read_csv(run / "predictions.csv", index_col="sample_id")
        predicted = told.drop(columns="class").idxmax(axis=1).str.rpartition(".")[2]
        report = classification_report(told["class"], predicted, output_dict=True, zero_division=np.nan)
        for row in rows[:-1]:
            judge = [report[row["class"]][name] for name in ("precision", "recall", "f1-score", "support")]
            ours = [float(row[name] or "nan") for name in ("precision", "recall", "f1", "n_genomes")]
            assert ours == pytest.approx(judge, nan_ok=True)
        assert [rows[-1][name] for name in ("precision", "recall", "f1")] == ["", "", ""]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["g1", "g99"], "lists 1 genomes without a value in column 'habitat', such as 'g99'"),
        (["g1", "g1"], "lists 'g1' twice"),
        ([], "lists no id"),
        ([f"g{i}" for i in range(16)], "leaves no genome of class 'host' for training"),
        (["g0", "g1", "g2"], "have genomes on both sides of the split"),
        (["g0", "g2"], "leaves no genome of class 'host' for validation"),
    ],
)
def test_a_split_that_leaks_or_lacks_a_class_is_refused(genomes, tmp_path, capfd, lines, message):
    (tmp_path / "v.txt").write_text("\n".join(lines))
    options = arguments(genomes, tmp_path / "run", CONFIGS / "smoke.yaml", "--validation", str(tmp_path / "v.txt"))
    assert run_recipe("train_genome_transformer", options) == 2
    assert message in capfd.readouterr().err and not (tmp_path / "run").exists()


@pytest.mark.parametrize("n_rows", [2, 6, 10])
def test_resumed_equals_uninterrupted(single, genomes, tmp_path, n_rows):
    output = tmp_path / "run"
    job = launch(tmp_path, 1, genomes, output)
    deadline = time.monotonic() + 60
    while not (output / "history.csv").is_file() or len(history(output)) < n_rows:
        assert time.monotonic() < deadline and (job.processes[0].is_alive() or n_rows > 8), job.text()
        if not job.processes[0].is_alive():
            break
        time.sleep(0.002)
    job.signal(signal.SIGTERM)
    assert job.wait()[0] in (143, 0), job.text()
    job = launch(tmp_path / "again", 1, genomes, output)
    assert job.wait() == [0], job.text()
    assert history(output) == history(single)
    a, b = (AutoModelForSequenceClassification.from_pretrained(f / "model").state_dict() for f in (output, single))
    assert all(torch.equal(a[name], b[name]) for name in b)


def test_batches_contigs_and_genes(genomes, tmp_path):
    module = recipe("train_genome_transformer")
    config = module.RecipeConfig(batch_genomes=4, genes_per_step=20)
    found = EmbeddedGenomes.read(genomes)
    target = module.make_target(found.metadata, "habitat", list(found.genomes.index))
    run = module.TrainingRun(tmp_path, {}, module.make_accelerator("no", cpu=True))
    trainer = module.Trainer(config, run, found, target)
    batches = trainer.batches(np.arange(16), 1)
    assert sorted(np.concatenate(batches).tolist()) == list(range(16)) and max(map(len, batches)) == 4
    whole, contigs = trainer.genome(3, None)
    some, ranks = trainer.genome(3, np.random.default_rng(0))
    assert len(whole) == 40 and len(some) == 20 and (np.diff(ranks) >= 0).all()
    place = [int(np.flatnonzero((whole == vector).all(1))[0]) for vector in some]
    # Another order of contigs, the same order of genes within each.
    assert len({tuple(trainer.genome(3, np.random.default_rng(i))[0][0]) for i in range(9)}) > 1
    for rank in np.unique(ranks):
        genes = [p for p, r in zip(place, ranks, strict=True) if r == rank]
        assert genes == sorted(genes) and len({contigs[p] for p in genes}) == 1


@pytest.mark.parametrize("name", ["paper.yaml", "mini.yaml", "smoke.yaml"])
def test_shipped_configs_are_valid(name):
    module = recipe("train_genome_transformer")
    config = module.RecipeConfig.from_yaml(CONFIGS / name)
    assert config == build_config(module.RecipeConfig, read_yaml(CONFIGS / name), name)
    if name == "paper.yaml":
        assert (config.num_hidden_layers, config.hidden_size, config.max_genes, config.n_epochs) == (15, 640, 4096, 16)


@pytest.mark.parametrize(
    ("values", "options", "fragments"),
    [
        ({"colour": 1}, [], ["unknown field colour"]),
        ({"n_epochs": 0}, [], ["n_epochs is 0"]),
        ({"genes_per_step": 0}, [], ["genes_per_step is 0"]),
        ({"hidden_size": 31, "num_attention_heads": 2}, [], ["hidden_size is 31", "does not divide"]),
        ({"positions": "spiral"}, [], ["positions is 'spiral'; give none, contig, genome"]),
        ({"n_folds": 1}, [], ["n_folds is 1; it must be at least 2"]),
        ({"dropout": 1.5}, [], ["dropout is 1.5; it must be at least 0 and at most 0.999"]),
        ({"learning_rate": 0}, [], ["learning_rate is 0.0; it must be above 0"]),
        ({"patience": 0}, [], ["patience is 0"]),
        ({"mixed_precision": "fp8"}, [], ["mixed_precision is 'fp8'"]),
        ({"n_folds": 5}, [], ["5 folds", "column 'genus'"]),
        ({}, ["--target", "colour"], ["no column 'colour'", "habitat"]),
    ],
)
def test_genome_recipe_refuses_bad_input(genomes, tmp_path, capfd, values, options, fragments):
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump({"n_folds": 2} | values))
    assert run_recipe("train_genome_transformer", arguments(genomes, tmp_path / "run", config, *options)) == 2
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ") and all(fragment in line for fragment in fragments), line
    assert not (tmp_path / "run").exists()
