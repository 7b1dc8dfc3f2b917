"""Cross-validation of models with long training: the result of each finished fold is kept on disk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ..io.records import DamagedFileError, RecordType
from ..runs.progress import out
from .run import TrainingRun

Split = tuple[np.ndarray, np.ndarray]

logger = logging.getLogger(__name__)


class _Fold(msgspec.Struct):
    """Content of `folds/NUMBER.json`: the number too, so that no file is taken for that of another fold."""

    fold: int
    best_epoch: int | float
    values: dict[str, Any]


_RECORD = RecordType(_Fold, "the fold is trained again")


def train_folds(
    run: TrainingRun,
    splits: Sequence[Split],
    split_validation: Callable[[int, np.ndarray], Split],
    train: Callable[[int, np.ndarray, np.ndarray, np.ndarray], dict[str, Any]],
    score: Callable[[np.ndarray, dict[str, Any]], str],
) -> list[dict[str, Any]]:
    """Train and test on every fold that the run has not finished yet. All processes call it.

    Args:
        run: The training run; results of finished folds are in its folder `folds/`.
        splits: Training and test rows of each fold.
        split_validation: Takes the fold's number and its training rows; returns the rows left for training and the
            validation rows, on which training may stop early. The test rows are not involved.
        train: Takes the fold's number and its training, validation and test rows; returns JSON values, among them
            `best_epoch`.
        score: Takes a fold's test rows and values; returns a text to print.

    Returns:
        The values of each fold.
    """
    folder = run.path / "folds"
    results = []
    for i, (inside, test) in enumerate(run.track(splits, "folds")):
        file = folder / f"{i}.json"
        kept = run.processes.on_main(lambda file=file, i=i: _kept(file, i))  # type: ignore[misc]
        if kept is None:
            rest, validation = split_validation(i, inside)
            values = train(i, rest, validation, test)
            if run.is_main:
                folder.mkdir(exist_ok=True)
                _RECORD.write(file, {"fold": i, "best_epoch": values["best_epoch"], "values": values}, indent=None)
            # As JSON holds them, on all processes.
            kept = run.processes.on_main(lambda file=file: _RECORD.read(file).values)  # type: ignore[misc]
        values = kept
        results.append(values)
        if run.is_main:
            out(f"fold {i + 1} of {len(splits)}: best epoch {values['best_epoch']}, {score(test, values)}")
    return results


def _kept(file: Path, fold: int) -> dict[str, Any] | None:
    """Return the values of a finished fold; None if it is not finished, or its file is damaged, with a warning."""
    try:
        record = _RECORD.read(file)
        if record.fold != fold:
            raise DamagedFileError(f"{file} is that of fold {record.fold}; {_RECORD.advice}.")
    except FileNotFoundError:
        return None
    except DamagedFileError as error:
        logger.warning("%s", error)
        return None
    return record.values | {"best_epoch": record.best_epoch}


def median_epoch(results: Iterable[dict[str, Any]]) -> int:
    """Return the number of epochs to train on all rows: the median of the folds' best epochs."""
    return max(round(float(np.median([fold["best_epoch"] for fold in results]))), 1)


__all__ = ["median_epoch", "train_folds"]
