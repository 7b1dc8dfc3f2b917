"""Cross-validation of models that train for long: each fold is kept on disk once it is done."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import Progress

from .run import TrainingRun

Item = TypeVar("Item")
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
        run: The folder; finished folds are in `folds/`.
        splits: Rows of each fold to train on and to test.
        split_validation: Gets the fold's number and its rows to train on; gives those that stay and the
            validation rows, on which training may stop early. The test rows have no part in it.
        train: Gets the fold's number, and the rows to train on, of the validation and to test; gives values JSON can
            hold, `best_epoch` among them.
        score: Gets a fold's test rows and values; gives what to print of it.

    Returns:
        The values of each fold.
    """
    folder = run.path / "folds"
    results = []
    for i, (inside, test) in enumerate(progress_over(splits, "folds", run)):
        file = folder / f"{i}.json"
        if not run.processes.on_main(file.is_file):
            rest, validation = split_validation(i, inside)
            values = train(i, rest, validation, test)
            if run.is_main:
                folder.mkdir(exist_ok=True)
                run.write(f"folds/{i}.json", json.dumps(values) + "\n")
        # The main process alone need see the file at once.
        values = run.processes.on_main(lambda file=file: json.loads(file.read_text()))  # type: ignore[misc]
        results.append(values)
        if run.is_main:
            print(f"fold {i + 1} of {len(splits)}: best epoch {values['best_epoch']}, {score(test, values)}")
    return results


def median_epoch(results: Iterable[dict[str, Any]]) -> int:
    """Return for how many epochs to train on all rows: the median of the folds' best."""
    return max(round(float(np.median([fold["best_epoch"] for fold in results]))), 1)


def progress_over(items: Sequence[Item], what: str, run: TrainingRun) -> Iterator[Item]:
    """Iterate with a bar in the main process's terminal."""
    if not (run.is_main and sys.stderr.isatty()):
        yield from items
        return
    with Progress(console=Console(stderr=True), transient=True) as bars:
        yield from bars.track(items, description=what)


__all__ = ["median_epoch", "progress_over", "train_folds"]
