"""Every command that writes a folder: another's files stay, and two commands do not write to one at once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import typer

from biomeformer.cli import app
from biomeformer.io.locks import locked_folder
from biomeformer.runs.output_folder import RECORD
from factories import write_cohort

# Arguments of each command with --overwrite, whose inputs need not exist: the folder is looked at first.
COMMANDS = {
    "clusters describe": ["metagenbert-mini", "--genomes", "genomes.csv"],
    "embed": ["cohort.csv", "--model", "metagenbert-mini"],
    "export": ["run", "--format", "csv"],
    "genome attribute": ["embedded"],
    "genome embed": ["genomes.csv", "--protein-encoder", "esm"],
    "join": ["a", "b"],
    "phenotype depth": ["a", "b", "--target", "group"],
    "phenotype evaluate": ["table", "--target", "group"],
    "phenotype robustness": ["table", "--target", "group"],
    "phenotype transfer": ["a", "b", "--target", "group"],
    "sequences prepare": ["a=a.fa"],
}
# Further commands that hold their output's lock from the start to the end.
WITHOUT_OVERWRITE = {
    "fit-centroids": ["cohort.csv", "--read-encoder", "metagenbert-mini", "--n-clusters", "2"],
    "phenotype train": ["table", "--model", "metagenbert-mini", "--target", "group"],
}
# Runs have a lock in their folder; a dataset is locked once its inputs were looked at.
LOCKED_LATER = {"embed", "genome attribute", "genome embed", "sequences prepare"}


def commands_with(option: str) -> set[str]:
    """The names of all commands that have an option."""

    def walk(command, name):
        for sub_name, sub_command in getattr(command, "commands", {}).items():
            yield from walk(sub_command, f"{name} {sub_name}".strip())
        if any(option in parameter.opts for parameter in command.params):
            yield name

    return set(walk(typer.main.get_command(app), ""))


def test_every_command_with_overwrite_is_tried():
    assert commands_with("--overwrite") == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_overwrite_keeps_files_that_no_run_wrote(name, tmp_path, run):
    home = tmp_path / "home"
    for file in ("thesis.tex", "run/own.py", "model/weights", ".profile"):
        (home / file).parent.mkdir(parents=True, exist_ok=True)
        (home / file).write_text("mine")
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    result = run([*name.split(), *COMMANDS[name], "--output", home, "--overwrite"])
    assert result.exit_code == 2 and "has no record of what a run wrote there" in result.stderr, result.output
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", sorted({*COMMANDS, *WITHOUT_OVERWRITE} - LOCKED_LATER))
def test_a_second_command_in_a_folder_is_refused(name, tmp_path, run):
    output = tmp_path / "out"
    arguments = {**COMMANDS, **WITHOUT_OVERWRITE}[name]
    with locked_folder(output):
        result = run([*name.split(), *arguments, "--output", output])
        assert result.exit_code == 2, result.output
        assert f"{output} is in use by the run that process " in result.stderr
        assert not output.exists()
    # Given back whatever came of the command, and nothing is left beside the folder.
    result = run([*name.split(), *arguments, "--output", output])
    assert result.exit_code != 0 and "is in use" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_second_preparation_in_a_folder_is_refused(tmp_path, run):
    for name in "ab":
        (tmp_path / f"{name}.fa").write_text("".join(f">{name}{i}\n{'ACGT' * i}A\n" for i in range(9)))
    inputs = [f"{name}={tmp_path / name}.fa" for name in "ab"]
    arguments = ["sequences", "prepare", *inputs, "--output", tmp_path / "out"]
    with locked_folder(tmp_path / "out"):
        result = run(arguments)
    assert result.exit_code == 2 and "is in use by the run that process " in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """A run of `embed`, which tests copy."""
    from typer.testing import CliRunner

    folder = tmp_path_factory.mktemp("embedded")
    cohort = write_cohort(folder / "cohort", n_samples=4)
    arguments = ["embed", cohort, "--model", "metagenbert-mini", "--output", folder / "run", "--no-report"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return folder


def test_an_export_is_replaced_and_other_files_stay(embedded, tmp_path, run):
    table, output = shutil.copytree(embedded / "run", tmp_path / "run"), tmp_path / "out"
    assert run(["export", table, "--format", "csv", "--output", output]).exit_code == 0
    written = json.loads((output / RECORD).read_text())["entries"]
    assert sorted(path.name for path in output.iterdir()) == sorted([RECORD, *written])
    (output / "notes.txt").write_text("mine")
    assert run(["export", table, "--format", "csv", "--output", output]).exit_code == 2
    assert run(["export", table, "--format", "csv", "--output", output, "--overwrite"]).exit_code == 0
    assert (output / "notes.txt").read_text() == "mine"
    refused = run(["export", table, "--format", "biom", "--output", output, "--overwrite"])
    assert refused.exit_code == 2 and "was written by `export --format csv`" in refused.stderr
    # Nor does a study replace the table that it is computed from.
    refused = run(["phenotype", "robustness", table, "--target", "group", "--output", table, "--overwrite"])
    assert refused.exit_code == 2 and (table / "abundance.parquet").exists()


def test_the_demo_replaces_demos_alone(embedded, tmp_path, run):
    output = Path(shutil.copytree(embedded / "run", tmp_path / "run"))
    before = (output / "abundance.parquet").read_bytes()
    result = run(["demo", "--output", output])
    assert result.exit_code == 2 and "holds a run of other samples" in result.stderr, result.output
    assert (output / "abundance.parquet").read_bytes() == before


def test_status_counts_only_parts_that_verify(embedded, tmp_path, run):
    output = Path(shutil.copytree(embedded / "run", tmp_path / "run"))
    path = output / "run" / "parts" / "s1.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 8
    path.write_bytes(content)
    lines = run(["status", output]).stdout.splitlines()
    assert lines[1].startswith("done     3 (") and "damaged  1 (s1); taken again when the run is resumed" in lines
    assert json.loads(run(["status", output, "--json"]).stdout)["damaged"] == ["s1"]
    cohort = embedded / "cohort" / "cohort.csv"
    result = run(["embed", cohort, "--model", "metagenbert-mini", "--output", output, "--no-report"])
    assert result.exit_code == 0
    assert "note: the parts of 1 sample (s1) are damaged, so they are taken again" in result.stderr
    assert run(["status", output]).stdout.splitlines()[1].startswith("done     4 (")


def test_samples_with_a_file_in_common_are_refused_unless_allowed(embedded, tmp_path, run):
    cohort = embedded / "cohort" / "shared.csv"
    cohort.write_text("sample_id,fastq\na,s0.fastq.gz\nb,s0.fastq.gz\n")
    arguments = ["embed", cohort, "--model", "metagenbert-mini", "--output", tmp_path / "out", "--no-report"]
    result = run(arguments)
    assert result.exit_code == 2 and "samples a and b have the file" in result.stderr
    assert run([*arguments, "--allow-shared-files"]).exit_code == 0


def test_the_report_of_a_run_is_written_under_its_lock(embedded, tmp_path, run, monkeypatch):
    """Another run in the folder would replace the table that it describes."""
    from biomeformer import reports
    from biomeformer.io.locks import is_locked

    output = Path(shutil.copytree(embedded / "run", tmp_path / "run"))
    written, report = [], reports.cohort_report

    def cohort_report(*args, **kwargs):
        written.append(is_locked(output / "run" / "lock"))
        return report(*args, **kwargs)

    monkeypatch.setattr(reports, "cohort_report", cohort_report)
    cohort = next((embedded / "cohort").glob("*.csv"))
    result = run(["embed", cohort, "--model", "metagenbert-mini", "--output", output])
    assert result.exit_code == 0 and written == [True], result.output
    assert is_locked(output / "run" / "lock") is False
