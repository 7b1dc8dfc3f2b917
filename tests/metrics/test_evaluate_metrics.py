"""The scores as `evaluate` metrics: scikit-learn's values, by one definition that studies and reports share."""

from __future__ import annotations

import evaluate
import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    mean_absolute_error,
    precision_recall_fscore_support,
    precision_score,
    r2_score,
    recall_score,
    roc_auc_score,
    root_mean_squared_error,
)

from biomeformer import metrics
from biomeformer.errors import InputError
from biomeformer.metrics import EVALUATE_MODULE, R2, BrierScore, MultiLabelRocAuc, RocAuc, per_class, scorers
from biomeformer.metrics.evaluate_metrics import KINDS, Score
from biomeformer.metrics.probabilities import METRICS, score
from biomeformer.metrics.targets import score_target


def predictions(n_classes, n=60, seed=0):
    """Class numbers, and probabilities that tell something of them and have ties."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, n)
    logits = rng.normal(size=(n, n_classes)).round(1)
    logits[np.arange(n), labels] += 1
    exponentials = np.exp(logits)
    return labels, exponentials / exponentials.sum(1, keepdims=True)


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_scores_are_those_of_scikit_learn(n_classes):
    labels, probabilities = predictions(n_classes)
    found = score(labels, probabilities)
    if n_classes == 2:
        second = probabilities[:, 1]
        areas = roc_auc_score(labels, second), average_precision_score(labels, second)
        brier = brier_score_loss(labels, second)
    else:
        each = [(labels == label, probabilities[:, label]) for label in range(n_classes)]
        areas = tuple(np.mean([area(*one) for one in each]) for area in (roc_auc_score, average_precision_score))
        brier = brier_score_loss(labels, probabilities, scale_by_half=False)
    expected = [*areas, balanced_accuracy_score(labels, probabilities.argmax(1)), brier]
    assert [found[name] for name in list(METRICS)[:4]] == pytest.approx(expected, abs=1e-12)
    rows = per_class("multi_class", list("abcde"[:n_classes]), labels, probabilities, []) if n_classes > 2 else {}
    for i, row in enumerate(rows.values()):
        precision, recall, f1, _ = precision_recall_fscore_support(
            labels == i, probabilities.argmax(1) == i, average="binary", zero_division=0
        )
        found = [row[name] for name in ("precision", "recall", "f1", "roc_auc")]
        assert found == pytest.approx([precision, recall, f1, roc_auc_score(labels == i, probabilities[:, i])])


def test_metrics_are_loaded_from_the_installed_package_and_combined(monkeypatch):
    monkeypatch.setattr("evaluate.config.HF_EVALUATE_OFFLINE", True)
    labels, probabilities = predictions(3)
    given = {"references": labels, "predictions": probabilities}
    expected = {name: pytest.approx(value) for name, value in score(labels, probabilities).items()}
    assert evaluate.load(EVALUATE_MODULE).compute(**given) == expected
    both = evaluate.combine([RocAuc(), BrierScore(), evaluate.load(EVALUATE_MODULE, "pr_auc")])
    assert both.compute(**given) == {name: expected[name] for name in ("roc_auc", "brier", "pr_auc")}
    with pytest.raises(InputError, match="there is no score 'f2'; choose from default, roc_auc"):
        evaluate.load(EVALUATE_MODULE, "f2")


def test_a_score_has_one_definition(monkeypatch):
    """Whoever changes a scorer changes studies, recipes and metrics alike."""
    labels, probabilities = predictions(2)
    monkeypatch.setattr(scorers, "weighted_roc_auc", lambda true, false: np.full(len(true), 0.25))
    assert score(labels, probabilities)["roc_auc"] == METRICS["roc_auc"](labels, probabilities) == 0.25
    assert RocAuc().compute(references=labels, predictions=probabilities) == {"roc_auc": 0.25}
    assert per_class("binary", ["a", "b"], labels, probabilities, [0.5])["b"]["roc_auc"] == 0.25


def regression():
    rng = np.random.default_rng(1)
    truth = rng.normal(27, 4, 200).round(1)
    predicted = truth + rng.normal(0, 3, 200)
    expected = {
        "r2": r2_score(truth, predicted),
        "mae": mean_absolute_error(truth, predicted),
        "rmse": root_mean_squared_error(truth, predicted),
        "spearman": stats.spearmanr(truth, predicted).statistic,
        "pearson": stats.pearsonr(truth, predicted).statistic,
    }
    return truth, predicted, expected


def multi_label():
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 2, (200, 4))
    predicted = np.clip(0.3 * truth + 0.7 * rng.random((200, 4)), 0, 1).round(2)
    chosen = predicted > 0.5
    expected = {
        "roc_auc": roc_auc_score(truth, predicted, average="macro"),
        "pr_auc": average_precision_score(truth, predicted, average="macro"),
        "f1": f1_score(truth, chosen, average="macro"),
        "precision": precision_score(truth, chosen, average="macro"),
        "recall": recall_score(truth, chosen, average="macro"),
        "micro_f1": f1_score(truth, chosen, average="micro"),
        "subset_accuracy": accuracy_score(truth, chosen),
        "brier": ((predicted - truth) ** 2).mean(),
    }
    return truth, predicted, expected


@pytest.mark.parametrize(("kind", "make"), [("regression", regression), ("multi_label", multi_label)])
def test_scores_of_numbers_and_labels_are_those_of_scikit_learn_and_scipy(monkeypatch, kind, make):
    monkeypatch.setattr("evaluate.config.HF_EVALUATE_OFFLINE", True)
    truth, predicted, expected = make()
    given = {"references": truth, "predictions": predicted}
    assert evaluate.load(EVALUATE_MODULE, kind).compute(**given) == pytest.approx(expected, abs=1e-12)
    # One by one from the installed package, combined.
    combined = evaluate.combine([evaluate.load(EVALUATE_MODULE, name) for name in KINDS[kind].names])
    assert combined.compute(**given) == pytest.approx(expected, abs=1e-12)
    columns = predicted[:, None] if kind == "regression" else predicted
    in_studies = score_target(kind, truth, columns)
    assert in_studies == pytest.approx({name: expected[name] for name in in_studies}, abs=1e-12)


def test_the_classes_of_a_task_combine():
    classes = [value for value in vars(metrics.evaluate_metrics).values() if isinstance(value, type)]
    named = [cls for cls in classes if issubclass(cls, Score) and cls is not Score]
    labels, probabilities = predictions(3)
    samples = {"default": (labels, probabilities), "regression": regression()[:2], "multi_label": multi_label()[:2]}
    n_combined = 0
    for kind, (truth, predicted) in samples.items():
        of_kind = [cls() for cls in named if cls.function_name in KINDS[kind].names]
        found = evaluate.combine(of_kind).compute(references=truth, predictions=predicted)
        assert found == {
            name: value
            for metric in of_kind
            for name, value in metric.compute(references=truth, predictions=predicted).items()
        }
        assert len(found) == len(of_kind) > 4
        n_combined += len(of_kind)
    assert n_combined == len(named)


def test_scores_of_numbers_and_labels_have_one_definition(monkeypatch):
    truth, predicted, _ = regression()
    monkeypatch.setattr(scorers, "weighted_roc_auc", lambda true, false: np.full(len(true), 0.25))
    monkeypatch.setattr(scorers, "_regression_scorer", lambda truth, predicted: lambda weights: {"r2": np.array([0.5])})
    assert R2().compute(references=truth, predictions=predicted) == {"r2": 0.5}
    truth, predicted, _ = multi_label()
    assert MultiLabelRocAuc().compute(references=truth, predictions=predicted) == {"roc_auc": 0.25}
    assert score_target("multi_label", truth, predicted)["roc_auc"] == 0.25
