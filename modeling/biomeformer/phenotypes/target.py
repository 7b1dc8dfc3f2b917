"""What is to be predicted: a column of the cohort, as classes, with the groups that must not be torn apart."""

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
    """Classes of samples.

    Attributes:
        column: Where they stand.
        sample_ids: Samples whose class is known.
        classes: Names; of two, the second is the one whose probability is predicted.
        labels: int64 `(n_samples,)`, places in `classes`.
        groups: Subject or batch of each sample, or None.
        group_column: Where the groups stand.
        n_missing: Samples left out because the metadata lacks them or their value.
        missing_words: How many of these have each of the words that stand for no value (`MISSING_VALUES`).
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
        """Say how many samples were left out, and which words were taken for no value; empty where there are none."""
        words = ", ".join(f"{word!r} in {n}" for word, n in self.missing_words.items())
        return f"{self.n_missing} samples without a value{f' ({words})' if words else ''}" if self.n_missing else ""

    @property
    def sizes(self) -> dict[str, int]:
        """Samples of each class."""
        counts = np.bincount(self.labels, minlength=len(self.classes))
        return dict(zip(self.classes, counts.tolist(), strict=True))


def read_metadata(path: str | Path) -> pd.DataFrame:
    """Phenotypes and covariates as text, indexed by sample: a CSV or TSV whose `sample_id` or first column names them.

    Raises:
        TableError: It cannot be read, or names a sample twice.
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
    """Classes of the samples of a feature table.

    Args:
        metadata: Text, indexed by sample.
        column: With the classes.
        sample_ids: Samples of the features.
        positive: Values that together are the class to predict; all others are the other one.
        group_column: With the subject, or batch, of each sample.
        where: What the metadata is called in errors.

    Raises:
        InputError: A column or value is not there, no sample is known, there is one class only, or there are too few
            samples.
    """
    for name in (column, *([group_column] if group_column else [])):
        if name not in metadata.columns:
            there = ", ".join(map(str, metadata.columns)) or "none"
            raise InputError(f"{where} has no column {name!r}; it has {there}.")
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
        raise InputError(
            f"{len(kept)} samples have a value in column {column!r}; fewer than {LEAST_SAMPLES} tell nothing."
        )
    if len(np.unique(labels)) < 2:
        raise InputError(
            f"all {len(kept)} samples are {values.iloc[0]!r} in column {column!r}; nothing can be told apart."
        )
    if len(classes) > 20:
        raise InputError(
            f"column {column!r} has {len(classes)} different values, which are no classes; name those to predict with "
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
    """Numbers by size, before words; the usual names of controls first among words."""
    try:
        return 0, float(value), value
    except ValueError:
        is_control = value.lower() in {"n", "no", "control", "healthy", "false", "negative", "ctr"}
        return 1, 0.0 if is_control else 1.0, value


def _listed(values: pd.Series) -> str:
    names = sorted(set(values))
    return ", ".join(map(repr, names[:8])) + (", …" if len(names) > 8 else "")


__all__ = ["Target", "make_target", "read_metadata"]
