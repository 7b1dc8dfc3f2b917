"""Scores of a task's predictions, with decision thresholds chosen on validation and bootstrap intervals.

The scores of a binary classifier are those of arXiv 2509.25274 (ROC-AUC, PR-AUC, the best F1 with its threshold,
precision, recall) and more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from .curves import best_f1_threshold
from .resampling import bootstrap
from .scorers import TASKS, Task, make_scorer, score_class

# Maximum of samples times ranked columns times bootstrap resamples, and the minimum number of resamples regardless.
MAX_BOOTSTRAP_WORK = 500_000_000
MIN_BOOTSTRAPS = 100


def choose_thresholds(task: Task, truth: np.ndarray, predicted: np.ndarray) -> list[float]:
    """Choose the decision thresholds with the highest F1.

    Args:
        task: One of `TASKS`.
        truth: As for `score_predictions`.
        predicted: As for `score_predictions`.

    Returns:
        One threshold, of the second class, for a binary task; one per label for a multi-label task; else none.
    """
    if task == "binary":
        return [best_f1_threshold(truth == 1, predicted[:, 1])[0]]
    if task == "multi_label":
        return [best_f1_threshold(truth[:, i] == 1, predicted[:, i])[0] for i in range(truth.shape[1])]
    return []


def bootstraps_within_budget(task: Task, n: int, n_labels: int, asked: int) -> int:
    """Limit the requested number of resamples to what `MAX_BOOTSTRAP_WORK` allows, but not below `MIN_BOOTSTRAPS`.

    The work of a resample is `n` times the number of ranked columns: one for a binary task, two for a regression, else
    one per class or label.
    """
    columns = {"binary": 1, "regression": 2}.get(task, n_labels)
    return min(asked, max(MIN_BOOTSTRAPS, MAX_BOOTSTRAP_WORK // max(n * columns, 1)))


def score_predictions(
    task: Task,
    label_names: Sequence[str],
    truth: np.ndarray,
    predicted: np.ndarray,
    thresholds: Sequence[float],
    *,
    seed: int = 0,
    n_bootstraps: int = 1000,
) -> dict[str, dict[str, float]]:
    """Score predictions with 95 % percentile intervals of a bootstrap over sequences.

    In binary and multi-class tasks the bootstrap keeps the number of sequences of each class. The number of resamples
    is given by `bootstraps_within_budget`. Intervals are widened to include the score, since resampling is biased for
    some scores, such as the calibration error.

    Args:
        task: One of `TASKS`.
        label_names: Names of the classes or labels; any name for a regression.
        truth: Binary and multi-class: class numbers, int `(n,)`. Multi-label: 0 or 1, `(n, n_labels)`. Regression:
            float `(n,)`.
        predicted: Probabilities `(n, n_labels)`; for a regression values `(n,)`.
        thresholds: Result of `choose_thresholds` on other sequences than these.
        seed: Seed of the bootstrap.
        n_bootstraps: Requested number of resamples.

    Returns:
        `value`, `low` and `high`, by metric. Macro scores are means over the classes or labels that have both positive
        and negative sequences; a score is NaN if there is none.

    Raises:
        InputError: The arrays do not match each other or the task.
    """
    truth, predicted = check_predictions(task, label_names, truth, predicted, thresholds)
    strata = None
    if task in ("binary", "multi_class"):
        # Sort by class, so that each stratum is a slice.
        order = np.argsort(truth, kind="stable")
        truth, predicted = truth[order], predicted[order]
        strata = truth
    intervals = bootstrap(
        make_scorer(task, truth, predicted, thresholds),
        len(truth),
        n_draws=bootstraps_within_budget(task, len(truth), len(label_names), n_bootstraps),
        seed=seed,
        strata=strata,
    )
    return {
        name: {"value": interval.value, "low": interval.low, "high": interval.high}
        for name, interval in intervals.items()
    }


def per_class(
    task: Task, label_names: Sequence[str], truth: np.ndarray, predicted: np.ndarray, thresholds: Sequence[float]
) -> dict[str, dict[str, float]]:
    """Score each class or label against all others.

    Args:
        task: One of `TASKS`.
        label_names: As for `score_predictions`.
        truth: As for `score_predictions`.
        predicted: As for `score_predictions`.
        thresholds: As for `score_predictions`.

    Returns:
        By class name: `n` (its number of sequences), `precision`, `recall`, `f1`, `roc_auc` and `pr_auc`, and for
        multi-label tasks `threshold`; empty for a regression.

    Raises:
        InputError: The arrays do not match each other or the task.
    """
    truth, predicted = check_predictions(task, label_names, truth, predicted, thresholds)
    if task == "regression":
        return {}
    is_multi_label = task == "multi_label"
    if is_multi_label:
        labels = predicted >= np.asarray(thresholds)
    else:
        labels = (predicted[:, 1] >= thresholds[0]).astype(int) if task == "binary" else predicted.argmax(1)
    by_name = {}
    for i, name in enumerate(label_names):
        is_positive, is_predicted = (truth[:, i] == 1, labels[:, i]) if is_multi_label else (truth == i, labels == i)
        scores = score_class(is_positive, predicted[:, i], is_predicted)
        by_name[name] = {"n": float(is_positive.sum()), **scores}
        if is_multi_label:
            by_name[name]["threshold"] = float(thresholds[i])
    return by_name


def check_predictions(
    task: Task,
    label_names: Sequence[str],
    truth: np.ndarray,
    predicted: np.ndarray,
    thresholds: Sequence[float] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Check that arrays match the task; return truth as int64, float64 for a regression, and predictions as float64.

    Raises:
        InputError: The arrays do not match each other or the task.
    """
    if task not in TASKS:
        raise InputError(f"there is no task {task!r}; choose from {', '.join(TASKS)}.")
    truth, predicted = np.asarray(truth), np.asarray(predicted, np.float64)
    names = list(label_names)
    if len(set(names)) != len(names):
        raise InputError(f"two classes have one name among {', '.join(names)}; give each its own.")
    if (task == "binary" and len(names) != 2) or (task == "multi_class" and len(names) < 2) or not names:
        raise InputError(f"a {task} task cannot have {len(names)} label names; give one per class or label.")
    per_label = (len(truth), len(names))
    shapes = {"regression": ((len(truth),),) * 2, "multi_label": (per_label,) * 2}.get(task, ((len(truth),), per_label))
    if (truth.shape, predicted.shape) != shapes:
        raise InputError(
            f"truth is {truth.shape} and predictions are {predicted.shape}; of this {task} task they are {shapes[0]} "
            f"and {shapes[1]}."
        )
    if not len(truth):
        raise InputError("there are no predictions to score; give those of one sequence at least of each split.")
    if not np.isfinite(predicted).all():
        raise InputError("a prediction is no finite number; look for where training diverged.")
    n_thresholds = {"binary": 1, "multi_label": len(names)}.get(task, 0)
    if thresholds is not None and len(thresholds) != n_thresholds:
        raise InputError(
            f"there are {len(thresholds)} thresholds and a {task} task of these labels has {n_thresholds}."
        )
    if task == "regression":
        truth = truth.astype(np.float64)
        if not np.isfinite(truth).all():
            raise InputError("a true value is no finite number; leave such sequences out.")
        return truth, predicted
    if predicted.min() < 0 or predicted.max() > 1:
        raise InputError("a prediction lies outside 0 to 1; give probabilities rather than logits.")
    n_values = 2 if task == "multi_label" else len(names)
    if not np.isin(truth, np.arange(n_values)).all():
        raise InputError(
            f"the truth of a {task} task of these labels is 0 to {n_values - 1}, and there are other values."
        )
    return truth.astype(np.int64), predicted


__all__ = [
    "MAX_BOOTSTRAP_WORK",
    "MIN_BOOTSTRAPS",
    "TASKS",
    "Task",
    "bootstraps_within_budget",
    "check_predictions",
    "choose_thresholds",
    "per_class",
    "score_predictions",
]
