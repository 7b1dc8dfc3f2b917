"""Models of phenotypes, built on scikit-learn; hyperparameters are tuned within the training samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError
from ..metrics.scorers import Task
from .multi_label import OneVsRest

# Compared by default.
MODELS = ("l1", "forest", "boosting")
ESTIMATORS = (*MODELS, "lasso")
# Models that choose a penalty on inner folds, and the number of these.
INNER_FOLDS = {"l1": 5, "lasso": 10}
DESCRIPTIONS = {
    "l1": "logistic regression with an L1 penalty on standardised features, its strength chosen by ROC-AUC on inner "
    "folds between the penalty that leaves no feature and a hundredth of it",
    "lasso": "logistic regression with an L1 penalty on standardised features, its C chosen by ROC-AUC on ten inner "
    "folds among ten values from 1e-4 to 1e4 (the LASSO of Roy et al. 2026)",
    "forest": "a random forest of 500 trees, the square root of the number of features at each split",
    "boosting": "gradient boosting of 200 histogram trees of at most 8 leaves, learning rate 0.05, each leaf with at "
    "least a tenth of the training samples, at most 20",
    "genome_transformer": "a transformer over a genome's genes (Li et al. 2024), stopped early on a part of the "
    "training samples",
    "deep_sets": "a DeepSets network (Zaheer et al. 2017), stopped early on a part of the training samples",
}
# Of a regression.
REGRESSION_DESCRIPTIONS = {
    "l1": "linear regression with an L1 penalty (lasso) on standardised features, its strength chosen by squared error "
    "on inner folds between the penalty that leaves no feature and a hundredth of it",
    "forest": "a random forest of 500 regression trees, a third of the features at each split, leaves of at least 5 "
    "samples",
    "boosting": "gradient boosting of 200 histogram regression trees of at most 8 leaves, learning rate 0.05, each "
    "leaf with at least a tenth of the training samples, at most 20",
}
# Smallest number of samples in a leaf of boosting: this fraction of the training samples, within these limits.
# scikit-learn's fixed 20 leaves no split at all of 24 samples.
LEAF_FRACTION, MIN_LEAF, MAX_LEAF = 0.1, 2, 20
# Bins of boosting, scikit-learn's default and most.
MAX_BINS = 255
# Probabilities that differ by less are equal.
CONSTANT = 1e-9


def make_model(
    name: str,
    n_classes: int,
    inner_splits: Any,
    seed: int,
    n_jobs: int | None = None,
    n_samples: int | None = None,
    task: Task | None = None,
) -> Any:
    """Build an untrained model.

    Args:
        name: One of `ESTIMATORS`.
        n_classes: Number of classes or labels.
        inner_splits: `(train, test)` splits of the training samples, on which the models of `INNER_FOLDS` choose their
            regularization strength.
        seed: Seed of the model.
        n_jobs: Number of parallel jobs, as in scikit-learn.
        n_samples: Number of training samples, with which the size of leaves scales; many by default.
        task: What is predicted; classes by default. Labels of which a sample may have several have a model each.

    Raises:
        InputError: The name is unknown, or the model does not predict such a target.
    """
    if name not in ESTIMATORS:
        raise InputError(f"model is {name!r}; give {', '.join(ESTIMATORS)}.")
    if name == "lasso" and (task == "regression" or (n_classes != 2 and task != "multi_label")):
        kind = "a regression" if task == "regression" else f"{n_classes} classes"
        raise InputError(f"lasso is the LASSO of two classes and the target is {kind}; use the estimator l1.")
    if task == "multi_label":
        return OneVsRest(lambda: make_model(name, 2, inner_splits, seed, n_jobs, n_samples))
    leaf = MAX_LEAF if n_samples is None else int(np.clip(LEAF_FRACTION * n_samples, MIN_LEAF, MAX_LEAF))
    if name == "forest" and task == "regression":
        from sklearn.ensemble import RandomForestRegressor

        # Breiman's settings for regression, as in R's randomForest.
        return RandomForestRegressor(500, max_features=1 / 3, min_samples_leaf=5, random_state=seed, n_jobs=n_jobs)
    if name == "forest":
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(500, max_features="sqrt", random_state=seed, n_jobs=n_jobs)
    if name == "boosting":
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        kind = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
        # Each value of a feature then still has a bin of its own, and histograms are no larger than that needs.
        n_bins = MAX_BINS if n_samples is None else min(MAX_BINS, max(n_samples, 2))
        return kind(
            max_bins=n_bins,
            max_iter=200,
            learning_rate=0.05,
            max_leaf_nodes=8,
            min_samples_leaf=leaf,
            early_stopping=False,
            random_state=seed,
        )
    if name == "lasso":
        from .lasso import make_lasso

        return make_lasso(inner_splits, seed, n_jobs)
    if task == "regression":
        from .l1_linear import L1LinearRegression

        return L1LinearRegression(inner_splits, n_jobs=n_jobs)
    from .l1_logistic import L1LogisticRegression

    return L1LogisticRegression(inner_splits, seed=seed, n_jobs=n_jobs)


def predict_target(fitted: Any, matrix: np.ndarray, task: Task, n_classes: int) -> np.ndarray:
    """Predict with a fitted model.

    Returns:
        float64: probabilities `(n_samples, n_classes)`, 0 for classes that the training samples lack; or the numbers of
        a regression, `(n_samples, 1)`.
    """
    if task == "regression":
        return np.asarray(fitted.predict(matrix), np.float64)[:, None]
    if task == "multi_label":
        return np.asarray(fitted.predict_proba(matrix))
    probabilities = np.zeros((len(matrix), n_classes))
    probabilities[:, fitted.classes_] = fitted.predict_proba(matrix)
    return probabilities


def selected(fitted: Any) -> np.ndarray | None:
    """Return which features have a weight other than zero, bool `(n_features,)`; None if it is no L1 model."""
    if isinstance(fitted, OneVsRest):
        parts = [selected(model) for model in fitted.models if model is not None]
        known = [part for part in parts if part is not None]
        return np.any(known, axis=0) if known else None
    fitted = getattr(fitted, "best_estimator_", fitted)
    if not hasattr(fitted, "steps"):
        return None
    return np.asarray((np.atleast_2d(fitted[-1].coef_) != 0).any(0))


def learned_nothing(fitted: Any) -> bool:
    """Tell whether a fitted model predicts the same for every sample: no coefficient but zero, no split in any tree."""
    if isinstance(fitted, OneVsRest):
        return all(model is None or learned_nothing(model) for model in fitted.models)
    fitted = getattr(fitted, "best_estimator_", fitted)
    if hasattr(fitted, "steps"):
        fitted = fitted[-1]
    if hasattr(fitted, "coef_"):
        return not np.any(fitted.coef_)
    if hasattr(fitted, "estimators_"):
        return all(tree.tree_.node_count == 1 for tree in fitted.estimators_)
    if hasattr(fitted, "_predictors"):
        return all(tree.get_n_leaf_nodes() == 1 for trees in fitted._predictors for tree in trees)
    return False


def is_constant(probabilities: np.ndarray) -> bool:
    """Tell whether several samples are all predicted the same: `(n_samples, n_classes)`."""
    return len(probabilities) > 1 and bool(np.ptp(probabilities, axis=0).max() < CONSTANT)


__all__ = [
    "DESCRIPTIONS",
    "ESTIMATORS",
    "INNER_FOLDS",
    "MODELS",
    "REGRESSION_DESCRIPTIONS",
    "is_constant",
    "learned_nothing",
    "make_model",
    "predict_target",
    "selected",
]
