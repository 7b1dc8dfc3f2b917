"""What samples are coloured by: a column of numbers, or of groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..phenotypes import Target
from .blocks import LegendEntry
from .style import COLOURS, REST_COLOUR, group_style

MISSING = "(none)"
# With more groups of a target some are grey; colour and marker together tell this many apart.
MAX_CLASSES = 20
# Usual names of the column that a cohort was collected for, in order of preference.
TARGET_NAMES = (
    "target", "label", "phenotype", "study_condition", "condition", "disease", "disease_state", "diagnosis", "status",
    "state", "case_control", "outcome", "response", "group", "class",
)  # fmt: skip


@dataclass(frozen=True)
class Colouring:
    """Colours of samples.

    Attributes:
        name: Name of the column.
        numbers: Number of each sample, NaN where it has none; None if the column holds groups.
        labels: Number of each sample's group, int64 `(n_samples,)`.
        groups: Names of the groups.
        n_shown: Groups with colours of their own, the first ones.
        rest: Name of all others together; by default, how many groups they are.
    """

    name: str
    numbers: np.ndarray | None
    labels: np.ndarray
    groups: tuple[str, ...]
    n_shown: int
    rest: str | None = None

    @classmethod
    def of_column(cls, name: str, values: pd.Series) -> Colouring:
        """Colour by a column of metadata: the largest groups first, of more than eight the largest seven."""
        numbers = numeric_values(values)
        if numbers is not None:
            return cls(name, numbers, np.zeros(len(values), int), (), 0)
        texts = values.fillna("").astype(str).replace("", MISSING)
        groups = list(texts.value_counts().index)
        labels = texts.map({group: i for i, group in enumerate(groups)}).to_numpy()
        return cls(name, None, labels, tuple(groups), len(groups) if len(groups) <= len(COLOURS) else len(COLOURS) - 1)

    @classmethod
    def of_target(cls, target: Target) -> Colouring:
        """Colour by the classes of a target, its numbers, or the combinations of its labels."""
        if target.kind == "regression":
            return cls(target.column, target.labels.astype(float), np.zeros(len(target.labels), int), (), 0)
        groups = target.grouped()
        return cls(target.column, None, groups.labels, groups.classes, min(len(groups.classes), MAX_CLASSES))

    def take(self, rows: np.ndarray) -> Colouring:
        """Return the colours of some of the samples, with all groups."""
        numbers = None if self.numbers is None else self.numbers[rows]
        return replace(self, numbers=numbers, labels=self.labels[rows])

    def value(self, row: int) -> str:
        """Return the value of a sample as text."""
        if self.numbers is None:
            return self.groups[self.labels[row]]
        return "no value" if np.isnan(self.numbers[row]) else f"{self.numbers[row]:g}"

    def sets(self) -> list[tuple[LegendEntry, np.ndarray]]:
        """Return the sets of samples that look alike: of groups with a colour, and of all others; empty of numbers."""
        if self.numbers is not None:
            return []
        shown = []
        for i in range(self.n_shown):
            rows = np.flatnonzero(self.labels == i)
            style = group_style(i)
            shown.append((LegendEntry(self.groups[i], len(rows), style["color"], style["marker"]), rows))
        rest = np.flatnonzero(self.labels >= self.n_shown)
        if len(rest):
            name = self.rest or f"{len(self.groups) - self.n_shown} other groups"
            shown.append((LegendEntry(name, len(rest), REST_COLOUR, "*"), rest))
        return shown


def numeric_values(values: pd.Series) -> np.ndarray | None:
    """Return a column as numbers if it holds measurements rather than groups, otherwise None."""
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().sum() < max(3, 0.8 * len(values)) or numbers.nunique() <= len(COLOURS):
        return None
    return numbers.to_numpy(float)


def default_colour_column(metadata: pd.DataFrame) -> str | None:
    """Return the column to colour by: the one named as a target, else the first, of those that group samples.

    A column groups samples if it has two to eight groups of at least two samples each.

    Returns:
        None if no column does.
    """
    grouping = []
    for name in metadata.columns:
        sizes = metadata[name].fillna("").astype(str).value_counts()
        if 2 <= len(sizes) <= len(COLOURS) and sizes.min() > 1:
            grouping.append(str(name))
    by_name = {name.lower().replace(" ", "_"): name for name in reversed(grouping)}
    named = [by_name[name] for name in TARGET_NAMES if name in by_name]
    return next(iter([*named, *grouping]), None)


def point_titles(names: Sequence[str], colouring: Colouring | None) -> list[str]:
    """Return what a point says when it is hovered: the sample's name, and its value."""
    if colouring is None:
        return list(names)
    return [f"{name}: {colouring.value(row)}" for row, name in enumerate(names)]


__all__ = ["Colouring", "default_colour_column", "numeric_values", "point_titles"]
