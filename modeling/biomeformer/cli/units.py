"""Amounts as people write and read them."""

from __future__ import annotations

import re

from ..errors import InputError

UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def parse_bytes(text: str, option: str) -> int:
    """Bytes from text such as `4GB`, `512 MiB` or `1000000`.

    Raises:
        InputError: It is no such amount; `option` is named.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([kmgt]?)(i?)b?)?\s*", text.lower())
    if found is None:
        raise InputError(f"{option} is {text!r}, which is no amount of memory; give one such as 4GB or 512MB.")
    number, prefix, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** " kmgt".index(prefix or " "))


def size(n_bytes: int) -> str:
    """Bytes for people."""
    power = min(max(len(str(n_bytes)) - 1, 0) // 3, len(UNITS) - 1)
    return f"{n_bytes / 1000**power:.{min(power, 1)}f} {UNITS[power]}"


def duration(seconds: float) -> str:
    """Seconds for people."""
    minutes, hours = seconds / 60, seconds / 3600
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"
