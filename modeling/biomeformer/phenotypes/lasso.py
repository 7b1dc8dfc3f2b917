"""The LASSO of the MetagenBERT scripts (Roy et al. 2026, arXiv 2601.03295)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

# scikit-learn's default grid: ten values of C from 1e-4 to 1e4.
N_PENALTIES = 10


def make_lasso(inner_splits: Sequence[tuple[np.ndarray, np.ndarray]], seed: int, n_jobs: int | None = None) -> Pipeline:
    """Build an untrained LASSO of two classes: standardised features, and a penalty chosen by ROC-AUC.

    The scripts report the ROC-AUC of the best penalty on the folds it was chosen on, and fit the scaler to all samples.
    In a cross-validation of this pipeline both are fitted within the training samples.

    Args:
        inner_splits: `(train, test)` splits of the training samples, on which the penalty is chosen.
        seed: Seed of the solver.
        n_jobs: Number of parallel jobs, as in scikit-learn.
    """
    options: dict[str, Any] = {"l1_ratios": (1,), "use_legacy_attributes": False}
    model = LogisticRegressionCV(
        Cs=N_PENALTIES,
        solver="liblinear",
        scoring="roc_auc",
        max_iter=1000,
        cv=list(inner_splits),
        random_state=seed,
        n_jobs=n_jobs,
        **options,
    )
    return make_pipeline(StandardScaler(), model)


def without_choice(fitted: Pipeline) -> Pipeline:
    """Return a fitted LASSO as the logistic regression that was chosen, with the same scaler and predictions."""
    scaler, chosen = fitted[0], fitted[-1]
    options: dict[str, Any] = {"l1_ratio": 1}
    model = LogisticRegression(
        C=float(np.ravel(chosen.C_)[0]),
        solver=chosen.solver,
        max_iter=chosen.max_iter,
        random_state=chosen.random_state,
        **options,
    )
    model.classes_, model.n_features_in_ = chosen.classes_, chosen.n_features_in_
    model.coef_, model.intercept_ = chosen.coef_, chosen.intercept_
    return make_pipeline(scaler, model)


__all__ = ["N_PENALTIES", "make_lasso", "without_choice"]
