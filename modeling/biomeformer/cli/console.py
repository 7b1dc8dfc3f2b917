"""What is printed: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

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
    """Progress of a cohort: bars in a terminal, one line a finished sample elsewhere.

    Use as a context manager; `update` has the signature of the library's progress callback.

    Args:
        n_samples: Samples in all.
    """

    def __init__(self, n_samples: int) -> None:
        self.n_samples = n_samples
        self.n_done = 0
        self.n_reads = 0
        self._current: str | None = None
        self._current_reads = 0
        self._start = time.perf_counter()
        self._bars: Any = None

    def __enter__(self) -> SampleProgress:
        if sys.stderr.isatty():
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
        if error is None:
            self._finish_sample()
        if self._bars is not None:
            self._bars.stop()

    @property
    def reads_per_second(self) -> float:
        """Reads a second since the start."""
        return (self.n_reads + self._current_reads) / max(time.perf_counter() - self._start, 1e-9)

    def update(self, sample_id: str, n_reads: int, bytes_done: int, bytes_total: int) -> None:
        """Take note of a batch."""
        if sample_id != self._current:
            self._finish_sample()
            self._current = sample_id
        self._current_reads = n_reads
        if self._bars is not None:
            self._bars.update(self._all, completed=self.n_done, figure=f"{self.n_done}/{self.n_samples}")
            self._bars.update(
                self._one,
                description=sample_id,
                completed=bytes_done,
                total=bytes_total,
                figure=f"{n_reads:,} reads, {self.reads_per_second:,.0f} reads/s",
            )

    def _finish_sample(self) -> None:
        if self._current is None:
            return
        self.n_reads += self._current_reads
        self.n_done += 1
        if self._bars is None:
            n_reads, self._current_reads = self._current_reads, 0
            note(
                f"{self.n_done}/{self.n_samples} {one_line(self._current)}: {n_reads:,} reads "
                f"({self.reads_per_second:,.0f} reads/s)"
            )
        self._current, self._current_reads = None, 0


class DrawProgress:
    """Progress of drawing reads from a cohort; `update` takes samples done and in all."""

    def __init__(self) -> None:
        self._bars: Any = None

    def __enter__(self) -> DrawProgress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self._bars = Progress(console=Console(stderr=True), transient=True)
            self._task = self._bars.add_task("drawing and embedding reads", total=None)
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def update(self, sample_id: str, n_reads: int, n_done: int, n_samples: int) -> None:
        """Take note of a sample."""
        if self._bars is not None:
            self._bars.update(self._task, completed=n_done, total=n_samples, description=sample_id)
        else:
            note(f"{n_done}/{n_samples} {one_line(sample_id)}: {n_reads:,} reads drawn")


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Say what takes a while, in a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
