"""Linear regression with an L1 penalty (lasso) whose strength is chosen by the squared error of inner folds.

A strength is given as in `l1_logistic`: a ratio below the penalty at which the first coefficient leaves zero.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso, lasso_path
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from .l1_logistic import RATIOS, TIE


class L1LinearRegression(RegressorMixin, BaseEstimator):
    """L1-penalized linear regression on standardised features.

    Args:
        inner_splits: `(train, test)` splits of the training samples, on which the ratio is chosen.
        ratios: Ratios to choose from, the strongest penalty first.
        n_jobs: Number of parallel jobs, as in scikit-learn.

    Attributes:
        best_estimator_: The pipeline fitted on all training samples: scaler and lasso.
        best_ratio_: Ratio with the least mean squared error over inner folds, of equal ones the strongest penalty.
        path_errors_: That error for each ratio, float64 `(n_ratios,)`.
    """

    def __init__(
        self,
        inner_splits: Sequence[tuple[np.ndarray, np.ndarray]],
        ratios: Sequence[float] = RATIOS,
        n_jobs: int | None = None,
    ) -> None:
        self.inner_splits = inner_splits
        self.ratios = ratios
        self.n_jobs = n_jobs

    def fit(self, matrix: np.ndarray, values: np.ndarray) -> L1LinearRegression:
        """Choose the ratio on the inner folds, and fit all samples with it.

        Args:
            matrix: float64 `(n_samples, n_features)`.
            values: float `(n_samples,)`.
        """
        from sklearn.utils.parallel import Parallel, delayed

        jobs = [delayed(_errors)(matrix, values, train, test, self.ratios) for train, test in self.inner_splits]
        # Of all test samples together, so that a large fold counts as its samples do.
        errors = np.concatenate(Parallel(n_jobs=self.n_jobs)(jobs))
        self.path_errors_ = (errors**2).mean(0)
        least = self.path_errors_.min()
        best = int(np.flatnonzero(self.path_errors_ <= least * (1 + TIE))[0])
        self.best_ratio_ = float(self.ratios[best])
        scaler = StandardScaler().fit(matrix)
        scaled = scaler.transform(matrix)
        lasso = Lasso(alpha=largest_alpha(scaled, values) / self.best_ratio_, max_iter=10_000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            lasso.fit(scaled, values)
        self.best_estimator_ = Pipeline([("scaler", scaler), ("lasso", lasso)])
        return self

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Predict the number of each sample, float64 `(n_samples,)`."""
        return np.asarray(self.best_estimator_.predict(matrix))


def largest_alpha(scaled: np.ndarray, values: np.ndarray) -> float:
    """Return the least penalty, scikit-learn's `alpha`, at which all coefficients are zero; 1 if none ever differs."""
    gradient = float(np.abs(scaled.T @ (values - values.mean())).max(initial=0.0)) / len(values)
    return gradient if gradient > 1e-12 * max(1.0, float(np.abs(values).max())) else 1.0


def _errors(
    matrix: np.ndarray, values: np.ndarray, train: np.ndarray, test: np.ndarray, ratios: Sequence[float]
) -> np.ndarray:
    """Return the errors of an inner test fold at each ratio, `(n_test, n_ratios)`."""
    scaler = StandardScaler().fit(matrix[train])
    scaled, mean = scaler.transform(matrix[train]), float(values[train].mean())
    alphas = largest_alpha(scaled, values[train]) / np.asarray(ratios)
    with warnings.catch_warnings():
        # Weak penalties of the path may not converge; they are then judged as they are.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # Strongest first, each from the solution of the one before.
        _, coefficients, _ = lasso_path(scaled, values[train] - mean, alphas=alphas)
    return np.asarray(scaler.transform(matrix[test]) @ coefficients + mean - values[test][:, None])


__all__ = ["L1LinearRegression", "largest_alpha"]
