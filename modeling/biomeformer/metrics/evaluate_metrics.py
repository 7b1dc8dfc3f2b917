"""The package's scores as `evaluate` metrics, which work offline and combine with others of that library.

They compute with `scorers`, as studies, recipes and reports do. `evaluate.load(EVALUATE_MODULE, "roc_auc")` gives the
same metric from the installed package, without the network; so do `"r2"` of a regression and `"multi_label_roc_auc"` of
labels of which a sample may have several. `"default"`, `"regression"` and `"multi_label"` give all scores of a task.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import evaluate
import numpy as np

from ..errors import InputError
from .probabilities import METRICS
from .scorers import MOST_PROBABLE, Task, make_scorer

# Folder of a metric module, which `evaluate.load` takes; it can also be uploaded to the Hub as a Space.
EVALUATE_MODULE = str(Path(__file__).parent / "biomeformer_score")
ALL = "default"


@dataclass(frozen=True)
class _Scores:
    """The scores of a kind of task: what they take, and their names by the names of their configs."""

    task: Task
    takes: str
    references: Any
    predictions: Any
    names: dict[str, str]


_INTEGER, _NUMBER = datasets.Value("int64"), datasets.Value("float64")
MULTI_LABEL_SCORES = (
    "roc_auc",
    "pr_auc",
    "f1",
    "precision",
    "recall",
    "micro_f1",
    "subset_accuracy",
    "brier",
)
KINDS = {
    ALL: _Scores(
        "multi_class",
        "references: classes as integers; predictions: probabilities of all classes of each sample.",
        _INTEGER,
        datasets.List(_NUMBER),
        {name: name for name in METRICS},
    ),
    "multi_label": _Scores(
        "multi_label",
        "references: 0 or 1 of each label, per sample; predictions: probabilities of the labels, per sample. Labels "
        "are predicted from a probability of one half; scores but micro_f1 and subset_accuracy are means over labels.",
        datasets.List(_INTEGER),
        datasets.List(_NUMBER),
        {f"multi_label_{name}": name for name in MULTI_LABEL_SCORES},
    ),
    "regression": _Scores(
        "regression",
        "references: numbers; predictions: predicted numbers.",
        _NUMBER,
        _NUMBER,
        {name: name for name in ("r2", "mae", "rmse", "spearman", "pearson")},
    ),
}


class Score(evaluate.Metric):
    """Scores of one kind of task as an `evaluate` metric: `RocAuc().compute(references=..., predictions=...)`.

    The base class computes the metric named by `config_name`, or all of the task that it names.
    """

    function_name = ""

    def _info(self) -> evaluate.MetricInfo:
        name = self.function_name or self.config_name or ALL
        known = {each: kind for kind, scores in KINDS.items() for each in (kind, *scores.names)}
        if name not in known:
            raise InputError(f"there is no score {name!r}; choose from {', '.join(known)}.")
        self._kind = KINDS[known[name]]
        self._names = list(self._kind.names.values()) if name in KINDS else [self._kind.names[name]]
        return evaluate.MetricInfo(
            description=f"{', '.join(self._names)} of a {self._kind.task.replace('_', '-')} task.",
            citation="",
            inputs_description=self._kind.takes,
            features=datasets.Features({"predictions": self._kind.predictions, "references": self._kind.references}),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        task, predicted = self._kind.task, np.asarray(predictions, np.float64)
        truth = np.asarray(references, np.float64 if task == "regression" else np.int64)
        if task == "multi_class" and predicted.shape[1] == 2:
            task = "binary"
        thresholds = [MOST_PROBABLE] * {"binary": 1, "multi_label": predicted.shape[-1]}.get(task, 0)
        values = make_scorer(task, truth, predicted, thresholds)(np.ones((1, len(truth))))
        return {name: float(values[name][0]) for name in self._names}


# The name of `Score` when it took class probabilities alone.
ProbabilityMetric = Score


class RocAuc(Score):
    """Area under the ROC curve."""

    function_name = "roc_auc"


class PrAuc(Score):
    """Average precision."""

    function_name = "pr_auc"


class BalancedAccuracy(Score):
    """Mean recall over classes."""

    function_name = "balanced_accuracy"


class BrierScore(Score):
    """Mean squared error of probabilities."""

    function_name = "brier"


class CalibrationError(Score):
    """Expected calibration error."""

    function_name = "calibration_error"


class R2(Score):
    """Coefficient of determination of a regression."""

    function_name = "r2"


class MeanAbsoluteError(Score):
    """Mean absolute error of a regression."""

    function_name = "mae"


class RootMeanSquaredError(Score):
    """Square root of the mean squared error of a regression."""

    function_name = "rmse"


class SpearmanCorrelation(Score):
    """Spearman's rank correlation of numbers and predicted numbers."""

    function_name = "spearman"


class PearsonCorrelation(Score):
    """Pearson's correlation of numbers and predicted numbers."""

    function_name = "pearson"


class MultiLabelRocAuc(Score):
    """Area under the ROC curve, averaged over labels."""

    function_name = "multi_label_roc_auc"


class MultiLabelPrAuc(Score):
    """Average precision, averaged over labels."""

    function_name = "multi_label_pr_auc"


class MultiLabelF1(Score):
    """F1 at a probability of one half, averaged over labels."""

    function_name = "multi_label_f1"


class MultiLabelMicroF1(Score):
    """F1 at a probability of one half, over all labels of all samples together."""

    function_name = "multi_label_micro_f1"


class MultiLabelBrierScore(Score):
    """Mean squared error of probabilities, averaged over labels."""

    function_name = "multi_label_brier"


class SubsetAccuracy(Score):
    """Fraction of samples all of whose labels are predicted."""

    function_name = "multi_label_subset_accuracy"


__all__ = [
    "EVALUATE_MODULE",
    "R2",
    "BalancedAccuracy",
    "BrierScore",
    "CalibrationError",
    "MeanAbsoluteError",
    "MultiLabelBrierScore",
    "MultiLabelF1",
    "MultiLabelMicroF1",
    "MultiLabelPrAuc",
    "MultiLabelRocAuc",
    "PearsonCorrelation",
    "PrAuc",
    "ProbabilityMetric",
    "RocAuc",
    "RootMeanSquaredError",
    "Score",
    "SpearmanCorrelation",
    "SubsetAccuracy",
]
