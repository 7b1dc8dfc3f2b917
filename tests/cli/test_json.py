"""Every command prints its result as one JSON document with `--json`, and ends with a command that takes it further."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import biomeformer
from biomeformer.cli import app
from biomeformer.runs.results import plain
from command_tree import fault, verbs
from factories import tiny_metagenbert
from hub_factories import fill_in, small_table
from reliability.commands import COMMANDS, make_inputs

KEYS = {"command", "exit_code", "files", "next"}
ENTRY = "publish card INPUTS/to-publish --id lab/x --license mit"
# By command: its arguments, and keys of its result.
RUNS = {
    "demo": ("demo --output OUTPUT --threads 1", {"n_samples", "read_stats"}),
    "embed": (COMMANDS["embed"].arguments, {"n_samples", "failed", "sample_ids", "read_stats"}),
    "status": ("status INPUTS/run", {"n_items", "n_done", "left", "failed"}),
    "export": (COMMANDS["export, csv"].arguments, {"format", "n_samples"}),
    "join": (COMMANDS["join"].arguments, {"sample_ids", "n_tables"}),
    "fit-centroids": (COMMANDS["fit-centroids"].arguments, {"fits"}),
    "wrap-centroids": (COMMANDS["wrap-centroids"].arguments, {"n_clusters", "hidden_size", "pooling"}),
    "inspect": ("inspect INPUTS/phenotype", {"checkpoint", "model", "preprocessing", "provenance"}),
    "doctor": ("doctor", {"environment", "instructions", "findings", "healthy"}),
    "clusters describe": (COMMANDS["clusters describe"].arguments, {"n_reads", "n_genomes", "n_clusters"}),
    "clusters reads": (COMMANDS["clusters reads"].arguments, {"n_reads", "n_written"}),
    "phenotype evaluate": (COMMANDS["phenotype evaluate"].arguments, {"target", "scores", "comparisons", "warnings"}),
    "phenotype depth": (COMMANDS["phenotype depth"].arguments, {"target", "scores", "read_fractions"}),
    "phenotype train": (COMMANDS["phenotype train"].arguments + " --force", {"target", "scores", "estimator"}),
    "phenotype predict": ("phenotype predict INPUTS/phenotype INPUTS/cohort/s0.fastq.gz", {"predictions", "failed"}),
    "phenotype transfer": (COMMANDS["phenotype transfer"].arguments, {"scores", "warnings"}),
    "phenotype robustness": (COMMANDS["phenotype robustness"].arguments, {"tests"}),
    "phenotype report": (COMMANDS["phenotype report"].arguments, {"target", "feature_sets"}),
    "genome embed": (COMMANDS["genome embed"].arguments, {"n_genes", "n_genomes", "failed"}),
    "genome predict": (
        "genome predict INPUTS/proteins/g0.faa --model INPUTS/genome-model --device cpu",
        {"predictions", "failed"},
    ),
    "genome attribute": (COMMANDS["genome attribute"].arguments, {"n_genomes", "n_pairs", "failed"}),
    "sequences prepare": (COMMANDS["sequences prepare"].arguments, {"n_read", "n_kept", "n_sequences"}),
    "sequences predict": (
        "sequences predict INPUTS/a.fa --model INPUTS/classifier --device cpu --threads 1",
        {"predictions", "n_sequences", "n_truncated"},
    ),
    "recipes list": ("recipes list", {"recipes"}),
    "recipes show": ("recipes show pretrain_read_encoder", {"recipe", "description", "script", "configs"}),
    "recipes run": (
        "recipes run " + COMMANDS["embed_cohort"].arguments,
        {"recipe", "processes", "arguments"},
    ),
    "publish card": (ENTRY, {"repo"}),
    "publish model": ("publish model INPUTS/published-model lab/x", {"repo", "upload", "pushed"}),
    "publish dataset": ("publish dataset INPUTS/published-dataset lab/table", {"repo", "upload", "pushed"}),
    "publish space": ("publish space lab/page", {"repo", "upload", "pushed"}),
    "publish collection": ("publish collection Gut lab --model lab/x", {"items", "pushed"}),
    "convert": (COMMANDS["convert"].arguments, {"source"}),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    from biomeformer.hub.entry import write_entry
    from biomeformer.hub.generated import write_generated
    from biomeformer.hub.manifest import load_entry
    from biomeformer.metagenomes.export import export_table

    folder = tmp_path_factory.mktemp("json") / "inputs"
    make_inputs(folder)
    shutil.copytree(folder / "model", folder / "to-publish")
    tiny_metagenbert().save_pretrained(folder / "published-model")
    (folder / "published-model" / "training_record.json").write_text(json.dumps({"device": "cpu"}))
    (folder / "published-dataset").mkdir()
    export_table(small_table().without_columns(["age"]), folder / "published-dataset", "datasets")
    for name, repo in (("published-model", "lab/x"), ("published-dataset", "lab/table")):
        write_entry(folder / name, repo, "cc-by-4.0")
        fill_in(folder / name)
        write_generated(folder / name, load_entry(folder / name))
    return folder


def test_every_command_is_run_below():
    # The page is served until it is interrupted: tests/app.
    assert set(RUNS) == set(verbs()) - {"app"}
    for name, command in verbs().items():
        assert any("--json" in parameter.opts for parameter in command.params), name


@pytest.mark.parametrize("name", RUNS)
def test_a_command_prints_one_document_and_the_next_command(name, inputs, tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    # A recipe sets its own command line.
    monkeypatch.setattr(sys, "argv", ["biomeformer"])
    text, keys = RUNS[name]
    output = tmp_path / "out"
    words = [word.replace("INPUTS", str(inputs)).replace("OUTPUT", str(output)) for word in text.split()]
    done = CliRunner().invoke(app, [*words, "--json"], prog_name="biomeformer")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["command"] == name and document["exit_code"] == 0 and "error" not in document
    assert KEYS | keys <= set(document)
    assert document["next"] or name == "recipes run"
    assert [fault(line) for line in document["next"]] == [None] * len(document["next"])
    assert all(f"next: {line}" in done.stderr.splitlines() for line in document["next"])
    assert all(Path(path).exists() for path in document["files"].values())
    if "OUTPUT" in text:
        assert document["files"] and all(str(output) in path for path in document["files"].values())
    for each in keys - {"failed", "warnings", "left", "comparisons", "healthy", "pushed", "n_truncated"}:
        assert document[each], each


def test_the_numbers_are_those_of_the_files(inputs, tmp_path):
    output = tmp_path / "out"
    words = ["phenotype", "evaluate", inputs / "run", "--target", "group", "--folds", 2, "--repeats", 1, "--threads", 1]
    words += ["--estimator", "l1", "--output", output, "--json", "--quiet"]
    done = CliRunner().invoke(app, [str(word) for word in words], prog_name="biomeformer")
    assert done.exit_code == 0 and done.stderr == ""
    shown = pd.DataFrame(json.loads(done.stdout)["scores"])
    written = pd.read_csv(output / "scores.csv")
    assert shown["roc_auc"].tolist() == pytest.approx(written["roc_auc"].tolist(), nan_ok=True)
    assert shown["features"].tolist() == written["features"].tolist()


@pytest.mark.parametrize(
    ("words", "command", "code", "error"),
    [
        (["embed", "none.csv", "--model", "metagenbert-mini", "--output", "out"], "embed", 2, "none.csv"),
        (["phenotype", "evaluate"], "phenotype evaluate", 2, "Missing argument"),
        (["recipes", "nonsense"], "recipes", 2, "nonsense"),
        (["--max-record-bases", "x", "doctor"], "doctor", 2, "--max-record-bases"),
    ],
)
def test_an_error_is_in_the_document_too(words, command, code, error, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*words, "--json"], prog_name="biomeformer")
    document = json.loads(done.stdout)
    assert (document["command"], document["exit_code"]) == (command, code) and done.exit_code == code
    assert error in document["error"] and f"error: {document['error']}" in done.stderr


def test_help_is_not_json():
    done = CliRunner().invoke(app, ["embed", "--help", "--json"], prog_name="biomeformer")
    assert done.exit_code == 0 and "Usage:" in done.stdout and "--json" in done.stdout


def test_values_become_json():
    frame = pd.DataFrame({"a": [1.5, np.nan], "b": ["x", None]})
    assert plain(frame) == [{"a": 1.5, "b": "x"}, {"a": None, "b": None}]
    values = {1: np.float32(2), "n": np.int64(3), "p": Path("x"), "inf": float("inf"), "s": (np.bool_(True), {4})}
    assert plain(values) == {"1": 2.0, "n": 3, "p": "x", "inf": None, "s": [True, [4]]}
    assert biomeformer.__version__ == json.loads(CliRunner().invoke(app, ["--version", "--json"]).stdout)["version"]
