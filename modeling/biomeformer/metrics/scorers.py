"""Scores of each task as functions of sample weights `(n_draws, n)`, for `bootstrap`.

They equal those of scikit-learn and SciPy, which take one set of weights at a time; here all resamples share one sort.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from .probabilities import N_BINS
from .resampling import Scorer

Task = Literal["binary", "multi_class", "multi_label", "regression"]
TASKS: tuple[Task, ...] = get_args(Task)


@dataclass(frozen=True)
class RankedColumn:
    """A column of probabilities, sorted once, to count true and false positives at each threshold for any weights.

    Attributes:
        order: Samples in decreasing order of probability, `(n,)`.
        positive: 1.0 for each positive sample in that order, else 0.0, `(n,)`.
        last: Position in that order of the last sample of each distinct probability, `(n_distinct,)`.
        values: The distinct probabilities, decreasing, `(n_distinct,)`.
    """

    order: np.ndarray
    positive: np.ndarray
    last: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, truth: np.ndarray, probability: np.ndarray) -> RankedColumn:
        """Sort a column: truth bool and probability, both `(n,)`."""
        order = np.argsort(-probability, kind="stable")
        values = probability[order]
        last = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
        return cls(order, truth[order].astype(np.float64), last, values[last])

    def counts(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Count true and false positives, `(n_draws, n_distinct)`, at decreasing thresholds."""
        drawn = np.take(weights, self.order, axis=1)
        predicted = np.cumsum(drawn, axis=1)
        drawn *= self.positive
        true = np.cumsum(drawn, axis=1, out=drawn)
        if len(self.last) < len(self.order):
            predicted, true = np.take(predicted, self.last, axis=1), np.take(true, self.last, axis=1)
        predicted -= true
        return true, predicted

    def above(self, threshold: float) -> int:
        """Count the distinct values at or above the threshold."""
        return int((self.values >= threshold).sum())


def weighted_roc_auc(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    """Compute the area under the ROC curve `(n_draws,)` by the trapezoidal rule; NaN with only one class."""
    steps = np.diff(false, axis=1)
    area = (steps * (true[:, 1:] + true[:, :-1])).sum(1) + false[:, 0] * true[:, 0]
    return _ratio(area, 2 * true[:, -1] * false[:, -1])


def _pr_auc(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    """Compute the average precision `(n_draws,)`; NaN with only one class."""
    precision = true / np.maximum(true + false, 1)
    steps = np.diff(true, axis=1)
    area = (steps * precision[:, 1:]).sum(1) + true[:, 0] * precision[:, 0]
    return np.where(false[:, -1] > 0, _ratio(area, true[:, -1]), np.nan)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide, with NaN where the denominator is not positive."""
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)


def _at(true: np.ndarray, false: np.ndarray, above: int) -> tuple[np.ndarray, np.ndarray]:
    if above == 0:
        return np.zeros(len(true)), np.zeros(len(true))
    return true[:, above - 1], false[:, above - 1]


def _precision_recall_f1(
    hits: np.ndarray, predicted: np.ndarray, positive: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    precision = np.where(positive > 0, hits / np.maximum(predicted, 1), np.nan)
    return precision, _ratio(hits, positive), np.where(positive > 0, _ratio(2 * hits, predicted + positive), np.nan)


def _mean_where_known(values: np.ndarray) -> np.ndarray:
    """Average over columns, ignoring NaN, `(n_draws,)`."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0).sum(1), known.sum(1))


def _confusion(weights: np.ndarray, truth: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Sum weights by class and predicted class, `(n_draws, n_classes, n_classes)`."""
    cell = truth * n_classes + predicted
    return _sums_in(weights, cell, n_classes**2).reshape(-1, n_classes, n_classes)


def _sums_in(weights: np.ndarray, bins: np.ndarray, n_bins: int) -> np.ndarray:
    """Sum weights in each bin, `(n_draws, n_bins)`."""
    return np.stack([np.bincount(bins, row, n_bins) for row in weights])


def _of_confusion(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute precision, recall and F1 of each class, `(n_draws, n_classes)`."""
    return _precision_recall_f1(np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(1), confusion.sum(2))


def _matthews(confusion: np.ndarray) -> np.ndarray:
    """Compute the Matthews correlation (Gorodkin 2004, doi:10.1016/j.compbiolchem.2004.09.006), `(n_draws,)`.

    It is 0 if only one class is predicted and NaN if only one class occurs.
    """
    true, predicted, n = confusion.sum(2), confusion.sum(1), confusion.sum((1, 2))
    covariance = np.trace(confusion, axis1=1, axis2=2) * n - (true * predicted).sum(1)
    spread, predicted_spread = n**2 - (true**2).sum(1), n**2 - (predicted**2).sum(1)
    scale = np.sqrt(spread * predicted_spread)
    return np.where(spread > 0, covariance / np.where(scale > 0, scale, 1), np.nan)


def _calibration_scorer(truth: np.ndarray, predicted: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from weights to the calibration error of `probabilities`."""
    confidence = predicted.max(1)
    bins = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    gap = (predicted.argmax(1) == truth) - confidence
    return lambda weights: np.abs(_sums_in(weights * gap, bins, N_BINS)).sum(1) / weights.sum(1)


def make_scorer(task: Task, truth: np.ndarray, predicted: np.ndarray, thresholds: Sequence[float]) -> Scorer:
    """Return the scorer of a task, a function from sample weights to scores; arrays as for `score_predictions`."""
    if task == "binary":
        return _binary_scorer(truth, predicted, thresholds[0])
    if task == "multi_class":
        return _multi_class_scorer(truth, predicted)
    if task == "multi_label":
        return _multi_label_scorer(truth, predicted, thresholds)
    return _regression_scorer(truth, predicted)


def _binary_scorer(truth: np.ndarray, predicted: np.ndarray, threshold: float) -> Scorer:
    ranked = RankedColumn.of(truth == 1, predicted[:, 1])
    above = ranked.above(threshold)
    squared = (predicted[:, 1] - truth) ** 2
    calibration = _calibration_scorer(truth, predicted)

    def scores(weights: np.ndarray) -> dict[str, np.ndarray]:
        true, false = ranked.counts(weights)
        hits, misses = _at(true, false, above)
        positive, negative = true[:, -1], false[:, -1]
        confusion = np.stack([negative - misses, misses, positive - hits, hits], 1).reshape(-1, 2, 2)
        precision, recall, f1 = _of_confusion(confusion)
        return {
            "roc_auc": weighted_roc_auc(true, false),
            "pr_auc": _pr_auc(true, false),
            "f1": f1[:, 1],
            "precision": precision[:, 1],
            "recall": recall[:, 1],
            "accuracy": (confusion[:, 0, 0] + confusion[:, 1, 1]) / weights.sum(1),
            "balanced_accuracy": _mean_where_known(recall),
            "mcc": _matthews(confusion),
            "brier": weights @ squared / weights.sum(1),
            "calibration_error": calibration(weights),
        }

    return scores


def _multi_class_scorer(truth: np.ndarray, predicted: np.ndarray) -> Scorer:
    n_classes = predicted.shape[1]
    ranked = [RankedColumn.of(truth == label, predicted[:, label]) for label in range(n_classes)]
    labels = predicted.argmax(1)
    squared = (predicted**2).sum(1) - 2 * predicted[np.arange(len(truth)), truth] + 1
    calibration = _calibration_scorer(truth, predicted)

    def scores(weights: np.ndarray) -> dict[str, np.ndarray]:
        areas = [
            (weighted_roc_auc(*counts), _pr_auc(*counts)) for counts in (column.counts(weights) for column in ranked)
        ]
        confusion = _confusion(weights, truth, labels, n_classes)
        _, recall, f1 = _of_confusion(confusion)
        return {
            "roc_auc": _mean_where_known(np.stack([area for area, _ in areas], 1)),
            "pr_auc": _mean_where_known(np.stack([area for _, area in areas], 1)),
            "accuracy": np.trace(confusion, axis1=1, axis2=2) / weights.sum(1),
            "balanced_accuracy": _mean_where_known(recall),
            "f1": _mean_where_known(f1),
            "mcc": _matthews(confusion),
            "brier": weights @ squared / weights.sum(1),
            "calibration_error": calibration(weights),
        }

    return scores


def _multi_label_scorer(truth: np.ndarray, predicted: np.ndarray, thresholds: Sequence[float]) -> Scorer:
    ranked = [RankedColumn.of(truth[:, i] == 1, predicted[:, i]) for i in range(truth.shape[1])]
    above = [column.above(threshold) for column, threshold in zip(ranked, thresholds, strict=True)]
    all_correct = ((predicted >= np.asarray(thresholds)) == truth).all(1).astype(np.float64)
    squared = ((predicted - truth) ** 2).mean(1)

    def scores(weights: np.ndarray) -> dict[str, np.ndarray]:
        by_label: dict[str, list[np.ndarray]] = {
            name: [] for name in ("roc_auc", "pr_auc", "f1", "precision", "recall")
        }
        total = np.zeros((3, len(weights)))
        for column, n_above in zip(ranked, above, strict=True):
            true, false = column.counts(weights)
            hits, misses = _at(true, false, n_above)
            total += np.stack([hits, hits + misses, true[:, -1]])
            precision, recall, f1 = _precision_recall_f1(hits, hits + misses, true[:, -1])
            values = (weighted_roc_auc(true, false), _pr_auc(true, false), f1, precision, recall)
            for name, value in zip(by_label, values, strict=True):
                by_label[name].append(value)
        return {name: _mean_where_known(np.stack(columns, 1)) for name, columns in by_label.items()} | {
            "micro_f1": _precision_recall_f1(*total)[2],
            "subset_accuracy": weights @ all_correct / weights.sum(1),
            "brier": weights @ squared / weights.sum(1),
        }

    return scores


def _regression_scorer(truth: np.ndarray, predicted: np.ndarray) -> Scorer:
    # Centred on their medians, so that constant columns are exactly 0.
    t, p = truth - np.median(truth), predicted - np.median(predicted)
    error = predicted - truth
    moments = np.stack([t, p, t**2, p**2, t * p, error**2, np.abs(error)], 1)
    flat = 1e-12 * np.array([(t**2).mean(), (p**2).mean()])
    ranks = _rank_scorer(truth), _rank_scorer(predicted)

    def scores(weights: np.ndarray) -> dict[str, np.ndarray]:
        mean_t, mean_p, tt, pp, tp, squared, absolute = (weights @ moments / weights.sum(1, keepdims=True)).T
        var_t, var_p = tt - mean_t**2, pp - mean_p**2
        var_t, var_p = np.where(var_t > flat[0], var_t, 0), np.where(var_p > flat[1], var_p, 0)
        rank_t, rank_p = (ranked(weights) for ranked in ranks)
        rank_scale = np.sqrt((weights * rank_t**2).sum(1) * (weights * rank_p**2).sum(1))
        return {
            "pearson": _ratio(tp - mean_t * mean_p, np.sqrt(var_t * var_p)),
            "spearman": _ratio((weights * rank_t * rank_p).sum(1), rank_scale),
            "rmse": np.sqrt(squared),
            "mae": absolute,
            "r2": 1 - _ratio(squared, var_t),
        }

    return scores


def _rank_scorer(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from weights to centred ranks `(n_draws, n)`, in which ties share their mean rank."""
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    last = np.append(np.flatnonzero(np.diff(group[order])), len(values) - 1)

    def ranks(weights: np.ndarray) -> np.ndarray:
        upto = np.cumsum(weights[:, order], axis=1)[:, last]
        before = np.pad(upto[:, :-1], ((0, 0), (1, 0)))
        return ((before + upto - weights.sum(1, keepdims=True)) / 2)[:, group]

    return ranks


__all__ = ["TASKS", "RankedColumn", "Task", "make_scorer", "weighted_roc_auc"]
