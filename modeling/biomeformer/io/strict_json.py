"""JSON as its standard has it: each key once, and numbers that are finite."""

from __future__ import annotations

import json
from typing import Any, NoReturn


def parse_json(text: str) -> Any:
    """Parse JSON.

    Raises:
        ValueError: It is not JSON, holds NaN or infinity, or has a key twice.
        RecursionError: It is nested deeper than Python allows.
    """
    return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=with_unique_keys)


def with_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of these keys and values, as the `object_pairs_hook` of `json.loads`.

    Raises:
        ValueError: A key stands twice, so that either value could be meant.
    """
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice")
    return values


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


__all__ = ["parse_json", "with_unique_keys"]
