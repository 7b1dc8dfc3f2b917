"""The one score by which a target's predictions are judged: ROC-AUC of classes and labels, R² of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..metrics.probabilities import score
from ..metrics.scorers import make_scorer

NAMES = {"roc_auc": "ROC-AUC", "r2": "R²"}
CHANCE = {"roc_auc": 0.5, "r2": 0.0}


def main_metric(labels: np.ndarray) -> str:
    """Return the name of the score of a target's labels, a key of `NAMES`.

    Args:
        labels: Class numbers, int `(n,)`; 0 or 1 of each label, int `(n, n_labels)`; or numbers, float `(n,)`.
    """
    return "r2" if np.issubdtype(labels.dtype, np.floating) else "roc_auc"


def main_score(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Compute the score; NaN if it is undefined.

    Args:
        labels: As for `main_metric`.
        predicted: Probabilities `(n, n_classes)`, or predicted numbers `(n, 1)`.
    """
    if main_metric(labels) == "r2":
        return float(make_scorer("regression", labels, predicted[:, 0], [])(np.ones((1, len(labels))))["r2"][0])
    if labels.ndim == 1:
        return score(labels, predicted)["roc_auc"]
    columns = zip(labels.T, predicted.T, strict=True)
    areas = [score(truth, np.stack([1 - column, column], 1))["roc_auc"] for truth, column in columns]
    known = [area for area in areas if not np.isnan(area)]
    return float(np.mean(known)) if known else float("nan")


def predict(fitted: Any, matrix: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Predict probabilities `(n, n_classes)`, 0 for classes that the training samples lack, or numbers `(n, 1)`.

    Args:
        fitted: A fitted model of scikit-learn's kind.
        matrix: Features, float64 `(n, n_features)`.
        labels: Labels of the target, of which only the kind matters.
        n_classes: Number of classes or labels.
    """
    if main_metric(labels) == "r2":
        return np.asarray(fitted.predict(matrix), np.float64)[:, None]
    if labels.ndim == 2:
        return np.asarray(fitted.predict_proba(matrix))
    probabilities = np.zeros((len(matrix), n_classes))
    probabilities[:, fitted.classes_] = fitted.predict_proba(matrix)
    return probabilities


__all__ = ["CHANCE", "NAMES", "main_metric", "main_score", "predict"]
