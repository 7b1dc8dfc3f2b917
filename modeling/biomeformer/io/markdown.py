"""Markdown tables for cards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table with a header."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(cell, line))} |" for line in lines)


def pairs(values: Mapping[str, Any]) -> str:
    """Format a table of names and values; empty if there are none."""
    if not values:
        return ""
    return "\n".join(
        ["| | |", "|---|---|", *(f"| {cell(name)} | {cell(_plain(value))} |" for name, value in values.items())]
    )


def cell(value: Any) -> str:
    """Format the text of a table cell: on one line, with `|` escaped."""
    return " ".join(str(value).split()).replace("|", "\\|")


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


__all__ = ["cell", "grid", "pairs"]
