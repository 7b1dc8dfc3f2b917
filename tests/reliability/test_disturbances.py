"""Killed commands and failing disks: one sentence, and the same command again leaves what an undisturbed run does."""

from __future__ import annotations

import numpy as np
import pytest

from biomeformer.cli import app
from biomeformer.errors import WriteError
from biomeformer.io.atomic import write_json
from processes import ROOT, Job

from .commands import COMMANDS, make_inputs
from .disturbances import FAULTS, FailingDisk, Stage, moment_of, snapshot, stale

# Of every kind one that is quick; `benchmarks/reliability.py` takes them all.
QUICK = (
    *(
        "embed",
        "fit-centroids",
        "wrap-centroids",
        "export, csv",
        "genome embed",
        "genome predict",
        "sequences prepare",
        "convert",
    ),
    *("fit_glob_centroids", "pretrain_protein_encoder"),
)


@pytest.fixture(scope="module")
def stage(tmp_path_factory) -> Stage:
    folder = tmp_path_factory.mktemp("stage")
    job = Job(folder / "text", 1, make_inputs, folder / "inputs")
    assert job.wait(300) == [0], job.text()
    return Stage(folder)


@pytest.mark.parametrize("name", QUICK)
def test_a_killed_command_is_completed_by_the_same_command(stage, name):
    rng = np.random.default_rng(sum(name.encode()))
    n_processes = COMMANDS[name].n_processes
    disturbance = stage.kill(name, n_processes, rng)
    assert not disturbance.problem, disturbance


@pytest.mark.parametrize(("number", "name"), list(enumerate(QUICK)))
def test_a_failing_disk_is_one_sentence(stage, number, name):
    fault = FAULTS[number % len(FAULTS)]
    moment = moment_of(fault, stage.expected(name, 1)[2], np.random.default_rng(number))
    disturbance = stage.fail(name, fault, moment)
    assert not disturbance.problem, disturbance


def test_every_command_and_recipe_that_writes_is_in_the_table():
    import typer

    root = typer.main.get_command(app)
    writing = set()

    def visit(command, path):
        for name, child in getattr(command, "commands", {}).items():
            visit(child, [*path, name])
        if any("--output" in parameter.opts or parameter.name == "output" for parameter in command.params):
            writing.add(" ".join(path))

    visit(root, [])
    recipes = {path.stem for path in (ROOT / "recipes").glob("[!_]*.py")}
    listed = {name.partition(",")[0] for name in COMMANDS}
    # The simulation of the shipped cohort is run once by its makers.
    assert writing | recipes - {"make_example_cohort"} == listed


def test_a_disk_fails_at_the_write_that_was_asked_for(tmp_path):
    disk = FailingDisk(tmp_path, "EIO", 0)
    with disk.installed():
        write_json(tmp_path / "a.json", {})
    assert disk.n_writes >= 3
    for n in range(1, disk.n_writes + 1):
        failing = FailingDisk(tmp_path, "ENOSPC", n)
        with failing.installed(), pytest.raises(WriteError, match="No space left"):
            write_json(tmp_path / "b.json", {})
        assert failing.n_writes >= n
        # After the last write, of the folder's names, the file is there, and whole.
        assert not (tmp_path / "b.json").exists() or (
            n == disk.n_writes and (tmp_path / "b.json").read_text() == "{}\n"
        )
    assert open(tmp_path / "a.json").read() == "{}\n"


def test_what_is_left_over_is_seen(tmp_path):
    write_json(tmp_path / "a.json", {"seconds": 1, "n": [{"pid": 3, "x": 1}]})
    assert snapshot(tmp_path) == {"a.json": {"n": [{"x": 1}]}} and stale(tmp_path) == ""
    (tmp_path / ".123-0123abcd-4.partial.b.json").write_text("")
    assert "is left" in stale(tmp_path)
