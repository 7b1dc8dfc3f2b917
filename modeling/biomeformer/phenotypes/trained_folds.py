"""Cross-validation of models that recipes train, on the folds of every other study."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..metrics.probabilities import METRICS
from ..training.folds import Split, train_folds
from ..training.run import TrainingRun
from .evaluation import folds, inner_folds
from .target import Target


def cross_validate(
    run: TrainingRun,
    target: Target,
    train: Callable[[int, np.ndarray, np.ndarray, np.ndarray], dict[str, Any]],
    *,
    n_folds: int,
    n_repeats: int,
    seed: int,
    metric: str,
    early_stopping: bool = True,
) -> tuple[list[Split], list[dict[str, Any]]]:
    """Train and test on every fold that the run has not finished yet. All processes call it.

    Args:
        run: The folder.
        target: Classes, and groups that no two folds share, nor training and validation samples.
        train: As for `train_folds`; its values have `probabilities (n_test, n_classes)` too.
        n_folds: Of the cross-validation.
        n_repeats: Of the cross-validation.
        seed: Of the folds.
        metric: To print of each fold.
        early_stopping: Whether some training samples are kept for validation.

    Returns:
        Training and test samples of each fold, and what `train` gave of it.
    """
    splits = list(folds(target, n_folds, n_repeats, seed))

    def split_validation(i: int, inside: np.ndarray) -> Split:
        if not early_stopping:
            return inside, inside[:0]
        groups = None if target.groups is None else target.groups[inside]
        rest, validation = inner_folds(target.labels[inside], groups, seed + i)[0]
        return inside[rest], inside[validation]

    def score(test: np.ndarray, values: dict[str, Any]) -> str:
        return f"{metric} {METRICS[metric](target.labels[test], np.array(values['probabilities'])):.3f}"

    return splits, train_folds(run, splits, split_validation, train, score)


__all__ = ["cross_validate"]
