"""Display of progress on stderr: bars in a terminal, and elsewhere a line now and then."""

from __future__ import annotations

import logging
import re
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..sinks import terminal, terminal_lines
from . import log_file, results
from .debugging import StderrHandler

if TYPE_CHECKING:
    from typing import Self

    from rich.text import Text

    from .process_group import ProcessGroup

ANSI_STYLE = re.compile(r"\x1b\[[0-9;]*m")
# Between lines on one task where there is no terminal.
SECONDS_BETWEEN_LINES = 30.0


# Remarks and progress are messages of this logger, at level INFO: its level, or `--quiet`, silences them.
logger = logging.getLogger("biomeformer.console")


if not logger.handlers:
    logger.addHandler(StderrHandler())
    logger.setLevel(logging.INFO)
    logger.propagate = False


def describe_duration(seconds: float) -> str:
    """Return a duration in the unit that suits it: `40 s`, `12 min` or `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def one_line(text: str) -> str:
    """Return text on one line, without styles, and with control characters escaped."""
    return terminal(" ".join(ANSI_STYLE.sub("", text).split()))


def out(text: str) -> None:
    """Print a result, on one line; a remark where the result is printed as JSON."""
    if results.is_recording():
        note(text)
        return
    print(terminal(text))
    log_file.logger.info("%s", terminal(text))


def out_lines(text: str) -> None:
    """Print a result of several lines, such as a table; nothing where the result is printed as JSON."""
    if not results.is_recording():
        print(terminal_lines(text))


def note(text: str) -> None:
    """Log a remark, which is printed on stderr."""
    logger.info("%s", terminal(text))
    log_file.logger.info("%s", terminal(text))


def shows_remarks() -> bool:
    """Return whether remarks and progress are shown."""
    return logger.isEnabledFor(logging.INFO)


def error_line(text: str) -> None:
    """Print an error as one line, never wrapped, so that paths can be copied."""
    print(f"error: {one_line(text)}", file=sys.stderr)
    log_file.logger.error("%s", one_line(text))
    results.record_error(one_line(text))


def cell(text: str) -> Text:
    """Return text for a cell of a rich table, where markup of a name is text too."""
    from rich.text import Text

    return Text(terminal(text))


class Progress:
    """Progress of tasks; use as a context manager.

    In a terminal each task has a bar. Elsewhere, a line says when it starts, and every 30 seconds how far it is. Both
    estimate the time to go from the time taken so far.

    Args:
        enabled: Whether to show anything; of several processes the main one does.
    """

    def __init__(self, *, enabled: bool = True) -> None:
        self.enabled = enabled and shows_remarks()
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        self._last_line: dict[str, float] = {}
        # When a task started, and how much of it was done by then.
        self._started: dict[str, tuple[float, int]] = {}

    def __enter__(self) -> Self:
        if self.enabled and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                Progress,
                TaskProgressColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            self._bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[figure]}", markup=False),
                TimeElapsedColumn(),
                TextColumn("to go"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def update(
        self, task: str, n_done: int, n_total: int | None = None, figure: str | None = None, *, label: str | None = None
    ) -> None:
        """Take note of how far a task is; the first call starts it.

        Args:
            task: Name of the task.
            n_done: How much of it is done.
            n_total: Of how much; None while unknown.
            figure: Shown beside the bar; the two numbers by default.
            label: Shown instead of the name.
        """
        if not self.enabled:
            return
        numbers = f"{n_done:,}" if n_total is None else f"{n_done:,} of {n_total:,}"
        if self._bars is None:
            self._write_line(task, one_line(label or task), (figure or numbers) + self._to_go(task, n_done, n_total))
            return
        if task not in self._tasks:
            self._tasks[task] = self._bars.add_task(task, figure="")
        self._bars.update(
            self._tasks[task],
            description=one_line(label or task),
            completed=n_done,
            total=n_total,
            figure=numbers if figure is None else figure,
        )

    def _to_go(self, task: str, n_done: int, n_total: int | None) -> str:
        """Return an estimate of the time to go; empty while there is none."""
        started, n_before = self._started.setdefault(task, (time.monotonic(), n_done))
        if n_total is None or n_done <= n_before or n_done >= n_total:
            return ""
        seconds = (time.monotonic() - started) * (n_total - n_done) / (n_done - n_before)
        return f", about {describe_duration(seconds)} to go"

    def _write_line(self, task: str, label: str, figure: str) -> None:
        now = time.monotonic()
        if task not in self._last_line:
            note(label)
        elif now - self._last_line[task] >= SECONDS_BETWEEN_LINES:
            note(f"{label}: {figure}")
        else:
            return
        self._last_line[task] = now


class RunProgress(Progress):
    """Progress of a run over items such as samples or genomes, on one process or several.

    In a terminal the main process has a bar of all items, as all processes report them, and one of its own current
    item. Elsewhere each process writes a line per finished item.

    Args:
        n_items: Items in all.
        processes: The processes of the job.
        noun: What the items are, in the plural.
        unit: What is counted within an item, in the plural.
        done: What a finished item is, such as `embedded`; by default the line has the units and the speed.
    """

    def __init__(
        self,
        n_items: int,
        processes: ProcessGroup,
        *,
        noun: str = "samples",
        unit: str = "reads",
        done: str | None = None,
    ) -> None:
        super().__init__(enabled=processes.is_main)
        self.n_items, self.processes, self.noun, self.unit, self.done = n_items, processes, noun, unit, done
        self.n_done = self.n_failed = self.n_units = self.n_before = 0
        self._n_mine = n_items
        self._current_units = 0
        self._start = time.perf_counter()
        self._drawn = float("-inf")

    @property
    def units_per_second(self) -> float:
        """Units per second since the start, of this process."""
        return (self.n_units + self._current_units) / max(time.perf_counter() - self._start, 1e-9)

    def plan(self, n_before: int, n_mine: int) -> None:
        """Take note of what an earlier attempt finished, and of how many items this process will do."""
        self.n_before, self._n_mine = n_before, n_mine
        if not self.enabled:
            return
        if n_before:
            note(f"resuming an earlier run: {n_before:,} of {self.n_items:,} {self.noun} are done")
        else:
            note(f"{self.n_items:,} {self.noun}")

    def advance(self, item: str, n_units: int, n_done: int, n_total: int) -> None:
        """Take note of a batch of an item: its units so far, and how much of it is done, such as bytes."""
        self._current_units = n_units
        self._report()
        if self._bars is not None:
            self.update("item", n_done, n_total, f"{n_units:,} {self.unit}", label=item)
            self.draw()

    def draw(self) -> None:
        """Show what all processes have done, at most once per second."""
        if self._bars is None or time.perf_counter() - self._drawn < 1:
            return
        self._drawn = time.perf_counter()
        reports = self.processes.reports()
        n_done = self.n_before + int(sum(report.get("n_done", 0) for report in reports))
        speed = sum(report.get("units_per_second", 0) for report in reports)
        rate = f", {speed:,.0f} {self.unit}/s" if speed else ""
        self.update(self.noun, n_done, self.n_items, f"{n_done:,}/{self.n_items:,}{rate}")

    def finish(self, item: str, reason: str | None) -> None:
        """Take note of a finished item, or of why it failed."""
        speed, n_units = self.units_per_second, self._current_units
        self._current_units = 0
        self.n_units += n_units
        self.n_done += 1
        self.n_failed += reason is not None
        self._report()
        self.draw()
        if self.processes.size == 1:
            where = f"{self.n_before + self.n_done}/{self.n_items}"
        else:
            where = f"process {self.processes.rank}, {self.n_done}/{self._n_mine}"
        news = self.done or f"{n_units:,} {self.unit} ({speed:,.0f} {self.unit}/s)"
        line = f"{where} {one_line(item)}: {'failed' if reason is not None else news}"
        if sys.stderr.isatty():
            log_file.logger.info("%s", line)
        else:
            note(line)

    def _report(self) -> None:
        self.processes.report = {"n_done": self.n_done, "units_per_second": self.units_per_second}


__all__ = [
    "Progress",
    "RunProgress",
    "cell",
    "error_line",
    "logger",
    "note",
    "one_line",
    "out",
    "out_lines",
    "shows_remarks",
]
