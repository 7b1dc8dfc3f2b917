"""Classifiers of phenotypes, built on scikit-learn; hyperparameters are tuned within the training samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError

MODELS = ("l1", "forest", "boosting")
DESCRIPTIONS = {
    "l1": "logistic regression with an L1 penalty on standardised features, chosen by inner cross-validation",
    "forest": "a random forest of 500 trees, the square root of the number of features at each split",
    "boosting": "gradient boosting of 200 histogram trees of at most 8 leaves, learning rate 0.05",
    "genome_transformer": "a transformer over a genome's genes (Li et al. 2024), stopped early on a part of the "
    "training samples",
    "deep_sets": "a DeepSets network (Zaheer et al. 2017), stopped early on a part of the training samples",
}
PENALTIES = np.logspace(-2, 1, 7)


def make_model(name: str, n_classes: int, inner_splits: Any, seed: int, n_jobs: int | None = None) -> Any:
    """Build an untrained classifier.

    Args:
        name: `l1`, `forest` or `boosting`.
        n_classes: Number of classes.
        inner_splits: `(train, test)` splits of the training samples, on which `l1` chooses its regularization strength.
        seed: Seed of the classifier.
        n_jobs: Number of parallel jobs, as in scikit-learn.

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

        return HistGradientBoostingClassifier(
            max_iter=200, learning_rate=0.05, max_leaf_nodes=8, early_stopping=False, random_state=seed
        )
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # liblinear is faster but handles two classes only; for more, saga fits a multinomial model.
    solver = "liblinear" if n_classes == 2 else "saga"
    lasso = LogisticRegression(l1_ratio=1, solver=solver, random_state=seed, max_iter=1000 if n_classes == 2 else 5000)
    return GridSearchCV(
        make_pipeline(StandardScaler(), lasso),
        {"logisticregression__C": PENALTIES},
        scoring="neg_log_loss",
        cv=inner_splits,
        n_jobs=n_jobs,
    )


__all__ = ["DESCRIPTIONS", "MODELS", "make_model"]
