"""Scores that equal scikit-learn's, thresholds that equal a search, and intervals that mean something."""

from __future__ import annotations

import json
import time
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from biomeformer.errors import InputError, TableError
from biomeformer.io.records import DamagedFileError
from biomeformer.metrics.curves import best_f1_threshold, ranked_counts
from biomeformer.metrics.probabilities import brier, calibration_error
from biomeformer.metrics.tasks import (
    MAX_BOOTSTRAP_WORK,
    MIN_BOOTSTRAPS,
    bootstraps_within_budget,
    choose_thresholds,
    per_class,
    score_predictions,
)
from biomeformer.sequences.evaluation import SequenceEvaluation
from biomeformer.sequences.prediction_table import prediction_table, read_predictions, split_arrays, write_predictions

NAMES = {
    "binary": ["other", "enhancer"],
    "multi_class": [*"abcde"],
    "multi_label": ["x", "y", "z"],
    "regression": ["activity"],
}


def predictions(task, n=300, seed=0, digits=6, effect=1.0):
    """Truth and predictions that know something of it; few digits make ties."""
    rng = np.random.default_rng(seed)
    n_labels = len(NAMES[task])
    if task == "regression":
        truth = np.round(rng.normal(size=n), 2)
        return truth, effect * truth + rng.normal(size=n)
    if task == "multi_label":
        truth = rng.integers(0, 2, (n, n_labels))
        return truth, np.round(1 / (1 + np.exp(-rng.normal(size=truth.shape) - effect * (truth - 0.5))), digits)
    truth = rng.integers(0, n_labels, n)
    scores = rng.normal(size=(n, n_labels))
    scores[np.arange(n), truth] += effect
    found = np.round(np.exp(scores) / np.exp(scores).sum(1, keepdims=True), digits)
    return truth, np.stack([1 - found[:, 1], found[:, 1]], 1) if task == "binary" else found


def values(task, truth, predicted, thresholds=None):
    thresholds = choose_thresholds(task, truth, predicted) if thresholds is None else thresholds
    found = score_predictions(task, NAMES[task], truth, predicted, thresholds, n_bootstraps=2)
    return {name: score["value"] for name, score in found.items()}


def brute_force(truth, probability):
    """Best F1 over all cuts of the sorted distinct values, of equal ones the cut nearest 0.5, then the highest."""
    distinct = [*np.unique(probability)[::-1], 0.0]
    cuts = [(a + b) / 2 for a, b in pairwise(distinct)]
    scored = [(metrics.f1_score(truth, probability >= cut), -abs(cut - 0.5), cut) for cut in cuts]
    return max(scored)


@pytest.mark.parametrize("digits", [1, 2, 6])
def test_thresholds_are_those_of_a_search(digits):
    for seed in range(5):
        truth, predicted = predictions("binary", 40, seed, digits)
        f1, _, cut = brute_force(truth == 1, predicted[:, 1])
        found, its_f1 = best_f1_threshold(truth == 1, predicted[:, 1])
        assert (found, its_f1) == (pytest.approx(cut), pytest.approx(f1))
        assert metrics.f1_score(truth, predicted[:, 1] >= found) == pytest.approx(its_f1)


def test_thresholds_at_the_edges():
    assert best_f1_threshold(np.array([True, True]), np.array([0.4, 0.8])) == (0.2, 1.0)
    assert best_f1_threshold(np.array([False, True]), np.array([0.2, 0.8])) == (0.5, 1.0)
    threshold, f1 = best_f1_threshold(np.array([False, False]), np.array([0.1, 0.9]))
    assert threshold == 0.5 and np.isnan(f1)
    # F1 is 2/3 with the first alone and with all.
    truth = np.array([True, False, False, True])
    assert best_f1_threshold(truth, np.array([0.9, 0.7, 0.6, 0.1])) == (pytest.approx(0.8), pytest.approx(2 / 3))
    assert best_f1_threshold(truth, np.array([0.99, 0.97, 0.96, 0.8])) == (pytest.approx(0.4), pytest.approx(2 / 3))
    close = np.array([0.5, np.nextafter(0.5, 1)])
    threshold, f1 = best_f1_threshold(np.array([False, True]), close)
    assert f1 == 1 and ((close >= threshold) == [False, True]).all()


def test_thresholds_of_many_sequences_are_quick():
    truth, predicted = predictions("binary", 1_000_000)
    start = time.process_time()
    best_f1_threshold(truth == 1, predicted[:, 1])
    assert time.process_time() - start < 5


def test_counts_fall_with_the_threshold():
    distinct, true, false = ranked_counts(np.array([1, 0, 1, 1], bool), np.array([0.3, 0.3, 0.9, 0.1]))
    assert distinct.tolist() == [0.9, 0.3, 0.1] and true.tolist() == [1, 2, 3] and false.tolist() == [0, 1, 1]


@pytest.mark.parametrize("digits", [1, 6])
def test_binary_scores_are_those_of_scikit_learn(digits):
    truth, predicted = predictions("binary", digits=digits)
    threshold = 0.37
    labels, second = predicted[:, 1] >= threshold, predicted[:, 1]
    assert values("binary", truth, predicted, [threshold]) == pytest.approx(
        {
            "roc_auc": metrics.roc_auc_score(truth, second),
            "pr_auc": metrics.average_precision_score(truth, second),
            "f1": metrics.f1_score(truth, labels),
            "precision": metrics.precision_score(truth, labels),
            "recall": metrics.recall_score(truth, labels),
            "accuracy": metrics.accuracy_score(truth, labels),
            "balanced_accuracy": metrics.balanced_accuracy_score(truth, labels),
            "mcc": metrics.matthews_corrcoef(truth, labels),
            "brier": brier(truth, predicted),
            "calibration_error": calibration_error(truth, predicted),
        }
    )


@pytest.mark.parametrize("digits", [1, 6])
def test_multi_class_scores_are_those_of_scikit_learn(digits):
    truth, predicted = predictions("multi_class", digits=digits)
    labels = predicted.argmax(1)
    one_hot = np.eye(5)[truth]
    assert values("multi_class", truth, predicted) == pytest.approx(
        {
            "roc_auc": metrics.roc_auc_score(one_hot, predicted, average="macro"),
            "pr_auc": metrics.average_precision_score(one_hot, predicted, average="macro"),
            "accuracy": metrics.accuracy_score(truth, labels),
            "balanced_accuracy": metrics.balanced_accuracy_score(truth, labels),
            "f1": metrics.f1_score(truth, labels, average="macro"),
            "mcc": metrics.matthews_corrcoef(truth, labels),
            "brier": brier(truth, predicted),
            "calibration_error": calibration_error(truth, predicted),
        }
    )


def test_multi_label_scores_are_those_of_scikit_learn():
    truth, predicted = predictions("multi_label", digits=2)
    thresholds = [0.3, 0.5, 0.7]
    labels = predicted >= thresholds
    scores = {
        name: function(truth, labels, average="macro")
        for name, function in (
            ("f1", metrics.f1_score),
            ("precision", metrics.precision_score),
            ("recall", metrics.recall_score),
        )
    }
    assert values("multi_label", truth, predicted, thresholds) == pytest.approx(
        scores
        | {
            "roc_auc": metrics.roc_auc_score(truth, predicted),
            "pr_auc": metrics.average_precision_score(truth, predicted),
            "micro_f1": metrics.f1_score(truth, labels, average="micro"),
            "subset_accuracy": metrics.accuracy_score(truth, labels),
            "brier": ((truth - predicted) ** 2).mean(),
        }
    )


def test_regression_scores_are_those_of_scipy_and_scikit_learn():
    truth, predicted = predictions("regression")
    predicted = np.round(predicted, 1)
    assert values("regression", truth, predicted) == pytest.approx(
        {
            "pearson": stats.pearsonr(truth, predicted).statistic,
            "spearman": stats.spearmanr(truth, predicted).statistic,
            "rmse": metrics.root_mean_squared_error(truth, predicted),
            "mae": metrics.mean_absolute_error(truth, predicted),
            "r2": metrics.r2_score(truth, predicted),
        }
    )


@pytest.mark.parametrize("task", ["binary", "multi_class"])
def test_scores_of_each_class_are_those_of_scikit_learn(task):
    truth, predicted = predictions(task)
    thresholds = [0.4] if task == "binary" else []
    labels = (predicted[:, 1] >= 0.4).astype(int) if task == "binary" else predicted.argmax(1)
    found = per_class(task, NAMES[task], truth, predicted, thresholds)
    precision, recall, f1, n = metrics.precision_recall_fscore_support(truth, labels)
    for i, name in enumerate(NAMES[task]):
        assert found[name] == pytest.approx(
            {
                "n": n[i],
                "precision": precision[i],
                "recall": recall[i],
                "f1": f1[i],
                "roc_auc": metrics.roc_auc_score(truth == i, predicted[:, i]),
                "pr_auc": metrics.average_precision_score(truth == i, predicted[:, i]),
            }
        )


def test_scores_of_each_label():
    truth, predicted = predictions("multi_label")
    found = per_class("multi_label", NAMES["multi_label"], truth, predicted, [0.3, 0.5, 0.7])
    assert [one["threshold"] for one in found.values()] == [0.3, 0.5, 0.7]
    assert found["z"]["f1"] == pytest.approx(metrics.f1_score(truth[:, 2], predicted[:, 2] >= 0.7))
    assert found["y"]["n"] == truth[:, 1].sum()
    assert per_class("regression", ["y"], np.zeros(3), np.zeros(3), []) == {}


@pytest.mark.parametrize("task", NAMES)
def test_intervals_hold_the_value_and_shrink(task):
    widths = []
    for n in (100, 1600):
        truth, predicted = predictions(task, n)
        found = score_predictions(
            task, NAMES[task], truth, predicted, choose_thresholds(task, truth, predicted), n_bootstraps=300
        )
        assert all(score["low"] <= score["value"] <= score["high"] for score in found.values())
        widths.append({name: score["high"] - score["low"] for name, score in found.items()})
    for name in widths[0]:
        # Four times narrower, but for chance.
        assert 2 < widths[0][name] / widths[1][name] < 8, name


def test_intervals_are_those_of_a_plain_bootstrap():
    truth, predicted = predictions("binary", 400)
    found = score_predictions("binary", NAMES["binary"], truth, predicted, [0.4], n_bootstraps=1000)
    rng = np.random.default_rng(1)
    members = [np.flatnonzero(truth == label) for label in (0, 1)]
    areas = []
    for _ in range(500):
        rows = np.concatenate([rng.choice(one, len(one)) for one in members])
        areas.append(metrics.roc_auc_score(truth[rows], predicted[rows, 1]))
    low, high = np.quantile(areas, [0.025, 0.975])
    assert found["roc_auc"]["low"] == pytest.approx(low, abs=0.006)
    assert found["roc_auc"]["high"] == pytest.approx(high, abs=0.006)


def test_equal_seeds_give_equal_intervals():
    truth, predicted = predictions("multi_class")
    first, again, other = (
        score_predictions("multi_class", NAMES["multi_class"], truth, predicted, [], seed=seed, n_bootstraps=50)
        for seed in (1, 1, 2)
    )
    assert first == again and first != other


def test_order_of_sequences_does_not_matter():
    truth, predicted = predictions("binary", digits=2)
    rows = np.random.default_rng(0).permutation(len(truth))
    assert values("binary", truth, predicted, [0.4]) == pytest.approx(
        values("binary", truth[rows], predicted[rows], [0.4])
    )


def test_what_is_undefined_is_nan():
    one_class = values("binary", np.zeros(5, int), np.full((5, 2), 0.5), [0.5])
    assert {name for name, value in one_class.items() if np.isnan(value)} == {
        "roc_auc",
        "pr_auc",
        "f1",
        "precision",
        "recall",
        "mcc",
    }
    positives = values("binary", np.ones(5, int), np.full((5, 2), 0.5), [0.5])
    assert {name for name, value in positives.items() if np.isnan(value)} == {"roc_auc", "pr_auc", "mcc"}
    unpredicted = values("binary", np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]]), [0.5])
    assert unpredicted["mcc"] == unpredicted["precision"] == unpredicted["f1"] == 0
    constant = values("regression", np.ones(4), np.full(4, 0.1))
    assert {name for name, value in constant.items() if np.isnan(value)} == {"pearson", "spearman", "r2"}
    alone = values("regression", np.ones(1), np.zeros(1))
    assert alone["rmse"] == 1 and np.isnan(alone["pearson"])
    nothing = values("multi_label", np.zeros((4, 3), int), np.full((4, 3), 0.2))
    assert np.isnan(nothing["roc_auc"]) and np.isnan(nothing["f1"]) and nothing["subset_accuracy"] == 1


def test_absent_classes_are_left_out_of_means():
    truth, predicted = predictions("multi_class")
    kept = truth < 3
    found = values("multi_class", truth[kept], predicted[kept])
    areas = [metrics.roc_auc_score(truth[kept] == i, predicted[kept, i]) for i in range(3)]
    assert found["roc_auc"] == pytest.approx(np.mean(areas))
    assert np.isnan(per_class("multi_class", [*"abcde"], truth[kept], predicted[kept], [])["e"]["recall"])


def test_draws_are_fewer_where_they_would_take_long():
    assert bootstraps_within_budget("binary", 350_742, 2, 1000) == 1000
    assert bootstraps_within_budget("multi_class", 350_742, 5, 1000) == MAX_BOOTSTRAP_WORK // (5 * 350_742) < 1000
    assert bootstraps_within_budget("multi_label", 10_000_000, 100, 1000) == MIN_BOOTSTRAPS
    assert bootstraps_within_budget("regression", 100, 1, 50) == 50


def test_many_sequences_take_little_time():
    truth, predicted = predictions("binary", 350_742)
    start = time.process_time()
    score_predictions("binary", NAMES["binary"], truth, predicted, [0.4], n_bootstraps=50)
    assert time.process_time() - start < 6


def table(task, n_validation=200, n_test=300):
    validation, test = predictions(task, n_validation, 1), predictions(task, n_test, 2)
    splits = ["validation"] * n_validation + ["test"] * n_test
    truth, predicted = (np.concatenate([a, b]) for a, b in zip(validation, test, strict=True))
    return prediction_table(task, NAMES[task], [f"s{i}" for i in range(len(splits))], splits, truth, predicted)


@pytest.mark.parametrize("task", NAMES)
def test_an_evaluation_and_its_predictions_are_saved_and_loaded(task, tmp_path):
    frame = table(task)
    write_predictions(frame, tmp_path / "new")
    again = read_predictions(tmp_path / "new")
    assert again.equals(frame)
    for split, n in (("validation", 200), ("test", 300)):
        truth, predicted = split_arrays(again, task, NAMES[task], split)
        expected = predictions(task, n, 1 if split == "validation" else 2)
        np.testing.assert_array_equal(truth, expected[0])
        np.testing.assert_array_equal(predicted, expected[1])
    settings = {"epochs": 3, "learning rate": 3e-5, "frozen": None}
    found = SequenceEvaluation.from_predictions(
        again, task, NAMES[task], model="m", base_model="b", settings=settings, n_bootstraps=20
    )
    assert found.n_sequences == {"validation": 200, "test": 300}
    assert found.n_bootstraps == {"validation": 20, "test": 20}
    found.save(tmp_path / "new")
    assert SequenceEvaluation.load(tmp_path / "new") == found
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"evaluation.json", "predictions.parquet"}


def test_undefined_scores_are_saved_as_null(tmp_path):
    ids, splits = ["a", "b"], ["validation", "test"]
    frame = prediction_table("binary", NAMES["binary"], ids, splits, np.array([1, 1]), np.full((2, 2), 0.5))
    found = SequenceEvaluation.from_predictions(frame, "binary", NAMES["binary"], n_bootstraps=5)
    text = found.save(tmp_path).read_text()
    assert "NaN" not in text and json.loads(text)["scores"]["roc_auc"]["value"] is None
    assert np.isnan(SequenceEvaluation.load(tmp_path).scores["roc_auc"]["value"])


def test_the_threshold_of_validation_is_used_on_test():
    # Validation is parted at 0.5, test at 0.85.
    validation, test = [0.1, 0.2, 0.8, 0.9], [0.6, 0.7, 0.8, 0.9]
    truth = np.array([0, 0, 1, 1, 0, 0, 0, 1])
    second = np.array(validation + test)
    splits = ["validation"] * 4 + ["test"] * 4
    predicted = np.stack([1 - second, second], 1)
    frame = prediction_table("binary", NAMES["binary"], [*"abcdefgh"], splits, truth, predicted)
    found = SequenceEvaluation.from_predictions(frame, "binary", NAMES["binary"], n_bootstraps=5)
    assert best_f1_threshold(truth[4:] == 1, second[4:]) == (pytest.approx(0.85), 1.0)
    assert found.thresholds == (0.5,)
    assert found.validation_scores["f1"]["value"] == 1 and found.scores["f1"]["value"] == pytest.approx(0.4)
    assert found.scores["recall"]["value"] == 1 and found.per_class["other"]["recall"] == 0
    assert found.scores["roc_auc"]["value"] == 1
    assert found.n_by_class == {"validation": {"other": 2, "enhancer": 2}, "test": {"other": 3, "enhancer": 1}}


def test_folders_without_results(tmp_path):
    for load in (SequenceEvaluation.load, read_predictions):
        with pytest.raises(TableError, match="no such file; give the folder"):
            load(tmp_path)
    (tmp_path / "evaluation.json").write_text("{")
    (tmp_path / "predictions.parquet").write_text("{")
    with pytest.raises(DamagedFileError, match=r"evaluation.json is not JSON"):
        SequenceEvaluation.load(tmp_path)
    with pytest.raises(DamagedFileError, match="cannot be read as Parquet"):
        read_predictions(tmp_path)
    (tmp_path / "evaluation.json").write_text("[]")
    with pytest.raises(DamagedFileError, match=r"evaluation.json is not a JSON object"):
        SequenceEvaluation.load(tmp_path)
    for record in ('{"format_version": 2}', '{"format_version": 1, "task": "binary"}'):
        (tmp_path / "evaluation.json").write_text(record)
        with pytest.raises(TableError, match="is no evaluation of format 1"):
            SequenceEvaluation.load(tmp_path)


GOOD = (np.array([0, 1]), np.array([[0.4, 0.6], [0.3, 0.7]]))


@pytest.mark.parametrize(
    ("task", "names", "truth", "predicted", "thresholds", "words"),
    [
        ("ranking", ["a", "b"], *GOOD, [0.5], "no task 'ranking'"),
        ("binary", ["a", "a"], *GOOD, [0.5], "one name"),
        ("binary", ["a"], *GOOD, [0.5], "cannot have 1 label names"),
        ("multi_class", ["a", "b", "c"], *GOOD, [], r"are \(2, 2\)"),
        ("binary", ["a", "b"], GOOD[0], np.array([[0.4, np.nan], [0.3, 0.7]]), [0.5], "no finite number"),
        ("binary", ["a", "b"], GOOD[0], 3 * GOOD[1], [0.5], "rather than logits"),
        ("binary", ["a", "b"], np.array([0, 2]), GOOD[1], [0.5], "is 0 to 1"),
        ("binary", ["a", "b"], *GOOD, [], "0 thresholds"),
        ("binary", ["a", "b"], np.empty(0, int), np.empty((0, 2)), [0.5], "no predictions to score"),
        ("regression", ["y"], np.array([np.nan]), np.zeros(1), [], "true value"),
    ],
)
def test_scoring_refuses_bad_input(task, names, truth, predicted, thresholds, words):
    with pytest.raises(InputError, match=words):
        score_predictions(task, names, truth, predicted, thresholds)


def test_prediction_tables_of_other_classes_are_refused():
    frame = table("binary")
    with pytest.raises(TableError, match="no column 'probability z'"):
        split_arrays(frame, "binary", ["other", "z"], "test")
    with pytest.raises(TableError, match="class 'enhancer', which is none of other, z"):
        split_arrays(frame.rename(columns={"probability enhancer": "probability z"}), "binary", ["other", "z"], "test")
    with pytest.raises(InputError, match="no predictions to score"):
        SequenceEvaluation.from_predictions(frame[frame["split"] == "test"], "binary", NAMES["binary"])
    with pytest.raises(InputError, match="a split is named 'train'"):
        prediction_table("binary", NAMES["binary"], ["a", "b"], ["train", "test"], *GOOD)
    with pytest.raises(InputError, match="1 ids, 2 splits"):
        prediction_table("binary", NAMES["binary"], ["a"], ["test", "test"], *GOOD)
