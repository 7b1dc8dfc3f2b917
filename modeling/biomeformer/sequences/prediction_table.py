"""The table of a fine-tuned sequence model's predictions on validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ..errors import InputError, TableError
from ..io.parquet import CheckedParquet, write_parquet
from ..io.short_repr import short_repr
from ..metrics.tasks import Task, check_predictions

SPLITS = ("validation", "test")
PREDICTIONS_NAME = "predictions.parquet"


def prediction_table(
    task: Task,
    label_names: Sequence[str],
    ids: Sequence[str],
    splits: Sequence[str],
    truth: np.ndarray,
    predicted: np.ndarray,
) -> pd.DataFrame:
    """Build one table of the predictions of both splits.

    Args:
        task: One of `TASKS`.
        label_names: As for `score_predictions`.
        ids: Ids of the sequences.
        splits: Split of each sequence, `validation` or `test`.
        truth: As for `score_predictions`.
        predicted: As for `score_predictions`.

    Returns:
        Columns `id`, `split`, `truth` (name of the class, or value of a regression) or one `truth NAME` per label, and
        one `probability NAME` per class or label, or `predicted` for a regression.

    Raises:
        InputError: The arrays do not match each other or the task, or a split has another name.
    """
    truth, predicted = check_predictions(task, label_names, truth, predicted)
    if not len(ids) == len(splits) == len(truth):
        raise InputError(f"there are {len(ids)} ids, {len(splits)} splits and {len(truth)} predictions; give as many.")
    if unknown := sorted(set(splits) - set(SPLITS)):
        raise InputError(f"a split is named {unknown[0]!r}; name it {' or '.join(SPLITS)}.")
    columns: dict[str, Any] = {"id": [str(name) for name in ids], "split": list(splits)}
    if task == "regression":
        columns |= {"truth": truth, "predicted": predicted}
    elif task == "multi_label":
        columns |= {f"truth {name}": truth[:, i] for i, name in enumerate(label_names)}
    else:
        columns["truth"] = np.array(label_names, object)[truth]
    if task != "regression":
        columns |= {f"probability {name}": predicted[:, i] for i, name in enumerate(label_names)}
    return pd.DataFrame(columns)


def write_predictions(table: pd.DataFrame, folder: str | Path) -> Path:
    """Write `predictions.parquet`, whole or not at all, and return its path; the folder is made."""
    path = Path(folder) / PREDICTIONS_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    write_parquet(path, pa.Table.from_pandas(table, preserve_index=False))
    return path


def read_predictions(folder: str | Path) -> pd.DataFrame:
    """Read a table written by `write_predictions`.

    Raises:
        TableError: The folder holds no such table.
        DamagedFileError: It is damaged.
    """
    path = Path(folder) / PREDICTIONS_NAME
    try:
        return CheckedParquet(path, "make the predictions again", ("id", "split")).read_frame()
    except FileNotFoundError as error:
        raise TableError(f"{path}: no such file; give the folder that predictions were written to.") from error


@dataclass(frozen=True)
class SplitPredictions:
    """Predictions of both splits as arrays.

    Attributes:
        task: One of `TASKS`.
        label_names: Names of the classes or labels; for a regression the name of the predicted value.
        arrays: Truth and predictions by split, in the shapes of `score_predictions`.
    """

    task: Task
    label_names: tuple[str, ...]
    arrays: dict[str, tuple[np.ndarray, np.ndarray]]

    __repr__ = short_repr

    @classmethod
    def from_table(cls, table: pd.DataFrame, task: Task, label_names: Sequence[str]) -> SplitPredictions:
        """Extract the arrays of both splits from a table made by `prediction_table`.

        Raises:
            TableError: The table lacks a column, or has a class that is not in `label_names`.
        """
        return cls(task, tuple(label_names), {split: split_arrays(table, task, label_names, split) for split in SPLITS})

    def column(self, split: str, label: int) -> tuple[np.ndarray, np.ndarray]:
        """Return which sequences of a split are of a class or have a label, bool `(n,)`, and its probability `(n,)`."""
        truth, predicted = self.arrays[split]
        return (truth[:, label] == 1 if self.task == "multi_label" else truth == label), predicted[:, label]


def split_arrays(
    table: pd.DataFrame, task: Task, label_names: Sequence[str], split: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the truth and the predictions of one split, in the shapes of `score_predictions`.

    Raises:
        TableError: The table lacks a column, or has a class that is not in `label_names`.
    """
    is_multi_label = task == "multi_label"
    truth_columns = [f"truth {name}" for name in label_names] if is_multi_label else ["truth"]
    columns = ["predicted"] if task == "regression" else [f"probability {name}" for name in label_names]
    if missing := [name for name in ("split", *truth_columns, *columns) if name not in table]:
        raise TableError(f"the predictions have no column {missing[0]!r}; make them with the same labels and task.")
    rows = table[table["split"] == split]
    predicted = rows[columns].to_numpy(np.float64)
    if task == "regression":
        return rows["truth"].to_numpy(np.float64), predicted[:, 0]
    if is_multi_label:
        return rows[truth_columns].to_numpy(np.int64), predicted
    truth = pd.Index(label_names).get_indexer(rows["truth"]).astype(np.int64)
    if (truth < 0).any():
        unknown = rows["truth"].to_numpy()[truth < 0][0]
        raise TableError(f"the predictions have class {unknown!r}, which is none of {', '.join(label_names)}.")
    return truth, predicted


__all__ = [
    "PREDICTIONS_NAME",
    "SPLITS",
    "SplitPredictions",
    "prediction_table",
    "read_predictions",
    "split_arrays",
    "write_predictions",
]
