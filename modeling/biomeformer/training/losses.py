"""Class weights and the validation loss of classifiers."""

from __future__ import annotations

import numpy as np


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


__all__ = ["class_weights", "negative_log_likelihood"]
