"""From cohort to cohort, and whether groups differ as wholes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import jensenshannon
from skbio.diversity.alpha import shannon
from skbio.stats.distance import DistanceMatrix, permanova

from biomeformer.errors import InputError, TableError
from biomeformer.metrics.diversity import shannon_entropy
from biomeformer.phenotypes import DISTANCES, FeatureTable, compare_groups, distance_matrix, leave_one_out, transfer
from biomeformer.phenotypes.cohort_transfer import LabelledCohort, aligned, tuning_folds
from biomeformer.phenotypes.statistics import benjamini_hochberg
from biomeformer.phenotypes.target import make_target


@pytest.fixture(autouse=True)
def few_bootstraps(monkeypatch):
    monkeypatch.setattr("biomeformer.phenotypes.cohort_transfer.N_BOOTSTRAPS", 100)


def cohort(name, seed, n_samples=60, effect=2.5, shift=0.0, n_features=10):
    rng = np.random.default_rng(seed)
    labels = np.arange(n_samples) % 2
    logits = rng.normal(size=(n_samples, n_features)) + shift
    logits[labels == 1, 0] += effect
    ids = tuple(f"{name}{i}" for i in range(n_samples))
    table = FeatureTable(
        ids, tuple(f"s{i}" for i in range(n_features)), np.exp(logits) / np.exp(logits).sum(1)[:, None]
    )
    metadata = pd.DataFrame({"state": ["ill" if label else "healthy" for label in labels]}, index=ids)
    return LabelledCohort(name, (table,), make_target(metadata, "state", ids))


@pytest.mark.parametrize("model", ["l1", "forest", "boosting"])
def test_a_model_of_one_cohort_predicts_another(model):
    first, second, third = cohort("a", 1), cohort("b", 2), cohort("c", 3, effect=0)
    found = transfer([first], second, model, transform="clr", n_jobs=1)
    assert (found.trained_on, found.tested_on) == (("a",), "b") and found.probabilities.shape == (60, 2)
    assert (
        found.scores["roc_auc"].mean > 0.85 and 0.75 < found.scores["roc_auc"].low < found.scores["roc_auc"].high <= 1
    )
    nothing = transfer([first], third, model, transform="clr", n_jobs=1).scores["roc_auc"]
    assert nothing.low < 0.5 < nothing.high


def test_leave_one_cohort_out():
    cohorts = [cohort(name, i) for i, name in enumerate("abc")]
    found = leave_one_out(cohorts, "l1", transform="clr", n_jobs=1)
    assert [(one.trained_on, one.tested_on) for one in found] == [
        (("b", "c"), "a"),
        (("a", "c"), "b"),
        (("a", "b"), "c"),
    ]
    assert all(one.scores["roc_auc"].mean > 0.85 for one in found)
    with pytest.raises(InputError, match="needs two cohorts"):
        leave_one_out(cohorts[:1], "l1")


def test_features_are_matched_by_name():
    table = FeatureTable(("x",), ("a", "b", "c"), np.array([[1.0, 2, 1]]))
    assert aligned(table, ["c", "new", "a"]).values.tolist() == [[1, 0, 1]]
    with pytest.raises(InputError, match="sample 'x' has none of the features"):
        aligned(table, ["p", "q"])
    first, second = cohort("a", 1), cohort("b", 2)
    order = np.random.default_rng(0).permutation(10)
    block = second.blocks[0]
    shuffled = replace(block, names=tuple(block.names[i] for i in order), values=block.values[:, order])
    one = transfer([first], second, "l1", n_jobs=1)
    two = transfer([first], replace(second, blocks=(shuffled,)), "l1", n_jobs=1)
    np.testing.assert_allclose(one.probabilities, two.probabilities)


def test_transfer_is_tuned_on_folds_that_leave_whole_cohorts_out():
    targets = [cohort(name, i, n_samples=n).target for i, (name, n) in enumerate((("a", 20), ("b", 30), ("c", 14)))]
    splits = tuning_folds(targets, seed=0)
    assert [test.tolist() for _, test in splits] == [[*range(20)], [*range(20, 50)], [*range(50, 64)]]
    for train, test in splits:
        assert sorted([*train, *test]) == list(range(64))
    # A single cohort is divided, but not its subjects.
    groups = np.array([f"p{i // 4}" for i in range(20)])
    for train, test in tuning_folds([replace(targets[0], groups=groups)], seed=0):
        assert len(test) and set(groups[train]).isdisjoint(groups[test])


def test_a_transfer_that_learned_nothing_has_no_interval():
    first, second = cohort("a", 1, n_samples=20), cohort("b", 2, n_samples=20)
    flat = [
        replace(one, blocks=(replace(one.blocks[0], values=np.full_like(one.blocks[0].values, 0.1)),))
        for one in (first, second)
    ]
    for model in ("l1", "boosting"):
        result = transfer([flat[0]], flat[1], model, n_jobs=1)
        assert result.learned_nothing and str(result.scores["roc_auc"]) == "0.500 (no interval)"
    assert not transfer([first], second, "l1", n_jobs=1).learned_nothing


def test_transfers_that_are_refused():
    first, second = cohort("a", 1), cohort("b", 2)
    ours = replace(first.blocks[0], provenance={"weights_sha256": "ab", "contract": {}})
    other = replace(second.blocks[0], provenance={"weights_sha256": "cd", "contract": {}})
    with pytest.raises(TableError, match=r"a and b do not join: they differ in weights_sha256 \(ab and cd\)"):
        transfer([replace(first, blocks=(ours,))], replace(second, blocks=(other,)), "l1")
    with pytest.raises(InputError, match="sample 'a0' is in 'a' and in 'a'"):
        transfer([first], replace(first), "l1")
    strange = replace(second, blocks=(replace(second.blocks[0], names=tuple(f"z{i}" for i in range(10))),))
    with pytest.raises(TableError, match="no feature in common"):
        transfer([first], strange, "l1")


# Statistics


def groups(n=30, effect=0.0, spread=1.0, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(2 * n, 8))
    logits[n:] = logits[n:] * spread + effect * np.array([1, -1] * 4)
    values = np.exp(logits)
    ids = tuple(f"s{i}" for i in range(2 * n))
    return FeatureTable(ids, tuple("abcdefgh"), values / values.sum(1)[:, None]), ["x"] * n + ["y"] * n


def by_test(found):
    return {(test.test, test.distance): test for test in found}


def test_centres_that_differ():
    table, labels = groups(effect=1)
    found = by_test(compare_groups(table, labels, n_permutations=199))
    assert len(found) == 7
    for distance in DISTANCES:
        centres = found["permanova", distance]
        assert centres.p == pytest.approx(1 / 200) and centres.q <= 0.02 and 0.05 < centres.effect < 0.8
        assert found["permdisp", distance].p > 0.01
    # R² from the sums of squares themselves.
    matrix = distance_matrix(table.shares, "aitchison")
    n = len(labels)
    total = (matrix**2).sum() / (2 * n)
    within = sum((matrix[np.ix_(rows, rows)] ** 2).sum() / (2 * len(rows)) for rows in (range(30), range(30, 60)))
    assert found["permanova", "aitchison"].effect == pytest.approx(1 - within / total)
    f = permanova(DistanceMatrix(matrix, table.sample_ids), labels, permutations=0)["test statistic"]
    assert found["permanova", "aitchison"].statistic == pytest.approx(f)


def test_spreads_that_differ():
    table, labels = groups(spread=2.5)
    found = by_test(compare_groups(table, labels, n_permutations=199))
    spreads = found["permdisp", "aitchison"]
    assert spreads.p == pytest.approx(1 / 200) and spreads.effect > 1.8
    assert found["entropy", ""].p < 0.01 and found["entropy", ""].effect > 0.2


def test_equal_groups_do_not_differ():
    table, labels = groups(seed=4)
    found = compare_groups(table, labels, n_permutations=199)
    assert min(test.q for test in found) > 0.05
    again = compare_groups(table, labels, n_permutations=199)
    assert found == again


def test_entropy_is_that_of_scikit_bio():
    rng = np.random.default_rng(3)
    shares = rng.gamma(0.1, size=(300, 1024)) * (rng.random((300, 1024)) < 0.5)
    shares[1:] /= shares[1:].sum(1, keepdims=True)  # The first row is of counts.
    shares[7] = 0
    shares[8] = np.arange(1024) == 5
    expected = [shannon(row, base=2) for row in shares]
    assert np.isnan(expected[7]) and 3 < expected[9] < 10
    np.testing.assert_allclose(shannon_entropy(shares), expected, rtol=1e-12)
    assert shannon_entropy(shares)[8] == 0


def test_distances_and_entropy_by_hand():
    shares = np.array([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5], [0.5, 0.5, 0.0]])
    bray = distance_matrix(shares, "bray_curtis")
    assert bray[0, 1] == pytest.approx(0.5) and bray[0, 2] == 0
    js = distance_matrix(shares, "jensen_shannon")
    assert js[0, 1] == pytest.approx(jensenshannon(shares[0], shares[1], base=2)) and js[0, 2] == 0
    np.testing.assert_allclose(shannon_entropy(shares), [1, 1.5, 1])
    np.testing.assert_allclose(shannon_entropy(np.array([[1.0, 0, 0, 0], [0.25] * 4])), [0, 2])
    np.testing.assert_allclose(benjamini_hochberg([0.01, 0.04, 0.03, 0.5]), [0.04, 0.16 / 3, 0.16 / 3, 0.5])
    with pytest.raises(InputError, match="'euclid'; give bray_curtis"):
        distance_matrix(shares, "euclid")


def test_profiles_that_are_all_equal_give_undefined_tests():
    table, labels = groups(n=10)
    # The same profile at several depths: shares differ in their last bits.
    depth = np.random.default_rng(0).uniform(1, 1000, (20, 1))
    same = replace(table, values=table.values[:1] * depth)
    for test in compare_groups(same, labels, n_permutations=99):
        assert (np.isnan([test.statistic, test.p, test.q]).all() and "profile" in test.note) or "entropies" in test.note
    # An undefined test does not count for the q values of others.
    np.testing.assert_allclose(benjamini_hochberg([0.01, np.nan, 0.04]), [0.02, np.nan, 0.04])
    assert np.isnan(benjamini_hochberg([np.nan, np.nan])).all()


def test_permdisp_reports_the_geometry_that_its_f_is_from():
    table, labels = groups(spread=2.5)
    first, second = np.split(distance_matrix(table.shares, "bray_curtis"), 2)
    median, centroid = (
        by_test(compare_groups(table, labels, center=center, n_permutations=9))["permdisp", "bray_curtis"]
        for center in ("median", "centroid")
    )
    within = [first[:, :30] ** 2, second[:, 30:] ** 2]
    means = [np.sqrt(square.mean(1) - square.sum() / (2 * 30**2)).mean() for square in within]
    assert centroid.effect == pytest.approx(max(means) / min(means)) and median.effect != centroid.effect


def test_groups_that_cannot_be_compared():
    table, _ = groups(n=5)
    for wrong in (["x"] * 10, ["x"] * 9 + ["y"]):
        with pytest.raises(InputError, match="two groups of two samples"):
            compare_groups(table, wrong)
    with pytest.raises(InputError, match="3 groups were given for 10 samples"):
        compare_groups(table, ["x", "y", "x"])
