"""The target of a prediction: a column of the cohort as classes, with the groups that folds must not divide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import InputError
from ..io.tables import TableFormat, is_missing, read_table

LEAST_SAMPLES = 10
SAMPLE_ID = "sample_id"
FORMAT = TableFormat(
    advice="give a CSV or TSV whose column sample_id, or first column, names the samples", comments=True, row_names=True
)


@dataclass(frozen=True)
class Target:
    """Classes of samples, read from a column.

    Attributes:
        column: Name of the column.
        sample_ids: Samples whose class is known.
        classes: Names of the classes; of two, the second is the positive one.
        labels: int64 `(n_samples,)`, indices into `classes`.
        groups: Subject or batch of each sample, or None.
        group_column: Name of the column with the groups.
        n_missing: Number of samples left out because the metadata lacks them or their value.
        missing_words: Number of these samples by the word that marks the missing value (`MISSING_VALUES`).
    """

    column: str
    sample_ids: tuple[str, ...]
    classes: tuple[str, ...]
    labels: np.ndarray
    groups: np.ndarray | None = None
    group_column: str | None = None
    n_missing: int = 0
    missing_words: dict[str, int] = field(default_factory=dict)

    def describe_missing(self) -> str:
        """Describe how many samples were left out and which words marked missing values; empty if there are none."""
        words = ", ".join(f"{word!r} in {n}" for word, n in self.missing_words.items())
        return f"{self.n_missing} samples without a value{f' ({words})' if words else ''}" if self.n_missing else ""

    @property
    def sizes(self) -> dict[str, int]:
        """Number of samples, by class."""
        counts = np.bincount(self.labels, minlength=len(self.classes))
        return dict(zip(self.classes, counts.tolist(), strict=True))


def read_metadata(path: str | Path) -> pd.DataFrame:
    """Read phenotypes and covariates as text, indexed by sample, from a CSV or TSV.

    The column `sample_id`, or else the first column, names the samples.

    Raises:
        TableError: The file cannot be read, or names a sample twice.
    """
    table = read_table(path, FORMAT)
    key = SAMPLE_ID if SAMPLE_ID in table.columns else table.columns[0]
    table.require_unique(key, "give each sample one row")
    frame = table.frame(key)
    frame.index.name = SAMPLE_ID
    return frame


def make_target(
    metadata: pd.DataFrame,
    column: str,
    sample_ids: Sequence[str],
    *,
    positive: Sequence[str] | None = None,
    group_column: str | None = None,
    where: str = "the metadata",
) -> Target:
    """Derive the classes of the samples of a feature table from a metadata column.

    Args:
        metadata: Metadata as text, indexed by sample.
        column: Name of the column with the classes.
        sample_ids: Samples of the feature table.
        positive: Values that together form the positive class; all other values form the negative class.
        group_column: Name of the column with the subject, or batch, of each sample.
        where: Name of the metadata in errors.

    Raises:
        InputError: A column or value does not exist, no sample is known, there is only one class or more than 20, or
            there are too few samples.
    """
    for name in (column, *([group_column] if group_column else [])):
        if name not in metadata.columns:
            columns = ", ".join(map(str, metadata.columns)) or "none"
            raise InputError(f"{where} has no column {name!r}; it has {columns}.")
    known = [name for name in sample_ids if name in metadata.index]
    if not known:
        raise InputError(
            f"no sample of the features is in {where} (the features have {sample_ids[0]!r}, the metadata "
            f"{next(iter(metadata.index), 'none')!r}); use the same sample ids in both."
        )
    values = metadata.loc[known, column].astype(str).str.strip()
    missing = values.map(is_missing).to_numpy(bool)
    words = Counter(value for value in values[missing] if value)
    kept = [name for name, without in zip(known, missing, strict=True) if not without]
    values = values[~missing]
    if positive:
        absent = [value for value in positive if value not in set(values)]
        if absent:
            raise InputError(f"column {column!r} of {where} never is {absent[0]!r}; its values are {_listed(values)}.")
        classes = (f"not {' or '.join(positive)}", " or ".join(positive))
        labels = values.isin(list(positive)).to_numpy().astype(np.int64)
    else:
        classes = tuple(sorted(set(values), key=_order))
        labels = values.map({name: i for i, name in enumerate(classes)}).to_numpy(np.int64)
    if len(kept) < LEAST_SAMPLES:
        raise InputError(f"{len(kept)} samples have a value in column {column!r}; at least {LEAST_SAMPLES} are needed.")
    if len(np.unique(labels)) < 2:
        raise InputError(
            f"all {len(kept)} samples are {values.iloc[0]!r} in column {column!r}; two classes are needed."
        )
    if len(classes) > 20:
        raise InputError(
            f"column {column!r} has {len(classes)} different values, too many for classes; name those to predict with "
            "--positive."
        )
    rare = min(np.bincount(labels))
    if rare < 3:
        name = classes[int(np.argmin(np.bincount(labels)))]
        raise InputError(f"class {name!r} of column {column!r} has {rare} samples; each needs at least 3.")
    groups = None
    if group_column is not None:
        groups = metadata.loc[kept, group_column].astype(str).str.strip().to_numpy()
        if (groups == "").any():
            sample = kept[int(np.argmax(groups == ""))]
            raise InputError(f"sample {sample!r} has no value in the group column {group_column!r}; fill it.")
    return Target(column, tuple(kept), classes, labels, groups, group_column, len(sample_ids) - len(kept), dict(words))


def _order(value: str) -> tuple[int, float, str]:
    """Return a sort key: numbers by value, then the usual names of controls, then other words."""
    try:
        return 0, float(value), value
    except ValueError:
        is_control = value.lower() in {"n", "no", "control", "healthy", "false", "negative", "ctr"}
        return 1, 0.0 if is_control else 1.0, value


def _listed(values: pd.Series) -> str:
    names = sorted(set(values))
    return ", ".join(map(repr, names[:8])) + (", …" if len(names) > 8 else "")


__all__ = ["Target", "make_target", "read_metadata"]
