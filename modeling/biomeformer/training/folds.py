"""Cross-validation of models with long training: the result of each finished fold is kept on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..io.atomic import write_json
from ..runs.progress import out
from .run import TrainingRun

Split = tuple[np.ndarray, np.ndarray]


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
        if not run.processes.on_main(file.is_file):
            rest, validation = split_validation(i, inside)
            values = train(i, rest, validation, test)
            if run.is_main:
                folder.mkdir(exist_ok=True)
                write_json(file, values, indent=None)
        # Only the main process is certain to see the file at once.
        values = run.processes.on_main(lambda file=file: json.loads(file.read_text()))  # type: ignore[misc]
        results.append(values)
        if run.is_main:
            out(f"fold {i + 1} of {len(splits)}: best epoch {values['best_epoch']}, {score(test, values)}")
    return results


def median_epoch(results: Iterable[dict[str, Any]]) -> int:
    """Return the number of epochs to train on all rows: the median of the folds' best epochs."""
    return max(round(float(np.median([fold["best_epoch"] for fold in results]))), 1)


__all__ = ["median_epoch", "train_folds"]
