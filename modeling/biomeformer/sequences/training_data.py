"""Labelled sequences to train on, as written by `biomeformer sequences prepare`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from huggingface_hub.errors import HfHubHTTPError

from ..errors import TableError, reason_of
from ..io.digests import check_files
from ..io.records import DamagedFileError
from ..io.short_repr import short_repr
from .folder import ADVICE, PREPARE_RECORD, RECORD
from .splitting import SPLITS, draw_keys, split_randomly


@dataclass(frozen=True)
class LabelledSequences:
    """One split, with its sequences on disk.

    Attributes:
        dataset: A `datasets.Dataset` with the columns `id` and `sequence`.
        truth: Class numbers int64 `(n,)`, 0 and 1 float64 `(n, n_labels)` for multi-label, or values float64 `(n,)`.
        lengths: Bases of each sequence, int64 `(n,)`.
    """

    dataset: Any
    truth: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.truth)

    def sequences(self, rows: Sequence[int] | np.ndarray) -> list[str]:
        """Return the sequences of the given rows."""
        sequences: list[str] = self.dataset[[int(row) for row in rows]]["sequence"]
        return sequences

    @property
    def ids(self) -> list[str]:
        """Ids of all sequences."""
        return [str(value) for value in self.dataset["id"]]

    def sample(self, n: int | None, seed: int) -> LabelledSequences:
        """Return `n` sequences drawn at random, of each class its share; all if `n` is None or there are no more."""
        if n is None or n >= len(self):
            return self
        strata = self.truth if self.truth.dtype.kind == "i" else np.zeros(len(self), np.int64)
        keys = draw_keys(np.arange(len(self), dtype=np.uint64), seed)
        rows = np.flatnonzero(split_randomly(keys, strata, [n / len(self), 1 - n / len(self)]) == 0)
        return LabelledSequences(self.dataset.select(rows), self.truth[rows], self.lengths[rows])


@dataclass(frozen=True)
class TrainingData:
    """All splits of a dataset.

    Attributes:
        name: The folder or Hub id.
        task: `binary`, `multi_class`, `multi_label` or `regression`.
        label_names: Names of the classes or labels; `("value",)` for a regression.
        splits: The splits `train`, `validation` and `test`.
    """

    name: str
    task: str
    label_names: tuple[str, ...]
    splits: dict[str, LabelledSequences]

    __repr__ = short_repr

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all sequences and labels, in order."""
        digest = hashlib.sha256()
        for name, split in self.splits.items():
            digest.update(f"{name}\n".encode())
            for begin in range(0, len(split), 10_000):
                rows = np.arange(begin, min(begin + 10_000, len(split)))
                digest.update("\n".join(split.sequences(rows)).encode())
            digest.update(np.ascontiguousarray(split.truth).tobytes())
        return digest.hexdigest()


def read_training_data(name: str | Path, *, revision: str | None = None) -> TrainingData:
    """Read a dataset written by `biomeformer sequences prepare`, or one on the Hub with the same columns.

    Args:
        name: A folder or a Hub id. The columns are `sequence`, `id`, and either `label`, a `ClassLabel` or a number, or
            `labels`, a list with 0 or 1 for each label.
        revision: Branch, tag or commit of a Hub id.

    Raises:
        TableError: It cannot be read, lacks a split or column, or a class has no sequence to train on.
        DamagedFileError: A file of a folder differs from what `biomeformer sequences prepare` wrote.
    """
    if (Path(name) / RECORD).is_file():
        check_files(Path(name), PREPARE_RECORD.read(Path(name) / RECORD).get("files", {}), ADVICE)
    import datasets

    datasets.disable_progress_bars()

    try:
        loaded = datasets.load_dataset(str(name), revision=revision)
    except (OSError, ValueError, FileNotFoundError, datasets.exceptions.DatasetsError) as error:
        reason = reason_of(error, 200)
        raise TableError(f"{name} is no dataset ({reason}); make one with `biomeformer sequences prepare`.") from error
    for split in SPLITS:
        if split not in loaded:
            raise TableError(f"{name} has no split {split!r}; prepare the sequences with shares for all three.")
    features = loaded["train"].features
    for column in ("id", "sequence"):
        if column not in features:
            raise TableError(f"{name} has no column {column!r}; its columns are {', '.join(features)}.")
    if "labels" in features:
        task, names = "multi_label", _label_names(str(name), revision)
    elif "label" not in features:
        raise TableError(f"{name} has no column 'label' or 'labels'; its columns are {', '.join(features)}.")
    elif isinstance(features["label"], datasets.ClassLabel):
        names = tuple(features["label"].names)
        task = "binary" if len(names) == 2 else "multi_class"
    else:
        task, names = "regression", ("value",)
    splits = {}
    for split in SPLITS:
        table = loaded[split]
        column = table.with_format("numpy")["labels" if task == "multi_label" else "label"]
        truth = np.array(column[:], np.float64 if task in ("multi_label", "regression") else np.int64)
        lengths = pc.binary_length(table.data.column("sequence")).to_numpy().astype(np.int64)
        splits[split] = LabelledSequences(table, truth, lengths)
    if task in ("binary", "multi_class"):
        sizes = np.bincount(splits["train"].truth, minlength=len(names))
        if len(names) < 2 or not sizes.all():
            missing = "one class" if len(names) < 2 else f"no sequence of {names[int(sizes.argmin())]!r} to train on"
            raise TableError(f"{name} has {missing}; a classifier needs sequences of two classes or more.")
    return TrainingData(str(name), task, names, splits)


def _label_names(name: str, revision: str | None) -> tuple[str, ...]:
    """Read the names of the labels of a multi-label dataset from its `prepare.json`, also on the Hub."""
    file = Path(name) / RECORD
    try:
        if not Path(name).is_dir():
            from huggingface_hub import hf_hub_download

            file = Path(hf_hub_download(name, RECORD, repo_type="dataset", revision=revision))
        return tuple(PREPARE_RECORD.read(file)["label_names"])
    except (FileNotFoundError, HfHubHTTPError, ValueError) as error:
        if isinstance(error, TableError | DamagedFileError):
            raise
        raise TableError(
            f"{name} has several labels per sequence and no prepare.json that names them; prepare the dataset again."
        ) from error


__all__ = ["SPLITS", "LabelledSequences", "TrainingData", "read_training_data"]
