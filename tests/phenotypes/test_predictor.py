"""Predictors of combined features: equal to scikit-learn after a save; damaged or misused ones are refused."""

from __future__ import annotations

import functools
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from skbio.stats.composition import clr, multi_replace
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.metrics import log_loss
from sklearn.neighbors import KNeighborsClassifier

from biomeformer.checkpoints.estimators import write_estimator
from biomeformer.checkpoints.integrity import ESTIMATOR, checksums, weight_hashes
from biomeformer.errors import CheckpointError, CheckpointNotFoundError, InputError, TableError
from biomeformer.io.digests import digest_file
from biomeformer.io.limits import EXPANDED_BYTES
from biomeformer.io.records import CHECKSUM, checksum_of_record
from biomeformer.phenotypes import (
    FeatureTable,
    PhenotypePredictor,
    make_target,
    read_feature_table,
    read_metadata,
    train_predictor,
)
from biomeformer.phenotypes.covariates import make_covariates
from biomeformer.phenotypes.transforms import replace_zeros

N, N_NEW = 90, 30
PROVENANCE = {
    "model": "lab/centroids",
    "revision": "a" * 40,
    "weights_sha256": "ab",
    "contract": {"pooling": "mean"},
    "n_clusters": 60,
    "dtype": "float32",
}
COLUMNS = {"state": "classification", "grade": "classification", "bmi": "regression", "labels": "multilabel"}
COMBINATIONS = [
    ("l1", "state"),
    ("l1", "grade"),
    ("l1", "bmi"),
    ("l1", "labels"),
    ("forest", "state"),
    ("forest", "bmi"),
    ("boosting", "grade"),
    ("boosting", "labels"),
]
# Predicts in a process that has seen nothing of the training.
IN_A_NEW_PROCESS = """
import pickle, sys
from biomeformer.phenotypes import PhenotypePredictor
tables, metadata = pickle.load(open(sys.argv[1], "rb"))
frames = {}
for folder in sys.argv[3:]:
    predictor = PhenotypePredictor.from_pretrained(folder)
    frames[folder] = predictor.predict(tables, metadata).frame
pickle.dump(frames, open(sys.argv[2], "wb"))
"""


def made(n: int, seed: int) -> tuple[dict[str, FeatureTable], pd.DataFrame]:
    """Sixty clusters as counts, 200 species as shares, age and sex; and targets that depend on each of them."""
    rng = np.random.default_rng(seed)
    ids = tuple(f"{seed}-{i}" for i in range(n))
    counts = rng.poisson(rng.gamma(0.6, 30, (n, 60))).astype(np.float64) + (np.arange(60) == 0)
    species = rng.gamma(0.2, 1, (n, 200)) * (rng.random((n, 200)) < 0.6) + (np.arange(200) == 0)
    species = 100 * species / species.sum(1, keepdims=True)
    age, sex = rng.integers(20, 80, n), rng.choice(["F", "M"], n)
    signal = np.log1p(counts[:, 1]) + np.log(species[:, 1] + 0.1) + age / 30 + (sex == "M")
    low, high = np.quantile(signal, [1 / 3, 2 / 3])
    labels = [
        ";".join(name for name, has in (("a", s > low), ("b", s < high), ("c", x == "F")) if has) or "c"
        for s, x in zip(signal, sex, strict=True)
    ]
    metadata = pd.DataFrame(
        {
            "age": age.astype(str),
            "sex": sex,
            "state": np.where(signal > np.median(signal), "ill", "healthy"),
            "grade": np.select([signal < low, signal < high], ["none", "mild"], "severe"),
            "bmi": (22 + 3 * signal + rng.normal(0, 0.5, n)).round(3).astype(str),
            "labels": labels,
        },
        index=pd.Index(ids, name="sample_id"),
    )
    clusters = FeatureTable(ids, tuple(f"cluster_{i}" for i in range(60)), counts, PROVENANCE)
    return {"vectors": clusters, "species": FeatureTable(ids, tuple(f"sp{i}" for i in range(200)), species)}, metadata


def trained(estimator: str, column: str, impute: bool = False, **options) -> PhenotypePredictor:
    tables, metadata = made(N, 0)
    ids = tables["vectors"].sample_ids
    target = make_target(metadata, column, ids, task=COLUMNS[column])
    blocks = tables | {"covariates": make_covariates(metadata, ["age", "sex"], ids, impute=impute)}
    options = {"n_splits": 2, "n_jobs": 1, "force": True, "impute": impute} | options
    return train_predictor(blocks, target, estimator, **options)[0]


def design(tables: dict[str, FeatureTable], metadata: pd.DataFrame, estimator: str) -> np.ndarray:
    """The columns, by scikit-bio and NumPy."""
    counts, species = tables["vectors"].values, tables["species"].values
    parts = [counts / counts.sum(1, keepdims=True), species / species.sum(1, keepdims=True)]
    if estimator == "l1":
        zeros = 1 / (60 * (np.sqrt(counts.sum(1, keepdims=True)) + 1))
        filled = np.where(counts == 0, zeros, parts[0] * (1 - ((counts == 0) * zeros).sum(1, keepdims=True)))
        parts = [clr(filled), clr(multi_replace(species))]
    age, sex = metadata["age"].astype(float).to_numpy()[:, None], metadata["sex"].to_numpy()
    return np.hstack([*parts, age, sex[:, None] == np.array(["F", "M"])])


def refitted(estimator: str, column: str, predictor: PhenotypePredictor, new: np.ndarray) -> np.ndarray:
    """Predictions of scikit-learn's own objects: forests and boosting fitted here, of l1 the pipelines it chose."""
    tables, metadata = made(N, 0)
    matrix, values = design(tables, metadata, estimator), metadata[column]
    if estimator == "forest" and column == "state":
        return RandomForestClassifier(500, random_state=0).fit(matrix, values).predict_proba(new)
    if estimator == "forest":
        model = RandomForestRegressor(500, max_features=1 / 3, min_samples_leaf=5, random_state=0)
        return model.fit(matrix, values.astype(float)).predict(new)[:, None]
    options = {"max_iter": 200, "learning_rate": 0.05, "max_leaf_nodes": 8, "min_samples_leaf": 9}
    options |= {"early_stopping": False, "random_state": 0}
    if estimator == "boosting" and column == "labels":
        has = [np.array([name in text.split(";") for text in values]) for name in "abc"]
        return np.stack(
            [HistGradientBoostingClassifier(**options).fit(matrix, one).predict_proba(new)[:, 1] for one in has], 1
        )
    if estimator == "boosting":
        model = HistGradientBoostingClassifier(**options)
        # Classes by number, in the predictor's order.
        numbers = values.map({name: i for i, name in enumerate(predictor.classes)})
        return model.fit(matrix, numbers).predict_proba(new)
    if column == "labels":
        return np.stack([one.best_estimator_.predict_proba(new)[:, 1] for one in predictor.estimator.models], 1)
    chosen = predictor.estimator.best_estimator_
    return chosen.predict(new)[:, None] if column == "bmi" else chosen.predict_proba(new)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> dict[tuple[str, str], tuple[PhenotypePredictor, Path, pd.DataFrame]]:
    """Predictors, their folders, and what a new process predicts with them for new samples."""
    folder = tmp_path_factory.mktemp("predictors")
    predictors = {}
    for estimator, column in COMBINATIONS:
        predictors[estimator, column] = trained(estimator, column)
        predictors[estimator, column].save_pretrained(folder / f"{estimator}-{column}")
    (folder / "in").write_bytes(pickle.dumps(made(N_NEW, 1)))
    folders = [str(folder / f"{estimator}-{column}") for estimator, column in COMBINATIONS]
    command = [sys.executable, "-c", IN_A_NEW_PROCESS, str(folder / "in"), str(folder / "out"), *folders]
    subprocess.run(command, check=True)
    frames = pickle.loads((folder / "out").read_bytes())
    return {key: (predictors[key], Path(path), frames[path]) for key, path in zip(COMBINATIONS, folders, strict=True)}


@pytest.mark.parametrize(("estimator", "column"), COMBINATIONS)
def test_a_new_process_predicts_what_scikit_learn_does(saved, estimator, column):
    predictor, _, frame = saved[estimator, column]
    tables, metadata = made(N_NEW, 1)
    expected = refitted(estimator, column, predictor, design(tables, metadata, estimator))
    assert expected.std(0).max() > 0.01
    np.testing.assert_allclose(frame.to_numpy(), expected, rtol=1e-12, atol=1e-12)
    names = {"state": ["healthy", "ill"], "bmi": ["bmi"], "labels": list("abc")}
    assert sorted(frame.columns) == sorted(names.get(column, ["mild", "none", "severe"]))
    assert list(frame.index) == list(metadata.index)


def test_a_predictor_names_what_it_needs_and_refuses_anything_else(saved):
    predictor = PhenotypePredictor.from_pretrained(saved["l1", "state"][1])
    assert predictor.needs == "vectors, species and covariates (age, sex)"
    assert predictor.base_model == {"id": "lab/centroids", "revision": "a" * 40, "weights_sha256": "ab"}
    tables, metadata = made(N_NEW, 1)
    with pytest.raises(
        InputError, match=r"fitted on vectors, species and covariates \(age, sex\), and species is miss"
    ):
        predictor.predict({"vectors": tables["vectors"]}, metadata)
    with pytest.raises(InputError, match="and covariates is missing; give these and no others"):
        predictor.predict(tables)
    with pytest.raises(InputError, match="and genes is none of them"):
        predictor.predict(tables | {"genes": tables["species"]}, metadata)
    with pytest.raises(InputError, match="has no column 'sex'; it has age"):
        predictor.predict(tables, metadata[["age"]])
    with pytest.raises(InputError, match="holds clusters, and the model was fitted on a table of taxa"):
        predictor.predict(tables | {"species": tables["vectors"]}, metadata)
    with pytest.raises(
        InputError, match="is no table of `biomeformer embed`, and the model was fitted on the clusters of"
    ):
        predictor.predict(tables | {"vectors": tables["species"]}, metadata)
    other = FeatureTable(
        tables["vectors"].sample_ids, tables["vectors"].names, tables["vectors"].values, {"model": "x"}
    )
    with pytest.raises(TableError, match="do not join: they differ in weights_sha256"):
        predictor.predict(tables | {"vectors": other}, metadata)
    shares = tables["vectors"].with_features(tables["vectors"].names)
    shares.values[:] = shares.shares
    with pytest.raises(InputError, match="the rule 'sq' for zeros needs counts"):
        predictor.predict(tables | {"vectors": shares}, metadata)


def test_samples_that_cannot_be_used_are_named_and_the_others_predicted(saved):
    predictor, _, frame = saved["forest", "state"]
    tables, metadata = made(N_NEW, 1)
    ids = list(metadata.index)
    metadata = metadata.assign(age=metadata["age"].where(metadata.index != ids[0], "NA"))
    metadata.loc[ids[1], "sex"] = "other"
    metadata.loc[ids[2], "age"] = "old"
    species = tables["species"].take([name for name in ids if name != ids[3]])
    species.values[3] = 0
    predicted = predictor.predict(tables | {"species": species}, metadata.drop(ids[5]))
    assert list(predicted.failed) == [ids[3], ids[4], ids[0], ids[1], ids[2], ids[5]]
    assert predicted.failed[ids[5]] == "covariates has no sample '1-5'; add it, or leave it out."
    reasons = " | ".join(predicted.failed[name] for name in ids[:6])
    for text in ("no value in the covariate 'age'", "'other' in the covariate 'sex', which the model has not seen"):
        assert text in reasons
    for text in (
        "in the covariate 'age' the value 'old', which is no number",
        "has no sample '1-3'",
        "none of the features",
    ):
        assert text in reasons
    pd.testing.assert_frame_equal(predicted.frame, frame.loc[ids[6:]])


def test_numbers_have_the_interval_of_the_held_out_errors(saved):
    predictor, folder, frame = saved["l1", "bmi"]
    tables, metadata = made(N_NEW, 1)
    predicted = PhenotypePredictor.from_pretrained(folder).predict(tables, metadata)
    half = predictor.error_95
    np.testing.assert_allclose(predicted.intervals["high"] - frame["bmi"], half, atol=1e-9)
    np.testing.assert_allclose(frame["bmi"] - predicted.intervals["low"], half, atol=1e-9)
    truth = metadata["bmi"].astype(float)
    # New samples of the same kind.
    inside = (truth >= predicted.intervals["low"]) & (truth <= predicted.intervals["high"])
    assert 0.85 <= inside.mean() <= 1 and half < np.ptp(truth) / 2
    with pytest.raises(InputError, match="predicts a number, and only probabilities of classes are calibrated"):
        predictor.predict(tables, metadata, calibrated=True)


def test_probabilities_are_calibrated_on_held_out_folds_where_asked_for(saved):
    _, folder, frame = saved["forest", "state"]
    predictor = PhenotypePredictor.from_pretrained(folder)
    tables, metadata = made(N_NEW, 1)
    assert predictor.temperature < 1
    predicted = predictor.predict(tables, metadata, calibrated=True)
    assert predicted.intervals is None
    # The temperature divides the log odds.
    odds, calibrated = (np.log(one["ill"] / one["healthy"]) for one in (frame, predicted.frame))
    np.testing.assert_allclose(calibrated, odds / predictor.temperature, rtol=1e-9)
    truth = metadata["state"] == "ill"
    before, after = (log_loss(truth, one["ill"]) for one in (frame, predicted.frame))
    assert after < before


def test_features_that_are_missing_or_unknown_are_said_with_their_share(saved):
    predictor, _, frame = saved["forest", "bmi"]
    tables, metadata = made(N_NEW, 1)
    species = tables["species"]
    values = np.hstack([species.values[:, :-3] * 0.9, np.full((N_NEW, 2), 5.0)])
    table = FeatureTable(species.sample_ids, (*species.names[:-3], "x", "y"), values)
    predicted = predictor.predict(tables | {"species": table}, metadata)
    assert predicted.notes == ("species: 3 of the model's 200 features are not in the table and count as 0",)
    (warning,) = predicted.warnings
    assert warning.startswith("species: left out: 2 features that the model does not have, 10 % of the abundance")
    # Shares among the features of the model, whatever else a table holds.
    without = species.values.copy()
    without[:, -3:] = 0
    expected = predictor.predict(
        tables | {"species": FeatureTable(species.sample_ids, species.names, without)}, metadata
    )
    np.testing.assert_allclose(predicted.frame, expected.frame)
    assert not np.allclose(predicted.frame, frame)
    nothing = FeatureTable(species.sample_ids, ("x", "y"), np.ones((N_NEW, 2)))
    with pytest.raises(InputError, match=r"none of the 200 features of the model \(such as 'sp0'; it has 'x'\)"):
        predictor.predict(tables | {"species": nothing}, metadata)


def test_missing_covariates_become_medians_of_the_training_samples(tmp_path):
    trained("l1", "state", impute=True).save_pretrained(tmp_path / "model")
    predictor = PhenotypePredictor.from_pretrained(tmp_path / "model")
    tables, metadata = made(N_NEW, 1)
    median = np.median(made(N, 0)[1]["age"].astype(float))
    unknown = predictor.predict(tables, metadata.assign(age="NA"))
    assert not unknown.failed
    pd.testing.assert_frame_equal(unknown.frame, predictor.predict(tables, metadata.assign(age=f"{median}")).frame)


def test_zeros_by_the_rule_gbm_are_replaced_with_the_prior_of_the_training_samples(tmp_path):
    tables, metadata = made(N, 0)
    clusters = tables["vectors"]
    target = make_target(metadata, "state", clusters.sample_ids)
    options = {"n_splits": 2, "n_jobs": 1, "zeros": "gbm", "force": True}
    train_predictor({"vectors": clusters}, target, "l1", **options)[0].save_pretrained(tmp_path / "model")
    predictor = PhenotypePredictor.from_pretrained(tmp_path / "model")
    new = made(N_NEW, 1)[0]["vectors"]
    stacked = np.vstack([clusters.values, new.values])
    expected = clr(replace_zeros(stacked, "gbm", np.arange(N)))[N:]
    np.testing.assert_allclose(predictor.blocks[0].columns(new), expected, rtol=1e-12)


def resigned(folder: Path, **changes) -> None:
    """Change fields of a config as its writer would, with the digest of the estimator as it is now."""
    record = json.loads((folder / "config.json").read_text())
    del record[CHECKSUM]
    record |= {"files": {ESTIMATOR: digest_file(folder / ESTIMATOR)}, **changes}
    (folder / "config.json").write_text(json.dumps(record | {CHECKSUM: checksum_of_record(record)}))


def stump(change) -> RandomForestClassifier:
    """A forest with the nodes of a tree changed."""
    rng = np.random.default_rng(0)
    forest = RandomForestClassifier(2, random_state=0).fit(rng.normal(size=(40, 263)), rng.integers(0, 2, 40))
    tree = forest.estimators_[0].tree_
    state = tree.__getstate__()
    state["nodes"] = state["nodes"].copy()
    change(state["nodes"])
    tree.__setstate__(state)
    return forest


def lead_out(nodes: np.ndarray) -> None:
    nodes["left_child"][0] = 10**9


def lead_back(nodes: np.ndarray) -> None:
    nodes["right_child"][0] = 0


def ask_beyond(nodes: np.ndarray) -> None:
    nodes["feature"][0] = 10**6


def write(estimator):
    return lambda folder: write_estimator(folder, estimator)


def flip(folder: Path) -> None:
    content = bytearray((folder / ESTIMATOR).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / ESTIMATOR).write_bytes(content)


def truncate(folder: Path) -> None:
    (folder / ESTIMATOR).write_bytes((folder / ESTIMATOR).read_bytes()[:-100])


def as_pickle(folder: Path) -> None:
    (folder / ESTIMATOR).write_bytes(pickle.dumps({"a": 1}))


def with_a_call(folder: Path) -> None:
    """A file that asks for a function of the operating system."""
    write_estimator(folder, functools.partial(subprocess.getoutput, f"touch {folder / 'pwned'}"))


def wider(folder: Path) -> None:
    rng = np.random.default_rng(0)
    write_estimator(folder, RandomForestClassifier(2).fit(rng.normal(size=(40, 300)), rng.integers(0, 2, 40)))


def among_trees(folder: Path) -> None:
    """A forest one of whose trees is something else, which scikit-learn trusts too."""
    rng = np.random.default_rng(0)
    matrix, labels = rng.normal(size=(40, 263)), rng.integers(0, 2, 40)
    forest = RandomForestClassifier(3, random_state=0).fit(matrix, labels)
    forest.estimators_[1] = KNeighborsClassifier().fit(matrix, labels)
    write_estimator(folder, forest)


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (truncate, "is damaged or no skops file"),
        (as_pickle, "is damaged or no skops file"),
        (with_a_call, "types that no predictor of this package has (functools.partial, subprocess.getoutput)"),
        (lambda folder: write(stump(lead_out))(folder), "a node of a tree leads to none after it"),
        (lambda folder: write(stump(lead_back))(folder), "a node of a tree leads to none after it"),
        (lambda folder: write(stump(ask_beyond))(folder), "a node of a tree asks for a feature that there is not"),
        (wider, "takes 300 columns, and the blocks of its config.json have 263"),
        (
            lambda folder: write(HistGradientBoostingRegressor(max_iter=1).fit(np.eye(263), np.arange(263.0)))(folder),
            "holds a HistGradientBoostingRegressor, and its config.json says forest",
        ),
        (among_trees, "holds a RandomForestClassifier with a DecisionTreeClassifier with a KNeighborsClassifier"),
        (lambda folder: write([1, 2])(folder), "holds a list, and its config.json says forest"),
    ],
    ids=[
        "truncated",
        "pickle",
        "call",
        "lead out",
        "lead back",
        "ask beyond",
        "wider",
        "other kind",
        "nested",
        "no estimator",
    ],
)
def test_an_estimator_that_was_tampered_with_is_refused_and_runs_nothing(saved, tmp_path, tamper, message):
    folder = copied(saved["forest", "state"][1], tmp_path)
    tamper(folder)
    with pytest.raises(CheckpointError, match="does not match its checksum"):
        PhenotypePredictor.from_pretrained(folder)
    resigned(folder)
    with pytest.raises(CheckpointError) as caught:
        PhenotypePredictor.from_pretrained(folder)
    assert message in str(caught.value) and "\n" not in str(caught.value) and str(folder) in str(caught.value)
    assert not (folder / "pwned").exists()


def copied(folder: Path, tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    for path in folder.iterdir():
        (tmp_path / "model" / path.name).write_bytes(path.read_bytes())
    return tmp_path / "model"


def test_damaged_and_missing_files_are_refused(saved, tmp_path, monkeypatch):
    folder = copied(saved["forest", "state"][1], tmp_path)
    original = (folder / "config.json").read_text()
    (folder / "config.json").write_text(original.replace('"healthy"', '"healthz"'))
    with pytest.raises(CheckpointError, match=r"config.json does not match its checksum"):
        PhenotypePredictor.from_pretrained(folder)
    (folder / "config.json").write_text(original)
    resigned(folder, format_version=2)
    with pytest.raises(CheckpointError, match="is a predictor of format 2, and this version reads 1"):
        PhenotypePredictor.from_pretrained(folder)
    (folder / "config.json").write_text(original)
    resigned(folder, probes=[[0.5, 0.5]] * 8)
    with pytest.raises(CheckpointError, match=r"predicts otherwise with scikit-learn .* than when it was saved"):
        PhenotypePredictor.from_pretrained(folder)
    (folder / "config.json").write_text(original)
    monkeypatch.setenv(EXPANDED_BYTES.variable, "1000000")
    with pytest.raises(CheckpointError, match="MB once it is expanded, more than 1 MB"):
        PhenotypePredictor.from_pretrained(folder)
    monkeypatch.delenv(EXPANDED_BYTES.variable)
    (folder / "SHA256SUMS").write_text(checksums(weight_hashes(folder)))
    assert PhenotypePredictor.from_pretrained(folder).classes == ("healthy", "ill")
    flip(folder)
    resigned(folder)
    with pytest.raises(CheckpointError, match=r"is not the file that SHA256SUMS of .* names"):
        PhenotypePredictor.from_pretrained(folder)
    (folder / ESTIMATOR).unlink()
    with pytest.raises(CheckpointNotFoundError, match=r"has no estimator.skops"):
        PhenotypePredictor.from_pretrained(folder)
    with pytest.raises(CheckpointError, match="is a checkpoint of model_type 'metagenbert', not 'phenotype_predictor'"):
        PhenotypePredictor.from_pretrained("metagenbert-mini")


def test_the_same_fit_writes_the_same_bytes(saved, tmp_path):
    for key in (("boosting", "grade"), ("l1", "labels")):
        trained(*key).save_pretrained(tmp_path / "again")
        for name in ("config.json", ESTIMATOR):
            assert (tmp_path / "again" / name).read_bytes() == (saved[key][1] / name).read_bytes(), (key, name)


def test_the_file_holds_estimators_and_nothing_of_the_samples(saved):
    with zipfile.ZipFile(saved["forest", "state"][1] / ESTIMATOR) as archive:
        schema = archive.read("schema.json").decode()
    assert "RandomForestClassifier" in schema and "inner_splits" not in schema and "0-1" not in schema
    config = (saved["l1", "state"][1] / "config.json").read_text()
    assert '"0-1"' not in config and "/tmp" not in config


def test_numbers_and_three_classes_of_a_real_table(shared_data, tmp_path):
    """Species of the cirrhosis cohort are real; number and classes are simulated from two species and noise."""
    path = shared_data / "cohorts" / "cirrhosis.species_abundance.tsv.gz"
    metadata = read_metadata(shared_data / "cohorts" / "cirrhosis.samples.tsv")
    table = read_feature_table(path, list(metadata.index)).take(list(metadata.index))
    rng = np.random.default_rng(0)
    common = np.argsort(-(table.values > 0).sum(0), kind="stable")[:2]
    score = np.log(table.shares[:, common] + 1e-4).sum(1)
    score = (score - score.mean()) / score.std() + 0.3 * rng.normal(size=len(score))
    metadata["bmi"] = (26 + 4 * score).round(3).astype(str)
    metadata["grade"] = np.select([score < -0.5, score < 0.5], ["none", "mild"], "severe")
    metadata["age"] = rng.integers(20, 80, len(score)).astype(str)
    half = np.arange(len(metadata)) % 2 == 0
    ids = list(metadata.index[half])
    for column, estimator in (("bmi", "forest"), ("grade", "boosting")):
        target = make_target(metadata, column, ids, task="auto")
        blocks = {"species": table, "covariates": make_covariates(metadata, ["age"], ids)}
        predictor, study = train_predictor(blocks, target, estimator, n_splits=2, n_jobs=1)
        assert study.evaluations[0].scores[study.evaluations[0].main_metric].mean > (0.4 if column == "bmi" else 0.7)
        predictor.save_pretrained(tmp_path / column)
        predicted = PhenotypePredictor.from_pretrained(tmp_path / column).predict({"species": table}, metadata).frame
        tested = predicted.loc[metadata.index[~half]]
        if column == "bmi":
            assert np.corrcoef(tested["bmi"], 26 + 4 * score[~half])[0, 1] > 0.7
        else:
            assert (tested.idxmax(axis=1) == metadata["grade"][~half]).mean() > 0.6
