"""The one progress display: bars in a terminal, lines at intervals elsewhere."""

import io
import re
import sys

import pytest

from biomeformer.runs import progress as module
from biomeformer.runs.progress import Progress, RunProgress


class Processes:
    """Three processes, of which the others have done two items each."""

    def __init__(self, rank=0, size=1):
        self.rank, self.size, self.is_main, self.report = rank, size, rank == 0, {}

    def reports(self):
        others = [{"n_done": 2, "units_per_second": 100.0}] * (self.size - 1)
        return [self.report, *others]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    return now


def test_lines_come_at_intervals_where_there_is_no_terminal(capsys, clock):
    with Progress() as progress:
        for i in range(1, 101):
            progress.update("folds\x1b[31m\nof l1", i, 100)
            progress.update("steps", i, None, f"loss {1 / i:.3f}")
            clock[0] += 1
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "folds of l1",
        "steps",
        "folds of l1: 31 of 100, about 69 s to go",
        "steps: loss 0.032",
        "folds of l1: 61 of 100, about 39 s to go",
        "steps: loss 0.016",
        "folds of l1: 91 of 100, about 9 s to go",
        "steps: loss 0.011",
    ]
    with Progress(enabled=False) as progress:
        progress.update("folds", 1, 2)
    captured = capsys.readouterr()
    assert not captured.err and not captured.out


def test_bars_are_drawn_in_a_terminal_and_names_are_text(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with Progress() as progress:
        progress.update("reading [bold]a[/]", 3, 12)
        progress.update("comparing", 5)
    text = terminal.getvalue()
    assert "reading [bold]a[/]" in text and "3 of 12" in text and "25%" in text and "comparing" in text


def test_a_run_on_one_process_has_a_line_per_item(capsys, clock):
    with RunProgress(4, Processes()) as progress:
        progress.plan(1, 3)
        progress.advance("a", 500, 5, 10)
        clock[0] += 10
        progress.advance("a", 1000, 10, 10)
        progress.finish("a", None)
        progress.finish("b\nb", "damaged")
    assert (progress.n_done, progress.n_failed, progress.n_units) == (2, 1, 1000)
    assert capsys.readouterr().err.splitlines() == [
        "resuming an earlier run: 1 of 4 samples are done",
        "2/4 a: 1,000 reads (100 reads/s)",
        "3/4 b b: failed",
    ]
    with RunProgress(2, Processes(), noun="genomes", unit="residues", done="embedded") as progress:
        progress.plan(0, 2)
        progress.finish("g", None)
    assert capsys.readouterr().err.splitlines() == ["2 genomes", "1/2 g: embedded"]


def test_of_several_processes_each_has_its_lines_and_the_main_one_the_bars(capsys, clock, monkeypatch):
    with RunProgress(9, Processes(rank=1, size=3)) as progress:
        progress.plan(0, 3)
        progress.finish("a", None)
    assert capsys.readouterr().err == "process 1, 1/3 a: 0 reads (0 reads/s)\n"
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with RunProgress(9, Processes(rank=0, size=3)) as progress:
        progress.advance("a", 50, 1, 2)
        clock[0] += 2
        progress.finish("a", None)
    assert progress.processes.report["n_done"] == 1
    assert re.search(r"samples.*5/9, 2\d\d reads/s", terminal.getvalue())
    quiet = Terminal()
    monkeypatch.setattr(sys, "stderr", quiet)
    with RunProgress(9, Processes(rank=2, size=3)) as progress:
        progress.advance("a", 50, 1, 2)
        progress.finish("a", None)
    assert not quiet.getvalue()
