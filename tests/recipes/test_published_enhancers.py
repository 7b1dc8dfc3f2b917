"""The published procedure for enhancers, from peaks of a made genome to a classifier, at small size."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, f1_score
from typer.testing import CliRunner

from biomeformer import SequenceClassifier
from biomeformer.cli import app
from biomeformer.io.nucleotides import reverse_complement
from biomeformer.sequences.evaluation import SequenceEvaluation
from biomeformer.sequences.prediction_table import read_predictions
from biomeformer.sequences.training_data import read_training_data
from factories import bpe_tokenizer, random_sequences, tiny_dnabert2
from processes import ROOT, recipe, run_recipe

CONFIG = ROOT / "recipes" / "configs" / "finetune_sequence_classifier" / "paper.yaml"
N_PEAKS, STEP = 40, 1200
LENGTH = N_PEAKS * STEP


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Peaks of two classes on a chromosome each, with what the paper's rules treat: edges, copies, other contigs."""
    folder = tmp_path_factory.mktemp("peaks")
    normal, tumour = (bytearray(random_sequences(1, LENGTH, LENGTH + 1, seed)[0].encode()) for seed in (1, 2))
    # A window of the first chromosome lies in the second too, and another one as its reverse complement.
    tumour[2 * STEP : 2 * STEP + 1000] = normal[3 * STEP : 3 * STEP + 1000]
    tumour[5 * STEP : 5 * STEP + 1000] = reverse_complement(bytes(normal[6 * STEP : 6 * STEP + 1000]))
    contigs = {"chr1": normal, "chr2": tumour, "chrUn_x": normal[: 3 * STEP]}
    with gzip.open(folder / "hg.fa.gz", "wt") as file:
        file.write("".join(f">{name}\n{bases.decode()}\n" for name, bases in contigs.items()))
    for name, contig in (("normal", "chr1"), ("tumour", "chr2")):
        summits = [i * STEP + 500 for i in range(N_PEAKS)] + [100]
        lines = [f"{contig}\t{s - 50}\t{s + 50}\tp\t0\t.\t1\t1\t1\t50" for s in summits]
        lines += [lines[7], f"chrUn_x\t{500}\t{600}\tp\t0\t.\t1\t1\t1\t50"]
        (folder / f"{name}.narrowPeak").write_text("\n".join(lines) + "\n")
    inputs = [f"{name}={folder / name}.narrowPeak" for name in ("normal", "tumour")]
    options = ["--genome", folder / "hg.fa.gz", "--positive", "tumour", "--output", folder / "prepared"]
    arguments = ["sequences", "prepare", *inputs, "--preset", "enhancers-paper", *options]
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.stderr
    return folder / "prepared"


def test_the_rules_of_the_paper_are_applied(prepared):
    record = json.loads((prepared / "prepare.json").read_text())
    settings = record["settings"]
    assert (settings["length"], settings["edges"], settings["shares"]) == (1000, "pad", [0.7, 0.15, 0.15])
    assert settings["balance"] and settings["reverse_complement"] and settings["max_tokens"] == 232
    # Per class: a copy, another contig; and of both the two sequences that the other class has too.
    assert record["tallies"]["dropped"] == {"other_contig": 2, "conflict": 4, "duplicate": 2}
    data = read_training_data(prepared)
    n_kept = 2 * (N_PEAKS + 1 - 2)
    assert [len(data.splits[name]) for name in ("train", "validation", "test")] == [54, 12, 12] and n_kept == 78
    sequences = [s for split in data.splits.values() for s in split.sequences(range(len(split)))]
    assert {len(sequence) for sequence in sequences} == {1000}
    padded = [sequence for sequence in sequences if "N" in sequence]
    # The summit at base 100 has 600 bases of its window within the contig.
    assert len(padded) == 2 and all(set(s[:200]) | set(s[-200:]) == {"N"} and "N" not in s[200:-200] for s in padded)


@pytest.fixture(scope="module")
def run(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    tiny_dnabert2().save_pretrained(folder / "base")
    bpe_tokenizer().save_pretrained(folder / "base")
    arguments = ["--data", str(prepared), "--output", str(folder / "run"), "--config", str(CONFIG), "--cpu"]
    trials = ["search.n_trials=2", "search.n_sequences=40", "search.n_validation=8", "search.n_steps=4"]
    overrides = [f"base={folder / 'base'}", "n_epochs=3", "batch_sequences=16", "micro_batches=2", *trials]
    overrides += ["search.evaluate_every=2", "search.learning_rate=[1e-3, 1e-2]"]
    assert run_recipe("finetune_sequence_classifier", [*arguments, *overrides]) == 0
    return folder / "run"


def test_the_threshold_is_the_one_of_the_best_f1_on_validation(run):
    table = read_predictions(run)
    part = table[table["split"] == "validation"]
    truth = (part["truth"] == "tumour").to_numpy()
    (threshold,) = SequenceEvaluation.load(run).thresholds
    scores = part["probability tumour"].to_numpy()
    best = max(f1_score(truth, scores >= cut) for cut in np.unique(scores))
    assert f1_score(truth, scores >= threshold) == pytest.approx(best)
    assert SequenceClassifier.load(run / "model").preprocessing.thresholds == [threshold]


def test_the_kept_epoch_is_the_one_with_the_best_pr_auc_on_validation(run):
    record = json.loads((run / "training_record.json").read_text())
    history = pd.read_csv(run / "history.csv")
    # Two short trials, and then all sequences with the best settings.
    assert history.groupby("stage")["step"].agg(list).to_dict() == {0: [2, 4], 1: [2, 4], 2: [4, 8, 12]}
    full = history[history["stage"] == 2].reset_index()
    assert record["best_epoch"] == full["validation_score"].idxmax() + 1
    table = read_predictions(run).query("split == 'validation'")
    judge = average_precision_score(table["truth"] == "tumour", table["probability tumour"])
    assert full["validation_score"].max() == pytest.approx(judge, abs=1e-5)


def test_the_search_and_the_context_are_recorded(run):
    record = json.loads((run / "training_record.json").read_text())
    assert len(record["trials"]) == 2 and record["config"]["max_tokens"] == 232
    best = max(record["trials"], key=lambda trial: trial["pr_auc"])
    searched = set(record["config"]["search"]) & set(best)
    assert searched == {
        "learning_rate",
        "schedule",
        "weight_decay",
        "warmup",
        "label_smoothing",
        "max_grad_norm",
    }
    assert {name: record["config"][name] for name in searched} == {name: best[name] for name in searched}
    classifier = SequenceClassifier.load(run / "model")
    assert classifier.preprocessing.max_tokens == 232 and not classifier.preprocessing.average_strands
    assert classifier.batch(["ACGT" * 250])["input_ids"].shape[1] <= 232
    assert classifier.model.config.hidden_dropout_prob == 0.072
    assert classifier.model.config.attention_probs_dropout_prob == 0.02


def test_the_shipped_config_has_the_numbers_of_the_paper():
    config = recipe("finetune_sequence_classifier").RecipeConfig.from_yaml(CONFIG)
    assert config.base == "zhihan1996/DNABERT-2-117M" and config.max_tokens == 232
    assert not config.augment_strands and not config.average_strands and config.lora is None
    assert (config.n_epochs, config.patience, config.select_by, config.batch_sequences) == (5, 5, "pr_auc", 4096)
    assert (config.learning_rate, config.schedule, config.warmup) == (9.02e-6, "cosine", 0.066)
    assert (config.weight_decay, config.adam_beta2, config.adam_epsilon) == (3.8e-6, 0.993, 1.37e-9)
    assert (config.dropout, config.label_smoothing, config.max_grad_norm) == (0.066, 0.026, 1.43)
    assert config.model_sizes == {"hidden_dropout_prob": 0.072, "attention_probs_dropout_prob": 0.02}
    # No part of a step is larger than the paper's batch per device.
    assert -(-config.batch_sequences // config.micro_batches) <= 384
    assert config.search == {
        "n_trials": 50,
        "n_sequences": 100_000,
        "n_validation": 40_000,
        "n_steps": 1000,
        "evaluate_every": 200,
        "learning_rate": [5e-6, 5e-4],
        "schedule": ["linear", "cosine"],
        "weight_decay": [1e-6, 5e-2],
        "warmup": [0.04, 0.12],
        "label_smoothing": [0.0, 0.1],
        "max_grad_norm": [0.5, 2.0],
    }
    for name, values in config.search.items():
        if isinstance(values, list) and not isinstance(values[0], str):
            # The paper's best value lies in its range.
            assert values[0] <= getattr(config, name) <= values[1], name
