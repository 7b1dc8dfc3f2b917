"""The `repr` of results: a few lines, whatever they hold."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

# Longest text of a value, in characters, and largest collection that is shown with its values.
LONGEST, MOST_VALUES = 60, 4


def short_repr(result: Any) -> str:
    """Return the name of a dataclass and its fields, one per line, with shapes in place of numbers.

    Assign it as `__repr__` in the class.
    """
    shown = [field for field in fields(result) if field.repr]
    lines = [f"    {field.name}={_describe(getattr(result, field.name))}," for field in shown]
    return "\n".join([f"{type(result).__name__}(", *lines, ")"])


def _describe(value: Any) -> str:
    """Return a value as it is if it is short, and otherwise how much of what it is."""
    shape = getattr(value, "shape", None)
    if shape is not None and len(shape):
        dtype = getattr(value, "dtype", None)
        kind = type(value).__name__ if dtype is None else str(dtype).removeprefix("torch.")
        return f"<{kind} {tuple(shape)}>"
    if isinstance(value, Mapping | Collection) and not isinstance(value, str | bytes):
        is_short = len(value) <= MOST_VALUES and "\n" not in repr(value) and len(repr(value)) <= LONGEST
        items = "item" if len(value) == 1 else "items"
        return repr(value) if is_short else f"<{type(value).__name__} of {len(value):,} {items}>"
    text = repr(value)
    if "\n" in text or len(text) > LONGEST:
        text = " ".join(text.split())
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return text


__all__ = ["short_repr"]
