"""Calibrate probabilities by temperature scaling (Guo et al. 2017, arXiv 1706.04599) on held-out predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from .losses import negative_log_likelihood

# Beyond these a few folds are no evidence: where all predictions are right, the likelihood rises without end.
BOUNDS = (0.25, 10.0)


class Calibration(TypedDict):
    """A fitted temperature, and its effect.

    Attributes:
        temperature: By which logits are divided; 1 if held-out predictions do not gain.
        log_loss: Of the held-out predictions, in nats.
        log_loss_calibrated: The same, each fold with the temperature that the other folds give.
    """

    temperature: float
    log_loss: float
    log_loss_calibrated: float


def scale(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return the probabilities `(n, n_classes)` of logits that are divided by a temperature."""
    logits = np.log(np.asarray(probabilities, np.float64).clip(1e-300)) / temperature
    values = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(values / values.sum(1, keepdims=True))


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature within `BOUNDS` with the least negative log-likelihood.

    Args:
        probabilities: Probabilities at temperature 1, `(n, n_classes)`.
        labels: Class numbers, int `(n,)`.
    """
    from scipy.optimize import minimize_scalar

    low, high = np.log(BOUNDS)
    fit = minimize_scalar(
        lambda value: negative_log_likelihood(scale(probabilities, float(np.exp(value))), labels),
        bounds=(low, high),
        method="bounded",
    )
    return float(np.exp(fit.x))


def calibrate(folds: Sequence[tuple[np.ndarray, np.ndarray]]) -> Calibration:
    """Fit a temperature to the predictions of held-out folds.

    Args:
        folds: Probabilities and labels of each test fold.
    """
    probabilities, labels = (np.concatenate(values) for values in zip(*folds, strict=True))
    before = negative_log_likelihood(probabilities, labels)
    if len(folds) < 2:
        return Calibration(temperature=1.0, log_loss=before, log_loss_calibrated=before)
    scaled = []
    for i, (fold, _) in enumerate(folds):
        others = [values for j, values in enumerate(folds) if j != i]
        scaled.append(scale(fold, fit_temperature(*(np.concatenate(values) for values in zip(*others, strict=True)))))
    after = negative_log_likelihood(np.concatenate(scaled), labels)
    temperature = fit_temperature(probabilities, labels) if after < before else 1.0
    return Calibration(
        temperature=round(temperature, 4), log_loss=round(before, 4), log_loss_calibrated=round(after, 4)
    )


__all__ = ["BOUNDS", "Calibration", "calibrate", "fit_temperature", "scale"]
