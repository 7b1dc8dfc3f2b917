"""Console output: results on stdout, as lines or with `--json` as one document, progress and errors on stderr."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..runs.progress import cell, error_line, note, one_line, out, out_lines, shows_remarks
from ..runs.results import extend, is_recording, record, record_files, record_next


def report_files(files: dict[str, Path]) -> None:
    """Print the files written, one line per file."""
    width = max(map(len, files))
    for name, path in files.items():
        out(f"{name:<{width}}  {path}")
    record_files(files)


def next_command(*words: object) -> None:
    """Print a command that takes the result further; `words` are those after `biomeformer`."""
    command = shlex.join(["biomeformer", *map(str, words)])
    note(f"next: {command}")
    record_next(command)


@contextmanager
def doing(task: str) -> Iterator[None]:
    """Show a spinner with the name of a slow task, in a terminal and on the main process only."""
    if not sys.stderr.isatty() or os.environ.get("RANK", "0") != "0" or not shows_remarks():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(cell(task)):
        yield


__all__ = [
    "cell",
    "doing",
    "error_line",
    "extend",
    "is_recording",
    "next_command",
    "note",
    "one_line",
    "out",
    "out_lines",
    "record",
    "report_files",
]
