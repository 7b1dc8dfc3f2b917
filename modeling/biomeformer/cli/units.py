"""Parse and format amounts of memory and time."""

from __future__ import annotations

import re

from ..errors import InputError

UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def parse_bytes(text: str, option: str) -> int:
    """Parse a number of bytes such as `4GB`, `512 MiB` or `1000000`.

    Raises:
        InputError: The text is not an amount of memory; the message names `option`.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([kmgt]?)(i?)b?)?\s*", text.lower())
    if match is None:
        raise InputError(f"{option} is {text!r}, which is no amount of memory; give one such as 4GB or 512MB.")
    number, prefix, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " kmgt".index(prefix or " "))


def size(n_bytes: int) -> str:
    """Format a number of bytes, such as `1.5 GB`."""
    power = min(max(len(str(n_bytes)) - 1, 0) // 3, len(UNITS) - 1)
    return f"{n_bytes / 1000**power:.{min(power, 1)}f} {UNITS[power]}"


def duration(seconds: float) -> str:
    """Format a number of seconds, such as `12 min`."""
    minutes, hours = seconds / 60, seconds / 3600
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"
