"""Scores of predictions of a task, with decision thresholds chosen on validation and bootstrap intervals.

The scores of a binary classifier are those of arXiv 2509.25274 (ROC-AUC, PR-AUC, the best F1 with its threshold,
precision, recall) and more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from .curves import best_f1_threshold
from .resampling import bootstrap
from .scorers import TASKS, Task, make_scorer

# Sequences times ranked columns times draws of a bootstrap, and the draws made whatever this allows.
MAX_BOOTSTRAP_WORK = 500_000_000
MIN_BOOTSTRAPS = 100


def choose_thresholds(task: Task, truth: np.ndarray, predicted: np.ndarray) -> list[float]:
    """Thresholds of the highest F1.

    Args:
        task: One of `TASKS`.
        truth: As for `score_predictions`.
        predicted: As for `score_predictions`.

    Returns:
        Of a binary task one, of the second class; of several labels one a label; else none.
    """
    if task == "binary":
        return [best_f1_threshold(truth == 1, predicted[:, 1])[0]]
    if task == "multi_label":
        return [best_f1_threshold(truth[:, i] == 1, predicted[:, i])[0] for i in range(truth.shape[1])]
    return []


def bootstraps_within_budget(task: Task, n: int, n_labels: int, asked: int) -> int:
    """Draws of a bootstrap: those asked for, or as many as `MAX_BOOTSTRAP_WORK` allows, but `MIN_BOOTSTRAPS`.

    The work of a draw is `n` times the columns that are ranked: one of a binary task, one a class or label of others,
    two of a regression.
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
    """Scores with 95 % percentile intervals of a bootstrap over sequences.

    The bootstrap keeps the numbers of sequences of each class in binary and multi-class tasks. It makes as many draws
    as `bootstraps_within_budget` says. An interval is widened to its score where resampling is biased, as it is for
    the calibration error.

    Args:
        task: One of `TASKS`.
        label_names: Names of classes or labels; of a regression anything.
        truth: Binary and multi-class: int `(n,)`, places of classes. Multi-label: 0 or 1, `(n, n_labels)`. Regression:
            float `(n,)`.
        predicted: Probabilities `(n, n_labels)`; of a regression values `(n,)`.
        thresholds: What `choose_thresholds` gave, on other sequences than these.
        seed: Of the bootstrap.
        n_bootstraps: Draws asked for.

    Returns:
        By metric, `value`, `low` and `high`. Macro scores are means over the classes or labels that are there and not
        everywhere; a score is NaN where no such class is.

    Raises:
        InputError: The arrays do not fit each other or the task.
    """
    truth, predicted = check_predictions(task, label_names, truth, predicted, thresholds)
    strata = None
    if task in ("binary", "multi_class"):
        # Sequences of a class lie together, so that a stratum is a slice.
        order = np.argsort(truth, kind="stable")
        truth, predicted = truth[order], predicted[order]
        strata = truth
    found = bootstrap(
        make_scorer(task, truth, predicted, thresholds),
        len(truth),
        n_draws=bootstraps_within_budget(task, len(truth), len(label_names), n_bootstraps),
        seed=seed,
        strata=strata,
    )
    return {name: {"value": one.value, "low": one.low, "high": one.high} for name, one in found.items()}


def per_class(
    task: Task, label_names: Sequence[str], truth: np.ndarray, predicted: np.ndarray, thresholds: Sequence[float]
) -> dict[str, dict[str, float]]:
    """Scores of each class or label against all others.

    Args:
        task: One of `TASKS`.
        label_names: As for `score_predictions`.
        truth: As for `score_predictions`.
        predicted: As for `score_predictions`.
        thresholds: As for `score_predictions`.

    Returns:
        By name, `n` (sequences of it), `precision`, `recall`, `f1`, `roc_auc` and `pr_auc`, of labels also
        `threshold`; nothing of a regression.

    Raises:
        InputError: The arrays do not fit each other or the task.
    """
    from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score

    truth, predicted = check_predictions(task, label_names, truth, predicted, thresholds)
    if task == "regression":
        return {}
    several = task == "multi_label"
    if several:
        labels = predicted >= np.asarray(thresholds)
    else:
        labels = (predicted[:, 1] >= thresholds[0]).astype(int) if task == "binary" else predicted.argmax(1)
    found = {}
    for i, name in enumerate(label_names):
        is_it, is_predicted = (truth[:, i] == 1, labels[:, i]) if several else (truth == i, labels == i)
        n = int(is_it.sum())
        scores = dict.fromkeys(("precision", "recall", "f1", "roc_auc", "pr_auc"), float("nan"))
        if n:
            three = precision_recall_fscore_support(is_it, is_predicted, average="binary", zero_division=0)
            scores |= dict(zip(scores, map(float, three[:3]), strict=False))
        if 0 < n < len(is_it):
            scores["roc_auc"] = float(roc_auc_score(is_it, predicted[:, i]))
            scores["pr_auc"] = float(average_precision_score(is_it, predicted[:, i]))
        found[name] = {"n": float(n), **scores} | ({"threshold": float(thresholds[i])} if several else {})
    return found


def check_predictions(
    task: Task,
    label_names: Sequence[str],
    truth: np.ndarray,
    predicted: np.ndarray,
    thresholds: Sequence[float] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return truth as integers, or floats of a regression, and predictions as float64, once they fit the task.

    Raises:
        InputError: The arrays do not fit each other or the task.
    """
    if task not in TASKS:
        raise InputError(f"there is no task {task!r}; choose of {', '.join(TASKS)}.")
    truth, predicted = np.asarray(truth), np.asarray(predicted, np.float64)
    names = list(label_names)
    if len(set(names)) != len(names):
        raise InputError(f"two classes have one name among {', '.join(names)}; give each its own.")
    if (task == "binary" and len(names) != 2) or (task == "multi_class" and len(names) < 2) or not names:
        raise InputError(f"a {task} task cannot have {len(names)} label names; give one a class or label.")
    wide = (len(truth), len(names))
    shapes = {"regression": ((len(truth),),) * 2, "multi_label": (wide, wide)}.get(task, ((len(truth),), wide))
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
            f"the truth of a {task} task of these labels is 0 to {n_values - 1}, and other values are there."
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
