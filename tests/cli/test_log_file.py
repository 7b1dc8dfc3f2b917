"""`--log-file`: what a command shows, with time stamps, appended to a file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import datetime

import pytest
from typer.testing import CliRunner

from biomeformer.cli import app
from biomeformer.runs import log_file
from reliability.commands import COMMANDS

LINE = re.compile(r"(\S+) (INFO|WARNING|ERROR|DEBUG) +\[\d+\] (.*)")


def lines(path):
    """The level and message of each line, whose times must ascend."""
    matches = [LINE.fullmatch(line) for line in path.read_text().splitlines()]
    assert matches and all(matches)
    times = [datetime.strptime(match[1], "%Y-%m-%dT%H:%M:%S%z") for match in matches]
    assert times == sorted(times)
    return [(match[2], match[3]) for match in matches]


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words], prog_name="biomeformer")


def test_remarks_results_and_the_exit_code_are_logged(work):
    log = work.folder / "run.log"
    done = invoke(*work.embed("--log-file", log))
    assert done.exit_code == 0, done.output
    logged = lines(log)
    shown = [line.rstrip() for line in (done.stderr + done.stdout).splitlines()]
    assert {text for _, text in logged[1:-1]} == set(shown)
    assert logged[0][1].startswith("biomeformer embed ") and logged[-1] == ("INFO", "exit code 0")
    assert any("s0: 30 reads" in text for _, text in logged)


def test_a_file_is_appended_to_and_quiet_is_for_the_terminal(work):
    log = work.folder / "run.log"
    log.write_text("2026-01-01T00:00:00+0000 INFO    [1] earlier\n")
    done = invoke("--log-file", log, *work.embed("--quiet", "--no-report"))
    assert done.exit_code == 0 and done.stderr == ""
    logged = lines(log)
    assert logged[0] == ("INFO", "earlier") and any(text.startswith("Using ") for _, text in logged)
    # The next command logs nothing.
    size = log.stat().st_size
    assert invoke("status", work.output).exit_code == 0 and log.stat().st_size == size
    assert log_file.logger.handlers and log_file._handler is None


def test_errors_are_logged_and_names_cannot_forge_lines(work):
    log = work.folder / "run.log"
    name = "x\n2026-01-01T00:00:00+0000 INFO    [1] forged\x1b[2J"
    assert invoke("status", name, f"--log-file={log}").exit_code == 2
    logged = lines(log)
    assert [level for level, _ in logged] == ["INFO", "ERROR", "INFO"] and logged[-1][1] == "exit code 2"
    assert "\\x1b[2J holds no run" in logged[1][1] and not any(text.startswith("forged") for _, text in logged)


@pytest.mark.parametrize("name", ["missing/run.log", "."])
def test_a_file_that_cannot_be_written_is_refused_first(work, name):
    done = invoke(*work.embed("--log-file", work.folder / name))
    assert done.exit_code == 2 and "--log-file" in done.stderr and not work.output.exists()
    assert invoke("doctor", "--log-file").exit_code == 2


def test_processes_of_a_recipe_log_to_the_same_file_and_print_no_result(work, model_dir):
    log = work.folder / "run.log"
    text = COMMANDS["embed_cohort"].arguments.replace("INPUTS/cohort/cohort.csv", str(work.cohort()))
    words = text.replace("INPUTS/model", str(model_dir)).replace("OUTPUT", str(work.output)).split()
    command = [sys.executable, "-m", "biomeformer", "recipes", "run", words[0], "--processes", "2", *words[1:]]
    done = subprocess.run([*command, "--log-file", str(log), "--json"], capture_output=True, text=True, check=True)
    logged = lines(log)
    assert any("s0" in text for _, text in logged) and any("abundance.parquet" in text for _, text in logged)
    assert json.loads(done.stdout)["files"] == {"output": str(work.output)}
    assert "abundance.parquet" in done.stderr
