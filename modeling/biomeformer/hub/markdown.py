"""Pieces of a card in Markdown."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with a header."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def pairs(values: dict[str, Any]) -> str:
    """A table of names and values."""
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {_plain(value)} |" for name, value in values.items())])


def file_line(path: Path) -> str:
    """A file's size and SHA-256."""
    content = path.read_bytes()
    return f"{len(content) / 1e6:.1f} MB, SHA-256 `{hashlib.sha256(content).hexdigest()}`"


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value
