"""Limits of what is read into memory: longer records, and files that expand too far, are refused before it is full.

Each limit has an environment variable, so that it holds in all threads and processes of a command; the options of
`biomeformer` set them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from .strict_json import parse_json

# A compressed file that expands less is read whatever its ratio.
RATIO_FLOOR = 100_000_000
# Tables and sequences are seldom compressed to less than a hundredth.
MAX_RATIO = 500
MAX_CONFIG_BYTES = 64_000_000
MAX_CONFIG_DEPTH = 100


@dataclass(frozen=True)
class Limit:
    """A limit that the user may change.

    Attributes:
        option: Option of the command line.
        variable: Environment variable.
        default: Value where neither is given.
    """

    option: str
    variable: str
    default: int

    def get(self) -> int:
        """Return the value.

        Raises:
            InputError: The environment variable is no whole number above 0.
        """
        text = os.environ.get(self.variable)
        if not text:
            return self.default
        return self._parse(text, f"the environment variable {self.variable}")

    def set(self, text: str) -> None:
        """Set the value for this process and those it starts.

        Raises:
            InputError: The text is no whole number above 0.
        """
        os.environ[self.variable] = str(self._parse(text, self.option))

    def _parse(self, text: str, where: str) -> int:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not (value >= 1 and value == value // 1):
            raise InputError(f"{where} is {text!r}; give a whole number above 0, such as {self.default:.0e}.")
        return int(value)


RECORD_BASES = Limit("--max-record-bases", "BIOMEFORMER_MAX_RECORD_BASES", 100_000_000)
EXPANDED_BYTES = Limit("--max-expanded-bytes", "BIOMEFORMER_MAX_EXPANDED_BYTES", 1_000_000_000)
LIMITS = (RECORD_BASES, EXPANDED_BYTES)


def record_too_long(limit: int) -> str:
    """Return why a record of a FASTQ or FASTA file is refused."""
    return (
        f"it is longer than {limit:,} bases; is the file damaged? Where such records are right, raise "
        f"{RECORD_BASES.option} (or {RECORD_BASES.variable})"
    )


def expands_too_far(n_bytes: int, limit: int) -> str:
    """Return why a file is refused that holds more than a limit, or expands more than `MAX_RATIO` times."""
    return (
        f"it holds at least {n_bytes / 1e6:,.0f} MB once it is expanded, more than {limit / 1e6:,.0f} MB or "
        f"{MAX_RATIO} times its size, and is not read; where that is right, raise {EXPANDED_BYTES.option} (or "
        f"{EXPANDED_BYTES.variable})"
    )


def parse_config(path: Path) -> Any:
    """Read JSON of a config: a file of moderate size and depth.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not JSON in UTF-8, holds a key twice, or is too large or too deep; the message says so.
    """
    size = path.stat().st_size
    if size > MAX_CONFIG_BYTES:
        raise ValueError(f"it has {size / 1e6:,.0f} MB, and configs at most {MAX_CONFIG_BYTES / 1e6:,.0f}")
    try:
        text = path.read_text(encoding="utf-8")
        values = parse_json(text)
    except RecursionError:
        raise ValueError(f"it is nested more than {MAX_CONFIG_DEPTH} deep") from None
    check_depth(values)
    return values


def check_depth(values: Any, limit: int = MAX_CONFIG_DEPTH) -> None:
    """Check how deep values are nested, without recursion.

    Raises:
        ValueError: They are nested deeper than the limit.
    """
    level: list[Any] = [values]
    for _ in range(limit):
        level = [
            child
            for value in level
            if isinstance(value, dict | list)
            for child in (value.values() if isinstance(value, dict) else value)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise ValueError(f"it is nested more than {limit} deep")


__all__ = [
    "EXPANDED_BYTES",
    "LIMITS",
    "MAX_RATIO",
    "RATIO_FLOOR",
    "RECORD_BASES",
    "Limit",
    "check_depth",
    "expands_too_far",
    "parse_config",
    "record_too_long",
]
