"""What is printed: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..runs.process_group import ProcessGroup

ANSI_STYLE = re.compile(r"\x1b\[[0-9;]*m")


def one_line(text: str) -> str:
    """Text on one line, without control characters."""
    joined = " ".join(ANSI_STYLE.sub("", text).split())
    return "".join(letter if letter.isprintable() else "?" for letter in joined)


def error_line(text: str) -> None:
    """Print an error as one line, never wrapped: paths in it are there to be copied."""
    print(f"error: {one_line(text)}", file=sys.stderr)


def note(text: str) -> None:
    """Print a remark for whoever watches, on stderr."""
    print(text, file=sys.stderr, flush=True)


def out(text: str) -> None:
    """Print a result."""
    print(text)


def report_files(files: dict[str, Path]) -> None:
    """Print what was written where, one line a file."""
    width = max(map(len, files))
    for what, path in files.items():
        out(f"{what:<{width}}  {path}")


class SampleProgress:
    """Progress of a run over a cohort: bars in a terminal, one line a finished sample elsewhere.

    Use as a context manager. In a terminal the main process shows what all of them have done.

    Args:
        n_samples: Samples in all.
        processes: The processes of the job.
    """

    def __init__(self, n_samples: int, processes: ProcessGroup) -> None:
        self.n_samples, self.processes = n_samples, processes
        self.n_done = self.n_failed = self.n_reads = self.n_before = 0
        self._n_mine = n_samples
        self._current_reads = 0
        self._start = time.perf_counter()
        self._drawn = 0.0
        self._bars: Any = None

    def __enter__(self) -> SampleProgress:
        if sys.stderr.isatty() and self.processes.is_main:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[figure]}"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._all = self._bars.add_task("samples", total=self.n_samples, figure="")
            self._one = self._bars.add_task("reading", total=None, figure="")
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def plan(self, n_before: int, n_mine: int) -> None:
        """Take note of what an earlier attempt finished, and of how many samples this process will do."""
        self.n_before, self._n_mine = n_before, n_mine
        if n_before and self.processes.is_main:
            note(f"going on with an earlier run: {n_before:,} of {self.n_samples:,} samples are done")

    @property
    def reads_per_second(self) -> float:
        """Reads a second since the start, of this process."""
        return (self.n_reads + self._current_reads) / max(time.perf_counter() - self._start, 1e-9)

    def update(self, sample_id: str, n_reads: int, bytes_done: int, bytes_total: int) -> None:
        """Take note of a batch."""
        self._current_reads = n_reads
        self.processes.report = {"n_done": self.n_done, "reads_per_second": self.reads_per_second}
        if self._bars is not None:
            self._bars.update(
                self._one, description=sample_id, completed=bytes_done, total=bytes_total, figure=f"{n_reads:,} reads"
            )
            self.draw()

    def draw(self) -> None:
        """Show what all processes have done, at most once a second."""
        if self._bars is None or time.perf_counter() - self._drawn < 1:
            return
        self._drawn = time.perf_counter()
        reports = self.processes.reports()
        n_done = self.n_before + int(sum(report.get("n_done", 0) for report in reports))
        speed = sum(report.get("reads_per_second", 0) for report in reports)
        figure = f"{n_done:,}/{self.n_samples:,}, {speed:,.0f} reads/s"
        self._bars.update(self._all, completed=n_done, figure=figure)

    def finish(self, sample_id: str, reason: str | None) -> None:
        """Take note of a finished sample, or of why it failed."""
        speed = self.reads_per_second
        n_reads, self._current_reads = self._current_reads, 0
        self.n_reads += n_reads
        self.n_done += 1
        self.n_failed += reason is not None
        self.processes.report = {"n_done": self.n_done, "reads_per_second": speed}
        if sys.stderr.isatty():
            return
        if self.processes.size == 1:
            where = f"{self.n_before + self.n_done}/{self.n_samples}"
        else:
            where = f"process {self.processes.rank}, {self.n_done}/{self._n_mine}"
        news = "failed" if reason is not None else f"{n_reads:,} reads ({speed:,.0f} reads/s)"
        note(f"{where} {one_line(sample_id)}: {news}")


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Say what takes a while, in a terminal; of several processes the main one does."""
    if not sys.stderr.isatty() or os.environ.get("RANK", "0") != "0":
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
