"""One model per label, for samples that may have several labels or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


class OneVsRest:
    """A classifier of two classes for each label by itself; a label that never varies keeps its frequency.

    Args:
        make: Return an untrained classifier of two classes.

    Attributes:
        models: The fitted classifier of each label; None for a label that all or no training samples have.
        frequencies: Frequency of each label, float64 `(n_labels,)`.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make

    @classmethod
    def of_fitted(cls, models: Sequence[Any], frequencies: np.ndarray) -> OneVsRest:
        """Return fitted classifiers of each label, or None, and the labels' frequencies as one."""
        fitted = cls(lambda: None)
        fitted.models, fitted.frequencies = list(models), frequencies
        return fitted

    def fit(self, matrix: np.ndarray, labels: np.ndarray) -> OneVsRest:
        """Fit float64 `(n_samples, n_features)` and 0 or 1 of each label, `(n_samples, n_labels)`."""
        self.frequencies = labels.mean(0)
        self.models = [
            self.make().fit(matrix, column) if np.ptp(column) else None for column in np.ascontiguousarray(labels.T)
        ]
        return self

    def predict_proba(self, matrix: np.ndarray) -> np.ndarray:
        """Return the probability of each label, float64 `(n_samples, n_labels)`."""
        columns = [
            np.full(len(matrix), frequency) if model is None else model.predict_proba(matrix)[:, 1]
            for model, frequency in zip(self.models, self.frequencies, strict=True)
        ]
        return np.stack(columns, 1)


__all__ = ["OneVsRest"]
