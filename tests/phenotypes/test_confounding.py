"""Confounders: labels that follow a batch, metadata that predict as well as the features, and studies left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency, kruskal, pointbiserialr, spearmanr

from biomeformer.errors import InputError
from biomeformer.phenotypes import FeatureTable, Study, leave_one_out, make_target, run_study
from biomeformer.phenotypes.cohort_transfer import LabelledCohort
from biomeformer.phenotypes.confounding import ALL_COLUMNS, associate, find_confounders
from biomeformer.phenotypes.leave_out import split_cohort, transfer_predictions
from biomeformer.phenotypes.metadata_columns import MetadataColumn, metadata_column

N = 60
IDS = tuple(f"s{i}" for i in range(N))


def made_cohort(follows_batch, seed=0):
    """A batch changes the features; the labels follow the batch, or are independent of it and of the features."""
    rng = np.random.default_rng(seed)
    batch = rng.permutation(np.arange(N) % 2)
    labels = batch if follows_batch else rng.permutation(np.arange(N) % 2)
    logits = rng.normal(size=(N, 6))
    logits[:, 0] += 3 * batch
    table = FeatureTable(IDS, tuple("abcdef"), np.exp(logits) / np.exp(logits).sum(1, keepdims=True))
    metadata = pd.DataFrame(
        {
            "state": np.array(["healthy", "ill"])[labels],
            "batch": np.array(["x", "y"])[batch],
            "age": rng.integers(20, 80, N).astype(str),
            "barcode": [f"b{i}" for i in range(N)],
            "country": "FR",
        },
        index=IDS,
    )
    metadata.loc[["s3", "s7"], "age"] = "NA"
    return table, metadata


def study_of(table, metadata, **options):
    target = make_target(metadata, "state", IDS)
    study = run_study({"vectors": [table]}, target, models=["l1"], n_splits=3, n_repeats=1, n_jobs=1, **options)
    settings = {"n_splits": 3, "n_repeats": 1, "n_permutations": 99}
    return replace(study, confounding=find_confounders(metadata, target, table, name="vectors", **settings))


@pytest.fixture(scope="module")
def confounded():
    return study_of(*made_cohort(follows_batch=True))


@pytest.fixture(scope="module")
def unconfounded():
    return study_of(*made_cohort(follows_batch=False))


def test_labels_confounded_with_batch_are_reported_as_such(confounded):
    assert confounded.evaluation("vectors", "l1").scores["roc_auc"].mean > 0.9
    (warning,) = confounded.result_warnings
    assert warning.startswith("the labels are confounded with batch: it alone predicts state with ROC-AUC 1.000")
    assert warning in confounded.warnings
    batch, age, together = confounded.confounding.columns
    assert (batch.column, batch.kind, batch.measure, batch.association) == ("batch", "category", "cramers_v", 1.0)
    assert batch.q < 0.001 and batch.r2 > 0.2 and batch.r2_p == 0.01
    assert (age.kind, age.n_missing, age.measure) == ("number", 2, "point_biserial") and age.p > 0.05
    assert together.column == ALL_COLUMNS and together.score > 0.95
    assert set(confounded.confounding.left_out) == {"barcode", "country"}


def test_a_batch_that_the_labels_do_not_follow_explains_the_features_only(unconfounded):
    """Labels that the features do not tell either give 0.5."""
    assert abs(unconfounded.evaluation("vectors", "l1").scores["roc_auc"].mean - 0.5) < 0.2
    assert unconfounded.confounding.warnings("state", 0.5) == []
    batch = unconfounded.confounding.columns[0]
    assert batch.p > 0.05 and batch.r2 > 0.2 and batch.r2_q <= 0.02
    assert abs(batch.score - 0.5) < 0.2


def test_metadata_that_do_better_than_the_features_are_warned_of():
    table, metadata = made_cohort(follows_batch=False)
    ill = (metadata["state"] == "ill").to_numpy()
    rng = np.random.default_rng(1)
    metadata["age"] = (50 + 8 * rng.normal(size=N) + np.where(ill, 12, 0)).round().astype(int).astype(str)
    study = study_of(table, metadata)
    (warning,) = study.result_warnings
    assert warning.startswith("metadata alone predict state at least as well as vectors (ROC-AUC 0.")
    assert "age 0." in warning


def test_confounders_survive_writing_and_reading(confounded, tmp_path):
    files = confounded.write(tmp_path)
    again = Study.read(tmp_path)
    assert again.confounding == confounded.confounding and again.warnings == confounded.warnings
    rows = pd.read_csv(files["confounders"])
    assert rows["column"].tolist() == ["batch", ALL_COLUMNS, "age"] and rows["score"][0] == 1


def test_confounders_must_be_columns_and_not_the_target():
    table, metadata = made_cohort(follows_batch=True)
    target = make_target(metadata, "state", IDS)
    with pytest.raises(InputError, match="'state' is the target"):
        find_confounders(metadata, target, table, columns=["state"])
    with pytest.raises(InputError, match="no column 'weight'; it has state, batch"):
        find_confounders(metadata, target, table, columns=["weight"])


def test_associations_are_those_of_scipy():
    rng = np.random.default_rng(0)
    labels, numbers = rng.integers(0, 2, 80), rng.normal(size=80)
    category = MetadataColumn("site", "category", rng.integers(0, 3, 80), ("a", "b", "c"))
    column = MetadataColumn("age", "number", numbers)
    counts = np.array([[((category.values == i) & (labels == j)).sum() for j in (0, 1)] for i in range(3)])
    result = chi2_contingency(counts, correction=False)
    measure, value, p = associate(category, labels)
    assert (measure, p) == ("cramers_v", pytest.approx(result.pvalue, rel=1e-6))
    assert value == pytest.approx(np.sqrt(result.statistic / 80))
    result = pointbiserialr(labels, numbers)
    assert associate(column, labels) == ("point_biserial", pytest.approx(result[0]), pytest.approx(result[1]))
    three = rng.integers(0, 3, 80)
    h, p = kruskal(*(numbers[three == i] for i in range(3)))
    assert associate(column, three) == ("epsilon_squared", pytest.approx(h / 79), pytest.approx(p))
    result = spearmanr(numbers, numbers**3 + rng.normal(size=80))
    assert associate(column, numbers**3)[:2] == ("spearman", pytest.approx(1))
    assert np.isnan(associate(column, np.zeros(80, int))[1:]).all()


def test_small_tables_get_their_p_value_from_random_tables():
    values, labels = np.array([0] * 6 + [1] * 6), np.array([0] * 5 + [1] * 7)
    column = MetadataColumn("site", "category", values, ("a", "b"))
    # Fisher's exact test: 15.2 of 1000 random tables are as extreme; the distribution says 3.4.
    assert associate(column, labels)[2] == pytest.approx(0.0152, abs=0.005)


def test_numbers_and_classes_are_told_apart():
    metadata = pd.DataFrame(
        {"age": ["30", "NA", "41.5"], "batch": ["2", "1", "2"], "sex": ["f", "", "m"]}, index=IDS[:3]
    )
    age = metadata_column(metadata, "age", IDS[:3])
    assert age.kind == "number" and age.is_known.tolist() == [True, False, True]
    np.testing.assert_array_equal(age.design(), [[30, 0], [35.75, 1], [41.5, 0]])
    batch = metadata_column(metadata, "batch", IDS[:3], categorical=True)
    assert (batch.kind, batch.levels, batch.values.tolist()) == ("category", ("1", "2"), [1, 0, 1])
    assert metadata_column(metadata, "sex", IDS[:3]).values.tolist() == [0, -1, 1]


# Studies left out of one table


def studies(labels_of_last=None):
    rng = np.random.default_rng(2)
    labels, study = np.arange(N) % 2, np.repeat([0, 1, 2], N // 3)
    if labels_of_last is not None:
        labels = np.where(study == 2, labels_of_last, labels)
    logits = rng.normal(size=(N, 6))
    logits[:, 1] += 3 * labels
    table = FeatureTable(IDS, tuple("abcdef"), np.exp(logits) / np.exp(logits).sum(1, keepdims=True))
    metadata = pd.DataFrame({"state": np.array(["healthy", "ill"])[labels]}, index=IDS)
    column = MetadataColumn("study", "category", study, ("A", "B", "C"))
    return LabelledCohort("all", (table,), make_target(metadata, "state", IDS)), column


def test_each_study_of_a_table_is_left_out_in_turn(monkeypatch):
    monkeypatch.setattr("biomeformer.phenotypes.cohort_transfer.N_BOOTSTRAPS", 50)
    cohorts = split_cohort(*studies())
    assert [(one.name, len(one.target.labels)) for one in cohorts] == [("A", 20), ("B", 20), ("C", 20)]
    results = leave_one_out(cohorts, "l1", transform="clr", n_jobs=1)
    assert (results[0].trained_on, results[0].tested_on) == (("B", "C"), "A")
    assert all(one.scores["roc_auc"].mean > 0.85 for one in results)
    predictions = transfer_predictions(results, cohorts)
    assert (
        predictions.index.tolist() == list(IDS)
        and predictions["cohort"].tolist() == ["A"] * 20 + ["B"] * 20 + ["C"] * 20
    )
    assert predictions["true"].tolist()[:2] == ["healthy", "ill"]
    np.testing.assert_array_equal(predictions["l1.ill"][:20], results[0].probabilities[:, 1])


def test_a_study_of_one_class_trains_and_has_no_area(monkeypatch):
    monkeypatch.setattr("biomeformer.phenotypes.cohort_transfer.N_BOOTSTRAPS", 50)
    results = leave_one_out(split_cohort(*studies(labels_of_last=1)), "l1", transform="clr", n_jobs=1)
    assert np.isnan(results[2].scores["roc_auc"].mean) and results[0].scores["roc_auc"].mean > 0.85


def test_studies_that_are_the_classes_cannot_be_left_out():
    cohort, column = studies()
    confounded = replace(column, values=cohort.target.labels, levels=("A", "B"))
    with pytest.raises(InputError, match=r"without study 'A' all 30 samples .* is confounded with study"):
        split_cohort(cohort, confounded)
    with pytest.raises(InputError, match="has 1 value"):
        split_cohort(cohort, replace(column, values=np.zeros(N, int), levels=("A",)))
