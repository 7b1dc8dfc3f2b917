"""Cross-validation of models that train for long: each fold is kept on disk once it is done."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from accelerate import Accelerator
from rich.console import Console
from rich.progress import Progress

from ..io.atomic import atomic_write
from ..metrics.probabilities import METRICS
from .evaluation import folds, inner_folds
from .target import Target

Item = TypeVar("Item")
Split = tuple[np.ndarray, np.ndarray]


def train_folds(
    target: Target,
    train: Callable[[int, np.ndarray, np.ndarray, np.ndarray], dict[str, Any]],
    folder: Path,
    accelerator: Accelerator,
    *,
    n_folds: int,
    n_repeats: int,
    seed: int,
    shown: str,
    set_aside: bool = True,
) -> tuple[list[Split], list[dict[str, Any]]]:
    """Train and test on every fold that is not in `folder` yet. All processes call it.

    Of a fold's training samples a part is set aside, whole groups of them where the target has groups, on which
    training may stop early; the test samples have no part in it.

    Args:
        target: Classes, and groups that no two folds share.
        train: Gets the fold's number, and the samples to train on, set aside and to test; gives values JSON can hold,
            `probabilities (n_test, n_classes)` and `best_epoch` among them.
        folder: Where folds are kept.
        accelerator: The processes; the main one writes.
        n_folds: Of the cross-validation.
        n_repeats: Of the cross-validation.
        seed: Of the folds.
        shown: Metric to print of each fold.
        set_aside: Whether any training sample is set aside at all.

    Returns:
        Training and test samples of each fold, and what `train` gave of it.
    """
    splits = list(folds(target, n_folds, n_repeats, seed))
    folder.mkdir(parents=True, exist_ok=True)
    done = []
    for i, (inside, test) in enumerate(tracked(splits, "folds", accelerator)):
        file = folder / f"{i}.json"
        there = file.is_file()
        accelerator.wait_for_everyone()
        if not there:
            groups = None if target.groups is None else target.groups[inside]
            rest, aside = np.arange(len(inside)), np.arange(0)
            if set_aside:
                rest, aside = inner_folds(target.labels[inside], groups, seed + i)[0]
            found = train(i, inside[rest], inside[aside], test)
            if accelerator.is_main_process:
                with atomic_write(file) as partial:
                    partial.write_text(json.dumps(found) + "\n")
            accelerator.wait_for_everyone()
        fold = json.loads(file.read_text())
        done.append(fold)
        value = METRICS[shown](target.labels[test], np.array(fold["probabilities"]))
        accelerator.print(f"fold {i + 1} of {len(splits)}: best epoch {fold['best_epoch']}, {shown} {value:.3f}")
    return splits, done


def median_epoch(done: Iterable[dict[str, Any]]) -> int:
    """For how many epochs to train on all samples: the median of the folds' best."""
    return max(round(float(np.median([fold["best_epoch"] for fold in done]))), 1)


def tracked(items: list[Item], what: str, accelerator: Accelerator) -> Iterator[Item]:
    """Items, with a bar in the main process's terminal."""
    if not (accelerator.is_main_process and sys.stderr.isatty()):
        yield from items
        return
    with Progress(console=Console(stderr=True), transient=True) as bars:
        yield from bars.track(items, description=what)


__all__ = ["median_epoch", "tracked", "train_folds"]
