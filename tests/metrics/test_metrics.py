"""The bootstrap, curves and scores, beside SciPy and scikit-learn."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from biomeformer.errors import InputError
from biomeformer.metrics import bootstrap, calibration_curve, curve_with_band, resample, score, threshold_curve
from biomeformer.metrics.curves import GRID, MAX_POINTS, ranked_counts
from biomeformer.metrics.resampling import BootstrapInterval
from biomeformer.metrics.scorers import make_scorer


def binary(n=2000, seed=0, digits=3, share=0.3):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < share
    second = np.round(1 / (1 + np.exp(-rng.normal(size=n) - 1.2 * (truth - 0.5))), digits)
    return truth, second


def mean_scorer(values):
    return lambda weights: {"mean": weights @ values / weights.sum(1)}


def test_intervals_are_those_of_scipys_bootstrap():
    rng = np.random.default_rng(1)
    values = rng.exponential(size=120)
    found = bootstrap(mean_scorer(values), 120, n_draws=20_000)["mean"]
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.03 * width)
    again = bootstrap(mean_scorer(values), 120, n_draws=20_000)["mean"]
    other = bootstrap(mean_scorer(values), 120, n_draws=20_000, seed=1)["mean"]
    assert again == found and other != found


def test_subjects_with_many_samples_widen_the_interval():
    """Ten equal samples of each of 30 subjects are 30 values, as SciPy says."""
    rng = np.random.default_rng(0)
    of_subject = rng.normal(size=30)
    groups = np.repeat([f"p{i}" for i in range(30)], 10)
    order = rng.permutation(300)
    values = np.repeat(of_subject, 10)[order]
    grouped = bootstrap(mean_scorer(values), 300, n_draws=5000, groups=groups[order])["mean"]
    alone = bootstrap(mean_scorer(values), 300, n_draws=5000)["mean"]
    theirs = stats.bootstrap((of_subject,), np.mean, n_resamples=5000, method="percentile", rng=rng).confidence_interval
    assert grouped.high - grouped.low == pytest.approx(theirs.high - theirs.low, rel=0.06)
    assert grouped.high - grouped.low > 2.5 * (alone.high - alone.low)


def test_resamples_keep_strata_and_groups():
    rng = np.random.default_rng(0)
    strata = np.array([0, 1, 1, 0, 2, 2, 2, 0, 1, 1])
    groups = np.array([*"abcadedfgc"])
    for given in ({"strata": strata}, {"strata": strata, "groups": groups}, {"strata": np.sort(strata)}, {}):
        weights = resample(rng, 10, 400, **given)
        assert weights.shape == (400, 10) and weights.min() >= 0 and (weights == weights.round()).all()
        assert weights.std() > 0.5
        assert weights.mean(0) == pytest.approx(np.ones(10), abs=0.25)
        if "groups" in given:
            assert all((weights[:, groups == one].std(1) == 0).all() for one in "abcd")
        for one in np.unique(given.get("strata", np.zeros(10))) if "groups" not in given else ():
            members = given.get("strata", np.zeros(10)) == one
            assert (weights[:, members].sum(1) == members.sum()).all()
    with pytest.raises(InputError, match="a group has samples of two strata"):
        resample(rng, 10, 1, strata=strata, groups=np.array([*"aabacccabb"]))


def test_degenerate_resamples_are_left_out_and_counted():
    """Of three positives, a resample without strata often has none."""
    truth, second = np.arange(40) < 2, np.linspace(1, 0, 40) ** 2
    both = np.stack([1 - second, second], 1)
    found = bootstrap(make_scorer("binary", truth.astype(int), both, [0.5]), 40, n_draws=2000)["roc_auc"]
    # (38/40)^40
    assert found.n_undefined / 2000 == pytest.approx(0.1285, abs=0.02) and 0 < found.low <= found.value <= found.high
    stratified = bootstrap(make_scorer("binary", truth.astype(int), both, [0.5]), 40, strata=truth)["roc_auc"]
    assert stratified.n_undefined == 0
    nothing = BootstrapInterval.of_draws(0.5, np.full(3, np.nan))
    assert np.isnan(nothing.low) and nothing.n_undefined == 3
    assert BootstrapInterval.of_draws(0.0, np.array([0.1, 0.2, np.nan])) == BootstrapInterval(
        0.0, 0.0, pytest.approx(0.1975), 1
    )


@pytest.mark.parametrize("task", ["binary", "multi_class", "multi_label", "regression"])
def test_weights_mean_copies_of_samples(task):
    """However many: a group bootstrap draws another number of samples."""
    rng = np.random.default_rng(3)
    n = 200
    weights = rng.integers(0, 4, n)
    if task == "regression":
        truth, predicted = rng.normal(size=n).round(1), rng.normal(size=n).round(1)
    elif task == "multi_label":
        truth, predicted = rng.integers(0, 2, (n, 3)), rng.random((n, 3)).round(2)
    else:
        k = 2 if task == "binary" else 4
        truth, predicted = rng.integers(0, k, n), rng.dirichlet(np.ones(k), n)
    thresholds = {"binary": [0.4], "multi_label": [0.3, 0.5, 0.6]}.get(task, [])
    weighted = make_scorer(task, truth, predicted, thresholds)(weights[None].astype(float))
    copies = np.repeat(np.arange(n), weights)
    assert len(copies) != n
    copied = make_scorer(task, truth[copies], predicted[copies], thresholds)(np.ones((1, len(copies))))
    for name, value in copied.items():
        assert weighted[name][0] == pytest.approx(value[0], abs=1e-12), name


@pytest.mark.parametrize("n_classes", [2, 5])
def test_scores_of_probabilities_are_those_of_scikit_learn(n_classes):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, n_classes, 3000)
    labels[labels == n_classes - 2] = 0 if n_classes > 2 else labels[labels == n_classes - 2]
    probabilities = rng.dirichlet(np.ones(n_classes), 3000)
    probabilities[np.arange(3000), labels] += 0.4
    probabilities /= probabilities.sum(1, keepdims=True)
    found, present = score(labels, probabilities), np.unique(labels)
    predicted = probabilities.argmax(1)
    recalls = [sk.recall_score(labels == one, predicted == one) for one in present]
    areas = [sk.roc_auc_score(labels == one, probabilities[:, one]) for one in present]
    assert found["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert found["roc_auc"] == pytest.approx(np.mean(areas))
    squares = ((probabilities - np.eye(n_classes)[labels]) ** 2).sum(1).mean()
    assert found["brier"] == pytest.approx(squares / 2 if n_classes == 2 else squares)
    one_class = score(np.zeros(50, int), probabilities[:50])
    assert np.isnan(one_class["roc_auc"]) and one_class["brier"] > 0


@pytest.mark.parametrize(("n", "digits"), [(500, 1), (2000, 3), (100_000, 9)])
def test_curves_are_those_of_scikit_learn(n, digits):
    truth, second = binary(n, digits=digits)
    tolerance = 1e-12 if n <= MAX_POINTS else 4e-3
    false_rate, true_rate, _ = sk.roc_curve(truth, second, drop_intermediate=False)
    roc = curve_with_band("roc", truth, second)
    np.testing.assert_allclose(roc.y, np.interp(GRID, false_rate, true_rate), atol=tolerance)
    recalled = curve_with_band("precision_recall", truth, second)
    assert recalled.y.mean() == pytest.approx(sk.average_precision_score(truth, second), abs=0.01)
    for curve in (roc, recalled):
        assert (curve.low <= curve.high).all() and ((curve.low <= curve.y) & (curve.y <= curve.high)).mean() > 0.95
    found = threshold_curve(truth, second)
    assert len(found.thresholds) <= MAX_POINTS + 1
    for i in (0, len(found.f1) // 3, len(found.f1) - 1):
        labels = second >= found.thresholds[i]
        expected = sk.precision_recall_fscore_support(truth, labels, average="binary")[:3]
        assert (found.precision[i], found.recall[i], found.f1[i]) == pytest.approx(expected)
    assert found.best_f1 >= found.f1.max()


def test_bands_are_those_of_resampled_curves():
    truth, second = binary(400)
    band = curve_with_band("roc", truth, second, seed=5)
    rng = np.random.default_rng(0)
    curves = []
    for weights in resample(rng, 400, 400, strata=truth):
        false_rate, true_rate, _ = sk.roc_curve(truth, second, sample_weight=weights, drop_intermediate=False)
        curves.append(np.interp(GRID, false_rate, true_rate))
    low, high = np.quantile(curves, [0.025, 0.975], axis=0)
    inner = slice(10, 190)
    np.testing.assert_allclose(band.low[inner], low[inner], atol=0.04)
    np.testing.assert_allclose(band.high[inner], high[inner], atol=0.04)


def test_counts_are_those_of_a_search():
    truth, second = binary(300, digits=1)
    thresholds, true, false = ranked_counts(truth, second)
    assert thresholds.tolist() == sorted(set(second), reverse=True)
    for threshold, t, f in zip(thresholds, true, false, strict=True):
        assert (t, f) == ((truth & (second >= threshold)).sum(), (~truth & (second >= threshold)).sum())


def test_calibration_curves_equal_those_of_scikit_learn():
    # Of values on the border of two bins, they take the lower one.
    truth, second = binary(5000, digits=9)
    found = calibration_curve(truth, second, n_bins=10)
    from sklearn.calibration import calibration_curve as theirs

    observed, predicted = theirs(truth, second, n_bins=10)
    np.testing.assert_allclose(found.observed, observed)
    np.testing.assert_allclose(found.predicted, predicted)
    # The published formula (Wilson 1927).
    z = stats.norm.ppf(0.975)
    middle = (found.observed + z**2 / (2 * found.n)) / (1 + z**2 / found.n)
    half = z / (1 + z**2 / found.n) * np.sqrt(found.observed * (1 - found.observed) / found.n + z**2 / (4 * found.n**2))
    np.testing.assert_allclose([found.low, found.high], [middle - half, middle + half], atol=1e-9)
    assert found.n.sum() == 5000 and found.places.max() <= 9
    equal = calibration_curve(truth, second, n_bins=8, equal_sizes=True)
    assert equal.n.tolist() == [625] * 8 and (np.diff(equal.predicted) > 0).all()
    few = calibration_curve(truth[:25], second[:25], n_bins=8, equal_sizes=True)
    assert few.n.tolist() == [13, 12]
    edges = calibration_curve(np.array([False, True]), np.array([0.0, 1.0]))
    assert edges.places.tolist() == [0, 9] and edges.observed.tolist() == [0, 1]
