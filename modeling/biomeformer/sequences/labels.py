"""Labels as numbers: classes, sets of classes, or values."""

from __future__ import annotations

import math
from array import array
from typing import Any

import numpy as np

from ..errors import InputError
from .batch import Batch

SEPARATOR = ";"
NO_LABEL = "no_label"


class LabelCodes:
    """Gives each distinct label a number while a file is read; what the labels are is known at the end.

    Args:
        task: `classification`, `multi_label` or `regression`.
        positive: Of two classes the one whose recall, precision and threshold are meant; it goes last.
    """

    def __init__(self, task: str, positive: str | None = None) -> None:
        self.task, self.positive = task, positive
        self._codes: dict[Any, int] = {}

    def code(self, batch: Batch, i: int) -> float | None:
        """The number of a record's label, or None where it has none.

        Raises:
            InputError: It is no number, and the task is regression.
        """
        label = batch.labels[i]
        if isinstance(label, float) and math.isnan(label):
            label = None
        if self.task == "regression":
            return _value(batch, i, label)
        # A table with gaps holds whole numbers as 1.0.
        text = str(int(label) if isinstance(label, float) and label.is_integer() else label).strip()
        if self.task == "multi_label":
            parts = () if label is None else tuple(sorted({part.strip() for part in text.split(SEPARATOR)} - {""}))
            return self._codes.setdefault(parts, len(self._codes))
        return None if label is None or not text else self._codes.setdefault(text, len(self._codes))

    def finish(self, values: array[float]) -> Labels:
        """The labels of all sequences.

        Args:
            values: What `code` gave for each.

        Raises:
            InputError: There are too few classes.
        """
        numbers = np.frombuffer(values, np.float64)
        if self.task == "regression":
            return Labels(self.task, (), numbers, None)
        codes, found = numbers.astype(np.int32), list(self._codes)
        if self.task == "multi_label":
            names = _sorted({name for parts in found for name in parts})
            if not names:
                raise InputError("no sequence has a label; name the column that holds them by --label-column.")
            places = {name: place for place, name in enumerate(names)}
            sets = np.zeros((len(found), len(names)), np.float32)
            for i, parts in enumerate(found):
                sets[i, [places[name] for name in parts]] = 1
            return Labels(self.task, names, codes, sets)
        names = _sorted(set(found))
        if len(names) < 2:
            what = f"all sequences have the label {names[0]!r}" if names else "no sequence has a label"
            raise InputError(f"{what}; a classifier needs two classes, give the others too.")
        if self.positive is not None:
            if self.positive not in names or len(names) != 2:
                raise InputError(
                    f"positive is {self.positive!r} and the labels are {', '.join(names[:5])}; name one of two classes."
                )
            names = (*(name for name in names if name != self.positive), self.positive)
        places = {name: place for place, name in enumerate(names)}
        return Labels(self.task, names, np.array([places[name] for name in found], np.int32)[codes], None)


class Labels:
    """Labels of sequences.

    Attributes:
        task: The task.
        names: Classes, sorted, the positive one last; empty for regression.
        values: `(n_sequences,)`: int32 places in `names` for classification, rows of `sets` for several labels at once,
            float64 values for regression.
        sets: float32 `(n_sets, n_classes)`, 1 for each class of a set of labels, else 0; None but for `multi_label`.
    """

    def __init__(self, task: str, names: tuple[str, ...], values: np.ndarray, sets: np.ndarray | None) -> None:
        self.task, self.names, self.values, self.sets = task, names, values, sets

    @property
    def strata(self) -> np.ndarray:
        """int32 `(n_sequences,)`, the class of each; all 0 for tasks other than classification."""
        return self.values if self.task == "classification" else np.zeros(len(self.values), np.int32)

    def text(self, value: float) -> str:
        """One of `values` as it would stand in a table."""
        if self.task == "regression":
            return repr(float(value))
        if self.sets is None:
            return self.names[int(value)]
        return SEPARATOR.join(self.names[i] for i in np.flatnonzero(self.sets[int(value)]))

    def counts(self, chosen: np.ndarray) -> dict[str, int]:
        """Sequences of each class among the chosen ones, bool `(n_sequences,)`; empty for regression."""
        if self.task == "regression":
            return {}
        if self.sets is None:
            n_by_class = np.bincount(self.values[chosen], minlength=len(self.names))
        else:
            n_by_class = np.bincount(self.values[chosen], minlength=len(self.sets)) @ self.sets
        return {name: int(n) for name, n in zip(self.names, n_by_class, strict=True)}


def _value(batch: Batch, i: int, label: Any) -> float | None:
    if label is None or not str(label).strip():
        return None
    try:
        value = float(label)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{batch.where(i)}: the label {label!r} is no number, which regression needs.")
    return value


def _sorted(names: set[str]) -> tuple[str, ...]:
    """Names in order; by value where all are whole numbers."""
    if names and all(name.removeprefix("-").isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


__all__ = ["NO_LABEL", "LabelCodes", "Labels"]
