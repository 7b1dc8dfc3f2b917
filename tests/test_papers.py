"""Every row of docs/papers.md points at a test, config and option that exist."""

from __future__ import annotations

import json
import re

import pytest
import typer

from biomeformer.cli.app import app
from biomeformer.cli.presets import PRESETS
from processes import ROOT

TEXT = (ROOT / "docs" / "papers.md").read_text()


def tables():
    """The tables of the page: cells of each row, by the first cell of their header."""
    for block in re.findall(r"(?:^\|.*\n)+", TEXT, re.MULTILINE):
        header, _, *rows = ([cell.strip() for cell in line.strip("|").split(" | ")] for line in block.splitlines())
        yield header[0], rows


ROWS = [row for name, rows in tables() if name == "statement" for row in rows]


def test_every_paper_has_a_table_of_statements():
    assert [name for name, _ in tables()].count("statement") == len(re.findall("^## ", TEXT, re.MULTILINE)) - 1


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:50])
def test_a_row_names_what_is_there(row):
    _, where, test, difference = row
    file, _, name = test.strip("`").partition("::")
    assert (ROOT / file).is_file() and difference
    if name:
        assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE), test
    for config in re.findall(r"`([a-z_]+/[a-z_]+\.yaml)`", where):
        assert (ROOT / "recipes" / "configs" / config).is_file(), config


def options(command):
    """The options of all commands below one."""
    names = {name for parameter in command.params for name in parameter.opts}
    for part in getattr(command, "commands", {}).values():
        names |= options(part)
    return names


def test_every_option_of_the_page_is_one():
    known = options(typer.main.get_command(app)) | {"--config", "--data", "--validation", "--streaming"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", TEXT)) <= known


def test_every_preset_and_every_value_it_is_said_to_set_is_on_the_page():
    assert all(f"`{name}`" in TEXT for name in PRESETS)
    for said, preset, command, key, value in (
        ("--max-length 42", "metagenbert-paper", "fit-centroids", "max_length", 42),
        ("--reads-per-sample 10000", "metagenbert-paper", "fit-centroids", "reads_per_sample", 10_000),
        ("--n-iterations 20", "metagenbert-paper", "fit-centroids", "n_iterations", 20),
        ("--estimator lasso", "metagenbert-paper", "phenotype evaluate", "estimator", ["lasso"]),
        ("--zeros epsilon", "metagenbert-paper", "phenotype evaluate", "zeros", "epsilon"),
        ("--edges pad", "enhancers-paper", "sequences prepare", "edges", "pad"),
        ("--shares 0.7,0.15,0.15", "enhancers-paper", "sequences prepare", "shares", "0.7,0.15,0.15"),
    ):
        assert said in TEXT and PRESETS[preset][command][key] == value


def test_the_measured_tables_are_those_of_the_benchmarks():
    tables_by_name = dict(tables())
    results = ROOT / "benchmarks" / "results"
    parts = json.loads((results / "phenotypes.json").read_text())["parts"]
    for share, *cells in tables_by_name["reads"]:
        found = [
            "{:.3f} ({:.3f} to {:.3f})".format(
                *parts[f"simulated reads, depth, {name}"]["scores"][share][model]["roc_auc"]
            )
            for name in ("cirrhosis", "ibd")
            for model in ("l1", "forest")
        ]
        assert cells == found
    leak = json.loads((results / "centroid_leak.json").read_text())["parts"]
    rows = [
        [
            name,
            row["model"],
            f"{row['all_samples']:.3f}",
            f"{row['training_samples']:.3f}",
            f"{row['leak']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})",
        ]
        for name, part in leak.items()
        for row in part["rows"]
    ]
    assert tables_by_name["cohort"] == rows and len(rows) >= 3
