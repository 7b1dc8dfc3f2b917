"""The package's scores as `evaluate` metrics, which work offline and combine with others of that library.

They compute with `scorers`, as studies, recipes and reports do. `evaluate.load(EVALUATE_MODULE, "roc_auc")` gives the
same metric from the installed package, without the network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import evaluate
import numpy as np

from ..errors import InputError
from .probabilities import METRICS, score

# Folder of a metric module, which `evaluate.load` takes; it can also be uploaded to the Hub as a Space.
EVALUATE_MODULE = str(Path(__file__).parent / "biomeformer_score")
ALL = "default"


class ProbabilityMetric(evaluate.Metric):
    """One of `METRICS` as an `evaluate` metric: `RocAuc().compute(references=labels, predictions=probabilities)`.

    The base class computes the metric named by `config_name`, or all of them.
    """

    function_name = ""

    def _info(self) -> evaluate.MetricInfo:
        name = self.function_name or self.config_name or ALL
        if name != ALL and name not in METRICS:
            raise InputError(f"there is no score {name!r}; choose from {', '.join(METRICS)}.")
        self._scores = list(METRICS) if name == ALL else [name]
        return evaluate.MetricInfo(
            description="\n".join(f"{name}: {METRICS[name].__doc__}" for name in self._scores),
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
        values = score(np.asarray(references), np.asarray(predictions, np.float64))
        return {name: values[name] for name in self._scores}


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


__all__ = [
    "EVALUATE_MODULE",
    "BalancedAccuracy",
    "BrierScore",
    "CalibrationError",
    "PrAuc",
    "ProbabilityMetric",
    "RocAuc",
]
