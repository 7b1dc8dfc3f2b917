"""Permutation importance of groups of correlated features."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from biomeformer.errors import InputError
from biomeformer.phenotypes import FeatureTable, Study, make_target, run_study
from biomeformer.phenotypes.importance import group_features, permutation_drops


def cohort(n=60):
    """Features `a` and `copy`, which go together and tell the class, and noise."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    values = 4 * rng.gamma(1, size=(n, 24))
    values[:, 0] = rng.gamma(4, size=n)
    values[:, 0] *= np.where(labels == 1, 4, 1)
    values[:, 1] = values[:, 0] * rng.uniform(0.95, 1.05, n)
    ids = tuple(f"s{i}" for i in range(n))
    metadata = pd.DataFrame({"state": np.array(["healthy", "ill"])[labels]}, index=ids)
    names = ("a", "copy", *(f"noise{i}" for i in range(22)))
    return FeatureTable(ids, names, values), make_target(metadata, "state", ids)


@pytest.fixture(scope="module")
def study():
    table, target = cohort()
    options = {"n_splits": 3, "n_repeats": 2, "n_jobs": 1, "importance": True}
    return run_study({"vectors": [table]}, target, models=["l1", "boosting"], **options)


def test_correlated_features_are_one_group():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 200))
    matrix = np.stack([x, y, -np.exp(x), np.zeros(200), y + 0.2 * rng.normal(size=200), rng.normal(size=200)], 1)
    groups = group_features(matrix)
    assert groups[0] == groups[2] and groups[1] == groups[4] and len(set(groups)) == 4
    assert len(set(group_features(matrix, 0.999999))) == 5


def test_a_copy_hides_the_importance_of_a_feature_and_not_of_its_group():
    labels = np.arange(40) % 2
    matrix = np.stack([labels, labels, np.zeros(40)], 1).astype(float)

    def drops(groups):
        return permutation_drops(
            lambda rows: rows[:, :2].max(1)[:, None],
            lambda predicted: float(predicted[labels == 1].mean()),
            matrix,
            np.array(groups),
        )

    assert drops([0, 1, 2]).tolist() == [0, 0, 0]
    together, nothing = drops([0, 0, 1])
    assert 0.3 < together < 0.7 and nothing == 0


def test_permuting_a_group_equals_permuting_by_hand():
    rng = np.random.default_rng(3)
    matrix, weights = rng.normal(size=(20, 4)), np.array([1.0, 2, 0, 0])
    found = permutation_drops(
        lambda rows: (rows @ weights)[:, None],
        lambda predicted: -float(((predicted[:, 0] - matrix @ weights) ** 2).mean()),
        matrix,
        np.array([0, 0, 1, 1]),
        n_repeats=2,
        seed=5,
    )
    rng = np.random.default_rng(5)
    orders = [rng.permutation(20) for _ in range(4)][:2]
    expected = np.mean([(((matrix[order] - matrix)[:, :2] @ weights[:2]) ** 2).mean() for order in orders])
    assert found.tolist() == [pytest.approx(expected), 0]


def test_the_group_that_tells_the_classes_is_first(study):
    for model in ("l1", "boosting"):
        first, *others = [one for one in study.importance if one.model == model]
        assert set(first.members) == {"a", "copy"} and first.importance > 0.2 and first.group == 1
        assert all(one.importance < 0.1 for one in others) and len(others) >= 3
        assert first.selected > 0.5 and min(one.selected for one in others) < 0.5


def test_importance_survives_writing_and_reading(study, tmp_path):
    files = study.write(tmp_path)
    assert Study.read(tmp_path).importance == study.importance
    rows = pd.read_csv(files["importance"])
    assert rows["members"][0] in ("a;copy", "copy;a") and rows["n_features"][0] == 2 and rows["selected"][0] > 0.5


def test_importance_needs_columns_that_are_features():
    table, target = cohort()
    with pytest.raises(InputError, match="transform ilr mixes them"):
        run_study({"v": [table]}, target, models=["l1"], transform="ilr", n_splits=3, importance=True)
