"""The result of a command as one JSON document, which `--json` prints in place of lines to read.

A command calls `record` with what it found, beside the lines that it prints with `runs.progress.out`. Without `--json`
nothing is kept.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import PurePath
from typing import Any


@dataclass
class ResultDocument:
    """A document that a command fills.

    Attributes:
        values: What the command found, by name.
        files: Paths of the files and folders that it wrote, by what they hold.
        next: Commands that take the result further.
        error: Why the command failed.
    """

    values: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    next: list[str] = field(default_factory=list)
    error: str | None = None

    def to_json(self, command: str, exit_code: int) -> str:
        """Return the document as JSON, with sorted keys."""
        document = {key: plain(value) for key, value in self.values.items()}
        document |= {"command": command, "exit_code": exit_code, "files": self.files, "next": self.next}
        if self.error is not None:
            document["error"] = self.error
        return json.dumps(document, indent=2, sort_keys=True, allow_nan=False)


_document: ResultDocument | None = None


def start_document() -> ResultDocument:
    """Start the document of a command, and return it."""
    global _document
    _document = ResultDocument()
    return _document


def end_document() -> None:
    """Stop recording."""
    global _document
    _document = None


def is_recording() -> bool:
    """Return whether the command prints its result as JSON."""
    return _document is not None


def record(**values: Any) -> None:
    """Keep values of the result: anything that JSON can hold, arrays, tables, dataclasses and paths.

    Tables become a list of rows, and numbers that are not finite null.
    """
    if _document is not None:
        _document.values |= values


def extend(**values: list[Any]) -> None:
    """Append to lists of the result, which are empty at first."""
    if _document is not None:
        for name, items in values.items():
            _document.values.setdefault(name, []).extend(items)


def record_files(files: Mapping[str, PurePath]) -> None:
    """Keep the paths of files that were written."""
    if _document is not None:
        _document.files |= {name: str(path) for name, path in files.items()}


def record_next(command: str) -> None:
    """Keep a command that takes the result further."""
    if _document is not None:
        _document.next.append(command)


def record_error(text: str) -> None:
    """Keep the reason of a failure."""
    if _document is not None:
        _document.error = text


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        return [plain(row) for row in value.to_dict(orient="records")]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    return str(value)


__all__ = [
    "ResultDocument",
    "end_document",
    "extend",
    "is_recording",
    "plain",
    "record",
    "record_error",
    "record_files",
    "record_next",
    "start_document",
]
