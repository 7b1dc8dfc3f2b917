"""Numbers and several labels as targets: read, split, scored and learned, as scikit-learn judges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import LassoCV, LogisticRegression
from sklearn.metrics import mean_absolute_error, r2_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from biomeformer.errors import InputError
from biomeformer.metrics.resampling import bootstrap
from biomeformer.metrics.targets import score_target, weighted_scorer
from biomeformer.phenotypes import (
    FeatureTable,
    LabelledCohort,
    Study,
    cross_validate,
    leave_one_out,
    make_target,
    read_feature_table,
    transfer,
    transform_shares,
)
from biomeformer.phenotypes.discriminative import discriminative_features
from biomeformer.phenotypes.evaluation import folds, inner_folds
from biomeformer.phenotypes.l1_linear import L1LinearRegression
from biomeformer.phenotypes.l1_logistic import L1LogisticRegression, smallest_c
from biomeformer.phenotypes.multinomial import L1Multinomial
from biomeformer.phenotypes.study import run_study

QUICK = {"transform": "clr", "n_splits": 4, "n_repeats": 1, "n_jobs": 1}


def cohort(n_samples=80, n_features=10, seed=0, prefix="s"):
    """Counts, and metadata with a number and two labels that their first features determine."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n_samples, n_features))
    ids = tuple(f"{prefix}{i}" for i in range(n_samples))
    table = FeatureTable(ids, tuple(f"f{i}" for i in range(n_features)), np.round(1000 * np.exp(logits)))
    relative = logits - logits.mean(1, keepdims=True)
    labels = [";".join(np.array(["gut", "skin"])[row[:2] > 0]) or "none" for row in relative]
    number = 25 + 3 * relative[:, 0] - 2 * relative[:, 1] + 0.5 * rng.normal(size=n_samples)
    metadata = pd.DataFrame({"bmi": [f"{value:.3f}" for value in number], "site": labels})
    return table, metadata.set_index(pd.Index(ids, name="sample_id"))


def number_of(table, metadata, **options):
    return make_target(metadata, "bmi", table.sample_ids, task="regression", **options)


def labels_of(table, metadata, **options):
    return make_target(metadata, "site", table.sample_ids, task="multilabel", **options)


def permuted(metadata, column, seed=1):
    return metadata.assign(**{column: np.random.default_rng(seed).permutation(metadata[column])})


def test_auto_takes_many_numbers_for_a_regression_and_few_for_classes():
    table, metadata = cohort()
    target = make_target(metadata, "bmi", table.sample_ids, task="auto")
    assert target.kind == "regression" and target.task == "regression" and target.classes == ("bmi",)
    np.testing.assert_array_equal(target.labels, metadata["bmi"].astype(float))
    few = metadata.assign(bmi=[str(i % 20) for i in range(len(metadata))])
    assert make_target(few, "bmi", table.sample_ids, task="auto").kind == "classification"
    assert make_target(metadata, "site", table.sample_ids, task="auto").classes == ("gut", "gut;skin", "none", "skin")
    with pytest.raises(InputError, match=r"80 different values, too many for classes; .*--task regression"):
        make_target(metadata, "bmi", table.sample_ids)


def test_labels_are_split_at_semicolons():
    table, metadata = cohort()
    metadata.iloc[0, 1] = " skin ; gut;"
    target = labels_of(table, metadata)
    assert target.classes == ("gut", "none", "skin") and target.labels[0].tolist() == [1, 0, 1]
    assert target.sizes["gut"] == sum("gut" in value for value in metadata["site"])
    assert target.values[0] == "gut;skin"


def test_a_sample_with_an_unknown_label_has_no_value():
    table, metadata = cohort()
    metadata.iloc[0, 1], metadata.iloc[1, 1] = "skin;NA", "unknown"
    target = labels_of(table, metadata)
    assert "NA" not in target.classes and not {"s0", "s1"} & set(target.sample_ids)
    assert target.missing_words == {"skin;NA": 1, "unknown": 1}


@pytest.mark.parametrize(
    ("column", "value", "options", "message"),
    [
        (
            "bmi",
            "high",
            {"task": "regression"},
            "sample 's0', column 'bmi' of .*: the value is 'high', which is no number",
        ),
        ("bmi", "inf", {"task": "regression"}, "column 'bmi' of .*: the value is 'inf', which is no number"),
        ("bmi", None, {"task": "regression", "positive": ["1"]}, "--positive names classes"),
        ("site", "nose", {"task": "multilabel"}, "label 'nose' of column 'site' has 1 samples"),
        ("site", None, {"task": "survival"}, "the task is 'survival'; give auto, classification, regression"),
    ],
)
def test_targets_that_cannot_be_are_refused(column, value, options, message):
    table, metadata = cohort()
    if value is not None:
        metadata.loc["s0", column] = value
    with pytest.raises(InputError, match=message):
        make_target(metadata, column, table.sample_ids, **options)


def test_equal_numbers_and_a_label_of_all_samples_leave_nothing_to_predict():
    table, metadata = cohort()
    with pytest.raises(InputError, match=r"all 80 samples are '3' in column 'bmi'; different numbers are needed"):
        number_of(table, metadata.assign(bmi="3"))
    with pytest.raises(InputError, match="0 samples lack the label 'all'"):
        labels_of(table, metadata.assign(site="all;" + metadata["site"]))


def test_every_fold_of_a_regression_has_low_and_high_numbers():
    table, metadata = cohort()
    target = number_of(table, metadata)
    low, high = np.quantile(target.labels, [0.25, 0.75])
    for _, test in folds(target, 4, 3, 0):
        assert 4 <= (target.labels[test] <= low).sum() <= 6 and 4 <= (target.labels[test] >= high).sum() <= 6
    with pytest.raises(InputError, match=r"20 folds of 80 samples test 4 at a time, .* at most 16 folds"):
        list(folds(target, 20, 1, 0))


def test_folds_of_numbers_and_labels_do_not_divide_groups():
    table, metadata = cohort()
    metadata["subject"] = [f"p{i // 4}" for i in range(80)]
    for target in (
        number_of(table, metadata, group_column="subject"),
        labels_of(table, metadata, group_column="subject"),
    ):
        for train, test in folds(target, 4, 1, 0):
            assert set(target.groups[train]).isdisjoint(target.groups[test])
        with pytest.raises(InputError, match="folds"):
            list(folds(target, 21, 1, 0))


@pytest.mark.parametrize("model", ["l1", "forest", "boosting"])
def test_a_number_is_predicted_and_a_permuted_one_is_not(model):
    table, metadata = cohort()
    target = number_of(table, metadata)
    evaluation = cross_validate([table], target, model, **QUICK)
    predicted = evaluation.probabilities[:, 0]
    assert evaluation.probabilities.shape == (80, 1) and r2_score(target.labels, predicted) > 0.5
    tests = [test for _, test in folds(target, 4, 1, 0)]
    judged = {
        "r2": [r2_score(target.labels[test], predicted[test]) for test in tests],
        "mae": [mean_absolute_error(target.labels[test], predicted[test]) for test in tests],
        "spearman": [spearmanr(target.labels[test], predicted[test]).statistic for test in tests],
    }
    for metric, values in judged.items():
        np.testing.assert_allclose(evaluation.fold_scores[metric], values)
    assert evaluation.scores["r2"].low > 0 and evaluation.scores["mae"].low > 0
    if model == "boosting":
        return
    null = cross_validate([table], number_of(table, permuted(metadata, "bmi")), model, **QUICK)
    assert null.scores["r2"].mean < 0.15 and null.scores["spearman"].low <= 0 <= null.scores["spearman"].high


@pytest.mark.parametrize("model", ["l1", "boosting"])
def test_labels_are_predicted_each_and_on_average(model):
    table, metadata = cohort()
    target = labels_of(table, metadata)
    evaluation = cross_validate([table], target, model, **QUICK)
    areas = []
    for _, test in folds(target, 4, 1, 0):
        truth, predicted = target.labels[test], evaluation.probabilities[test]
        areas.append([roc_auc_score(truth[:, i], predicted[:, i]) for i in range(3)])
    np.testing.assert_allclose(evaluation.fold_scores["roc_auc"], np.mean(areas, axis=1))
    np.testing.assert_allclose(evaluation.fold_scores["roc_auc: skin"], np.array(areas)[:, 2])
    assert evaluation.scores["roc_auc: skin"].mean > 0.85
    if model != "l1":
        return
    null = cross_validate([table], labels_of(table, permuted(metadata, "site")), model, **QUICK | {"n_splits": 2})
    assert 0.3 < null.scores["roc_auc"].mean < 0.7


def test_permutations_test_a_regression_by_its_r2():
    table, metadata = cohort()
    evaluation = cross_validate([table], number_of(table, metadata), "l1", n_permutations=4, **QUICK)
    assert evaluation.permutation_p == pytest.approx(1 / 5) and evaluation.permuted.max() < 0.2


def test_weighted_scores_equal_the_scores_of_all_samples():
    rng = np.random.default_rng(0)
    truth = {"regression": rng.normal(size=50), "multi_label": rng.integers(0, 2, (50, 3))}
    truth |= {"binary": rng.integers(0, 2, 50), "multi_class": rng.integers(0, 3, 50)}
    for task, values in truth.items():
        n_columns = {"regression": 1, "binary": 2}.get(task, 3)
        predicted = rng.random((50, n_columns))
        if task in ("binary", "multi_class"):
            predicted /= predicted.sum(1, keepdims=True)
        names = "abc" if task == "multi_label" else ()
        scores = {
            name: span.value
            for name, span in bootstrap(weighted_scorer(task, values, predicted, names), 50, n_draws=20).items()
        }
        assert scores == pytest.approx(score_target(task, values, predicted, names))


def test_the_lasso_is_as_good_as_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(100, 60))
    values = 40 + matrix[:, 0] * 3 - matrix[:, 1] * 2 + rng.normal(size=100)
    new = rng.normal(size=(500, 60))
    expected = 40 + new[:, 0] * 3 - new[:, 1] * 2
    splits = inner_folds(np.zeros(100, int), None, 0)
    ours = L1LinearRegression(splits).fit(matrix, values)
    theirs = LassoCV(cv=splits).fit(matrix, values)
    assert r2_score(expected, ours.predict(new)) > r2_score(expected, theirs.predict(new)) - 0.02 > 0.9
    assert ours.best_estimator_[-1].coef_[:2].round(0).tolist() == [3, -2]


def test_the_multinomial_path_has_the_weights_of_saga():
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    matrix = rng.normal(size=(90, 12)) + (labels[:, None] == np.arange(12))
    scaled = StandardScaler().fit_transform(matrix)
    path = smallest_c(scaled, labels) * np.array([2, 5, 20])
    fitted = L1Multinomial(path).fit(scaled, labels)
    for c, (weights, intercept) in zip(path, fitted.path_, strict=True):
        saga = LogisticRegression(l1_ratio=1, solver="saga", C=c, max_iter=20_000, tol=1e-8).fit(scaled, labels)
        np.testing.assert_allclose(weights, saga.coef_, atol=2e-3)
        np.testing.assert_allclose(intercept - intercept.mean(), saga.intercept_ - saga.intercept_.mean(), atol=2e-3)


def test_three_classes_are_fitted_on_500_features_in_seconds():
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 3
    matrix = rng.normal(size=(200, 500)) + 1.5 * (labels[:, None] == np.arange(500))
    fitted = L1LogisticRegression(inner_folds(labels[:150], None, 0)).fit(matrix[:150], labels[:150])
    assert roc_auc_score(labels[150:], fitted.predict_proba(matrix[150:]), multi_class="ovr") > 0.85


@pytest.mark.parametrize("make", [number_of, labels_of])
def test_a_study_of_numbers_or_labels_is_read_as_it_was_written(tmp_path, make):
    table, metadata = cohort()
    study = run_study({"f": [table]}, make(table, metadata), models=["l1"], n_splits=3, n_repeats=1, n_jobs=1)
    study.write(tmp_path)
    again = Study.read(tmp_path)
    assert again.target.kind == study.target.kind and again.target.classes == study.target.classes
    np.testing.assert_array_equal(again.target.labels, study.target.labels)
    pd.testing.assert_frame_equal(again.scores, study.scores)
    assert again.methods == study.methods


@pytest.mark.parametrize("make", [number_of, labels_of])
def test_a_model_of_numbers_or_labels_is_transferred(make):
    cohorts = []
    for i in range(3):
        table, metadata = cohort(n_samples=60, seed=i, prefix=f"c{i}_")
        cohorts.append(LabelledCohort(f"c{i}", (table,), make(table, metadata)))
    for result in leave_one_out(cohorts, "l1", transform="clr", n_jobs=1):
        score = result.scores[result.main_metric]
        assert score.low < score.mean < score.high and score.mean > 0.7
        truth = next(c.target.labels for c in cohorts if c.name == result.tested_on)
        expected = (
            r2_score(truth, result.probabilities) if make is number_of else roc_auc_score(truth, result.probabilities)
        )
        assert score.mean == pytest.approx(expected)


def test_transfer_refuses_targets_of_different_kinds_or_labels():
    table, metadata = cohort()
    other, other_metadata = cohort(seed=1, prefix="t")
    number = LabelledCohort("a", (table,), number_of(table, metadata))
    with pytest.raises(InputError, match="is for multilabel and that of 'a' for regression; give --task for all"):
        transfer([number], LabelledCohort("b", (other,), labels_of(other, other_metadata)), "l1")
    renamed = labels_of(other, other_metadata.replace({"site": "none"}, "mouth"))
    with pytest.raises(InputError, match="'b' has 'mouth' in column 'site' and 'a' has not"):
        transfer(
            [LabelledCohort("a", (table,), labels_of(table, metadata))], LabelledCohort("b", (other,), renamed), "l1"
        )


def test_features_are_ranked_by_their_correlation_with_a_number():
    table, metadata = cohort()
    target = number_of(table, metadata)
    frame = discriminative_features(table, target)
    assert frame["feature"][0] == "f0"
    for row in frame.itertuples():
        expected = spearmanr(table.shares[:, table.names.index(row.feature)], target.labels)
        assert (row.rho, row.p) == pytest.approx((expected.statistic, expected.pvalue))


def test_groups_for_figures_are_thirds_of_numbers_and_combinations_of_labels():
    table, metadata = cohort()
    thirds = number_of(table, metadata).grouped()
    assert thirds.kind == "classification" and thirds.classes[0].startswith("bmi < ") and len(thirds.classes) == 3
    assert set(thirds.sizes.values()) == {26, 27}
    combinations = labels_of(table, metadata).grouped()
    assert set(combinations.classes) == {"gut", "gut;skin", "skin", "none"}
    assert replace(thirds).grouped().classes == thirds.classes


def test_a_simulated_number_of_real_samples_is_predicted(shared_data):
    """A number like the body mass index, simulated from five species and noise, on 253 real samples."""
    table = read_feature_table(shared_data / "cohorts" / "obesity.species_abundance.tsv.gz")
    rng = np.random.default_rng(0)
    ratios = transform_shares(table.values, "clr")
    frequent = np.argsort(-(table.values > 0).mean(0))[:5]
    signal = StandardScaler().fit_transform(ratios[:, frequent]) @ np.array([1, -1, 0.7, 0.5, -0.5])
    number = 27 + 4 * (0.8 * signal / signal.std() + 0.6 * rng.normal(size=len(table)))
    metadata = pd.DataFrame({"bmi": number.astype(str)}, index=pd.Index(table.sample_ids))
    scores = cross_validate([table], number_of(table, metadata), "l1", **QUICK).scores
    # At most 0.64 of the variance is signal.
    assert 0.4 < scores["r2"].mean < 0.64 and scores["spearman"].low > 0.5
    null = cross_validate([table], number_of(table, permuted(metadata, "bmi")), "l1", **QUICK)
    assert abs(null.scores["r2"].mean) < 0.1
