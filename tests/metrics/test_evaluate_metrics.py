"""The scores as `evaluate` metrics: scikit-learn's values, by one definition that studies and reports share."""

from __future__ import annotations

import evaluate
import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    precision_recall_fscore_support,
    roc_auc_score,
)

from biomeformer.errors import InputError
from biomeformer.metrics import EVALUATE_MODULE, BrierScore, RocAuc, per_class, scorers
from biomeformer.metrics.probabilities import METRICS, score


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
    with pytest.raises(InputError, match="there is no score 'f2'; choose from roc_auc"):
        evaluate.load(EVALUATE_MODULE, "f2")


def test_a_score_has_one_definition(monkeypatch):
    """Whoever changes a scorer changes studies, recipes and metrics alike."""
    labels, probabilities = predictions(2)
    monkeypatch.setattr(scorers, "weighted_roc_auc", lambda true, false: np.full(len(true), 0.25))
    assert score(labels, probabilities)["roc_auc"] == METRICS["roc_auc"](labels, probabilities) == 0.25
    assert RocAuc().compute(references=labels, predictions=probabilities) == {"roc_auc": 0.25}
    assert per_class("binary", ["a", "b"], labels, probabilities, [0.5])["b"]["roc_auc"] == 0.25
