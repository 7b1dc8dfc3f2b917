"""The target of a prediction: a column of the cohort, with the groups that folds must not divide.

The column holds classes, numbers (regression), or labels of which a sample may have several, joined by `;`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from ..errors import InputError
from ..io.html_repr import count, html_table
from ..io.short_repr import short_repr
from ..io.tables import MISSING_VALUES, TableFormat, is_missing, read_table, why_no_number
from ..metrics.scorers import Task

LEAST_SAMPLES = 10
Kind = Literal["classification", "regression", "multilabel"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# A column with more different values is no column of classes.
MOST_CLASSES = 20
LABEL_SEPARATOR = ";"
# Number of bins of a regression's numbers, by which folds are stratified.
MOST_BINS = 10
# Combinations of labels that are shown by themselves.
MOST_COMBINATIONS = 7
SAMPLE_ID = "sample_id"
FORMAT = TableFormat(
    advice="give a CSV or TSV whose column sample_id, or first column, names the samples", comments=True, row_names=True
)


@dataclass(frozen=True)
class Target:
    """Classes, numbers or labels of samples, read from a column.

    Attributes:
        column: Name of the column.
        sample_ids: Samples whose value is known.
        classes: Names of the classes, of which two, the second is the positive one; names of the labels; or of numbers
            the name of the column.
        labels: int64 `(n_samples,)`, indices into `classes`; of labels 0 or 1, int64 `(n_samples, n_labels)`; of a
            regression float64 `(n_samples,)`.
        groups: Subject or batch of each sample, or None.
        group_column: Name of the column with the groups.
        n_missing: Number of samples left out because the metadata lacks them or their value.
        missing_words: Number of these samples by the word that marks the missing value; "" for an empty field.
        not_in_metadata: Those of these samples that the metadata lacks.
        kind: `classification`, `regression` or `multilabel`.
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
    kind: Kind = "classification"

    __repr__ = short_repr

    def _repr_html_(self) -> str:
        frame = pd.DataFrame({"samples": self.sizes})
        return html_table(self, f"{self.column} ({self.kind}) of {count(len(self.sample_ids), 'sample')}", frame)

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
        """Number of samples, by class or label; of numbers, of all samples."""
        if self.kind == "regression":
            return {self.column: len(self.labels)}
        if self.kind == "multilabel":
            counts = self.labels.sum(0)
        else:
            counts = np.bincount(self.labels, minlength=len(self.classes))
        return dict(zip(self.classes, counts.tolist(), strict=True))

    @property
    def task(self) -> Task:
        """The task of `biomeformer.metrics`."""
        return task_of(self.kind, len(self.classes))

    @property
    def summary(self) -> dict[str, str]:
        """What the samples are, to be shown: the number of each class or label, or the range of the numbers."""
        if self.kind != "regression":
            return {name: f"{n:,}" for name, n in self.sizes.items()}
        low, middle, high = np.quantile(self.labels, [0, 0.5, 1])
        return {"samples": f"{len(self.labels):,}", "median": f"{middle:.4g}", "range": f"{low:.4g} to {high:.4g}"}

    @property
    def values(self) -> list[str] | list[float]:
        """Value of each sample: its class, its number, or its labels joined by `;`."""
        if self.kind == "regression":
            return [float(value) for value in self.labels]
        if self.kind == "multilabel":
            return [LABEL_SEPARATOR.join(np.array(self.classes)[row == 1]) for row in self.labels]
        return [self.classes[label] for label in self.labels]

    def strata(self, labels: np.ndarray | None = None, n_folds: int = 1) -> np.ndarray:
        """Return a class of each sample by which folds are stratified, int64 `(n_samples,)`.

        Args:
            labels: Labels of the samples, or of some of them; those of the target by default.
            n_folds: Number of folds, which each get samples of each class.

        Returns:
            The classes themselves; bins of equal size of the numbers, which each hold at least as many samples as there
            are folds; or of a sample with several labels the rarest of them, those rarer than the folds together.
        """
        labels = self.labels if labels is None else labels
        if self.kind == "classification":
            return labels
        if self.kind == "regression":
            n_bins = int(np.clip(len(labels) // max(n_folds, 2), 1, MOST_BINS))
            edges = np.unique(np.quantile(labels, np.linspace(0, 1, n_bins + 1)[1:-1]))
            strata = np.searchsorted(edges, labels, side="right")
        else:
            order = np.argsort(labels.sum(0), kind="stable")
            strata = np.where(labels.any(1), 1 + labels[:, order].argmax(1), 0)
        _, strata, counts = np.unique(strata, return_inverse=True, return_counts=True)
        # Ties may leave a bin with few samples, and labels may be rare; if these are few together, they join the rest.
        is_rare = counts[strata] < n_folds
        strata = np.where(is_rare, len(counts) if is_rare.sum() >= n_folds else int(counts.argmax()), strata)
        return np.asarray(np.unique(strata, return_inverse=True)[1], np.int64)

    def grouped(self) -> Target:
        """Return a target of classes, for figures and tests that need groups.

        Numbers become thirds; labels become their combinations, of which those beyond the most frequent are one class.
        """
        if self.kind == "classification":
            return self
        if self.kind == "regression":
            edges = np.unique(np.quantile(self.labels, [1 / 3, 2 / 3]))
            groups = np.searchsorted(edges, self.labels, side="right")
            bounds = [f"{edge:.3g}" for edge in edges]
            names = [f"{self.column} < {bounds[0]}"]
            names += [f"{low} to {high}" for low, high in pairwise(bounds)]
            names.append(f"{self.column} ≥ {bounds[-1]}")
        else:
            values = [str(value) or "no label" for value in self.values]
            kept = [name for name, n in Counter(values).most_common(MOST_COMBINATIONS) if n > 1]
            names = [*sorted(kept), "other combinations"]
            groups = np.array([names.index(value) if value in kept else len(kept) for value in values])
        numbers, labels = np.unique(groups, return_inverse=True)
        return replace(self, kind="classification", classes=tuple(names[i] for i in numbers), labels=labels)


def task_of(kind: Kind, n_classes: int) -> Task:
    """Return the task of `biomeformer.metrics` of a kind of target."""
    if kind == "classification":
        return "binary" if n_classes == 2 else "multi_class"
    return "regression" if kind == "regression" else "multi_label"


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
    task: Kind | Literal["auto"] = "classification",
) -> Target:
    """Derive the classes, numbers or labels of the samples of a feature table from a metadata column.

    Args:
        metadata: Metadata as text, indexed by sample.
        column: Name of the column with the values.
        sample_ids: Samples of the feature table.
        positive: Values that together form the positive class; all other values form the negative class.
        group_column: Name of the column with the subject, or batch, of each sample.
        where: Name of the metadata in errors.
        missing: Words that mark a missing value, in lower case (see `biomeformer.io.tables.missing_words`); of several
            labels, one such word makes the sample's value missing.
        task: `classification`; `regression`; `multilabel`, for labels joined by `;`; or `auto`: regression if all
            values are numbers and more than 20 differ, else classification.

    Raises:
        InputError: A column or value does not exist, no sample is known, there is only one class or more than 20, a
            value is no number, or there are too few samples.

    Examples:
        >>> metadata = pd.DataFrame({"disease": ["case", "control"] * 6 + ["NA"]}, index=[f"s{i}" for i in range(13)])
        >>> target = make_target(metadata, "disease", list(metadata.index), positive=["case"])
        >>> target.classes, target.sizes, target.describe_missing()
        (('not case', 'case'), {'not case': 6, 'case': 6}, "1 sample without a value ('NA' in 1)")
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
    # A sample with labels of which one is unknown has no known set of labels.
    parts = (lambda value: [value, *_labels_in(value)]) if task == "multilabel" else (lambda value: [value])
    is_without = values.map(lambda value: any(is_missing(part, missing) for part in parts(value))).to_numpy(bool)
    words = Counter(values[is_without])
    kept = [name for name, without in zip(known, is_without, strict=True) if not without]
    values = values[~is_without]
    if task not in (*KINDS, "auto"):
        raise InputError(f"the task is {task!r}; give auto, {', '.join(KINDS)}.")
    if positive and task in ("regression", "multilabel"):
        raise InputError(f"--positive names classes, and the task is {task}; leave one of them out.")
    if task == "auto":
        task = "regression" if not positive and _are_many_numbers(values) else "classification"
    classes: tuple[str, ...]
    if task == "regression":
        classes, labels = (column,), _numbers(values, column, where)
    elif task == "multilabel":
        classes, labels = _label_sets(values, column)
    elif positive:
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
        kind=task,
    )
    if len(kept) < LEAST_SAMPLES:
        others = f" (left out: {target.describe_missing()})" if target.n_missing else ""
        raise InputError(
            f"{len(kept)} samples have a value in column {column!r}; at least {LEAST_SAMPLES} are needed{others}."
        )
    _check_values(target, values)
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


def _check_values(target: Target, values: pd.Series) -> None:
    """Check that there is something to predict."""
    column, labels = target.column, target.labels
    if len(np.unique(labels if labels.ndim == 1 else values)) < 2:
        needed = {"regression": "different numbers are", "multilabel": "different labels are"}
        raise InputError(
            f"all {len(labels)} samples are {values.iloc[0]!r} in column {column!r}; "
            f"{needed.get(target.kind, 'two classes are')} needed."
        )
    if target.kind == "regression":
        return
    if len(target.classes) > MOST_CLASSES:
        if target.kind == "multilabel":
            raise InputError(
                f"column {column!r} has {len(target.classes)} labels and at most {MOST_CLASSES} are handled; join rare "
                "ones."
            )
        regression = ", or predict the numbers as a regression (--task regression)" if _are_many_numbers(values) else ""
        raise InputError(
            f"column {column!r} has {len(target.classes)} different values, too many for classes; name those to "
            f"predict with --positive{regression}."
        )
    sizes = np.array(list(target.sizes.values()))
    if sizes.min() < 3:
        name, noun = target.classes[int(np.argmin(sizes))], "label" if target.kind == "multilabel" else "class"
        raise InputError(f"{noun} {name!r} of column {column!r} has {sizes.min()} samples; each needs at least 3.")
    if target.kind == "multilabel":
        without = len(labels) - sizes
        if without.min() < 3:
            name = target.classes[int(np.argmin(without))]
            raise InputError(
                f"{without.min()} samples lack the label {name!r} of column {column!r}; at least 3 samples must lack "
                "it, else there is nothing to predict; leave the label out."
            )


def _are_many_numbers(values: pd.Series) -> bool:
    """Tell whether all values are finite numbers of which more than `MOST_CLASSES` differ."""
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
    return bool(np.isfinite(numbers).all()) and len(np.unique(numbers)) > MOST_CLASSES


def _numbers(values: pd.Series, column: str, where: str) -> np.ndarray:
    """Return the values as numbers."""
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise InputError(
            f"sample {values.index[i]!r}, column {column!r} of {where}: the value is {why_no_number(values.iloc[i])}, "
            f"and a regression needs numbers; fix it, give --missing {values.iloc[i]!r} if the value is missing, or "
            "predict classes with --task classification."
        )
    return numbers


def _label_sets(values: pd.Series, column: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the names of the labels, and 0 or 1 of each sample and label."""
    sets = [_labels_in(value) for value in values]
    names = tuple(sorted(set().union(*sets), key=_order))
    if len(names) < 2:
        raise InputError(
            f"column {column!r} has the labels {', '.join(map(repr, names)) or 'none'}, and several labels are joined "
            f"by {LABEL_SEPARATOR!r}; for one label per sample give --task classification."
        )
    return names, np.array([[name in labels for name in names] for labels in sets], np.int64)


def _labels_in(value: str) -> set[str]:
    return {part.strip() for part in value.split(LABEL_SEPARATOR)} - {""}


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


__all__ = ["KINDS", "LABEL_SEPARATOR", "Kind", "Target", "make_target", "read_metadata", "task_of"]
