"""Classifiers of phenotypes, built on scikit-learn; hyperparameters are tuned within the training samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError

MODELS = ("l1", "forest", "boosting")
DESCRIPTIONS = {
    "l1": "logistic regression with an L1 penalty on standardised features, its strength chosen by ROC-AUC on inner "
    "folds between the penalty that leaves no feature and a hundredth of it",
    "forest": "a random forest of 500 trees, the square root of the number of features at each split",
    "boosting": "gradient boosting of 200 histogram trees of at most 8 leaves, learning rate 0.05, each leaf with at "
    "least a tenth of the training samples, at most 20",
    "genome_transformer": "a transformer over a genome's genes (Li et al. 2024), stopped early on a part of the "
    "training samples",
    "deep_sets": "a DeepSets network (Zaheer et al. 2017), stopped early on a part of the training samples",
}
# Smallest number of samples in a leaf of boosting: this fraction of the training samples, within these limits.
# scikit-learn's fixed 20 leaves no split at all of 24 samples.
LEAF_FRACTION, MIN_LEAF, MAX_LEAF = 0.1, 2, 20
# Probabilities that differ by less are equal.
CONSTANT = 1e-9


def make_model(
    name: str, n_classes: int, inner_splits: Any, seed: int, n_jobs: int | None = None, n_samples: int | None = None
) -> Any:
    """Build an untrained classifier.

    Args:
        name: `l1`, `forest` or `boosting`.
        n_classes: Number of classes.
        inner_splits: `(train, test)` splits of the training samples, on which `l1` chooses its regularization strength.
        seed: Seed of the classifier.
        n_jobs: Number of parallel jobs, as in scikit-learn.
        n_samples: Number of training samples, with which the size of leaves scales; many by default.

    Raises:
        InputError: The name is unknown.
    """
    if name not in MODELS:
        raise InputError(f"model is {name!r}; give {', '.join(MODELS)}.")
    if name == "forest":
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(500, max_features="sqrt", random_state=seed, n_jobs=n_jobs)
    if name == "boosting":
        from sklearn.ensemble import HistGradientBoostingClassifier

        leaf = MAX_LEAF if n_samples is None else int(np.clip(LEAF_FRACTION * n_samples, MIN_LEAF, MAX_LEAF))
        return HistGradientBoostingClassifier(
            max_iter=200,
            learning_rate=0.05,
            max_leaf_nodes=8,
            min_samples_leaf=leaf,
            early_stopping=False,
            random_state=seed,
        )
    from .l1_logistic import L1LogisticRegression

    return L1LogisticRegression(inner_splits, seed=seed, n_jobs=n_jobs)


def learned_nothing(fitted: Any) -> bool:
    """Tell whether a fitted model predicts the same for every sample: no coefficient but zero, no split in any tree."""
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


__all__ = ["DESCRIPTIONS", "MODELS", "is_constant", "learned_nothing", "make_model"]
