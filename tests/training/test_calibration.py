"""Temperature scaling on held-out folds, against scipy on torch's own loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from biomeformer.training.calibration import BOUNDS, calibrate, fit_temperature, scale


def overconfident(factor, n=600, seed=0):
    """Labels drawn from logits, and the probabilities of logits that are `factor` times as large."""
    rng = np.random.default_rng(seed)
    logits = torch.tensor(rng.normal(0, 1.5, (n, 3)))
    labels = np.array([rng.choice(3, p=row) for row in logits.softmax(1).numpy()])
    return (logits * factor).softmax(1).numpy(), labels


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_factor_of_overconfidence_is_recovered(factor):
    probabilities, labels = overconfident(factor, 4000)
    temperature = fit_temperature(probabilities, labels)
    assert temperature == pytest.approx(factor, rel=0.1)
    grid = np.linspace(factor * 0.5, factor * 2, 400)
    targets = torch.tensor(labels)
    losses = [
        torch.nn.functional.nll_loss(torch.tensor(np.log(probabilities) / t).log_softmax(1), targets) for t in grid
    ]
    assert temperature == pytest.approx(grid[int(np.argmin(losses))], rel=0.02)


def test_scaled_probabilities_are_those_of_divided_logits():
    probabilities, _ = overconfident(2.0, 20)
    expected = torch.tensor(np.log(probabilities) / 2.5).softmax(1)
    np.testing.assert_allclose(scale(probabilities, 2.5), expected, atol=1e-12)
    assert np.isfinite(scale(np.array([[1.0, 0.0]]), 0.25)).all()


def test_log_loss_falls_on_folds_that_did_not_fit_the_temperature():
    folds = [overconfident(3.0, 200, seed) for seed in range(4)]
    calibration = calibrate(folds)
    assert calibration["temperature"] == pytest.approx(3, rel=0.2)
    assert calibration["log_loss_calibrated"] < calibration["log_loss"] - 0.1
    # What each fold would gain from its own temperature is more than it is credited with.
    own = np.mean([-np.log(scale(p, fit_temperature(p, y))[np.arange(len(y)), y]).mean() for p, y in folds])
    assert own < calibration["log_loss_calibrated"]


def test_without_a_gain_on_held_out_folds_probabilities_stay():
    sharp = (np.array([[0.9, 0.1]] * 10), np.zeros(10, int))
    wrong = (np.array([[0.9, 0.1]] * 10), np.ones(10, int))
    calibration = calibrate([sharp, wrong])
    assert calibration["temperature"] == 1 and calibration["log_loss_calibrated"] >= calibration["log_loss"]
    assert calibrate([sharp])["temperature"] == 1


def test_predictions_that_are_all_right_do_not_become_certain():
    right = (np.array([[0.9, 0.1]] * 10), np.zeros(10, int))
    assert calibrate([right, right])["temperature"] == pytest.approx(BOUNDS[0], rel=1e-2)
