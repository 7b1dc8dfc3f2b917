"""The classifier of the MetagenBERT scripts: their log-ratios and their LASSO, within a cross-validation."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from skbio.stats.composition import ilr
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from biomeformer.errors import InputError
from biomeformer.phenotypes import (
    FeatureTable,
    PhenotypePredictor,
    cross_validate,
    make_model,
    make_target,
    train_predictor,
    transform_shares,
)
from biomeformer.phenotypes.checkpoint import with_linear_head
from biomeformer.phenotypes.evaluation import folds, inner_folds
from biomeformer.phenotypes.models import selected
from factories import tiny_metagenbert

N_SAMPLES, K = 90, 16


@pytest.fixture(scope="module")
def counts():
    """Counts with zeros, of which three clusters depend on the class."""
    rng = np.random.default_rng(0)
    rate = rng.gamma(0.4, 60, (N_SAMPLES, K))
    rate[::2, :3] *= 4
    return rng.poisson(rate).astype(float) + (np.arange(K) == K - 1)


@pytest.fixture(scope="module")
def target(counts):
    metadata = pd.DataFrame({"state": ["case", "control"] * (N_SAMPLES // 2)}, index=ids())
    return make_target(metadata, "state", ids())


def ids():
    return tuple(f"s{i}" for i in range(N_SAMPLES))


def published(matrix, labels, splits):
    """Scaler and LASSO as the scripts call them, by scikit-learn alone."""
    scaler = StandardScaler().fit(matrix)
    model = LogisticRegressionCV(
        l1_ratios=(1,),
        solver="liblinear",
        cv=splits,
        scoring="roc_auc",
        max_iter=1000,
        random_state=0,
        use_legacy_attributes=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return scaler, model.fit(scaler.transform(matrix), labels)


def test_the_rule_epsilon_adds_to_every_share_before_ilr(counts):
    shares = counts / counts.sum(1, keepdims=True)
    assert (shares == 0).any()
    for values in (counts, shares):
        np.testing.assert_allclose(transform_shares(values, "ilr", "epsilon"), ilr(shares + 1e-12), atol=1e-9)


def test_lasso_is_the_published_call(counts, target):
    matrix = transform_shares(counts, "ilr", "epsilon")
    train, test = np.arange(70), np.arange(70, N_SAMPLES)
    splits = inner_folds(target.labels[train], None, 0, 10)
    assert len(splits) == 10
    ours = make_model("lasso", 2, splits, 0).fit(matrix[train], target.labels[train])
    scaler, model = published(matrix[train], target.labels[train], splits)
    expected = model.predict_proba(scaler.transform(matrix[test]))
    np.testing.assert_allclose(ours.predict_proba(matrix[test]), expected, atol=1e-12)
    assert selected(ours).sum() == (model.coef_ != 0).sum() and expected.std() > 0.05


def test_cross_validated_lasso_is_fitted_within_the_training_samples(counts, target):
    table = FeatureTable(ids(), tuple(f"cluster_{i}" for i in range(K)), counts)
    evaluation = cross_validate(
        [table], target, "lasso", transform="ilr", zeros="epsilon", n_splits=3, n_repeats=1, n_jobs=1
    )
    matrix, scores = transform_shares(counts, "ilr", "epsilon"), []
    for i, (train, test) in enumerate(folds(target, 3, 1, 0)):
        splits = inner_folds(target.labels[train], None, i, 10)
        scaler, model = published(matrix[train], target.labels[train], splits)
        predicted = model.predict_proba(scaler.transform(matrix[test]))[:, 1]
        scores.append(roc_auc_score(target.labels[test], predicted))
    np.testing.assert_allclose(evaluation.fold_scores["roc_auc"], scores, atol=1e-9)
    assert evaluation.zeros == ("epsilon",)


def test_a_checkpoint_predicts_as_the_lasso_on_ilr(counts, target):
    matrix = transform_shares(counts, "ilr", "epsilon")
    fitted = make_model("lasso", 2, inner_folds(target.labels, None, 0, 10), 0).fit(matrix, target.labels)
    whole = with_linear_head(tiny_metagenbert(n_clusters=K), fitted, target.classes, "ilr", "epsilon")
    np.testing.assert_allclose(whole.predict_counts(counts), fitted.predict_proba(matrix), atol=1e-5)


@pytest.fixture(scope="module")
def table(counts):
    return FeatureTable(ids(), tuple(f"cluster_{i}" for i in range(K)), counts)


@pytest.fixture(scope="module")
def predictor(table, target):
    options = {"transform": "ilr", "zeros": "epsilon", "n_splits": 2, "n_jobs": 1}
    predictor, study = train_predictor({"features": table}, target, "lasso", **options)
    assert study.evaluations[0].model == "lasso"
    return predictor


def test_the_fit_on_all_samples_is_the_published_call(counts, target, table, predictor):
    matrix = transform_shares(counts, "ilr", "epsilon")
    scaler, model = published(matrix, target.labels, inner_folds(target.labels, None, 0, 10))
    expected = model.predict_proba(scaler.transform(matrix))
    assert expected.std() > 0.05
    np.testing.assert_allclose(predictor.predict({"features": table}).frame, expected, atol=1e-9)


def test_a_saved_lasso_is_the_logistic_regression_it_chose(table, predictor, tmp_path):
    predictor.save_pretrained(tmp_path)
    loaded = PhenotypePredictor.from_pretrained(tmp_path)
    assert loaded.estimator_name == "lasso" and type(loaded.estimator[-1]) is LogisticRegression
    assert loaded.estimator[-1].C == predictor.estimator[-1].C_
    frames = [one.predict({"features": table}).frame for one in (predictor, loaded)]
    np.testing.assert_allclose(*frames, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"n_classes": 3}, "the target is 3 classes"), ({"n_classes": 1, "task": "regression"}, "is a regression")],
)
def test_lasso_refuses_what_is_not_two_classes(options, message):
    with pytest.raises(InputError, match=f"{message}; use the estimator l1"):
        make_model("lasso", inner_splits=[], seed=0, **options)
