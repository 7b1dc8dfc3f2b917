"""Class weights and the validation loss of classifiers."""

from __future__ import annotations

import numpy as np

from ..metrics.scorers import Task


def class_weights(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Weight classes inversely to their frequency, so that each contributes equally to the loss.

    Args:
        labels: Class numbers, int `(n,)`.
        n_classes: Number of classes.

    Returns:
        float64 `(n_classes,)`, `n / (n_classes * count)`; a class that does not occur counts as occurring once.
    """
    return np.asarray(len(labels) / (n_classes * np.bincount(labels, minlength=n_classes).clip(1)))


def negative_log_likelihood(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean negative log-likelihood in nats.

    Args:
        probabilities: Predicted probabilities `(n, n_classes)`.
        labels: Class numbers, int `(n,)`.
    """
    return float(-np.log(probabilities[np.arange(len(labels)), labels].clip(1e-12)).mean())


def prediction_loss(task: Task, predicted: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean loss of a task's predictions: that of training, for early stopping.

    Args:
        task: One of `biomeformer.metrics.TASKS`.
        predicted: Probabilities `(n, n_labels)`, or predicted numbers `(n, 1)`.
        truth: Class numbers, int `(n,)`; 0 or 1 of each label, `(n, n_labels)`; or numbers, float `(n,)`.

    Returns:
        Nats per sample; of several labels summed over them; of numbers the mean squared error.
    """
    if task == "regression":
        return float(((predicted[:, 0] - truth) ** 2).mean())
    if task == "multi_label":
        likelihood = np.where(truth == 1, predicted, 1 - predicted).clip(1e-12)
        return float(-np.log(likelihood).sum(1).mean())
    return negative_log_likelihood(predicted, truth)


__all__ = ["class_weights", "negative_log_likelihood", "prediction_loss"]
