"""The target of a prediction: a column of the cohort as classes, with the groups that folds must not divide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import InputError
from ..io.tables import MISSING_VALUES, TableFormat, is_missing, read_table

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
        missing_words: Number of these samples by the word that marks the missing value; "" for an empty field.
        not_in_metadata: Those of these samples that the metadata lacks.
    """

    column: str
    sample_ids: tuple[str, ...]
    classes: tuple[str, ...]
    labels: np.ndarray
    groups: np.ndarray | None = None
    group_column: str | None = None
    n_missing: int = 0
    missing_words: dict[str, int] = field(default_factory=dict)
    not_in_metadata: tuple[str, ...] = ()

    def describe_missing(self) -> str:
        """Describe which samples were left out and which words marked missing values; empty if there are none."""
        parts = []
        n_without = self.n_missing - len(self.not_in_metadata)
        if n_without:
            words = ", ".join(f"{word!r} in {n}" if word else f"empty in {n}" for word, n in self.missing_words.items())
            parts.append(f"{_samples(n_without)} without a value{f' ({words})' if words else ''}")
        if self.not_in_metadata:
            names = ", ".join(map(repr, self.not_in_metadata[:3]))
            such = "such as " if len(self.not_in_metadata) > 3 else ""
            parts.append(f"{_samples(len(self.not_in_metadata))} not in the metadata ({such}{names})")
        return ", ".join(parts)

    def take(self, rows: np.ndarray) -> Target:
        """Return the target of some of its samples, with all classes."""
        groups = None if self.groups is None else self.groups[rows]
        ids = tuple(self.sample_ids[row] for row in rows)
        return replace(self, sample_ids=ids, labels=self.labels[rows], groups=groups)

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
    missing: Collection[str] = MISSING_VALUES,
) -> Target:
    """Derive the classes of the samples of a feature table from a metadata column.

    Args:
        metadata: Metadata as text, indexed by sample.
        column: Name of the column with the classes.
        sample_ids: Samples of the feature table.
        positive: Values that together form the positive class; all other values form the negative class.
        group_column: Name of the column with the subject, or batch, of each sample.
        where: Name of the metadata in errors.
        missing: Words that mark a missing value, in lower case (see `biomeformer.io.tables.missing_words`).

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
    is_without = values.map(lambda value: is_missing(value, missing)).to_numpy(bool)
    words = Counter(values[is_without])
    kept = [name for name, without in zip(known, is_without, strict=True) if not without]
    values = values[~is_without]
    if positive:
        absent = [value for value in positive if value not in set(values)]
        if absent:
            if is_missing(absent[0], missing):
                raise InputError(
                    f"{absent[0]!r} marks a missing value in column {column!r} of {where}; give --not-missing "
                    f"{absent[0]!r} if it is a class."
                )
            raise InputError(f"column {column!r} of {where} never is {absent[0]!r}; its values are {_listed(values)}.")
        classes = (f"not {' or '.join(positive)}", " or ".join(positive))
        labels = values.isin(list(positive)).to_numpy().astype(np.int64)
    else:
        classes = tuple(sorted(set(values), key=_order))
        labels = values.map({name: i for i, name in enumerate(classes)}).to_numpy(np.int64)
    absent_samples = tuple(name for name in sample_ids if name not in metadata.index)
    target = Target(
        column,
        tuple(kept),
        classes,
        labels,
        group_column=group_column,
        n_missing=len(sample_ids) - len(kept),
        missing_words=dict(words),
        not_in_metadata=absent_samples,
    )
    if len(kept) < LEAST_SAMPLES:
        others = f" (left out: {target.describe_missing()})" if target.n_missing else ""
        raise InputError(
            f"{len(kept)} samples have a value in column {column!r}; at least {LEAST_SAMPLES} are needed{others}."
        )
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
    if group_column is None:
        return target
    groups = metadata.loc[kept, group_column].astype(str).str.strip().to_numpy()
    for sample, group in zip(kept, groups, strict=True):
        if is_missing(group, missing):
            word = f" but {group!r}" if group else ""
            raise InputError(
                f"sample {sample!r} has no value{word} in the group column {group_column!r}; fill it, since all "
                "samples without a value would count as one group."
            )
    return replace(target, groups=groups)


def _samples(n: int) -> str:
    return f"{n} sample{'' if n == 1 else 's'}"


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
