"""Fine-tuning by the recipe: every task, resumes, any number of processes, searches, a checkpoint that loads."""

from __future__ import annotations

import csv
import json
import signal
import sqlite3
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from transformers import AutoModelForSequenceClassification

from biomeformer import SequenceClassifier, prepare_sequences
from biomeformer.sequences import PreparationSettings
from biomeformer.sequences.evaluation import SequenceEvaluation
from biomeformer.sequences.prediction_table import read_predictions
from biomeformer.training.config import read_yaml
from factories import random_sequences, reverse_complement
from processes import ROOT, Job, recipe, run_recipe

CONFIGS = ROOT / "recipes" / "configs" / "finetune_sequence_classifier"
MOTIFS = {"alpha": "GATTACAGATTA", "beta": "CCGGAACCTTGG"}


def planted(n: int, motif: str | None, seed: int) -> list[str]:
    """Sequences with a motif on either strand, or without."""
    found = []
    for i, sequence in enumerate(random_sequences(n, 70, 110, seed)):
        place = 5 + i % 40
        word = "" if motif is None else motif if i % 2 else reverse_complement(motif)
        found.append(sequence[:place] + word + sequence[place + len(word) :])
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Two classes; one has a motif."""
    folder = tmp_path_factory.mktemp("data")
    for name, motif, seed in (("motif", MOTIFS["alpha"], 1), ("none", None, 2)):
        lines = [f">{name}{i}\n{sequence}\n" for i, sequence in enumerate(planted(200, motif, seed))]
        (folder / f"{name}.fa").write_text("".join(lines))
    inputs = [f"{name}={folder / name}.fa" for name in ("motif", "none")]
    prepare_sequences(inputs, folder / "prepared", read_encoder=None)
    return folder / "prepared"


def arguments(data: Path, output: Path, config: Path = CONFIGS / "smoke.yaml", *others: str) -> list[str]:
    return ["--data", str(data), "--output", str(output), "--config", str(config), "--cpu", *others]


def launch(folder: Path, n_ranks: int, *options) -> Job:
    return Job(folder, n_ranks, run_recipe, "finetune_sequence_classifier", arguments(*options))


def write_config(path: Path, **changes) -> Path:
    path.write_text(yaml.safe_dump(read_yaml(CONFIGS / "smoke.yaml") | changes))
    return path


def history(output: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((output / "history.csv").open()))


@pytest.fixture(scope="module")
def single(data, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("single")
    job = launch(folder, 1, data, folder / "run")
    assert job.wait() == [0], job.text()
    return folder / "run"


def test_checkpoint_scores_and_record(single):
    evaluation = SequenceEvaluation.load(single)
    assert evaluation.task == "binary" and evaluation.scores["roc_auc"]["value"] > 0.9
    classifier = SequenceClassifier.load(single / "model")
    assert classifier.label_names == ["motif", "none"] and classifier.preprocessing.average_strands
    assert list(classifier.preprocessing.thresholds) == list(evaluation.thresholds)
    table = read_predictions(single)
    assert table["split"].value_counts().to_dict() == {"validation": 40, "test": 40}
    record = json.loads((single / "training_record.json").read_text())
    rows = history(single)
    best = min(rows, key=lambda row: float(row["validation_loss"]))
    assert record["best_epoch"] == int(best["epoch"]) and float(rows[-1]["training_loss"]) < float(
        rows[0]["training_loss"]
    )
    assert (single / "report.html").stat().st_size > 50_000 and not (single / "state").exists()
    assert (single / "model" / "training_record.json").is_file()


def test_checkpoint_predicts_as_the_trained_model(single, data):
    """In a fresh process, through the Auto class: what the recipe wrote of the test sequences."""
    job = Job(single.parent / "fresh", 1, predict_again, str(single), str(data))
    assert job.wait() == [0], job.text()


def predict_again(run: str, data: str) -> int:
    """The probabilities of the checkpoint against those in the run's table."""
    from biomeformer.sequences.training_data import read_training_data

    table = read_predictions(run).query("split == 'test'")
    split = read_training_data(data).splits["test"]
    sequences = split.sequences(range(len(split)))
    assert split.ids == table["id"].tolist()
    classifier = SequenceClassifier.load(Path(run) / "model")
    found = classifier.predict(sequences)
    np.testing.assert_allclose(found, table[["probability motif", "probability none"]].to_numpy(), atol=1e-6)
    model = AutoModelForSequenceClassification.from_pretrained(Path(run) / "model")
    logits = []
    with torch.no_grad():
        for strand in (sequences, [reverse_complement(one) for one in sequences]):
            logits.append(model(**classifier.batch(strand)).logits)
    np.testing.assert_allclose(sum(logits).div(2).softmax(1).numpy(), found, atol=1e-6)
    return 0


def test_two_processes_train_to_equal_losses(single, data, tmp_path):
    job = launch(tmp_path, 2, data, tmp_path / "run")
    assert job.wait() == [0, 0], job.text()
    for ours, theirs in zip(history(tmp_path / "run"), history(single), strict=True):
        for column in ("training_loss", "validation_loss"):
            assert float(ours[column]) == pytest.approx(float(theirs[column]), abs=1e-4)


@pytest.mark.parametrize("n_rows", [1, 4])
def test_resumed_equals_uninterrupted(single, data, tmp_path, n_rows):
    output = tmp_path / "run"
    job = launch(tmp_path, 1, data, output)
    deadline = time.monotonic() + 60
    while not (output / "history.csv").is_file() or len(history(output)) < n_rows:
        assert time.monotonic() < deadline and job.processes[0].is_alive(), job.text()
        time.sleep(0.002)
    job.signal(signal.SIGKILL)
    job.wait()
    job = launch(tmp_path / "again", 1, data, output)
    assert job.wait() == [0], job.text()
    assert history(output) == history(single)
    pd.testing.assert_frame_equal(read_predictions(output), read_predictions(single))


def trials(output: Path) -> list[tuple]:
    query = (
        "select t.number, t.state, p.param_name, p.param_value from trials t join trial_params p using (trial_id) "
        "order by t.number, p.param_name"
    )
    with sqlite3.connect(output / "search.db") as base:
        return base.execute(query).fetchall()


def test_search_killed_and_resumed_keeps_its_trials(data, tmp_path):
    config = write_config(
        tmp_path / "search.yaml",
        n_epochs=2,
        search={"n_trials": 4, "learning_rate": [1e-4, 1e-1], "batch_sequences": [16, 32, 64], "n_epochs": [1, 3]},
    )
    whole = launch(tmp_path, 1, data, tmp_path / "whole", config)
    assert whole.wait() == [0], whole.text()
    output = tmp_path / "run"
    job = launch(tmp_path, 1, data, output, config)
    deadline = time.monotonic() + 60
    # The second trial has an epoch behind it.
    while not (output / "history.csv").is_file() or "1" not in {row["stage"] for row in history(output)}:
        assert time.monotonic() < deadline and job.processes[0].is_alive(), job.text()
        time.sleep(0.005)
    job.signal(signal.SIGKILL)
    job.wait()
    before = trials(output)
    job = launch(tmp_path / "again", 1, data, output, config)
    assert job.wait() == [0], job.text()
    after = trials(output)
    assert len(before) >= 6 and [row[::2] for row in after[: len(before)]] == [row[::2] for row in before]
    assert after == trials(tmp_path / "whole") and {row[0] for row in after} == {0, 1, 2, 3}
    record = json.loads((output / "training_record.json").read_text())
    done = [trial for trial in record["trials"] if trial["state"] == "complete"]
    best = min(done, key=lambda trial: trial["loss"])
    assert record["config"]["learning_rate"] == best["learning_rate"] and len(record["trials"]) == 4
    evaluation = SequenceEvaluation.load(output)
    assert evaluation.scores == SequenceEvaluation.load(tmp_path / "whole").scores


def test_search_on_two_processes(data, tmp_path):
    search = {"n_trials": 2, "learning_rate": [1e-3, 1e-2]}
    config = write_config(tmp_path / "search.yaml", n_epochs=1, search=search)
    job = launch(tmp_path, 2, data, tmp_path / "run", config)
    assert job.wait() == [0, 0], job.text()
    assert {row[0] for row in trials(tmp_path / "run")} == {0, 1}


def table_of(folder: Path, rows: list[tuple[str, object]]) -> Path:
    pd.DataFrame(rows, columns=["sequence", "label"]).to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def test_several_classes_with_adapters(tmp_path):
    rows = [(one, name) for i, (name, motif) in enumerate(MOTIFS.items()) for one in planted(60, motif, i)]
    rows += [(one, "none") for one in planted(60, None, 9)]
    prepare_sequences([table_of(tmp_path, rows)], tmp_path / "data", read_encoder=None)
    sizes = {"classifier_hidden_size": 8}
    config = write_config(
        tmp_path / "c.yaml",
        base="metagenbert-mini",
        model_sizes=sizes,
        lora={"rank": 2},
        n_epochs=2,
        class_weights=True,
    )
    job = launch(tmp_path, 1, tmp_path / "data", tmp_path / "run", config)
    assert job.wait() == [0], job.text()
    classifier = SequenceClassifier.load(tmp_path / "run" / "model")
    assert classifier.label_names == ["alpha", "beta", "none"] and classifier.preprocessing.task == "multi_class"
    assert not any("lora" in name for name in classifier.model.state_dict())
    assert classifier.predict([rows[0][0]]).sum() == pytest.approx(1)


def test_several_labels_at_once(tmp_path):
    alpha, beta = MOTIFS.values()
    rows = [
        (one[:60] + word, label)
        for label, word in (("alpha;beta", beta), ("alpha", ""))
        for one in planted(60, alpha, len(word))
    ]
    rows += [(one, "beta") for one in planted(60, beta, 5)]
    settings = PreparationSettings(task="multi_label")
    prepare_sequences([table_of(tmp_path, rows)], tmp_path / "data", settings, read_encoder=None)
    job = launch(tmp_path, 1, tmp_path / "data", tmp_path / "run")
    assert job.wait() == [0], job.text()
    classifier = SequenceClassifier.load(tmp_path / "run" / "model")
    assert classifier.preprocessing.task == "multi_label" and len(classifier.preprocessing.thresholds) == 2
    assert SequenceEvaluation.load(tmp_path / "run").scores["roc_auc"]["value"] > 0.6


def test_regression_learns_the_gc_content(tmp_path):
    rows = [(one, 10 + 5 * (one.count("G") + one.count("C")) / len(one)) for one in planted(300, None, 4)]
    settings = PreparationSettings(task="regression")
    prepare_sequences([table_of(tmp_path, rows)], tmp_path / "data", settings, read_encoder=None)
    config = write_config(tmp_path / "c.yaml", n_epochs=12)
    job = launch(tmp_path, 1, tmp_path / "data", tmp_path / "run", config)
    assert job.wait() == [0], job.text()
    classifier = SequenceClassifier.load(tmp_path / "run" / "model")
    assert 11 < classifier.predict([rows[0][0]])[0, 0] < 14
    for changes in ({"select_by": "pr_auc"}, {"label_smoothing": 0.1}):
        config = write_config(tmp_path / "c.yaml", **changes)
        refused = arguments(tmp_path / "data", tmp_path / "refused", config)
        assert run_recipe("finetune_sequence_classifier", refused) == 2 and not (tmp_path / "refused").exists()
    assert SequenceEvaluation.load(tmp_path / "run").scores["pearson"]["value"] > 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora": {"alpha": 3}}, "lora is {'alpha': 3}; give a mapping with a rank"),
        ({"search": {"learning_rate": [1, 2]}}, "search needs n_trials"),
        ({"search": {"n_trials": 2, "colour": [1, 2]}}, "search: unknown field colour"),
        ({"search": {"n_trials": 2, "dropout": 0.3}}, "search: dropout is 0.3; give a list"),
        ({"search": {"n_trials": 2, "dropout": [0, 1.5]}}, "search: dropout has 1.5; each value must be at least 0"),
        ({"search": {"n_trials": 2, "schedule": ["linear", "step"]}}, "schedule has 'step'; each value is one of"),
        ({"search": {"n_trials": 2, "n_sequences": 0.5}}, "search: n_sequences is 0.5; give a whole number"),
        ({"search": {"n_trials": 2, "evaluate_every": 5}}, "search: evaluate_every needs n_steps"),
        ({"select_by": "f1"}, "select_by is 'f1'; give loss, pr_auc"),
        ({"n_epochs": 0}, "n_epochs is 0"),
        ({"base": "metagenbert-mni"}, "did you mean metagenbert-mini"),
        ({"model_sizes": {"width": 3}}, "cnn has no width"),
    ],
)
def test_sequence_recipe_refuses_bad_configs(data, tmp_path, capsys, changes, message):
    config = write_config(tmp_path / "c.yaml", **changes)
    assert run_recipe("finetune_sequence_classifier", arguments(data, tmp_path / "run", config)) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_sequence_recipe_refuses_a_folder_without_a_dataset(data, tmp_path, capsys):
    assert run_recipe("finetune_sequence_classifier", arguments(tmp_path / "none", tmp_path / "run")) == 2
    assert "is no dataset" in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configs_are_valid(path):
    recipe("finetune_sequence_classifier").RecipeConfig.from_yaml(path)
