"""`biomeformer recipes`: what is listed, shown and run is what `recipes/` holds, also in a wheel."""

from __future__ import annotations

import sys
import tomllib

import pytest
from setuptools import find_packages
from typer.testing import CliRunner

from biomeformer.cli import app
from biomeformer.cli.recipes import FOLDER, config_names, recipe_names
from processes import ROOT

SCRIPTS = sorted(path.stem for path in (ROOT / "recipes").glob("*.py") if path.stem != "__init__")


def invoke(*arguments: str):
    return CliRunner().invoke(app, ["recipes", *arguments], prog_name="biomeformer")


def test_every_script_is_listed_with_its_configs():
    result = invoke("list")
    assert result.exit_code == 0 and [line.split(":")[0] for line in result.stdout.splitlines()] == SCRIPTS
    assert "Configs: masked, mini, smoke." in result.stdout and "Traceback" not in result.output


def test_a_recipe_and_a_config_are_shown():
    result = invoke("show", "train_genome_transformer")
    assert result.stdout.startswith("Train a genome transformer") and "paper.yaml" in result.stdout
    result = invoke("show", "train_genome_transformer", "--config", "paper")
    text = (ROOT / "recipes" / "configs" / "train_genome_transformer" / "paper.yaml").read_text()
    assert result.stdout.strip() == text.strip()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "train_genome_transformr"], "did you mean train_genome_transformer?"),
        (["show", "train_genome_transformer", "--config", "papper"], "did you mean paper?"),
        (["run", "finetune"], "no recipe is called finetune"),
        (["run", "pretrain_protein_encoder", "--processes", "0"], "Invalid value for '--processes'"),
    ],
)
def test_what_does_not_exist_is_refused(arguments, message):
    result = invoke(*arguments)
    assert result.exit_code == 2 and message in result.output, result.output


def test_a_recipe_s_own_help_and_exit_code(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    assert "NAME --help shows them" in invoke("run", "--help").stdout
    result = invoke("run", "pretrain_protein_encoder", "--help")
    assert result.exit_code == 0 and "key=value" in result.stdout and "--genomes" in result.stdout
    options = ["--config", "smoke", "--genomes", str(tmp_path), "--output", str(tmp_path / "run"), "--cpu"]
    result = invoke("run", "pretrain_protein_encoder", *options)
    assert result.exit_code == 2 and "genomes.tsv: there is no such list of genomes" in result.output


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("finetune_phenotype", ["--config", "local", "--cohort", "nowhere", "--target", "a", "--cpu"]),
        ("finetune_sequence_classifier", ["--config", "smoke", "--data", "./nowhere", "--cpu"]),
        ("fit_glob_centroids", ["--config", "smoke", "--cohort", "nowhere"]),
        ("pretrain_protein_encoder", ["--config", "smoke", "--genomes", "nowhere", "--cpu"]),
        ("pretrain_read_encoder", ["--config", "smoke", "--genomes", "nowhere", "--cpu"]),
        ("train_genome_transformer", ["--config", "smoke", "--genomes", "./nowhere", "--target", "a", "--cpu"]),
    ],
)
def test_every_recipe_reads_its_config_and_then_its_input(name, options, tmp_path, monkeypatch):
    """Types of fields are looked up in the recipe's module, which runs as `__main__`."""
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.chdir(tmp_path)
    assert config_names(name)
    result = invoke("run", name, *options, "--output", str(tmp_path / "run"), "seed=1")
    assert result.exit_code == 2 and "nowhere" in result.output and "Error" not in result.output, result.output
    assert not (tmp_path / "run").exists()


def test_a_wheel_has_the_recipes_and_their_configs():
    """By the rules that setuptools builds it by."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    (where,) = project["packages"]["find"]["where"]
    assert "biomeformer.recipes" in find_packages(str(ROOT / where))
    folder = ROOT / where / "biomeformer"
    data = {path for pattern in project["package-data"]["biomeformer"] for path in folder.glob(pattern)}
    expected = {folder / "recipes" / path.relative_to(ROOT / "recipes") for path in (ROOT / "recipes").rglob("*.*ml")}
    expected |= {folder / "recipes" / "README.md", folder / "recipes" / "configs" / "held_out_genera.txt"}
    assert len(expected) > 15 and expected <= data
    assert FOLDER.resolve() == (ROOT / "recipes").resolve() and recipe_names() == SCRIPTS
    assert config_names("train_genome_transformer") == ["mini", "paper", "smoke"]
