"""Numeric encoding of labels: classes, sets of classes, or values."""

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
    """Assigns each distinct label a number while files are read; the set of labels is known only at the end.

    Args:
        task: `classification`, `multi_label` or `regression`.
        positive: The positive class of two, to which recall, precision and threshold refer; it becomes the second.
    """

    def __init__(self, task: str, positive: str | None = None) -> None:
        self.task, self.positive = task, positive
        self._codes: dict[Any, int] = {}

    def code(self, batch: Batch, i: int) -> float | None:
        """Return the number of a record's label, or None for a record without a label.

        Raises:
            InputError: The task is regression and the label is not a number.
        """
        label = batch.labels[i]
        if isinstance(label, float) and math.isnan(label):
            label = None
        if self.task == "regression":
            return _value(batch, i, label)
        # A column with missing values holds whole numbers as 1.0.
        text = str(int(label) if isinstance(label, float) and label.is_integer() else label).strip()
        if self.task == "multi_label":
            parts = () if label is None else tuple(sorted({part.strip() for part in text.split(SEPARATOR)} - {""}))
            return self._codes.setdefault(parts, len(self._codes))
        return None if label is None or not text else self._codes.setdefault(text, len(self._codes))

    def finish(self, values: array[float]) -> Labels:
        """Return the labels of all sequences.

        Args:
            values: Results of `code`, one per sequence.

        Raises:
            InputError: There are too few classes.
        """
        numbers = np.frombuffer(values, np.float64)
        if self.task == "regression":
            return Labels(self.task, (), numbers, None)
        codes, labels = numbers.astype(np.int32), list(self._codes)
        if self.task == "multi_label":
            names = _sorted({name for parts in labels for name in parts})
            if not names:
                raise InputError("no sequence has a label; name the column that holds them by --label-column.")
            index_of = {name: i for i, name in enumerate(names)}
            sets = np.zeros((len(labels), len(names)), np.float32)
            for i, parts in enumerate(labels):
                sets[i, [index_of[name] for name in parts]] = 1
            return Labels(self.task, names, codes, sets)
        names = _sorted(set(labels))
        if len(names) < 2:
            reason = f"all sequences have the label {names[0]!r}" if names else "no sequence has a label"
            raise InputError(f"{reason}; a classifier needs two classes, give the others too.")
        if self.positive is not None:
            if self.positive not in names or len(names) != 2:
                raise InputError(
                    f"positive is {self.positive!r} and the labels are {', '.join(names[:5])}; name one of two classes."
                )
            names = (*(name for name in names if name != self.positive), self.positive)
        index_of = {name: i for i, name in enumerate(names)}
        return Labels(self.task, names, np.array([index_of[name] for name in labels], np.int32)[codes], None)


class Labels:
    """Labels of sequences.

    Attributes:
        task: The task.
        names: Classes, sorted, the positive one last; empty for regression.
        values: `(n_sequences,)`: int32 indices into `names` for classification, int32 rows of `sets` for multi-label
            tasks, float64 values for regression.
        sets: float32 `(n_sets, n_classes)`, 1 for each class in a set of labels, else 0; None except for `multi_label`.
    """

    def __init__(self, task: str, names: tuple[str, ...], values: np.ndarray, sets: np.ndarray | None) -> None:
        self.task, self.names, self.values, self.sets = task, names, values, sets

    @property
    def strata(self) -> np.ndarray:
        """Class of each sequence, int32 `(n_sequences,)`; all 0 for tasks other than classification."""
        return self.values if self.task == "classification" else np.zeros(len(self.values), np.int32)

    def text(self, value: float) -> str:
        """Return one of `values` as text, as a table would hold it."""
        if self.task == "regression":
            return repr(float(value))
        if self.sets is None:
            return self.names[int(value)]
        return SEPARATOR.join(self.names[i] for i in np.flatnonzero(self.sets[int(value)]))

    def counts(self, chosen: np.ndarray) -> dict[str, int]:
        """Count the sequences of each class where `chosen`, bool `(n_sequences,)`, is true; empty for regression."""
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
    """Sort names, by value if all are whole numbers."""
    if names and all(name.removeprefix("-").isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


__all__ = ["NO_LABEL", "LabelCodes", "Labels"]
