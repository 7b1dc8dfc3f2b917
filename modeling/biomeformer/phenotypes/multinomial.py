"""Multinomial logistic regression with an L1 penalty, for a path of penalties at the speed of two classes.

The objective is scikit-learn's (`LogisticRegression(l1_ratio=1, solver="saga")`): the summed cross-entropy of the
softmax plus the absolute weights divided by C, with an intercept that is not penalised. It is minimised by accelerated
proximal gradient steps (FISTA with restarts; Beck and Teboulle 2009, doi:10.1137/080716542) on the features that can
matter only: those whose gradient exceeds the penalty join until none is left out. Each penalty of the path starts from
the solution of the one before. saga visits every feature of every sample in every pass, which took hundreds of times
longer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

MAX_STEPS = 2000
MAX_ROUNDS = 30
# Largest change of a weight in one step, relative to the largest weight, at which a fit has converged.
TOLERANCE = 1e-5
# Relative excess of a gradient over the penalty that is rounding.
SLACK = 1e-3


class L1Multinomial(ClassifierMixin, BaseEstimator):
    """Multinomial logistic regression with an L1 penalty, of scaled features.

    Args:
        c_path: Inverse penalties C, the strongest penalty first; the last one is the model's.

    Attributes:
        coef_: float64 `(n_classes, n_features)`.
        intercept_: float64 `(n_classes,)`.
        path_: `coef_` and `intercept_` at each C.
        classes_: Class labels.
    """

    def __init__(self, c_path: Sequence[float] | np.ndarray = (1.0,)) -> None:
        self.c_path = c_path

    def fit(self, matrix: np.ndarray, labels: np.ndarray) -> L1Multinomial:
        """Fit the path: float64 `(n_samples, n_features)` of scaled features, and int `(n_samples,)`."""
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        observed = np.eye(len(self.classes_))[numbers]
        weights = np.zeros((len(self.classes_), matrix.shape[1]))
        intercept = np.log(observed.mean(0))
        self.path_ = []
        for c in self.c_path:
            weights, intercept = _fit(matrix, observed, 1 / c, weights, intercept)
            self.path_.append((weights, intercept))
        self.coef_, self.intercept_ = weights, intercept
        return self

    def predict_proba(self, matrix: np.ndarray) -> np.ndarray:
        """Return class probabilities, float64 `(n_samples, n_classes)`."""
        return softmax(matrix @ self.coef_.T + self.intercept_)

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return the most probable class of each sample."""
        return np.asarray(self.classes_[self.predict_proba(matrix).argmax(1)])


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities of logits `(n_samples, n_classes)`."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def _fit(
    matrix: np.ndarray, observed: np.ndarray, penalty: float, weights: np.ndarray, intercept: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Minimise over all features, by solving for the active ones until no other exceeds the penalty."""
    active, solved = (weights != 0).any(0), False
    for _ in range(MAX_ROUNDS):
        gradient = (softmax(matrix @ weights.T + intercept) - observed).T @ matrix
        joining = (np.abs(gradient).max(0, initial=0) > penalty * (1 + SLACK)) & ~active
        if solved and not joining.any():
            break
        active |= joining
        part, intercept = _minimise(matrix[:, active], observed, penalty, weights[:, active], intercept)
        weights = np.zeros_like(weights)
        weights[:, active] = part
        solved = True
    return weights, intercept


def _minimise(
    matrix: np.ndarray, observed: np.ndarray, penalty: float, weights: np.ndarray, intercept: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Take accelerated proximal gradient steps; the momentum restarts when it points uphill."""
    # The intercept is the weight of a column of ones; half the largest eigenvalue bounds the curvature of the softmax.
    design = np.column_stack([matrix, np.ones(len(matrix))])
    gram = design @ design.T if len(design) < design.shape[1] else design.T @ design
    step = 2 / float(np.linalg.eigvalsh(gram)[-1])
    threshold = np.full(design.shape[1], step * penalty)
    threshold[-1] = 0.0
    current = np.column_stack([weights, intercept])
    point, momentum = current, 1.0
    for _ in range(MAX_STEPS):
        moved = point - step * ((softmax(design @ point.T) - observed).T @ design)
        following = np.sign(moved) * np.maximum(np.abs(moved) - threshold, 0)
        change = following - current
        if ((point - following) * change).sum() > 0:
            momentum = 1.0
        next_momentum = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        point = following + (momentum - 1) / next_momentum * change
        current, momentum = following, next_momentum
        if np.abs(change).max() <= TOLERANCE * max(float(np.abs(current).max()), 1e-3):
            break
    return current[:, :-1], current[:, -1]


__all__ = ["L1Multinomial", "softmax"]
