"""What a format is to the trials: an example, the file that is mutated, who reads it, and how the result is judged."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .mutations import Mutate


class Unreadable(Exception):
    """A reference reader cannot tell what a file says, so the package may accept it only with an unchanged result."""


@dataclass(frozen=True)
class Accepts:
    """What a reference may return where several results are right: a test of the result."""

    test: Callable[[Any], bool]


@dataclass(frozen=True, eq=False)
class Said:
    """What the package says of a file beside its content: no part of a comparison."""

    text: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Said)

    def __hash__(self) -> int:
        return 0


@dataclass(frozen=True)
class Format:
    """A format of files, with an example.

    Attributes:
        name: Name of the format.
        file: The mutated file, relative to the folder of the example; of several that match a pattern, the largest.
        mutations: What may be done to it.
        make: Writes an example to a folder.
        outcome: Reads it with the package; the result is compared by value.
        reference: Reads the mutated file independently of the package, for formats in which other content may
            rightly give another result. None for files that the package itself wrote: there, each accepted
            difference is an error.
    """

    name: str
    file: str
    mutations: list[Mutate]
    make: Callable[[Path], object]
    outcome: Callable[[Path], Any]
    reference: Callable[[Path], Any] | None = None

    def path(self, folder: Path) -> Path:
        """Return the mutated file in a copy of the example."""
        # Segments of a store have random names.
        return max(folder.glob(self.file), key=lambda path: path.stat().st_size)

    @property
    def example(self) -> str:
        """Name of its example, which formats with the same `make` share."""
        shared = self.make.__name__.removeprefix("_make_")
        return (self.name if shared == self.make.__name__ else shared).replace(" ", "_").replace(",", "")

    @property
    def is_own(self) -> bool:
        """Whether the package wrote the file and trusts it later."""
        return self.reference is None


def equal(one: Any, other: Any) -> bool:
    """Tell whether two results are equal: NaN equals NaN, arrays are compared by values, type and shape."""
    if isinstance(other, Accepts):
        return other.test(one)
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        if not (isinstance(one, np.ndarray) and isinstance(other, np.ndarray)):
            return False
        if one.dtype != other.dtype or one.shape != other.shape:
            return False
        if one.dtype == object:
            return equal(one.tolist(), other.tolist())
        return one.tobytes() == other.tobytes() or bool(np.array_equal(one, other, equal_nan=one.dtype.kind in "fc"))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return (type(one) is type(other) and bool(one == other)) or (
        isinstance(one, int | float) and isinstance(other, int | float) and one == other
    )


def difference(outcome: Any, expected: Any, path: str = "") -> str:
    """Return where two results differ first."""
    if isinstance(outcome, dict) and isinstance(expected, dict):
        for key in [*expected, *(key for key in outcome if key not in expected)]:
            if key not in outcome or key not in expected:
                return f"{path}/{key}: {'missing' if key not in outcome else 'added'}"
            if not equal(outcome[key], expected[key]):
                return difference(outcome[key], expected[key], f"{path}/{key}")
    if isinstance(outcome, list | tuple) and isinstance(expected, list | tuple) and len(outcome) == len(expected):
        for i, (one, other) in enumerate(zip(outcome, expected, strict=True)):
            if not equal(one, other):
                return difference(one, other, f"{path}/{i}")
    return f"{path}: {str(outcome)[:100]!r} for {str(expected)[:100]!r}"
