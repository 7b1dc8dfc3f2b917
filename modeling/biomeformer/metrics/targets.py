"""Scores of predictions of every kind of target: classes, labels of which a sample may have several, and numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .probabilities import METRICS
from .resampling import Scorer
from .scorers import RankedColumn, Task, make_scorer, weighted_roc_auc

Metric = Callable[[np.ndarray, np.ndarray], float]

# The score by which feature sets are compared, and which permutations test; the larger, the better.
MAIN_METRIC: dict[Task, str] = {
    "binary": "roc_auc",
    "multi_class": "roc_auc",
    "multi_label": "roc_auc",
    "regression": "r2",
}
METRIC_NAMES = {
    "roc_auc": "ROC-AUC",
    "pr_auc": "PR-AUC",
    "balanced_accuracy": "balanced accuracy",
    "brier": "Brier score",
    "calibration_error": "calibration error",
    "r2": "R²",
    "mae": "mean absolute error",
    "spearman": "Spearman's rho",
}
# Least and largest possible values, to which intervals are clipped.
RANGES = {"r2": (-np.inf, 1.0), "mae": (0.0, np.inf), "spearman": (-1.0, 1.0)}
# Value of a score of predictions that know nothing.
CHANCE = {"roc_auc": 0.5, "r2": 0.0, "spearman": 0.0}
# Of the score of one label among several: "roc_auc: diabetes".
LABEL_SEPARATOR = ": "


def r2(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Compute the coefficient of determination; 0 is the mean of the truth, NaN a truth that does not vary."""
    from sklearn.metrics import r2_score

    return float("nan") if len(truth) < 2 or np.ptp(truth) == 0 else float(r2_score(truth, predicted))


def mae(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Compute the mean absolute error."""
    from sklearn.metrics import mean_absolute_error

    return float(mean_absolute_error(truth, predicted))


def spearman(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Compute Spearman's rank correlation; NaN if truth or predictions do not vary."""
    from scipy.stats import spearmanr

    if len(truth) < 2 or np.ptp(truth) == 0 or np.ptp(predicted) == 0:
        return float("nan")
    return float(spearmanr(truth, predicted).statistic)


REGRESSION_METRICS: dict[str, Metric] = {"r2": r2, "mae": mae, "spearman": spearman}
MULTI_LABEL_METRICS = ("roc_auc", "pr_auc", "brier")


def score_target(
    task: Task, truth: np.ndarray, predicted: np.ndarray, label_names: Sequence[str] = ()
) -> dict[str, float]:
    """Compute all scores of a task.

    Args:
        task: One of `biomeformer.metrics.TASKS`.
        truth: Class numbers, int `(n,)`; 0 or 1 of each label, `(n, n_labels)`; or numbers, float `(n,)`.
        predicted: Probabilities `(n, n_labels)`, or predicted numbers `(n, 1)`.
        label_names: Names of the labels of a multi-label task.

    Returns:
        Scores by name, NaN where undefined. Of several labels they are macro averages, over the labels that have both
        values among the samples, and the ROC-AUC of each label, `roc_auc: LABEL`.
    """
    if task == "regression":
        return {name: metric(truth, predicted[:, 0]) for name, metric in REGRESSION_METRICS.items()}
    if task != "multi_label":
        return {name: metric(truth, predicted) for name, metric in METRICS.items()}
    columns = [(truth[:, i], np.stack([1 - predicted[:, i], predicted[:, i]], 1)) for i in range(truth.shape[1])]
    by_label = {name: [METRICS[name](*column) for column in columns] for name in MULTI_LABEL_METRICS}
    scores = {name: _mean_where_known(values) for name, values in by_label.items()}
    return scores | {label_metric(name): area for name, area in zip(label_names, by_label["roc_auc"], strict=True)}


def weighted_scorer(task: Task, truth: np.ndarray, predicted: np.ndarray, label_names: Sequence[str] = ()) -> Scorer:
    """Return the scores of `score_target` as a function of sample weights, for `biomeformer.metrics.bootstrap`.

    Args:
        task: As for `score_target`.
        truth: As for `score_target`.
        predicted: As for `score_target`.
        label_names: As for `score_target`.
    """
    # The more probable class is predicted, the first class if both are equally probable.
    thresholds = [float(np.nextafter(0.5, 1))] * {"binary": 1, "multi_label": predicted.shape[1]}.get(task, 0)
    scorer = make_scorer(task, truth, predicted[:, 0] if task == "regression" else predicted, thresholds)
    names = {"regression": tuple(REGRESSION_METRICS), "multi_label": MULTI_LABEL_METRICS}.get(task, tuple(METRICS))
    ranked = [
        RankedColumn.of(truth[:, i] == 1, predicted[:, i]) for i in range(len(label_names) * (task == "multi_label"))
    ]

    def scores(weights: np.ndarray) -> dict[str, np.ndarray]:
        all_scores = scorer(weights)
        areas = {
            label_metric(name): weighted_roc_auc(*column.counts(weights))
            for name, column in zip(label_names, ranked, strict=False)
        }
        return {name: all_scores[name] for name in names} | areas

    return scores


def label_metric(label: str) -> str:
    """Return the name of the ROC-AUC of one label among several."""
    return f"roc_auc{LABEL_SEPARATOR}{label}"


def metric_name(metric: str) -> str:
    """Return the name of a score for people: "ROC-AUC: diabetes" for `roc_auc: diabetes`."""
    name, separator, label = metric.partition(LABEL_SEPARATOR)
    return METRIC_NAMES.get(name, name) + separator + label


def metric_range(metric: str) -> tuple[float, float]:
    """Return the least and the largest possible value of a score."""
    return RANGES.get(metric, (0.0, 1.0))


def shown_metrics(task: Task) -> tuple[str, ...]:
    """Return the scores of a task that are shown on screen, the main one first."""
    return ("r2", "spearman", "mae") if task == "regression" else ("roc_auc", "pr_auc")


def _mean_where_known(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


__all__ = [
    "CHANCE",
    "MAIN_METRIC",
    "METRIC_NAMES",
    "MULTI_LABEL_METRICS",
    "REGRESSION_METRICS",
    "label_metric",
    "mae",
    "metric_name",
    "metric_range",
    "r2",
    "score_target",
    "shown_metrics",
    "spearman",
    "weighted_scorer",
]
