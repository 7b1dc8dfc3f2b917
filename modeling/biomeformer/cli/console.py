"""Console output: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..runs.progress import cell, error_line, note, one_line, out, out_lines, shows_remarks


def report_files(files: dict[str, Path]) -> None:
    """Print the files written, one line per file."""
    width = max(map(len, files))
    for name, path in files.items():
        out(f"{name:<{width}}  {path}")


@contextmanager
def doing(task: str) -> Iterator[None]:
    """Show a spinner with the name of a slow task, in a terminal and on the main process only."""
    if not sys.stderr.isatty() or os.environ.get("RANK", "0") != "0" or not shows_remarks():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(cell(task)):
        yield


__all__ = ["cell", "doing", "error_line", "note", "one_line", "out", "out_lines", "report_files"]
