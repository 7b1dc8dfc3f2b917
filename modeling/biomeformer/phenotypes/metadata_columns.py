"""Columns of the metadata as numbers or classes, to be tested as confounders or as terms of a model."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from ..errors import InputError
from ..io.tables import MISSING_VALUES, is_missing, is_number

ColumnKind = Literal["number", "category"]
# Between column and word in the name of a feature, and the word of missing values.
SEPARATOR, MISSING_WORD = "=", "missing"


@dataclass(frozen=True)
class MetadataColumn:
    """Values of samples in one column of the metadata.

    Attributes:
        name: Name of the column.
        kind: `number` if every known value is a number, else `category`.
        values: float64 `(n_samples,)`, NaN where missing; or int64, an index into `levels`, -1 where missing.
        levels: Names of the classes of a category; empty for numbers.
    """

    name: str
    kind: ColumnKind
    values: np.ndarray
    levels: tuple[str, ...] = ()

    @property
    def is_known(self) -> np.ndarray:
        """Whether a sample has a value, bool `(n_samples,)`."""
        return self.values >= 0 if self.kind == "category" else ~np.isnan(self.values)

    def texts(self, missing: str) -> list[str]:
        """Return the values of a category, or of numbers their shortest form, and `missing` where they are missing."""
        if self.kind == "category":
            return [self.levels[code] if code >= 0 else missing for code in self.values]
        return [missing if np.isnan(value) else f"{value:g}" for value in self.values]

    def take(self, rows: np.ndarray) -> MetadataColumn:
        """Return the values of some samples, without the classes that none of them has."""
        values = self.values[rows]
        if self.kind == "number":
            return MetadataColumn(self.name, self.kind, values)
        codes = np.unique(values[values >= 0])
        renumbered = np.where(values >= 0, np.searchsorted(codes, values), -1)
        return MetadataColumn(self.name, self.kind, renumbered, tuple(self.levels[code] for code in codes))

    def design(self) -> np.ndarray:
        """Return columns for a regression, float64 `(n_samples, n_columns)`.

        A category has a column per class, a number its own, with the median where it is missing. A further column tells
        whether the value is missing, if any is.
        """
        known = self.is_known
        if self.kind == "category":
            columns = (self.values[:, None] == np.arange(len(self.levels))).astype(np.float64)
        else:
            middle = float(np.median(self.values[known])) if known.any() else 0.0
            columns = np.where(known, self.values, middle)[:, None]
        return columns if known.all() else np.hstack([columns, (~known)[:, None].astype(np.float64)])


@dataclass(frozen=True)
class Covariate:
    """How a metadata column becomes features: a number as it is, of words a column of zeros and ones each.

    Attributes:
        column: Name of the metadata column.
        words: The words, of which the last may be `missing`; empty for a column of numbers.
    """

    column: str
    words: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """Names of the features: `COLUMN`, or `COLUMN=WORD` of each word."""
        return [f"{self.column}{SEPARATOR}{word}" for word in self.words] or [self.column]

    def encode(self, values: MetadataColumn) -> np.ndarray:
        """Return the features of samples, float64 `(n_samples, n_names)`: missing numbers are NaN, unknown words 0."""
        if not self.words:
            return (values.values if values.kind == "number" else np.full(len(values.values), np.nan))[:, None]
        texts = np.array(values.texts(MISSING_WORD), dtype=object)
        return (texts[:, None] == np.array(self.words, dtype=object)).astype(np.float64)


def metadata_column(
    metadata: pd.DataFrame,
    name: str,
    sample_ids: Sequence[str],
    *,
    categorical: bool = False,
    where: str = "the metadata",
    missing: Collection[str] = MISSING_VALUES,
) -> MetadataColumn:
    """Read a column of the metadata for some samples.

    Args:
        metadata: Metadata as text, indexed by sample.
        name: Name of the column.
        sample_ids: The samples.
        categorical: Whether numbers are names of classes, such as numbered batches.
        where: Name of the metadata in errors.
        missing: Words that mark a missing value, in lower case.

    Raises:
        InputError: There is no such column.
    """
    if name not in metadata.columns:
        columns = ", ".join(map(str, metadata.columns)) or "none"
        raise InputError(f"{where} has no column {name!r}; it has {columns}.")
    texts = metadata[name].reindex(list(sample_ids)).fillna("").astype(str).str.strip().tolist()
    known = [not is_missing(text, missing) for text in texts]
    if not categorical:
        numbers = [as_number(text) if has_value else np.nan for text, has_value in zip(texts, known, strict=True)]
        if None not in numbers:
            return MetadataColumn(name, "number", np.array(numbers, np.float64))
    levels = tuple(sorted({text for text, has_value in zip(texts, known, strict=True) if has_value}))
    code_of = {level: i for i, level in enumerate(levels)}
    codes = [code_of[text] if has_value else -1 for text, has_value in zip(texts, known, strict=True)]
    return MetadataColumn(name, "category", np.array(codes, np.int64), levels)


def as_number(text: str) -> float | None:
    """Return a finite number; None if the text is none."""
    value = float(text) if is_number(text) else np.nan
    return value if np.isfinite(value) else None


__all__ = ["MISSING_WORD", "SEPARATOR", "ColumnKind", "Covariate", "MetadataColumn", "as_number", "metadata_column"]
