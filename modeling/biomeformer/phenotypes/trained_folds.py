"""Cross-validation of models that recipes train, on the same folds and with the same scores as every study."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..metrics.targets import MAIN_METRIC, score_target
from ..training.folds import Split, train_folds
from ..training.run import TrainingRun
from .evaluation import INNER_SPLITS, folds, inner_folds
from .study import Study, study_of_folds
from .target import Target


def evaluate_folds(
    run: TrainingRun,
    target: Target,
    train: Callable[[int, np.ndarray, np.ndarray, np.ndarray], dict[str, Any]],
    *,
    n_folds: int,
    n_repeats: int,
    seed: int,
    features: str,
    model: str,
    source: str,
    metric: str | None = None,
    early_stopping: bool = True,
) -> tuple[Study, list[Split], list[dict[str, Any]]]:
    """Train and test on every fold that the run has not finished yet. All processes call it.

    Args:
        run: The training run.
        target: Classes, numbers or labels, and groups that are divided neither between folds nor between training and
            validation.
        train: As for `train_folds`; its results also hold `probabilities (n_test, n_classes)`, or numbers
            `(n_test, 1)`.
        n_folds: Folds per repeat.
        n_repeats: Repeats of the cross-validation.
        seed: Seed of the folds.
        features: Name of the feature set, for the study.
        model: Name of the model, for the study.
        source: Origin of the features, for the study.
        metric: Metric to print for each fold; the main one of the task by default.
        early_stopping: Whether part of the training samples is held out for validation.

    Returns:
        The study, the training and test rows of each fold, and the results of `train` for each fold.
    """
    splits = list(folds(target, n_folds, n_repeats, seed))

    def split(i: int, inside: np.ndarray) -> Split:
        return split_validation(target, inside, seed + i, early_stopping=early_stopping)

    def score(test: np.ndarray, values: dict[str, Any]) -> str:
        scores = score_target(target.task, target.labels[test], np.array(values["probabilities"]))
        shown = metric or MAIN_METRIC[target.task]
        return f"{shown} {scores[shown]:.3f}"

    results = train_folds(run, splits, split, train, score)
    study = study_of_folds(
        target,
        splits,
        [np.array(fold["probabilities"]) for fold in results],
        features=features,
        model=model,
        n_splits=n_folds,
        n_repeats=n_repeats,
        seed=seed,
        source=source,
    )
    return study, splits, results


def split_validation(target: Target, rows: np.ndarray, seed: int, *, early_stopping: bool = True) -> Split:
    """Hold out part of the training rows for early stopping, without dividing groups.

    Args:
        target: Classes, numbers or labels, and groups.
        rows: Training rows.
        seed: Seed of the choice.
        early_stopping: Whether any are held out.

    Returns:
        The rows left to train on, and those held out.
    """
    if not early_stopping:
        return rows, rows[:0]
    groups = None if target.groups is None else target.groups[rows]
    strata = target.strata(target.labels[rows], INNER_SPLITS)
    rest, validation = inner_folds(strata, groups, seed)[0]
    return rows[rest], rows[validation]


__all__ = ["evaluate_folds", "split_validation"]
