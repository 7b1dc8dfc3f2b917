"""Scores of predicted class probabilities."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

N_BINS = 10


def roc_auc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Compute the area under the ROC curve; for several classes the one-vs-rest mean over the classes that occur."""
    from sklearn.metrics import roc_auc_score

    return _mean_over_classes(labels, probabilities, roc_auc_score)


def pr_auc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Compute the average precision; for several classes the one-vs-rest mean over the classes that occur."""
    from sklearn.metrics import average_precision_score

    return _mean_over_classes(labels, probabilities, average_precision_score)


def balanced_accuracy(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Compute the mean recall of the classes that occur; the most probable class is predicted."""
    from sklearn.metrics import recall_score

    predicted = probabilities.argmax(1)
    return float(recall_score(labels, predicted, labels=np.unique(labels), average="macro"))


def brier(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Compute the Brier score: of the second class if there are two, else summed over all classes."""
    from sklearn.metrics import brier_score_loss

    if probabilities.shape[1] == 2:
        return float(brier_score_loss(labels == 1, probabilities[:, 1], labels=[False, True], pos_label=True))
    classes = np.arange(probabilities.shape[1])
    return float(brier_score_loss(labels, probabilities, labels=classes, scale_by_half=False))


def calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Compute the expected calibration error: the mean gap of accuracy and confidence over ten bins of confidence."""
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    bins = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    correct = predicted == labels
    gaps = [abs(correct[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    return float(sum(gaps))


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "roc_auc": roc_auc,
    "pr_auc": pr_auc,
    "balanced_accuracy": balanced_accuracy,
    "brier": brier,
    "calibration_error": calibration_error,
}
LOWER_IS_BETTER = ("brier", "calibration_error")


def score(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Compute all metrics of `METRICS`.

    Args:
        labels: Class numbers, int `(n_samples,)`.
        probabilities: `(n_samples, n_classes)`, rows that sum to one.

    Returns:
        Scores by name; the areas are NaN if all samples are of one class.
    """
    return {name: metric(labels, probabilities) for name, metric in METRICS.items()}


def _mean_over_classes(labels: np.ndarray, probabilities: np.ndarray, area: Callable[..., float]) -> float:
    if len(np.unique(labels)) < 2:
        return float("nan")
    if probabilities.shape[1] == 2:
        return float(area(labels == 1, probabilities[:, 1]))
    return float(np.mean([area(labels == label, probabilities[:, label]) for label in np.unique(labels)]))


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
