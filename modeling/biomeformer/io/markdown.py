"""Pieces of a card in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with a header."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(cell, line))} |" for line in lines)


def pairs(values: Mapping[str, Any]) -> str:
    """A table of names and values; nothing where there are none."""
    if not values:
        return ""
    return "\n".join(
        ["| | |", "|---|---|", *(f"| {cell(name)} | {cell(_plain(value))} |" for name, value in values.items())]
    )


def cell(value: Any) -> str:
    """Text in a table's cell, on one line and without what would end it."""
    return " ".join(str(value).split()).replace("|", "\\|")


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


__all__ = ["cell", "grid", "pairs"]
