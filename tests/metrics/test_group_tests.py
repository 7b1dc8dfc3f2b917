"""PERMANOVA and PERMDISP as R's vegan computes them, checked by other routes and by vegan's own values."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.spatial.distance import pdist, squareform
from scipy.stats import f_oneway

from biomeformer.errors import InputError
from biomeformer.metrics import group_tests
from biomeformer.metrics.group_tests import (
    design_columns,
    marginal_permanova,
    permanova,
    permdisp,
    permutations,
)
from biomeformer.metrics.ordination import principal_coordinates, spatial_median
from biomeformer.phenotypes import distance_matrix, make_target, read_feature_table, read_metadata


def sparse_profiles(n=40, n_features=300, spread=1.0, seed=0):
    """Profiles of many features, most of them absent, and the group of each sample."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], n // 2)
    logits = 2 * rng.normal(size=n_features) + np.where(labels == 1, spread, 1)[:, None] * rng.normal(
        size=(n, n_features)
    )
    values = np.exp(logits) * (rng.random((n, n_features)) < 0.3)
    return values / values.sum(1, keepdims=True), labels


@pytest.fixture(scope="module")
def bray():
    shares, labels = sparse_profiles(spread=2)
    return squareform(pdist(shares, "braycurtis")), labels


def test_principal_coordinates_keep_every_distance(bray):
    distances, _ = bray
    points = principal_coordinates(distances)
    assert points.imaginary.shape[1] > 3, "the example must have negative eigenvalues"
    squared = squareform(pdist(points.real)) ** 2 - squareform(pdist(points.imaginary)) ** 2
    np.testing.assert_allclose(squared, distances**2, atol=1e-9)
    assert points.eigenvalues.sum() == pytest.approx((distances**2).sum() / (2 * len(distances)))


@pytest.mark.parametrize("center", ["median", "centroid"])
def test_permdisp_uses_every_axis_and_subtracts_imaginary_ones(bray, center):
    """The same from distances between samples (centroids) and from a minimisation by SciPy (medians)."""
    distances, labels = bray
    result = permdisp(distances, labels, center=center, n_permutations=0)
    n = len(labels)
    projector = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(projector @ (-(distances**2) / 2) @ projector)
    expected = np.zeros(n)
    for label in (0, 1):
        rows = labels == label
        if center == "centroid":
            within = distances[np.ix_(rows, rows)] ** 2
            expected[rows] = within.mean(1) - within.sum() / (2 * rows.sum() ** 2)
            continue
        for sign in (1, -1):
            axes = sign * values > 1e-9
            points = (vectors[:, axes] * np.sqrt(np.abs(values[axes])))[rows]
            best = minimize(
                lambda x, points=points: np.sqrt(((points - x) ** 2).sum(1)).sum(), points.mean(0), tol=1e-12
            )
            expected[rows] += sign * ((points - best.x) ** 2).sum(1)
    expected = np.sqrt(expected)
    # R's optimizer stops a little before the minimum.
    tolerance = 1e-8 if center == "centroid" else 1e-3
    np.testing.assert_allclose(result.distances, expected, rtol=tolerance)
    assert result.f == pytest.approx(f_oneway(expected[labels == 0], expected[labels == 1]).statistic, rel=tolerance)
    np.testing.assert_allclose(result.means, [expected[labels == i].mean() for i in (0, 1)], rtol=1e-5)
    in_ten_axes = principal_coordinates(distances).real[:, :10]
    truncated = [np.linalg.norm(x - x.mean(0), axis=1) for x in (in_ten_axes[labels == 0], in_ten_axes[labels == 1])]
    assert abs(f_oneway(*truncated).statistic / result.f - 1) > 0.1, "the example must need more than ten axes"


def test_bias_adjustment_enlarges_distances_of_small_groups(bray):
    distances, labels = bray
    labels = np.where(np.arange(len(labels)) < 5, 1, 0)
    plain, adjusted = (permdisp(distances, labels, bias_adjust=flag, n_permutations=0) for flag in (False, True))
    np.testing.assert_allclose(adjusted.means / plain.means, [np.sqrt(35 / 34), np.sqrt(5 / 4)])
    with pytest.raises(InputError, match="center is 'mean'; give median or centroid"):
        permdisp(distances, labels, center="mean")


def test_spatial_median_is_not_the_mean():
    points = np.array([[0.0, 0], [1, 0], [0, 1], [100, 100]])
    median = spatial_median(points)
    assert np.linalg.norm(median) < 1
    best = minimize(lambda x: np.linalg.norm(points - x, axis=1).sum(), [0.3, 0.3], method="Nelder-Mead")
    np.testing.assert_allclose(median, best.x, atol=1e-2)
    # Most points at one place, where the sum of distances has no gradient.
    np.testing.assert_allclose(spatial_median(np.array([[1.0, 2]] * 5 + [[3.0, 3]])), [1, 2])


def test_permutations_of_residuals_give_a_uniform_p_under_the_null():
    rng = np.random.default_rng(0)
    shares, labels = sparse_profiles(n=20, n_features=120)
    distances = distance_matrix(shares, "bray_curtis")
    p = np.array(
        [
            [test(distances, rng.permutation(labels), n_permutations=99, seed=i).p for test in (permanova, permdisp)]
            for i in range(150)
        ]
    )
    assert (np.abs((p <= 0.1).mean(0) - 0.1) < 0.08).all() and (np.abs(p.mean(0) - 0.52) < 0.1).all()


def test_permdisp_permutes_residuals_and_not_distances(bray, monkeypatch):
    """Under a real difference the two give other statistics: vegan's `permutest` permutes residuals."""
    distances, labels = bray
    result = permdisp(distances, labels, n_permutations=99)
    residuals = result.distances - result.means[labels]
    rows = np.concatenate(list(group_tests.permutations(len(labels), 99, 0)))

    def f_of(values):
        return f_oneway(values[labels == 0], values[labels == 1]).statistic

    used = []
    monkeypatch.setattr(group_tests, "permutation_p", lambda observed, permuted: used.append(permuted) or 0.5)
    permdisp(distances, labels, n_permutations=99)
    np.testing.assert_allclose(used[0], [f_of(residuals[row]) for row in rows])


def test_permanova_equals_sums_of_squares_about_centroids(bray):
    """F and R² from coordinates, with three groups of different sizes."""
    distances, _ = bray
    labels = np.repeat([0, 1, 2], [8, 12, 20])
    result = permanova(distances, labels, n_permutations=199)
    points = principal_coordinates(distances)
    signs = np.sign(points.eigenvalues)
    total = (points.coordinates**2 * signs).sum()
    centroids = np.stack([points.coordinates[labels == i].mean(0) for i in range(3)])
    between = (centroids**2 * signs).sum(1) @ np.array([8, 12, 20])
    assert result.r2 == pytest.approx(between / total)
    assert result.f == pytest.approx(between / 2 / ((total - between) / 37))
    assert 1 / 200 <= result.p <= 1 and result == permanova(distances, labels, n_permutations=199)


def test_statistics_that_are_undefined_have_no_p():
    labels = np.repeat([0, 1], 5)
    nothing = np.full((10, 10), 1e-9) * (1 - np.eye(10))
    for test in (permanova, permdisp):
        result = test(nothing, labels, n_permutations=99)
        assert np.isnan(result.f) and np.isnan(result.p) and result.reason == "all samples have the same profile"
    # Samples differ between the groups only: the centroids differ, the dispersions cannot be compared.
    apart = (labels[:, None] != labels[None, :]).astype(float)
    between = permanova(apart, labels, n_permutations=199)
    assert between.f == np.inf and between.r2 == pytest.approx(1) and between.p < 0.05
    spread = permdisp(apart, labels, n_permutations=99)
    assert np.isnan(spread.f) and np.isnan(spread.p) and "equally far from its center" in spread.reason


def test_permutations_do_not_depend_on_how_many_are_drawn_at_once(bray, monkeypatch):
    distances, labels = bray
    assert len(np.concatenate(list(group_tests.permutations(7, 20, 0)))) == 20
    first = permdisp(distances, labels, n_permutations=50).p
    monkeypatch.setattr(group_tests, "PERMUTED_AT_ONCE", 7)
    assert permdisp(distances, labels, n_permutations=50).p == first


VEGAN_NAMES = {"bray": "bray_curtis", "aitchison": "aitchison", "jensen-shannon": "jensen_shannon"}


def test_equal_to_vegan_on_real_tables(shared_data):
    path = shared_data / "golden" / "vegan.json"
    if not path.is_file():
        pytest.skip(f"{path}, values of R's vegan, is not part of the project")
    cohorts = {}
    for case in json.loads(path.read_text()):
        name = case["cohort"]
        if name not in cohorts:
            table = read_feature_table(shared_data / "cohorts" / f"{name}.species_abundance.tsv.gz")
            metadata = read_metadata(shared_data / "cohorts" / f"{name}.samples.tsv")
            target = make_target(metadata, "label", table.sample_ids)
            cohorts[name] = table.take(target.sample_ids).shares, target.labels
        shares, labels = cohorts[name]
        assert shares.shape == (case["n_samples"], case["n_species"])
        distances = distance_matrix(shares, VEGAN_NAMES[case["distance"]])
        centers, expected = permanova(distances, labels), case["permanova"]
        assert centers.f == pytest.approx(expected["F"], rel=1e-6), case
        assert centers.r2 == pytest.approx(expected["R2"], rel=1e-6), case
        assert centers.p == pytest.approx(expected["p"], abs=0.01), case
        expected = case["permdisp"]
        spreads = permdisp(distances, labels, center=expected["center"])
        assert spreads.f == pytest.approx(expected["F"], rel=1e-6), case
        assert spreads.p == pytest.approx(expected["p"], abs=0.03), case
        np.testing.assert_allclose(spreads.means, expected["mean_distance_to_center"], rtol=1e-6)


def sums_of_squares_by_regression(distances, design):
    """Residual and total sums of squares by least squares on the principal coordinates, imaginary ones subtracted."""
    n = len(distances)
    projector = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(projector @ (-(distances**2) / 2) @ projector)
    residual = total = 0.0
    for value, vector in zip(values, vectors.T, strict=True):
        axis = vector * np.sqrt(abs(value))
        fitted = design @ np.linalg.lstsq(design, axis, rcond=None)[0]
        residual += np.sign(value) * ((axis - fitted) ** 2).sum()
        total += np.sign(value) * ((axis - axis.mean()) ** 2).sum()
    return residual, total


def test_marginal_tests_are_regressions_on_principal_coordinates(bray):
    distances, labels = bray
    rng = np.random.default_rng(5)
    age, site = rng.normal(50, 10, len(labels)) + 5 * labels, rng.integers(0, 3, len(labels))
    terms = {"state": design_columns(labels), "age": design_columns(age), "site": design_columns(site)}
    results = marginal_permanova(distances, terms, n_permutations=99)
    n = len(labels)
    intercept = np.ones((n, 1))
    whole = np.hstack([intercept, *terms.values()])
    residual, total = sums_of_squares_by_regression(distances, whole)
    n_residual = n - np.linalg.matrix_rank(whole)
    for name, result in results.items():
        others = np.hstack([intercept, *(columns for other, columns in terms.items() if other != name)])
        without, _ = sums_of_squares_by_regression(distances, others)
        n_columns = np.linalg.matrix_rank(whole) - np.linalg.matrix_rank(others)
        assert n_columns == (2 if name == "site" else 1)
        assert result.f == pytest.approx((without - residual) / n_columns / (residual / n_residual), rel=1e-9)
        assert result.r2 == pytest.approx((without - residual) / total, rel=1e-9)
        assert 0.01 <= result.p <= 1


def test_a_single_term_is_permanova(bray):
    distances, labels = bray
    marginal = marginal_permanova(distances, {"state": design_columns(labels)}, n_permutations=199)["state"]
    plain = permanova(distances, labels, n_permutations=199)
    assert (marginal.f, marginal.r2) == (pytest.approx(plain.f), pytest.approx(plain.r2))
    # Rows of the design are permuted here and labels there, by the same permutations.
    assert marginal.p == plain.p


def test_a_term_that_others_determine_is_undefined(bray):
    distances, labels = bray
    terms = {"state": design_columns(labels), "again": design_columns(1.0 - labels)}
    result = marginal_permanova(distances, terms, n_permutations=9)["again"]
    assert np.isnan(result.f) and np.isnan(result.p) and result.reason == "other terms determine this one"


def test_permutations_stay_within_strata():
    strata = np.array([0, 1, 1, 0, 2, 1, 0, 0])
    rows = np.concatenate(list(permutations(8, 600, 0, strata)))
    assert rows.shape == (600, 8) and (strata[rows] == strata).all() and (np.sort(rows, 1) == np.arange(8)).all()
    # Each of a stratum's samples is equally often in each of its positions.
    counts = np.array([(rows[:, 1] == i).sum() for i in (1, 2, 5)])
    assert (abs(counts - 200) < 60).all()


def test_strata_take_the_block_out_of_the_test():
    """Blocks differ and the groups follow them; within blocks the groups do not differ."""
    rng = np.random.default_rng(3)
    blocks = np.repeat([0, 1], 30)
    labels = (rng.random(60) < np.where(blocks == 1, 0.85, 0.15)).astype(int)
    points = rng.normal(size=(60, 5)) * np.where(blocks == 1, 2.5, 1)[:, None]
    points[:, 0] += 3 * blocks
    distances = squareform(pdist(points))
    for test in (permanova, permdisp):
        free, within = test(distances, labels), test(distances, labels, strata=blocks)
        assert (free.f, free.p < 0.02) == (within.f, True)
        assert within.p > 0.1
    fixed = permanova(distances, blocks, strata=blocks), permdisp(distances, blocks, strata=blocks)
    assert all(np.isnan(one.p) and one.f > 0 and "do not vary within the strata" in one.reason for one in fixed)
