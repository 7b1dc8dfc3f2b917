"""Logistic regression with an L1 penalty whose strength is chosen by ROC-AUC.

Two classes are fitted by liblinear, more as one multinomial model (see `multinomial`).

A strength is given relative to the training samples: `ratio` times the inverse penalty at which the first coefficient
leaves zero (1 / lambda_max). The same ratios therefore reach from one or a few features to nearly all, for 24 samples
as for 500, and a ratio chosen on inner folds holds for the larger set that is fitted last.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from ..metrics.probabilities import roc_auc
from .multinomial import L1Multinomial, softmax

# From just below the largest penalty to a hundredth of it, as in glmnet's path for fewer samples than features.
RATIOS = tuple(np.geomspace(1.1, 100, 10).tolist())
# liblinear penalises the intercept like a weight, as the weight of a feature of this value: the larger, the less.
INTERCEPT_SCALING = 100.0
TIE = 1e-9


class L1LogisticRegression(ClassifierMixin, BaseEstimator):
    """L1-penalized logistic regression on standardised features.

    Args:
        inner_splits: `(train, test)` splits of the training samples, on which the ratio is chosen.
        ratios: Ratios to choose from, the strongest penalty first.
        seed: Seed of the solver.
        n_jobs: Number of parallel jobs, as in scikit-learn.

    Attributes:
        best_estimator_: The pipeline fitted on all training samples: scaler and logistic regression.
        best_ratio_: Ratio with the highest mean ROC-AUC over inner folds, of equal ones the strongest penalty.
        path_scores_: That mean for each ratio, float64 `(n_ratios,)`; where no inner test fold has two classes, the
            mean log-likelihood.
        classes_: Class labels.
    """

    def __init__(
        self,
        inner_splits: Sequence[tuple[np.ndarray, np.ndarray]],
        ratios: Sequence[float] = RATIOS,
        seed: int = 0,
        n_jobs: int | None = None,
    ) -> None:
        self.inner_splits = inner_splits
        self.ratios = ratios
        self.seed = seed
        self.n_jobs = n_jobs

    def fit(self, matrix: np.ndarray, labels: np.ndarray) -> L1LogisticRegression:
        """Choose the ratio on the inner folds, and fit all samples with it.

        Args:
            matrix: float64 `(n_samples, n_features)`.
            labels: int `(n_samples,)`.
        """
        from sklearn.utils.parallel import Parallel, delayed

        self.classes_ = np.unique(labels)
        jobs = [
            delayed(_score)(matrix, labels, train, test, self.ratios, self.seed) for train, test in self.inner_splits
        ]
        scores = np.array(Parallel(n_jobs=self.n_jobs)(jobs)).reshape(len(self.inner_splits), len(self.ratios), 2)
        areas, likelihoods = scores[:, :, 0], scores[:, :, 1]
        known = ~np.isnan(areas).all(1)
        self.path_scores_ = areas[known].mean(0) if known.any() else likelihoods.mean(0)
        best = int(np.flatnonzero(self.path_scores_ >= self.path_scores_.max() - TIE)[0])
        self.best_ratio_ = float(self.ratios[best])
        self.best_estimator_ = _fit(matrix, labels, self.best_ratio_, self.seed)
        return self

    def predict_proba(self, matrix: np.ndarray) -> np.ndarray:
        """Return class probabilities, float64 `(n_samples, n_classes)`, in the order of `classes_`."""
        return np.asarray(self.best_estimator_.predict_proba(matrix))

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return the most probable class of each sample."""
        return np.asarray(self.classes_[self.predict_proba(matrix).argmax(1)])


def smallest_c(scaled: np.ndarray, labels: np.ndarray) -> float:
    """Return the largest inverse penalty C at which all coefficients are zero, with an intercept that is not penalised.

    Args:
        scaled: Standardised features, float64 `(n_samples, n_features)`.
        labels: int `(n_samples,)`.

    Returns:
        C; 1 if no feature is associated with a class.
    """
    observed = (labels[:, None] == np.unique(labels)).astype(np.float64)
    gradient = np.abs(scaled.T @ (observed - observed.mean(0))).max(initial=0.0)
    return 1 / float(gradient) if gradient > 1e-9 else 1.0


def _fit(matrix: np.ndarray, labels: np.ndarray, ratio: float, seed: int) -> Pipeline:
    scaler = StandardScaler().fit(matrix)
    c = ratio * smallest_c(scaler.transform(matrix), labels)
    model = make_pipeline(scaler, _classifier(c, seed) if len(np.unique(labels)) == 2 else L1Multinomial([c]))
    return _fit_quietly(model, matrix, labels)


def _fit_quietly(model: Any, matrix: np.ndarray, labels: np.ndarray) -> Any:
    with warnings.catch_warnings():
        # Weak penalties of the path may not converge; they are then judged as they are.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(matrix, labels)


def _classifier(c: float, seed: int) -> LogisticRegression:
    """Return a logistic regression of two classes."""
    return LogisticRegression(
        l1_ratio=1, C=c, random_state=seed, solver="liblinear", max_iter=1000, intercept_scaling=INTERCEPT_SCALING
    )


def _score(
    matrix: np.ndarray,
    labels: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    ratios: Sequence[float],
    seed: int,
) -> list[tuple[float, float]]:
    """Return ROC-AUC (NaN for a single class) and mean log-likelihood of an inner test fold, for each ratio."""
    classes = np.unique(labels)
    if len(np.unique(labels[train])) < len(classes):
        return [(float("nan"), float("-inf"))] * len(ratios)
    index = np.searchsorted(classes, labels[test])
    scaler = StandardScaler().fit(matrix[train])
    scaled, tested = scaler.transform(matrix[train]), scaler.transform(matrix[test])
    penalties = smallest_c(scaled, labels[train]) * np.asarray(ratios)
    if len(classes) == 2:
        fits = (_fit_quietly(_classifier(c, seed), scaled, labels[train]).predict_proba(tested) for c in penalties)
    else:
        path = L1Multinomial(penalties).fit(scaled, labels[train]).path_
        fits = (softmax(tested @ weights.T + intercept) for weights, intercept in path)
    scores = []
    for predicted in fits:
        likelihood = float(np.log(predicted[np.arange(len(test)), index].clip(1e-15)).mean())
        scores.append((roc_auc(index, predicted), likelihood))
    return scores


__all__ = ["INTERCEPT_SCALING", "RATIOS", "L1LogisticRegression", "smallest_c"]
