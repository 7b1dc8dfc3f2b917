"""Presets set options that exist, explicit options win, and centroids of other programs become checkpoints."""

from __future__ import annotations

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import biomeformer
from biomeformer.cli.app import app
from biomeformer.cli.presets import PRESETS
from processes import ROOT, recipe

CONFIGS = ROOT / "recipes" / "configs" / "fit_glob_centroids"

CASES = [(preset, command) for preset, commands in PRESETS.items() for command in commands]


def command_of(name):
    command = typer.main.get_command(app)
    for part in name.split():
        command = command.commands[part]
    return command


def invoke(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.mark.parametrize(("preset", "name"), CASES)
def test_every_value_of_a_preset_is_one_that_its_command_takes(preset, name):
    command = command_of(name)
    given = {}
    command.callback = lambda **values: given.update(values)
    arguments = ["a"] * sum(p.param_type_name == "argument" for p in command.params)
    for parameter in command.params:
        if parameter.required and parameter.param_type_name == "option" and parameter.name not in PRESETS[preset][name]:
            arguments += [parameter.opts[0], "b"]
    root = name.split()[0] if " " in name else None
    arguments += ["--preset", preset]
    command.main(arguments, prog_name=f"biomeformer {name}", standalone_mode=False)
    assert root is None or name.startswith(root)
    assert {key: given[key] for key in PRESETS[preset][name]} == PRESETS[preset][name]


@pytest.mark.parametrize(
    ("preset", "name", "message"),
    [("metagenbert", "wrap-centroids", "'metagenbert' is no preset of this command; give metagenbert-paper")],
)
def test_an_unknown_preset_is_refused_with_the_known_ones(preset, name, message):
    result = invoke(*name.split(), "x.npy", "--read-encoder", "e", "-o", "o", "--preset", preset)
    assert result.exit_code == 2 and message in " ".join(result.stderr.split())


def test_the_recipe_config_and_the_preset_agree():
    config = recipe("fit_glob_centroids").RecipeConfig.from_yaml(CONFIGS / "metagenbert_paper.yaml")
    preset = dict(PRESETS["metagenbert-paper"]["fit-centroids"])
    assert config.preprocessing == {name: preset.pop(name) for name in ("pooling", "max_length")}
    assert {name: getattr(config, name) for name in preset} == preset


def test_wrapped_centroids_have_the_scale_of_the_preset_and_explicit_options_win(tmp_path):
    values = np.random.default_rng(0).normal(size=(6, 128))
    np.save(tmp_path / "centroids_6.npy", np.asfortranarray(values))
    arguments = ("wrap-centroids", tmp_path / "centroids_6.npy", "--read-encoder", "metagenbert-mini")
    result = invoke(*arguments, "--preset", "metagenbert-paper", "-o", tmp_path / "glob")
    assert result.exit_code == 0, result.stderr
    assert "6 centroids of 128 dimensions, pooling mean_over_max_length, at most 42 tokens per read" in result.stdout
    assert "preset metagenbert-paper: spherical False, pooling mean_over_max_length, max_length 42" in result.stderr
    model = biomeformer.load(tmp_path / "glob")
    assert (model.config.pooling, model.config.max_length) == ("mean_over_max_length", 42)
    assert not model.config.normalize_embeddings
    np.testing.assert_array_equal(model.centroids.numpy(), values.astype(np.float32))
    record = json.loads((tmp_path / "glob" / "training_record.json").read_text())
    assert record["centroids"]["file"] == "centroids_6.npy" and len(record["centroids"]["sha256"]) == 64
    result = invoke(
        *arguments, "--preset", "metagenbert-paper", "--max-length", 60, "--spherical", "-o", tmp_path / "other"
    )
    assert result.exit_code == 0, result.stderr
    other = biomeformer.load(tmp_path / "other")
    assert (other.config.pooling, other.config.max_length) == ("mean_over_max_length", 60)
    assert other.config.normalize_embeddings


def test_centroids_of_another_encoder_or_without_a_scale_are_refused(tmp_path):
    np.save(tmp_path / "c.npy", np.ones((128, 6)))
    wrap = ("wrap-centroids", tmp_path / "c.npy", "--read-encoder", "metagenbert-mini", "-o", tmp_path / "out")
    result = invoke(*wrap)
    assert result.exit_code == 2 and "the array seems to be transposed" in result.stderr
    encoder, tokenizer = biomeformer.load_read_encoder("metagenbert-mini")
    encoder.save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    result = invoke(
        "wrap-centroids", tmp_path / "c.npy", "--read-encoder", tmp_path / "encoder", "-o", tmp_path / "out"
    )
    assert result.exit_code == 2 and "--pooling is not given" in result.stderr
    assert not (tmp_path / "out").exists()
