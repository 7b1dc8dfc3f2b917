"""Scores of predicted probabilities, as functions and as `evaluate` metrics that need no network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import datasets
import evaluate
import numpy as np

N_BINS = 10


def roc_auc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Area under the ROC curve; of several classes the mean over each against the others that is there."""
    from sklearn.metrics import roc_auc_score

    return _mean_over_classes(labels, probabilities, roc_auc_score)


def pr_auc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Average precision; of several classes the mean over each against the others that is there."""
    from sklearn.metrics import average_precision_score

    return _mean_over_classes(labels, probabilities, average_precision_score)


def balanced_accuracy(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean recall of the classes that are there, the most probable class being predicted."""
    predicted = probabilities.argmax(1)
    return float(np.mean([(predicted[labels == label] == label).mean() for label in np.unique(labels)]))


def brier(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean squared distance of probabilities from the truth: of the second of two classes, over all of several."""
    truth = np.eye(probabilities.shape[1])[labels]
    if probabilities.shape[1] == 2:
        return float(((probabilities[:, 1] - truth[:, 1]) ** 2).mean())
    return float(((probabilities - truth) ** 2).sum(1).mean())


def calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Expected calibration error: gaps of accuracy and confidence in ten bins of confidence, weighted by samples."""
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    bins = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    right = predicted == labels
    gaps = [abs(right[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
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
    """Every metric.

    Args:
        labels: int `(n_samples,)`, places of classes.
        probabilities: `(n_samples, n_classes)`, rows that sum to one.

    Returns:
        By name; the areas are NaN where all samples are of one class.
    """
    return {name: metric(labels, probabilities) for name, metric in METRICS.items()}


def _mean_over_classes(labels: np.ndarray, probabilities: np.ndarray, area: Callable[..., float]) -> float:
    if len(np.unique(labels)) < 2:
        return float("nan")
    if probabilities.shape[1] == 2:
        return float(area(labels == 1, probabilities[:, 1]))
    return float(np.mean([area(labels == label, probabilities[:, label]) for label in np.unique(labels)]))


class PhenotypeMetric(evaluate.Metric):
    """One of `METRICS` as an `evaluate` metric: `RocAuc().compute(references=labels, predictions=probabilities)`."""

    function_name = ""

    def _info(self) -> evaluate.MetricInfo:
        function = METRICS[self.function_name]
        return evaluate.MetricInfo(
            description=str(function.__doc__),
            citation="",
            inputs_description="references: classes as integers; predictions: class probabilities of each sample.",
            features=datasets.Features(
                {
                    "predictions": datasets.List(datasets.Value("float64")),
                    "references": datasets.Value("int64"),
                }
            ),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        function = METRICS[self.function_name]
        return {self.function_name: function(np.asarray(references), np.asarray(predictions, np.float64))}


class RocAuc(PhenotypeMetric):
    """Area under the ROC curve."""

    function_name = "roc_auc"


class PrAuc(PhenotypeMetric):
    """Average precision."""

    function_name = "pr_auc"


class BalancedAccuracy(PhenotypeMetric):
    """Mean recall over classes."""

    function_name = "balanced_accuracy"


class BrierScore(PhenotypeMetric):
    """Mean squared error of probabilities."""

    function_name = "brier"


class CalibrationError(PhenotypeMetric):
    """Expected calibration error."""

    function_name = "calibration_error"


__all__ = [
    "LOWER_IS_BETTER",
    "METRICS",
    "BalancedAccuracy",
    "BrierScore",
    "CalibrationError",
    "PhenotypeMetric",
    "PrAuc",
    "RocAuc",
    "balanced_accuracy",
    "brier",
    "calibration_error",
    "pr_auc",
    "roc_auc",
    "score",
]
