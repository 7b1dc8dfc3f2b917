"""What is printed: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..runs.progress import note, one_line


def error_line(text: str) -> None:
    """Print an error as one line, never wrapped: paths in it are there to be copied."""
    print(f"error: {one_line(text)}", file=sys.stderr)


def out(text: str) -> None:
    """Print a result."""
    print(text)


def report_files(files: dict[str, Path]) -> None:
    """Print what was written where, one line a file."""
    width = max(map(len, files))
    for what, path in files.items():
        out(f"{what:<{width}}  {path}")


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Say what takes a while, in a terminal; of several processes the main one does."""
    if not sys.stderr.isatty() or os.environ.get("RANK", "0") != "0":
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


__all__ = ["doing", "error_line", "note", "one_line", "out", "report_files"]
