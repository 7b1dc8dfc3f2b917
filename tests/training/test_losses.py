"""Class weights and the validation loss against scikit-learn and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from biomeformer.training.losses import class_weights, negative_log_likelihood


@pytest.mark.parametrize("n_classes", [2, 7])
def test_class_weights_are_those_of_scikit_learn(n_classes):
    labels = np.random.default_rng(n_classes).geometric(0.4, 5000).clip(1, n_classes) - 1
    expected = compute_class_weight("balanced", classes=np.arange(n_classes), y=labels)
    assert class_weights(labels, n_classes) == pytest.approx(expected)


def test_a_class_that_does_not_occur_has_a_finite_weight():
    assert class_weights(np.array([0, 0, 2, 2]), 3).tolist() == pytest.approx([4 / 6, 4 / 3, 4 / 6])


def test_negative_log_likelihood_is_that_of_torch():
    rng = np.random.default_rng(3)
    logits, labels = rng.normal(0, 4, (2000, 5)), rng.integers(0, 5, 2000)
    expected = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))
    probabilities = torch.from_numpy(logits).softmax(1).numpy()
    assert negative_log_likelihood(probabilities, labels) == pytest.approx(float(expected), rel=1e-6)
    assert negative_log_likelihood(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-np.log(1e-12))
