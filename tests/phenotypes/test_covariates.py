"""Covariates beside the features: numbers, words, missing values, and cohorts that name them otherwise."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from biomeformer.errors import InputError
from biomeformer.phenotypes import FeatureTable, LabelledCohort, cross_validate, design_matrix, make_target, transfer
from biomeformer.phenotypes.covariates import make_covariates

IDS = tuple(f"s{i}" for i in range(40))


def people(ids=IDS, seed=0):
    rng = np.random.default_rng(seed)
    age = rng.integers(20, 80, len(ids))
    sex = rng.choice(["F", "M"], len(ids))
    frame = pd.DataFrame({"age": age.astype(str), "sex": sex, "state": np.where(age > 50, "ill", "healthy")})
    return frame.set_index(pd.Index(ids, name="sample_id"))


def noise(ids=IDS, seed=0):
    values = np.random.default_rng(seed).integers(1, 100, (len(ids), 5)).astype(float)
    return FeatureTable(tuple(ids), tuple(f"f{i}" for i in range(5)), values)


def test_numbers_stay_numbers_and_words_become_columns():
    metadata = people()
    block = make_covariates(metadata, ["age", "sex"], IDS)
    assert block.names == ("age", "sex=F", "sex=M") and not block.is_composition
    np.testing.assert_array_equal(block.values[:, 0], metadata["age"].astype(float))
    np.testing.assert_array_equal(block.values[:, 2], metadata["sex"] == "M")


def test_covariates_are_not_transformed_beside_features_that_are():
    matrix = design_matrix([noise(), make_covariates(people(), ["age"], IDS)], "clr")
    np.testing.assert_array_equal(matrix[:, 5], people()["age"].astype(float))
    np.testing.assert_allclose(matrix[:, :5].sum(1), 0, atol=1e-12)


def test_missing_covariates_are_refused_or_imputed_from_the_training_samples():
    metadata = people()
    metadata.iloc[3] = ["NA", "unknown", "ill"]
    with pytest.raises(
        InputError, match=r"1 of 40 samples \(such as 's3'\) have no value in the covariate 'age'.*--impute"
    ):
        make_covariates(metadata, ["age"], IDS)
    block = make_covariates(metadata, ["age", "sex"], IDS, impute=True)
    assert block.names == ("age", "sex=F", "sex=M", "sex=missing") and block.values[3, 1:].tolist() == [0, 0, 1]
    training = np.arange(10, 20)
    matrix = design_matrix([block], "none", training_rows=training)
    assert matrix[3, 0] == np.median(metadata["age"].iloc[training].astype(float))
    target = make_target(metadata, "state", IDS)
    evaluation = cross_validate([block], target, "l1", transform="clr", n_splits=4, n_repeats=1, n_jobs=1)
    assert evaluation.scores["roc_auc"].mean > 0.9


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["20", "31", "2,5"], "'2,5', which is no number .write a point as the decimal mark"),
        (["20", "31", "inf"], "has an infinite value"),
    ],
)
def test_numbers_that_cannot_be_read_are_no_words(values, message):
    metadata = people().assign(age=(values * 14)[:40])
    with pytest.raises(InputError, match=message):
        make_covariates(metadata, ["age"], IDS)


@pytest.mark.parametrize(
    ("columns", "change", "message"),
    [
        (["height"], {}, "no column 'height'; it has age, sex, state"),
        (["age", "age"], {}, "named twice"),
        (["state"], {}, "is the target or its groups"),
        (["sex"], {"sex": "F"}, "one value in all samples"),
        (["sex"], {"sex": [f"name{i}" for i in range(40)]}, "40 different words"),
    ],
)
def test_covariates_that_cannot_be_are_refused(columns, change, message):
    with pytest.raises(InputError, match=message):
        make_covariates(people().assign(**change), columns, IDS, exclude=("state", None))


def test_a_covariate_helps_where_features_are_noise():
    metadata, table = people(), noise()
    target = make_target(metadata, "state", IDS)
    options = {"transform": "clr", "n_splits": 4, "n_repeats": 1, "n_jobs": 1}
    alone = cross_validate([table], target, "l1", **options)
    beside = cross_validate([table, make_covariates(metadata, ["age", "sex"], IDS)], target, "l1", **options)
    assert beside.scores["roc_auc"].mean > 0.9 > 0.75 > alone.scores["roc_auc"].mean
    assert beside.chosen["age"] == 1


def cohort(name, seed, change=None):
    ids = tuple(f"{name}{i}" for i in range(40))
    metadata = people(ids, seed).assign(**(change or {}))
    blocks = (noise(ids, seed), make_covariates(metadata, ["age", "sex"], ids))
    return LabelledCohort(name, blocks, make_target(metadata, "state", ids))


def test_covariates_are_transferred_and_a_number_never_becomes_zero():
    result = transfer([cohort("a", 0)], cohort("b", 1), "l1", transform="clr", n_jobs=1)
    assert result.scores["roc_auc"].mean > 0.9
    words = {"age": ["old", "young"] * 20}
    with pytest.raises(InputError, match="'age' is of numbers in one cohort and of words"):
        transfer([cohort("a", 0)], cohort("b", 1, words), "l1", transform="clr", n_jobs=1)
