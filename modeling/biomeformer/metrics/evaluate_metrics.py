"""Scores of probabilities as `evaluate` metrics that work offline."""

from __future__ import annotations

from typing import Any

import datasets
import evaluate
import numpy as np

from .probabilities import METRICS


class ProbabilityMetric(evaluate.Metric):
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


class RocAuc(ProbabilityMetric):
    """Area under the ROC curve."""

    function_name = "roc_auc"


class PrAuc(ProbabilityMetric):
    """Average precision."""

    function_name = "pr_auc"


class BalancedAccuracy(ProbabilityMetric):
    """Mean recall over classes."""

    function_name = "balanced_accuracy"


class BrierScore(ProbabilityMetric):
    """Mean squared error of probabilities."""

    function_name = "brier"


class CalibrationError(ProbabilityMetric):
    """Expected calibration error."""

    function_name = "calibration_error"


__all__ = ["BalancedAccuracy", "BrierScore", "CalibrationError", "PrAuc", "ProbabilityMetric", "RocAuc"]
