"""A small protein encoder by the recipe: it learns, resumes, and is the same on any number of processes."""

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

from biomeformer.genomes.proteins import load_protein_encoder
from biomeformer.training.config import read_yaml
from factories import random_contig
from processes import ROOT, Job, recipe, run_recipe

CONFIGS = ROOT / "recipes" / "configs" / "pretrain_protein_encoder"


@pytest.fixture(scope="module")
def genomes(tmp_path_factory) -> Path:
    """Three genomes of some 30 kb."""
    folder = tmp_path_factory.mktemp("genomes")
    rows = ["genome_id\tfile"]
    for i in range(3):
        (folder / f"g{i}.fna").write_text(f">c\n{random_contig(np.random.default_rng(i))}\n")
        rows.append(f"g{i}\tg{i}.fna")
    (folder / "genomes.tsv").write_text("\n".join(rows) + "\n")
    return folder


def arguments(genomes: Path, output: Path, config: Path = CONFIGS / "smoke.yaml") -> list[str]:
    return ["--config", str(config), "--genomes", str(genomes), "--output", str(output), "--cpu"]


def launch(folder: Path, n_ranks: int, *options) -> Job:
    return Job(folder, n_ranks, run_recipe, "pretrain_protein_encoder", arguments(*options))


@pytest.fixture(scope="module")
def single(genomes, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("single")
    job = launch(folder, 1, genomes, folder / "run")
    assert job.wait() == [0], job.text()
    return folder / "run"


def losses(output: Path) -> list[float]:
    return [float(row["training_loss"]) for row in csv.DictReader((output / "history.csv").open())]


def test_it_learns_and_loads(single):
    assert len(losses(single)) == 8 and losses(single)[-1] < losses(single)[0]
    rows = [row for row in csv.DictReader((single / "history.csv").open()) if row["validation_loss"]]
    validation = [float(row["validation_loss"]) for row in rows]
    assert [row["step"] for row in rows] == ["4", "8"] and validation[1] < validation[0]
    encoder = load_protein_encoder(single / "model")
    assert encoder.embed(["MKTAYIAKQR", "MV"]).vectors.shape == (2, 16)
    record = json.loads((single / "training_record.json").read_text())
    assert record["n_tokens"] == 8 * 2 * 1024 and record["n_proteins"] > 3 * record["n_held_out"] > 0
    assert record["held_out_loss"] == validation[1] and record["genomes"] == ["g0", "g1", "g2"]


def test_held_out_genera_are_not_read(genomes, tmp_path, capfd):
    rows = ["genome_id\tfile\tgenus", "g0\tg0.fna\tBacillus", "g1\tabsent.fna\tVibrio", "g2\tg2.fna\tBacillus"]
    for i in (0, 2):
        (tmp_path / f"g{i}.fna").write_bytes((genomes / f"g{i}.fna").read_bytes())
    (tmp_path / "genomes.tsv").write_text("\n".join(rows) + "\n")
    (tmp_path / "held_out.txt").write_text("Vibrio\n")
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump(read_yaml(CONFIGS / "smoke.yaml") | {"held_out_genera": "held_out.txt"}))
    assert run_recipe("pretrain_protein_encoder", arguments(tmp_path, tmp_path / "run", config)) == 0
    record = json.loads((tmp_path / "run" / "training_record.json").read_text())
    assert record["genomes"] == ["g0", "g2"] and record["held_out_genera"] == ["Vibrio"]
    assert load_protein_encoder(tmp_path / "run" / "model").long_proteins == "windows"
    (tmp_path / "held_out.txt").write_text("Vibrio\nBacillus\n")
    assert run_recipe("pretrain_protein_encoder", arguments(tmp_path, tmp_path / "other", config)) == 2
    assert "no genome of a genus that is not held out" in capfd.readouterr().err


def test_two_processes_give_what_one_gives(single, genomes, tmp_path):
    job = launch(tmp_path, 2, genomes, tmp_path / "run")
    assert job.wait() == [0, 0], job.text()
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(single), atol=1e-4)


def test_resumed_equals_uninterrupted(single, genomes, tmp_path):
    output = tmp_path / "run"
    job = launch(tmp_path, 1, genomes, output)
    deadline = time.monotonic() + 60
    while not (output / "history.csv").is_file() or len(losses(output)) < 4:
        assert time.monotonic() < deadline, job.text()
        time.sleep(0.001)
    job.signal(signal.SIGTERM)
    assert job.wait()[0] in (143, 0), job.text()
    job = launch(tmp_path / "again", 1, genomes, output)
    assert job.wait() == [0], job.text()
    assert losses(output) == losses(single)
    a, b = (load_protein_encoder(folder / "model").model.state_dict() for folder in (output, single))
    assert all(torch.equal(a[name], b[name]) for name in b)


def test_batches_hide_residues_alone():
    module = recipe("pretrain_protein_encoder")
    rng = np.random.default_rng(0)
    lengths = np.sort(rng.integers(20, 300, 50))
    letters = rng.choice(np.frombuffer(b"ACDEFGHIKLMNPQRSTVWYX", np.uint8), int(lengths.sum()))
    proteins = module.Proteins(letters, np.concatenate([[0], np.cumsum(lengths)]))
    config = module.RecipeConfig(8, 1, 1, 8, 1, micro_batch_tokens=2000, max_residues=100)
    batch = proteins.batch(config, np.random.default_rng(1))
    assert batch["input_ids"].shape[1] <= 102 and batch["input_ids"].numel() <= 2000 + 102
    chosen = batch["labels"] != -100
    assert 0.08 < float(chosen.float().sum() / batch["attention_mask"].sum()) < 0.22
    assert not np.isin(batch["labels"][chosen].numpy(), module.SPECIALS).any()
    assert (batch["attention_mask"][chosen] == 1).all()
    inside, outside = proteins.split(0.3)
    assert len(inside) + len(outside) == 50 and 5 < len(outside) < 25
    again = module.Proteins(letters, proteins.offsets).split(0.3)[1]
    assert np.array_equal(again.letters, outside.letters)


@pytest.mark.parametrize(
    ("values", "folder", "fragments"),
    [
        ({"colour": 1}, None, ["unknown field colour"]),
        ({"n_steps": "many"}, None, ["n_steps is 'many'"]),
        ({}, "nowhere", ["nowhere", "genomes.tsv: there is no such list of genomes"]),
    ],
)
def test_protein_recipe_refuses_bad_input(genomes, tmp_path, capfd, values, folder, fragments):
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump(read_yaml(CONFIGS / "smoke.yaml") | values))
    place = genomes if folder is None else tmp_path / folder
    assert run_recipe("pretrain_protein_encoder", arguments(place, tmp_path / "run", config)) == 2
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ") and all(fragment in line for fragment in fragments), line
