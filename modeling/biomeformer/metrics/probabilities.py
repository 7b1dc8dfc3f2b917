"""Scores of predicted class probabilities, one by one or all at once: those of `scorers`, without weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .scorers import MOST_PROBABLE, N_BINS, make_scorer


def score(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Compute all metrics of `METRICS`.

    Args:
        labels: Class numbers, int `(n_samples,)`.
        probabilities: `(n_samples, n_classes)`, rows that sum to one.

    Returns:
        Scores by name; the areas are NaN if all samples are of one class.

    Examples:
        >>> scores = score(np.array([0, 0, 1, 1]), np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8]]))
        >>> float(scores["roc_auc"]), float(scores["balanced_accuracy"])
        (1.0, 0.75)
    """
    labels, probabilities = np.asarray(labels, np.int64), np.asarray(probabilities, np.float64)
    if probabilities.shape[1] == 2:
        scorer = make_scorer("binary", labels, probabilities, [MOST_PROBABLE])
    else:
        scorer = make_scorer("multi_class", labels, probabilities, [])
    values = scorer(np.ones((1, len(labels))))
    return {name: float(values[name][0]) for name in METRICS}


def roc_auc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Compute the area under the ROC curve; for several classes the one-vs-rest mean over the classes that occur."""
    return score(labels, probabilities)["roc_auc"]


def pr_auc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Compute the average precision; for several classes the one-vs-rest mean over the classes that occur."""
    return score(labels, probabilities)["pr_auc"]


def balanced_accuracy(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Compute the mean recall of the classes that occur; the most probable class is predicted."""
    return score(labels, probabilities)["balanced_accuracy"]


def brier(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Compute the Brier score: of the second class if there are two, else summed over all classes."""
    return score(labels, probabilities)["brier"]


def calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Compute the expected calibration error: the mean gap of accuracy and confidence over ten bins of confidence."""
    return score(labels, probabilities)["calibration_error"]


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "roc_auc": roc_auc,
    "pr_auc": pr_auc,
    "balanced_accuracy": balanced_accuracy,
    "brier": brier,
    "calibration_error": calibration_error,
}
LOWER_IS_BETTER = ("brier", "calibration_error")


__all__ = [
    "LOWER_IS_BETTER",
    "METRICS",
    "N_BINS",
    "balanced_accuracy",
    "brier",
    "calibration_error",
    "pr_auc",
    "roc_auc",
    "score",
]
