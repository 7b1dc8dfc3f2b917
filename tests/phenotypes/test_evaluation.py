"""Cross-validation that does not leak, intervals that hold, and targets that make sense."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score
from threadpoolctl import threadpool_limits

from biomeformer.errors import InputError, TableError
from biomeformer.io.tables import missing_words
from biomeformer.metrics import BalancedAccuracy, BrierScore, CalibrationError, PrAuc, RocAuc
from biomeformer.metrics.probabilities import METRICS, score
from biomeformer.phenotypes import (
    MODELS,
    FeatureTable,
    compare,
    cross_validate,
    make_model,
    make_target,
    read_feature_table,
    read_metadata,
    run_study,
    transform_shares,
)
from biomeformer.phenotypes.evaluation import folds, inner_folds, interval, permute
from biomeformer.phenotypes.l1_logistic import RATIOS, _fit, _score


def cohort(n_samples=60, n_features=12, effect=1.5, n_groups=None, seed=0, n_classes=2):
    """Counts whose first features depend on the class, and, with groups, a signature of each group in the others."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n_samples) % n_classes
    logits = rng.normal(size=(n_samples, n_features))
    for label in range(n_classes):
        logits[labels == label, label] += effect
    metadata = {"state": [f"class{label}" for label in labels]}
    if n_groups:
        # Each subject is of one class and looks like itself, which says nothing of other subjects.
        subject = np.arange(n_samples) % n_groups
        labels = subject % 2
        logits = 0.05 * rng.normal(size=logits.shape) + 2 * rng.normal(size=(n_groups, n_features))[subject]
        metadata = {"state": [f"class{label}" for label in labels], "subject": [f"p{s}" for s in subject]}
    ids = tuple(f"s{i}" for i in range(n_samples))
    values = np.round(1000 * np.exp(logits))
    table = FeatureTable(ids, tuple(f"f{i}" for i in range(n_features)), values)
    return table, pd.DataFrame(metadata, index=pd.Index(ids, name="sample_id"))


def target_of(table, metadata, **options):
    return make_target(metadata, "state", table.sample_ids, **options)


def small_model(name, *options):
    """The model, a forest with few trees, where a test is about the folds and seeds."""
    model = make_model(name, *options)
    return model.set_params(n_estimators=20) if name == "forest" else model


@pytest.mark.parametrize("model", MODELS)
def test_a_signal_is_found_and_a_permuted_one_is_not(model):
    table, metadata = cohort(effect=3)
    target = target_of(table, metadata)
    n_repeats = 2 if model == "l1" else 1
    found = cross_validate([table], target, model, transform="clr", n_splits=3, n_repeats=n_repeats, n_jobs=1)
    assert found.scores["roc_auc"].mean > 0.85 and found.scores["roc_auc"].low > 0.5
    n_folds = 3 * n_repeats
    assert found.fold_scores["roc_auc"].shape == (n_folds,)
    assert found.correction == pytest.approx(1 / n_folds + 1 / 2)
    np.testing.assert_allclose(found.probabilities.sum(1), 1)
    pooled = roc_auc_score(target.labels, found.probabilities[:, 1])
    assert pooled > 0.85
    rng = np.random.default_rng(1)
    metadata["state"] = rng.permutation(metadata["state"])
    null = cross_validate(
        [table], target_of(table, metadata), model, transform="clr", n_splits=3, n_repeats=n_repeats, n_jobs=1
    )
    assert null.scores["roc_auc"].low <= 0.5 <= null.scores["roc_auc"].high


def test_equal_arguments_give_equal_scores(monkeypatch):
    monkeypatch.setattr("biomeformer.phenotypes.evaluation.make_model", small_model)
    table, metadata = cohort()
    target = target_of(table, metadata)
    first, again, other = (
        cross_validate([table], target, "forest", n_splits=2, n_repeats=1, seed=seed, n_jobs=1) for seed in (1, 1, 2)
    )
    assert np.array_equal(first.probabilities, again.probabilities)
    assert not np.array_equal(first.probabilities, other.probabilities)


def test_permutation_test_gives_the_smallest_p_for_a_real_effect():
    table, metadata = cohort(effect=3, n_samples=40)
    found = cross_validate(
        [table], target_of(table, metadata), "l1", n_splits=3, n_repeats=1, n_permutations=4, n_jobs=1
    )
    assert found.permutation_p == pytest.approx(1 / 5) and len(found.permuted) == 4
    assert 0.3 < found.permuted.mean() < 0.7
    without = cross_validate([table], target_of(table, metadata), "l1", n_splits=3, n_repeats=1, n_jobs=1)
    assert without.permutation_p is None


def test_a_leak_through_subjects_is_caught_by_grouping(monkeypatch):
    """A subject's samples look alike: by them the class of a subject that was trained on is known, and of no other."""
    monkeypatch.setattr("biomeformer.phenotypes.evaluation.make_model", small_model)
    table, metadata = cohort(n_samples=120, n_groups=24)
    leaky = cross_validate([table], target_of(table, metadata), "forest", n_splits=4, n_repeats=1, n_jobs=1)
    grouped = target_of(table, metadata, group_column="subject")
    honest = cross_validate([table], grouped, "forest", n_splits=4, n_repeats=1, n_jobs=1)
    assert leaky.scores["roc_auc"].mean > 0.97
    assert honest.scores["roc_auc"].mean < 0.8 and honest.scores["roc_auc"].low < 0.5
    for train, test in folds(grouped, 4, 2, 0):
        assert not set(grouped.groups[train]) & set(grouped.groups[test])
        for inner_train, inner_test in inner_folds(grouped.labels[train], grouped.groups[train], 0):
            assert not set(grouped.groups[train][inner_train]) & set(grouped.groups[train][inner_test])


def test_test_samples_do_not_touch_training(monkeypatch):
    """Nothing that is fitted ever sees a test sample, not even a mean."""
    table, metadata = cohort(n_samples=40)
    target = target_of(table, metadata)
    seen = []

    class Spy:
        classes_ = np.array([0, 1])

        def fit(self, matrix, labels):
            self.rows = {tuple(row) for row in matrix}
            return self

        def predict_proba(self, matrix):
            seen.append(any(tuple(row) in self.rows for row in matrix))
            return np.full((len(matrix), 2), 0.5)

    monkeypatch.setattr("biomeformer.phenotypes.evaluation.make_model", lambda *options: Spy())
    cross_validate([table], target, "l1", transform="clr", n_splits=4, n_repeats=2)
    assert seen == [False] * 8


@pytest.mark.parametrize("model", MODELS)
def test_a_model_that_learned_nothing_is_no_result(model):
    table, metadata = cohort(n_samples=30)
    flat = FeatureTable(table.sample_ids, table.names, np.full(table.values.shape, 2.5))
    result = cross_validate([flat], target_of(flat, metadata), model, n_splits=3, n_repeats=1, n_permutations=1)
    assert result.n_empty == 3 and result.learned_nothing and np.isnan(result.permutation_p)
    assert str(result.scores["roc_auc"]) == "0.500 (no interval)" and result.chosen == {}
    assert "learned nothing in any of 3 folds" in result.warning and "no result" in result.warning


@pytest.mark.parametrize("model", MODELS)
def test_24_samples_are_enough_to_learn_something(model):
    table, metadata = cohort(n_samples=24, effect=4)
    result = cross_validate(
        [table], target_of(table, metadata), model, transform="clr", n_splits=4, n_repeats=1, n_jobs=1
    )
    assert result.n_empty == 0 and result.warning == "" and result.scores["roc_auc"].mean > 0.85


@pytest.mark.parametrize("n_samples", [24, 400])
def test_the_penalties_reach_from_few_features_to_many(n_samples):
    rng = np.random.default_rng(0)
    labels = np.arange(n_samples) % 4 == 0
    matrix = rng.normal(size=(n_samples, 60)) + labels[:, None] * np.linspace(1, 0, 60)
    fits = [_fit(matrix, labels.astype(int), ratio, 0)[-1] for ratio in (0.99, *RATIOS)]
    kept = [int((fit.coef_ != 0).sum()) for fit in fits]
    assert kept[0] == 0 and 1 <= kept[1] <= 5 and kept[-1] >= min(15, n_samples // 2)
    # The intercept is hardly penalised: without features the prevalence is predicted.
    assert fits[0].predict_proba(np.zeros((1, 60)))[0, 1] == pytest.approx(0.25, abs=0.02)


def test_the_l1_strength_with_the_highest_auc_is_chosen_and_ties_are_sparse():
    table, metadata = cohort(n_samples=60, effect=1.5)
    labels = target_of(table, metadata).labels
    matrix = transform_shares(table.shares, "clr")
    inner = inner_folds(labels, None, 0)
    model = make_model("l1", 2, inner, 0).fit(matrix, labels)

    def area(train, test, ratio):
        fit = _fit(matrix[train], labels[train], ratio, 0)
        return roc_auc_score(labels[test], fit.predict_proba(matrix[test])[:, 1])

    areas = [np.mean([area(train, test, ratio) for train, test in inner]) for ratio in RATIOS]
    np.testing.assert_allclose(model.path_scores_, areas)
    assert model.best_ratio_ == RATIOS[int(np.argmax(areas))]
    perfect = np.stack([labels * 10.0, *np.random.default_rng(0).normal(size=(5, 60))], 1)
    tied = make_model("l1", 2, inner, 0).fit(perfect, labels)
    assert tied.best_ratio_ == RATIOS[0] and (tied.best_estimator_[-1].coef_ != 0).sum() == 1


def test_leaves_scale_with_the_training_samples():
    assert [make_model("boosting", 2, None, 0, n_samples=n).min_samples_leaf for n in (15, 90, 1000)] == [2, 9, 20]


def test_undefined_auc_has_no_permutation_p():
    table, metadata = cohort(n_samples=30)
    result = cross_validate([table], target_of(table, metadata), "boosting", n_splits=3, n_repeats=1, n_permutations=2)
    undefined = replace(result, scores=result.scores | {"roc_auc": interval(np.full(3, np.nan), 0.5)})
    assert np.isnan(undefined.permutation_p)
    # A permutation without a score counts against the effect.
    assert replace(result, permuted=np.array([np.nan, -1.0])).permutation_p == pytest.approx(2 / 3)


def test_feature_sets_are_compared_on_the_same_folds():
    table, metadata = cohort(effect=1.8, n_samples=80)
    noise = FeatureTable(table.sample_ids, table.names, np.random.default_rng(5).uniform(1, 9, table.values.shape))
    target = target_of(table, metadata)
    weaker = replace(cohort(effect=1.4, n_samples=80, seed=1)[0], names=table.names)
    signal, chance, other = (
        cross_validate([features], target, "l1", name=name, n_splits=3, n_repeats=2, n_jobs=1)
        for name, features in (("signal", table), ("noise", noise), ("other", weaker))
    )
    better = compare(signal, chance)
    assert better.difference.low > 0 and better.p < 0.01 and (better.first, better.second) == ("signal", "noise")
    assert compare(signal, other).p > better.p
    # No difference in any fold: t is 0/0, which has no p value.
    same = compare(signal, signal)
    assert same.difference.mean == 0 and np.isnan(same.p) and np.isnan(same.difference.low)
    with pytest.raises(InputError, match="different folds"):
        compare(signal, cross_validate([table], target, "l1", n_splits=4, n_repeats=2, n_jobs=1))


def test_three_classes_are_classified():
    table, metadata = cohort(n_samples=90, n_classes=3, effect=3)
    found = cross_validate(
        [table], target_of(table, metadata), "forest", transform="clr", n_splits=3, n_repeats=1, n_jobs=1
    )
    assert found.probabilities.shape == (90, 3) and found.scores["roc_auc"].mean > 0.85
    found = cross_validate(
        [table], target_of(table, metadata), "l1", transform="clr", n_splits=3, n_repeats=1, n_jobs=1
    )
    assert found.scores["roc_auc"].mean > 0.85


def test_the_interval_is_nadeau_and_bengios():
    values = np.array([0.8, 0.9, 0.85, 0.95])
    span = interval(values, 1 / 4 + 1 / 3)
    # t of 3 degrees of freedom: 3.1824.
    half = 3.182446 * np.sqrt((1 / 4 + 1 / 3) * values.var(ddof=1))
    assert span.mean == pytest.approx(0.875) and span.high - span.mean == pytest.approx(half, rel=1e-6)
    assert interval(np.array([0.8, np.nan, 0.9]), 0.5).mean == pytest.approx(0.85)
    assert np.isnan(interval(np.array([0.8]), 0.5).low)
    # Folds that are all equal say nothing of the uncertainty.
    equal = interval(np.full(5, 0.5), 0.5).clipped()
    assert np.isnan([equal.low, equal.high]).all() and str(equal) == "0.500 (no interval)"
    assert str(interval(np.array([np.nan]), 0.5)) == "undefined"


def test_permuting_keeps_groups_whole():
    table, metadata = cohort(n_samples=60, n_groups=12)
    target = target_of(table, metadata, group_column="subject")
    labels = permute(target, np.random.default_rng(0))
    assert not np.array_equal(labels, target.labels)
    assert all(len(set(labels[target.groups == group])) == 1 for group in set(target.groups))
    metadata["batch"] = ["x"] * 30 + ["y"] * 30
    batches = target_of(table, metadata, group_column="batch")
    labels = permute(batches, np.random.default_rng(0))
    for batch in ("x", "y"):
        assert labels[batches.groups == batch].sum() == batches.labels[batches.groups == batch].sum()


def test_metrics_by_hand_and_through_evaluate():
    labels = np.array([0, 0, 1, 1, 1])
    second = np.array([0.1, 0.6, 0.4, 0.8, 0.9])
    probabilities = np.stack([1 - second, second], 1)
    found = score(labels, probabilities)
    assert found["roc_auc"] == pytest.approx(roc_auc_score(labels, second)) == pytest.approx(5 / 6)
    assert found["pr_auc"] == pytest.approx(average_precision_score(labels, second))
    assert found["balanced_accuracy"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found["brier"] == pytest.approx(np.mean([0.01, 0.36, 0.36, 0.04, 0.01]))
    # Confidences .9 .6 .6 .8 .9, right or wrong 1 0 0 1 1, in bins .9, .6 and .8.
    assert found["calibration_error"] == pytest.approx((2 * 0.1 + 2 * 0.6 + 1 * 0.2) / 5)
    for metric in (RocAuc(), PrAuc(), BalancedAccuracy(), BrierScore(), CalibrationError()):
        result = metric.compute(references=labels, predictions=probabilities)
        assert result == {metric.function_name: pytest.approx(found[metric.function_name])}
    assert np.isnan(score(np.zeros(3, int), np.full((3, 2), 0.5))["roc_auc"])
    assert list(found) == list(METRICS)


# Targets


def test_classes_in_a_sensible_order():
    ids = [f"s{i}" for i in range(12)]

    def classes(values, **options):
        metadata = pd.DataFrame({"state": values}, index=ids)
        return make_target(metadata, "state", ids, **options)

    assert classes(["healthy", "cirrhosis"] * 6).classes == ("healthy", "cirrhosis")
    assert classes(["1", "0"] * 6).classes == ("0", "1")
    assert classes(["10", "9"] * 6).classes == ("9", "10")
    target = classes(["n", "uc", "cd"] * 4, positive=["uc", "cd"])
    assert target.classes == ("not uc or cd", "uc or cd") and target.labels.tolist() == [0, 1, 1] * 4
    target = classes(["a", "b"] * 5 + ["", "NA"])
    assert len(target.sample_ids) == 10 and target.n_missing == 2 and target.sizes == {"a": 5, "b": 5}


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda m: m.assign(state="a"), {}, "all 60 samples are 'a' in column 'state'"),
        (lambda m: m[:3], {}, "3 samples have a value in column 'state'; at least 10"),
        (lambda m: m.rename(columns={"state": "other"}), {}, "the metadata has no column 'state'; it has other"),
        (lambda m: m.rename(index=lambda i: f"x{i}"), {}, "no sample of the features is in the metadata .*'s0'.*'xs0'"),
        (lambda m: m, {"positive": ["ill"]}, "never is 'ill'; its values are 'class0', 'class1'"),
        (lambda m: m, {"group_column": "subject"}, "no column 'subject'"),
        (lambda m: m.assign(subject=""), {"group_column": "subject"}, "sample 's0' has no value in the group column"),
        (lambda m: m.assign(state=[f"v{i}" for i in range(60)]), {}, "60 different values"),
        (lambda m: m.assign(state=["a"] * 58 + ["b"] * 2), {}, "class 'b' of column 'state' has 2 samples"),
    ],
)
def test_targets_that_cannot_be_predicted_are_refused(change, options, message):
    table, metadata = cohort()
    with pytest.raises(InputError, match=message):
        make_target(change(metadata), "state", table.sample_ids, **options)


def test_folds_that_cannot_be_made():
    table, metadata = cohort(n_samples=60, n_groups=6)
    target = target_of(table, metadata, group_column="subject")
    with pytest.raises(InputError, match="one class is in 3 groups of column 'subject' only; ask for at most 3"):
        cross_validate([table], target, "l1", n_splits=5)
    with pytest.raises(InputError, match="rarest class has 30 samples"):
        cross_validate([table], target_of(table, metadata), "l1", n_splits=31)
    with pytest.raises(InputError, match="n_splits is 1"):
        cross_validate([table], target, "l1", n_splits=1)
    with pytest.raises(InputError, match="'tree'; give l1, forest, boosting"):
        cross_validate([table], target, "tree", n_splits=3)
    with pytest.raises(InputError, match="another order"):
        cross_validate([table.take(table.sample_ids[::-1])], target, "l1", n_splits=3)


def test_metadata_is_read_by_sample_and_duplicates_are_refused(tmp_path):
    (tmp_path / "m.tsv").write_text("name\tsample_id\tstate\nx\ts1\tNA\ny\ts2\t\n")
    frame = read_metadata(tmp_path / "m.tsv")
    assert list(frame.index) == ["s1", "s2"] and frame["state"].tolist() == ["NA", ""]
    (tmp_path / "m.csv").write_text("id,state\ns1,a\ns1,b\n")
    with pytest.raises(TableError, match="line 3, column id: 's1' stands on line 2 already; give each sample one row"):
        read_metadata(tmp_path / "m.csv")
    with pytest.raises(TableError, match="no such table"):
        read_metadata(tmp_path / "none.csv")


def test_none_is_a_class_and_missing_words_are_counted(tmp_path):
    values = ["None"] * 5 + ["CD"] * 5 + ["NA", "na", "Unknown", ""]
    rows = [f"s{i}\t{value}\t7" for i, value in enumerate(values)]
    (tmp_path / "m.tsv").write_text("\n".join(["#SampleID\tdisease\tweight, kg", *rows]) + "\n")
    metadata = read_metadata(tmp_path / "m.tsv")
    assert list(metadata.columns) == ["disease", "weight, kg"]
    target = make_target(metadata, "disease", [f"s{i}" for i in range(15)])
    assert target.sizes == {"CD": 5, "None": 5} and target.n_missing == 5
    assert target.describe_missing() == (
        "4 samples without a value ('NA' in 1, 'na' in 1, 'Unknown' in 1, empty in 1), 1 sample not in the metadata "
        "('s14')"
    )


def test_words_for_missing_values_can_be_added_and_kept(tmp_path):
    values = ["None"] * 6 + ["NA"] * 6 + ["missing: lost in transit"] * 2
    metadata = pd.DataFrame({"disease": values, "subject": "p"}, index=[f"s{i}" for i in range(14)])
    kept = make_target(metadata, "disease", metadata.index, missing=missing_words(except_for=["na"]))
    assert kept.sizes == {"NA": 6, "None": 6} and kept.missing_words == {"missing: lost in transit": 2}
    with pytest.raises(InputError, match=r"6 samples have a value .*'NA' in 6, 'missing: lost in transit' in 2"):
        make_target(metadata, "disease", metadata.index)
    with pytest.raises(InputError, match="0 samples have a value"):
        make_target(metadata, "disease", metadata.index, missing=missing_words(["None"]))
    with pytest.raises(InputError, match=r"'NA' marks a missing value in column 'disease'.*--not-missing 'NA'"):
        make_target(metadata, "disease", metadata.index, positive=["NA"])
    metadata.loc["s3", "subject"] = "n/a"
    with pytest.raises(InputError, match="sample 's3' has no value but 'n/a' in the group column 'subject'"):
        make_target(
            metadata, "disease", metadata.index, group_column="subject", missing=missing_words(except_for=["NA"])
        )
    with pytest.raises(InputError, match="an empty field is always a missing value"):
        missing_words(except_for=[""])


def test_known_score_of_a_real_cohort(shared_data):
    """One of six; `benchmarks/phenotypes.py` has them all."""
    name, known = "ibd", 0.878
    table = read_feature_table(shared_data / "cohorts" / f"{name}.species_abundance.tsv.gz")
    metadata = read_metadata(shared_data / "cohorts" / f"{name}.samples.tsv")
    target = make_target(metadata, "label", table.sample_ids)
    found = cross_validate([table.take(target.sample_ids)], target, "forest", n_repeats=1)
    assert found.scores["roc_auc"].mean == pytest.approx(known, abs=0.03)


@pytest.fixture
def folds_in_processes(monkeypatch):
    """Folds are fitted in other processes if more than one is allowed; returns those that were fitted in this one."""
    here = []

    def limits(n_threads):
        here.append(n_threads)
        return threadpool_limits(n_threads)

    monkeypatch.setattr("biomeformer.phenotypes.fold_fits.threadpool_limits", limits)
    monkeypatch.setattr("biomeformer.phenotypes.fold_fits.WORTH_PROCESSES", -1.0)
    return here


def test_a_study_does_not_depend_on_the_number_of_processes(tmp_path, monkeypatch, folds_in_processes):
    monkeypatch.setattr("biomeformer.phenotypes.evaluation.make_model", small_model)
    table, metadata = cohort(n_samples=40)
    target, written = target_of(table, metadata), {}
    for n_jobs in (1, 2, 4):
        study = run_study({"features": [table]}, target, n_splits=4, n_repeats=1, n_permutations=1, n_jobs=n_jobs)
        folder = tmp_path / str(n_jobs)
        folder.mkdir()
        study.write(folder)
        written[n_jobs] = {path.name: path.read_bytes() for path in folder.iterdir()}
    # All fits with one thread, and none of those for several processes here.
    assert folds_in_processes == [1] * (3 * 8)
    assert set(written[1]) >= {"study.json", "predictions.csv"}
    assert written[1] == written[2] == written[4]


def test_a_model_per_label_is_fitted_in_processes_too(folds_in_processes):
    table, metadata = cohort(n_samples=40)
    metadata["all"] = np.where(np.arange(40) % 3 == 0, metadata["state"] + ";late", metadata["state"])
    target = make_target(metadata, "all", table.sample_ids, task="multilabel")
    options = {"transform": "clr", "n_splits": 3, "n_repeats": 1}
    one, two = (cross_validate([table], target, "l1", n_jobs=n_jobs, **options) for n_jobs in (1, 2))
    assert len(folds_in_processes) == 3 and one.task == "multi_label"
    assert np.array_equal(one.probabilities, two.probabilities) and one.chosen == two.chosen != {}


def test_histograms_of_few_samples_change_no_prediction():
    """As with scikit-learn's 255 bins, each value has a bin of its own."""
    table, metadata = cohort(n_samples=40)
    labels = target_of(table, metadata).labels
    small = make_model("boosting", 2, None, 0, 1, 30)
    large = make_model("boosting", 2, None, 0, 1, 30).set_params(max_bins=255)
    assert small.max_bins == 30 and make_model("boosting", 2, None, 0, 1, 1000).max_bins == 255
    predicted = [model.fit(table.values[:30], labels[:30]).predict_proba(table.values[30:]) for model in (small, large)]
    assert np.array_equal(*predicted) and len(np.unique(predicted[0][:, 0])) > 3


def test_inner_folds_are_scored_as_pipelines_that_scale_for_each_penalty():
    table, metadata = cohort(n_samples=40)
    labels = target_of(table, metadata).labels
    train, test = np.arange(30), np.arange(30, 40)
    scores = _score(table.values, labels, train, test, RATIOS, 0)
    for ratio, (area, likelihood) in zip(RATIOS, scores, strict=True):
        predicted = _fit(table.values[train], labels[train], ratio, 0).predict_proba(table.values[test])
        assert area == pytest.approx(roc_auc_score(labels[test], predicted[:, 1]))
        assert likelihood == np.log(predicted[np.arange(10), labels[test]].clip(1e-15)).mean()
