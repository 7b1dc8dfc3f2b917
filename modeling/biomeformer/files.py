"""Files that are there whole or not at all, also after a power cut."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

PARTIAL = ".*.partial.*"


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; it becomes `path` if all went well, and is gone otherwise.

    The content is on the disk before the name is, so whoever sees the name finds the content. The temporary name ends
    as `path` does, for those who tell a format by it.
    """
    partial = path.with_name(f".{os.getpid()}.partial.{path.name}")
    try:
        yield partial
        _flush(partial)
        os.replace(partial, path)
        _flush(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_partial(path: Path) -> bool:
    """Whether this is what somebody is writing, or was when killed."""
    return fnmatch(path.name, PARTIAL)


def remove_partial_files(folder: Path) -> None:
    """Delete what a process that was killed left half-written in a folder."""
    for path in folder.glob(PARTIAL):
        path.unlink(missing_ok=True)


__all__ = ["is_partial", "remove_partial_files", "written_whole"]
