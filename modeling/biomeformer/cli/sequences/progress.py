"""How the preparation of sequences goes on."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from ..console import note


class StageProgress:
    """A bar for each stage in a terminal, one line for each elsewhere; use as a context manager."""

    def __init__(self) -> None:
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> StageProgress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[figure]}"),
                TimeElapsedColumn(),
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

    def update(self, stage: str, n_done: int, n_in_all: int | None) -> None:
        """Take note of how many are done, and of how many."""
        if stage not in self._tasks:
            if self._bars is None:
                note(stage)
            self._tasks[stage] = None if self._bars is None else self._bars.add_task(stage, figure="")
        if self._bars is not None:
            of = "" if n_in_all is None else f" of {n_in_all:,}"
            self._bars.update(self._tasks[stage], completed=n_done, total=n_in_all, figure=f"{n_done:,}{of}")
