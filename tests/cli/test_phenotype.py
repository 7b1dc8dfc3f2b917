"""`biomeformer phenotype`: from a run's folder or any table to scores with intervals."""

from __future__ import annotations

import csv
import hashlib
import html
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from biomeformer.cli import app
from biomeformer.metagenomes import AbundanceTable
from biomeformer.metagenomes.sample import READ_STATS
from factories import random_sequences, write_fastq

QUICK = ["--folds", 3, "--repeats", 1, "--estimator", "l1", "--threads", 1]


@pytest.fixture
def work(tmp_path):
    """A table of 40 samples whose second cluster tells their state, and a species table of noise."""
    rng = np.random.default_rng(0)
    ids = tuple(f"s{i}" for i in range(40))
    ill = np.arange(40) % 2
    counts = rng.poisson(np.stack([np.full(40, 400), 100 + 300 * ill, np.full(40, 200)], 1)).astype(np.int64)
    index = pd.Index(ids, name="sample_id")
    metadata = pd.DataFrame(
        {
            "state": [["healthy", "ill"][i] for i in ill],
            "subject": [f"p{i // 4}" for i in range(40)],
            "land": "here",
        },
        index=index,
    )
    preprocessing = {"pooling": "mean", "min_read_length": 32, "max_length": None}
    versions = {"biomeformer": "0"}
    provenance = {
        "model": "m",
        "weights_sha256": "ab",
        "contract": preprocessing,
        "versions": versions,
        "n_clusters": 3,
    }
    provenance |= {"read_fraction": 1.0, "seed": 0, "dtype": "float32"}
    read_stats = pd.DataFrame({name: counts.sum(1) for name in READ_STATS}, index=index)
    (tmp_path / "run").mkdir()
    AbundanceTable(ids, counts, read_stats, metadata, provenance).write(tmp_path / "run" / "abundance.parquet")
    metadata.to_csv(tmp_path / "metadata.csv")
    noise = rng.dirichlet(np.ones(6), 40) * 100
    names = [f"k__B|s__X{i}" for i in range(6)]
    pd.DataFrame(noise.T, index=names, columns=ids).to_csv(tmp_path / "species.tsv", sep="\t", index_label="ID")
    return tmp_path


def test_vectors_beside_species(work, run):
    arguments = ["phenotype", "evaluate", work / "run", "--target", "state", "--species", work / "species.tsv"]
    result = run([*arguments, *QUICK, "--permutations", 1, "--output", work / "out"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "state: healthy 20, ill 20" and lines[2].startswith("vectors   l1        1.000 (no interval)")
    assert lines[2].endswith("p < 0.5") and any(line.startswith("vectors - species, l1: ROC-AUC ") for line in lines)
    assert lines[-2:] == [
        f"all          {work / 'out' / 'study.json'}",
        f"report       {work / 'out' / 'report.html'}",
    ]
    rows = list(csv.DictReader((work / "out" / "scores.csv").open()))
    assert [row["features"] for row in rows] == ["vectors", "species", "both"]
    assert float(rows[0]["roc_auc"]) == 1 and float(rows[1]["roc_auc"]) < 0.8
    study = json.loads((work / "out" / "study.json").read_text())
    assert study["target"]["classes"] == {"healthy": 20, "ill": 20} and len(study["comparisons"]) == 3
    for setting in (
        "3-fold",
        "seed 0",
        "1 permutations",
        "centred log-ratios",
        "L1 penalty",
        "1/n²",
        "1/(n(√N + 1))",
        "healthy, 20 ill",
    ):
        assert setting in study["methods"]
    predictions = list(csv.DictReader((work / "out" / "predictions.csv").open()))
    assert len(predictions) == 40 and predictions[1]["class"] == "ill"
    for row in predictions:
        assert float(row["vectors.l1.healthy"]) + float(row["vectors.l1.ill"]) == pytest.approx(1)


def test_any_table_with_its_metadata_and_groups(work, run):
    arguments = [
        "phenotype",
        "evaluate",
        work / "species.tsv",
        "--metadata",
        work / "metadata.csv",
        "--target",
        "state",
    ]
    result = run([*arguments, *QUICK, "--group", "subject", "--positive", "ill", "--output", work / "out"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("state: not ill 20, ill 20\n") and "\nfeatures  l1        0." in result.stdout
    study = json.loads((work / "out" / "study.json").read_text())
    assert study["target"]["group_column"] == "subject" and "no subject in two folds" in study["methods"]
    result = run([*arguments, *QUICK, "--output", work / "out"])
    assert result.exit_code == 2 and "not empty" in result.stderr


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        (["--target", "diagnosis"], ["no column 'diagnosis'", "state, subject, land"]),
        (["--target", "land"], ["all 40 samples are 'here'"]),
        (["--target", "state", "--positive", "sick"], ["never is 'sick'", "'healthy', 'ill'"]),
        (["--target", "state", "--group", "land"], ["in 1 group of column 'land'", "nothing can be tested"]),
        (["--target", "state", "--folds", 1], ["--folds", "2"]),
        (["--target", "state", "--estimator", "tree"], ["'tree'", "l1, forest, boosting"]),
        (["--target", "state", "--species", "none.tsv"], ["none.tsv", "no such table"]),
        (["--target", "state", "--metadata", "none.csv"], ["none.csv", "no such table"]),
        (["--target", "state", "--transform", "log"], ["--transform", "log"]),
    ],
)
def test_phenotype_evaluate_refuses_bad_input(work, run, options, fragments):
    quick = [] if "--estimator" in options else ["--estimator", "l1"]
    result = run(["phenotype", "evaluate", work / "run", "--output", work / "out", *quick, *options])
    assert result.exit_code == 2, result.output
    line = result.stderr.splitlines()[-1]
    assert line.startswith("error: ") and all(fragment in line for fragment in fragments), line
    assert not (work / "out").exists() and "Traceback" not in result.output


def test_features_without_metadata(work, run):
    result = run(["phenotype", "evaluate", work / "species.tsv", "--target", "state", "--output", work / "out"])
    assert result.exit_code == 2 and "give the table with the column 'state' by --metadata" in result.stderr


def other_cohort(work, name, shift):
    """The same cohort with other samples, some of them noisier."""
    table = AbundanceTable.read(work / "run")
    ids = tuple(f"{name}{i}" for i in range(40))
    index = pd.Index(ids, name="sample_id")
    (work / name).mkdir()
    AbundanceTable(
        ids,
        table.counts + shift,
        (table.read_stats + 3 * shift).set_index(index),
        table.metadata.set_index(index),
        table.provenance,
    ).write(work / name / "abundance.parquet")
    return work / name


def test_phenotype_transfer_scores_every_held_out_cohort(work, run, monkeypatch):
    monkeypatch.setattr("biomeformer.phenotypes.cohort_transfer.N_BOOTSTRAPS", 50)
    b, c = other_cohort(work, "b", 30), other_cohort(work, "c", 60)
    options = ["--target", "state", "--estimator", "l1", "--threads", 1]
    result = run(["phenotype", "transfer", work / "run", b, "--test", c, *options, "--output", work / "one"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("run + b -> c, l1: ROC-AUC 1.000 (1.000-1.000)\n")
    result = run(["phenotype", "transfer", work / "run", b, c, *options, "--output", work / "all"])
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader((work / "all" / "transfer.csv").open()))
    assert [row["tested_on"] for row in rows] == ["run", "b", "c"]
    assert all(float(row["roc_auc"]) > 0.95 for row in rows)
    result = run(["phenotype", "transfer", b, *options, "--output", work / "none"])
    assert result.exit_code == 2 and "leaving one out needs two cohorts" in result.stderr
    table = AbundanceTable.read(c)
    table.provenance["weights_sha256"] = "cd"
    table.write(c / "abundance.parquet")
    result = run(["phenotype", "transfer", b, "--test", c, *options, "--output", work / "none"])
    assert result.exit_code == 2 and "do not join: they differ in weights_sha256" in result.stderr
    assert not (work / "none").exists()


def test_phenotype_robustness_writes_tests_of_every_table(work, run):
    b = other_cohort(work, "b", 1)
    arguments = ["phenotype", "robustness", work / "run", b, "--target", "state", "--permutations", 99]
    result = run([*arguments, "--output", work / "out"])
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader((work / "out" / "tests.csv").open()))
    assert len(rows) == 14 and {row["table"] for row in rows} == {"run", "b"}
    assert [row["test"] for row in rows[:7]] == ["permanova", "permdisp"] * 3 + ["entropy"]
    assert all(float(row["p"]) == 0.01 for row in rows if row["test"] == "permanova")
    assert result.stdout.count("p < 0.01, q = ") >= 6
    assert all(float(row["q"]) >= float(row["p"]) for row in rows)
    assert result.stdout.count("permanova bray_curtis") == 2


def two_sites(work):
    """Metadata of the cohort with a site and an age; one sample has no age."""
    metadata = pd.read_csv(work / "metadata.csv", index_col=0, dtype=str)
    metadata["site"] = ["1", "1", "2", "2"] * 10
    metadata["age"] = [str(20 + 7 * i % 40) for i in range(39)] + ["NA"]
    metadata.to_csv(work / "sites.csv")
    return work / "sites.csv"


def test_phenotype_robustness_within_strata_and_beside_other_terms(work, run):
    arguments = ["phenotype", "robustness", work / "run", "--metadata", two_sites(work), "--target", "state"]
    arguments += ["--permutations", 99]
    result = run([*arguments, "--strata", "site", "--terms", "age", "--output", work / "out"])
    assert result.exit_code == 0, result.output
    assert "run: left out: 1 samples without a value in column 'age'" in result.stderr
    rows = list(csv.DictReader((work / "out" / "tests.csv").open()))
    marginal = [row for row in rows if row["test"] == "permanova_marginal"]
    assert [row["term"] for row in marginal] == ["state", "age"] * 3 and all(row["n_samples"] == "39" for row in rows)
    assert float(marginal[0]["p"]) == 0.01 and float(marginal[1]["p"]) > 0.05
    assert "permanova_marginal state bray_curtis" in result.stdout
    result = run([*arguments, "--strata", "state", "--output", work / "same"])
    assert result.exit_code == 0 and "p undefined" in result.stdout
    assert "the groups do not vary within the strata" in result.stdout
    result = run([*arguments, "--terms", "weight", "--output", work / "no"])
    assert result.exit_code == 2 and "no column 'weight'" in result.stderr


def test_phenotype_transfer_leaves_out_each_study_of_a_table(work, run, monkeypatch):
    monkeypatch.setattr("biomeformer.phenotypes.cohort_transfer.N_BOOTSTRAPS", 50)
    arguments = ["phenotype", "transfer", work / "run", "--metadata", two_sites(work), "--target", "state"]
    arguments += ["--estimator", "l1", "--threads", 1]
    result = run([*arguments, "--leave-out-column", "site", "--output", work / "out"])
    assert result.exit_code == 0, result.output
    assert "\n1 -> 2, l1: ROC-AUC 1.000" in result.stdout
    predictions = pd.read_csv(work / "out" / "predictions.csv", dtype=str)
    assert len(predictions) == 40 and set(predictions["cohort"]) == {"1", "2"}
    ill = predictions["l1.ill"].astype(float) > 0.5
    assert (ill == (predictions["true"] == "ill")).mean() > 0.9
    page = (work / "out" / "report.html").read_text()
    assert "ROC-AUC by site tested" in page and "left out in turn (2)" in page
    refused = run([*arguments, "--leave-out-column", "state", "--output", work / "no"])
    assert refused.exit_code == 2 and "state is confounded with state" in refused.stderr
    refused = run([*arguments, work / "run", "--leave-out-column", "site", "--output", work / "no"])
    assert refused.exit_code == 2 and "give one table" in refused.stderr


def test_evaluate_reports_confounders_and_importance(work, run):
    metadata = pd.read_csv(work / "metadata.csv", index_col=0, dtype=str)
    metadata["batch"] = np.where(metadata["state"] == "ill", "x", "y")
    metadata.to_csv(work / "batches.csv")
    arguments = ["phenotype", "evaluate", work / "run", "--metadata", work / "batches.csv", "--target", "state", *QUICK]
    result = run([*arguments, "--importance", "--output", work / "out"])
    assert result.exit_code == 0, result.output
    assert "warning: the labels are confounded with batch: it alone predicts state with ROC-AUC 1.000" in result.stdout
    study = json.loads((work / "out" / "study.json").read_text())
    assert [one["column"] for one in study["confounding"]["columns"]][:2] == ["subject", "batch"]
    assert any("confounded with batch" in warning for warning in study["warnings"])
    assert pd.read_csv(work / "out" / "confounders.csv")["column"][0] == "batch"
    assert pd.read_csv(work / "out" / "importance.csv")["importance"][0] > 0.1
    page = (work / "out" / "report.html").read_text()
    for text in ("<h2>Confounders</h2>", "confounded with batch", "<h2>Importance of features</h2>", "land (it has a"):
        assert text in page
    result = run([*arguments, "--confounders", "subject", "--output", work / "one"])
    assert result.exit_code == 0 and "confounded" not in result.stdout
    result = run([*arguments, "--confounders", "none", "--output", work / "none"])
    assert result.exit_code == 0 and not (work / "none" / "confounders.csv").exists()


@pytest.mark.parametrize("command", ["evaluate", "transfer"])
def test_model_is_a_checkpoint_in_every_command(work, run, command):
    arguments = ["phenotype", command, work / "run", "--target", "state", "--output", work / "out"]
    result = run([*arguments, "--model", "metagenbert-mini"])
    assert result.exit_code == 2 and "--model names a checkpoint" in result.stderr
    assert "choose what is fitted by --estimator, one of l1, forest, boosting" in result.stderr


def test_model_still_names_an_estimator_as_in_the_first_version(work, run, tmp_path):
    arguments = ["phenotype", "evaluate", work / "run", "--target", "state", "--folds", 3, "--repeats", 1]
    result = run([*arguments, "--confounders", "none", "--model", "l1", "--output", tmp_path / "out"])
    assert result.exit_code == 0, result.output
    assert "note: --model l1 is read as --estimator" in result.stderr
    study = json.loads((tmp_path / "out" / "study.json").read_text())
    assert {fold["model"] for fold in study["folds"]} == {"l1"}


def test_phenotype_robustness_of_equal_profiles_is_undefined(work, run):
    frame = pd.read_csv(work / "species.tsv", sep="\t", index_col=0)
    frame = frame.apply(lambda _: frame.iloc[:, 0])
    frame.to_csv(work / "equal.tsv", sep="\t")
    arguments = [
        "phenotype",
        "robustness",
        work / "equal.tsv",
        "--metadata",
        work / "metadata.csv",
        "--target",
        "state",
    ]
    result = run([*arguments, "--permutations", 99, "--output", work / "out"])
    assert result.exit_code == 0, result.output
    assert result.stdout.count("undefined: all samples have the same profile") == 6 and "p = " not in result.stdout
    rows = list(csv.DictReader((work / "out" / "tests.csv").open()))
    assert all(row["p"] == row["q"] == row["statistic"] == "" and row["note"] for row in rows)


def test_a_checkpoint_of_nothing_learned_needs_force(tmp_path, model_dir, run):
    """Every sample holds the same reads, each repeated as often, so no cluster tells the classes apart."""
    rows = ["sample_id,fastq,state"]
    for i in range(12):
        write_fastq(tmp_path / f"s{i}.fastq", random_sequences(30, seed=1) * (i + 1))
        rows.append(f"s{i},s{i}.fastq,{['healthy', 'ill'][i % 2]}")
    (tmp_path / "cohort.csv").write_text("\n".join(rows) + "\n")
    embed = ["embed", tmp_path / "cohort.csv", "--model", model_dir, "--output", tmp_path / "run", "--no-report"]
    assert run(embed).exit_code == 0
    # Shares are equal at every depth; zeros are replaced by the same rule at every depth.
    train = ["phenotype", "train", tmp_path / "run", "--target", "state", "--folds", 3, "--threads", 1]
    train += ["--zeros", "fixed"]
    result = run([*train, "--model", model_dir, "--output", tmp_path / "test"])
    assert (result.exit_code == 2 and "learned nothing" in result.stderr) or "no coefficient" in result.stderr
    assert "--force" in result.stderr.splitlines()[-1] and not (tmp_path / "test").exists()
    result = run([*train, "--model", model_dir, "--output", tmp_path / "test", "--force"])
    assert result.exit_code == 0, result.output
    assert "warning: vectors, l1: the model learned nothing in any of 3 folds" in result.stdout
    record = json.loads((tmp_path / "test" / "training_record.json").read_text())
    assert record["warnings"] and record["scores"][0]["roc_auc_low"] is None


def test_train_and_predict(tmp_path, model_dir, run):
    """From reads to a checkpoint that predicts from reads."""
    rows = ["sample_id,fastq,state"]
    for i in range(12):
        # The ill ones hold copies of one read.
        sequences = random_sequences(30, seed=i) + [random_sequences(1, seed=99)[0]] * (60 * (i % 2))
        write_fastq(tmp_path / f"s{i}.fastq", sequences)
        rows.append(f"s{i},s{i}.fastq,{['healthy', 'ill'][i % 2]}")
    (tmp_path / "cohort.csv").write_text("\n".join(rows) + "\n")
    embed = ["embed", tmp_path / "cohort.csv", "--model", model_dir, "--output", tmp_path / "run", "--no-report"]
    assert run(embed).exit_code == 0
    train = ["phenotype", "train", tmp_path / "run", "--target", "state", "--folds", 3, "--threads", 1]
    result = run([*train, "--model", model_dir, "--output", tmp_path / "deep" / "test"])
    assert result.exit_code == 0, result.output
    assert "vectors   l1        1.000" in result.stdout
    config = json.loads((tmp_path / "deep" / "test" / "config.json").read_text())
    assert (config["abundance_transform"], config["zero_replacement"]) == ("clr", "sq")
    assert result.stdout.splitlines()[-1] == f"checkpoint  {tmp_path / 'deep' / 'test'}"
    record = json.loads((tmp_path / "deep" / "test" / "training_record.json").read_text())
    assert record["scores"][0]["roc_auc"] == 1 and record["target"]["classes"] == {"healthy": 6, "ill": 6}
    result = run([*train, "--preset", "metagenbert-paper", "--model", model_dir, "--output", tmp_path / "paper"])
    assert result.exit_code == 0 and "vectors   lasso     1.000" in result.stdout, result.output
    assert "preset metagenbert-paper: estimator lasso, transform ilr, zeros epsilon, folds 10" in result.stderr
    config = json.loads((tmp_path / "paper" / "config.json").read_text())
    # A head on ilr is the same function of clr.
    assert (config["abundance_transform"], config["zero_replacement"]) == ("clr", "epsilon")

    predict = ["phenotype", "predict", tmp_path / "deep" / "test"]
    result = run([*predict, tmp_path / "run", "--output", tmp_path / "p.csv"])
    assert result.exit_code == 0 and result.stdout == f"predictions  {tmp_path / 'p.csv'}\n"
    rows = list(csv.DictReader((tmp_path / "p.csv").open()))
    assert [float(row["ill"]) > 0.5 for row in rows] == [False, True] * 6
    from_table = pd.read_csv(tmp_path / "p.csv", index_col="sample_id")
    result = run([*predict, tmp_path / "cohort.csv", "--output", tmp_path / "sheet.csv"])
    assert result.exit_code == 0, result.output
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "sheet.csv", index_col="sample_id"), from_table)
    (tmp_path / "bad.fastq").write_text("@a\nACGT\n+\n!\n")
    (tmp_path / "some.tsv").write_text("sample_id\tfastq\ngood\ts3.fastq\nbad\tbad.fastq\n")
    result = run([*predict, tmp_path / "some.tsv"])
    assert (
        result.exit_code == 1 and "1 of 2 samples could not be used" in result.stderr and "bad.fastq" in result.stderr
    )
    (row,) = csv.DictReader(result.stdout.splitlines())
    assert row["sample_id"] == "good" and float(row["ill"]) == pytest.approx(from_table["ill"]["s3"], rel=1e-5)
    result = run([*predict, tmp_path / "s3.fastq"])
    header, line = result.stdout.splitlines()
    assert header == "sample_id,healthy,ill" and line.split(",")[0] == "s3.fastq"
    assert float(line.split(",")[2]) == pytest.approx(float(rows[3]["ill"]), abs=1e-5)
    with_comma = tmp_path / "sample 3, again.fastq"
    with_comma.write_bytes((tmp_path / "s3.fastq").read_bytes())
    (row,) = csv.DictReader(run([*predict, with_comma]).stdout.splitlines())
    assert row["sample_id"] == with_comma.name and row["ill"] == line.split(",")[2]

    result = run([*predict[:2], model_dir, tmp_path / "s3.fastq"])
    assert result.exit_code == 2 and "holds no head for a phenotype; make one with" in result.stderr
    result = run([*predict, *[tmp_path / "s3.fastq"] * 3])
    assert result.exit_code == 2 and "3 files were given" in result.stderr
    other = ["fit-centroids", tmp_path / "cohort.csv", "--read-encoder", model_dir, "-k", 3, "--output", tmp_path / "m"]
    assert run(other).exit_code == 0
    result = run([*train, "--model", tmp_path / "m", "--output", tmp_path / "no"])
    assert result.exit_code == 2 and "the table was embedded by" in result.stderr and not (tmp_path / "no").exists()


@pytest.fixture(scope="module")
def embedded(tmp_path_factory, model_dir):
    """A cohort whose ill samples hold copies of one read, with ages and species, and its run."""
    folder, rng = tmp_path_factory.mktemp("embedded"), np.random.default_rng(0)
    rows = ["sample_id,fastq,state,age"]
    for i in range(16):
        sequences = random_sequences(20, seed=i) + [random_sequences(1, seed=99)[0]] * (40 * (i % 2))
        write_fastq(folder / f"s{i}.fastq", sequences)
        rows.append(f"s{i},s{i}.fastq,{['healthy', 'ill'][i % 2]},{30 + 2 * i}")
    (folder / "cohort.csv").write_text("\n".join(rows) + "\n")
    names = [f"k__B|s__X{i}" for i in range(6)]
    species = pd.DataFrame(100 * rng.dirichlet(np.ones(6), 16).T, index=names, columns=[f"s{i}" for i in range(16)])
    species.to_csv(folder / "species.tsv", sep="\t", index_label="ID")
    arguments = ["embed", folder / "cohort.csv", "--model", model_dir, "--output", folder / "run", "--no-report"]
    assert CliRunner().invoke(app, [str(argument) for argument in arguments]).exit_code == 0
    return folder


FIT = ["--target", "state", "--folds", 2, "--threads", 1]


def test_a_predictor_of_vectors_species_and_covariates(embedded, tmp_path, model_dir, run):
    train = ["phenotype", "train", embedded / "run", *FIT, "--estimator", "boosting", "--model", model_dir]
    train += ["--species", embedded / "species.tsv", "--covariates", "age"]
    result = run([*train, "--output", tmp_path / "test"])
    assert result.exit_code == 0, result.output
    assert "vectors + species + covariates boosting" in result.stdout
    assert "the predictor needs vectors, species and covariates (age)" in result.stderr
    assert sorted(path.name for path in (tmp_path / "test").iterdir()) == [
        "config.json",
        "estimator.skops",
        "training_record.json",
    ]
    record = json.loads((tmp_path / "test" / "training_record.json").read_text())
    assert record["base_model"]["weights_sha256"] and record["inputs"]["covariates"]["columns"] == "age"
    predict = ["phenotype", "predict", tmp_path / "test"]
    species = ["--species", embedded / "species.tsv"]
    result = run([*predict, embedded / "run", *species, "--output", tmp_path / "p.csv"])
    assert result.exit_code == 0 and result.stdout == f"predictions  {tmp_path / 'p.csv'}\n", result.output
    from_table = pd.read_csv(tmp_path / "p.csv", index_col="sample_id")
    assert ((from_table["ill"] > 0.5) == [False, True] * 8).all() and list(from_table) == ["healthy", "ill"]
    # From reads, with the model that embeds them.
    sheet = [*predict, embedded / "cohort.csv", *species, "--output", tmp_path / "sheet.csv"]
    assert run([*sheet, "--model", model_dir]).exit_code == 0
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "sheet.csv", index_col="sample_id"), from_table)
    result = run(sheet)
    assert result.exit_code == 2 and "cannot be loaded" in result.stderr and "by --model" in result.stderr
    # A sample without age, and one that the species table lacks.
    metadata = pd.read_csv(embedded / "cohort.csv", dtype=str).set_index("sample_id")
    metadata.loc["s3", "age"] = "NA"
    metadata.to_csv(tmp_path / "metadata.csv")
    few = pd.read_csv(embedded / "species.tsv", sep="\t", index_col="ID").drop(columns="s5")
    few.to_csv(tmp_path / "few.tsv", sep="\t", index_label="ID")
    others = ["--species", tmp_path / "few.tsv", "--metadata", tmp_path / "metadata.csv"]
    result = run([*predict, embedded / "run", *others])
    assert result.exit_code == 1 and "2 of 16 samples could not be used" in result.stderr
    assert "s3: " in result.stderr and "no value in the covariate 'age'" in result.stderr
    assert "few.tsv has no sample 's5'" in result.stderr
    assert len(result.stdout.splitlines()) == 15
    for arguments, text in (
        ([embedded / "run"], "species is missing"),
        ([embedded / "s3.fastq", *species], "give a cohort's sheet, which names the samples"),
        ([embedded / "run", *species, "--metadata", tmp_path / "few.tsv"], "has no column 'age'"),
        ([embedded / "species.tsv", *species], "no column sample_id"),
    ):
        result = run([*predict, *arguments])
        assert result.exit_code == 2 and text in result.stderr.splitlines()[-1], result.stderr


def test_a_predictor_of_vectors_alone_predicts_reads(embedded, tmp_path, model_dir, run):
    train = ["phenotype", "train", embedded / "run", *FIT, "--output", tmp_path / "test"]
    result = run(train)
    assert result.exit_code == 2 and "give that by --model" in result.stderr and not (tmp_path / "test").exists()
    assert run([*train, "--estimator", "boosting"]).exit_code == 0
    predict = ["phenotype", "predict", tmp_path / "test"]
    table = pd.read_csv(io.StringIO(run([*predict, embedded / "run"]).stdout), index_col="sample_id")
    result = run([*predict, embedded / "s3.fastq", "--model", model_dir])
    (row,) = csv.DictReader(result.stdout.splitlines())
    assert row["sample_id"] == "s3.fastq" and float(row["ill"]) == pytest.approx(table.loc["s3", "ill"])
    result = run([*predict, embedded / "s3.fastq", "--model", "metagenbert-mini"])
    assert result.exit_code == 2 and "the table was embedded by" in result.stderr
    result = run([*predict, embedded / "run", "--species", embedded / "species.tsv"])
    assert result.exit_code == 2 and "was fitted on vectors, and species is none of them" in result.stderr
    result = run([*predict, embedded / "run", "--calibrated"])
    calibrated = pd.read_csv(io.StringIO(result.stdout), index_col="sample_id")
    assert list(calibrated) == list(table) and ((calibrated["ill"] > 0.5) == (table["ill"] > 0.5)).all()
    result = run(["inspect", tmp_path / "test", "--json"])
    described = json.loads(result.stdout)
    assert (
        described["model"]["needs"] == "vectors" and described["provenance"]["training"]["target"]["column"] == "state"
    )


def test_a_predictor_of_species_and_covariates_needs_no_reads(embedded, tmp_path, model_dir, run):
    metadata = ["--metadata", embedded / "cohort.csv"]
    train = ["phenotype", "train", embedded / "species.tsv", *metadata, *FIT, "--covariates", "age", "--force"]
    assert run([*train, "--output", tmp_path / "test"]).exit_code == 0
    predict = ["phenotype", "predict", tmp_path / "test", embedded / "species.tsv"]
    result = run([*predict, *metadata])
    assert result.exit_code == 0 and len(result.stdout.splitlines()) == 17
    result = run(predict)
    assert result.exit_code == 2 and "has no such columns; give the table with them by --metadata" in result.stderr
    result = run([*predict, *metadata, "--model", model_dir])
    assert result.exit_code == 2 and "which needs no --model" in result.stderr
    for options, text in (
        (["--model", model_dir], "the features are features and covariates"),
        (["--features", "features+vectors"], "is no combination of features, covariates"),
    ):
        result = run([*train, *options, "--output", tmp_path / "no"])
        assert result.exit_code == 2 and text in result.stderr
    # Numbers, with the interval that held the held-out ones.
    age = ["phenotype", "train", embedded / "species.tsv", *metadata, "--target", "age", "--task", "regression"]
    assert run([*age, "--folds", 2, "--threads", 1, "--force", "--output", tmp_path / "number"]).exit_code == 0
    result = run(["phenotype", "predict", tmp_path / "number", embedded / "species.tsv"])
    (first, *_) = csv.DictReader(result.stdout.splitlines())
    assert list(first) == ["sample_id", "age", "age_low", "age_high"]
    assert float(first["age_low"]) < float(first["age"]) < float(first["age_high"])
    # One block of those given.
    assert run([*train, "--features", "covariates", "--output", tmp_path / "age"]).exit_code == 0
    result = run(["phenotype", "predict", tmp_path / "age", embedded / "cohort.csv"])
    assert result.exit_code == 0 and len(result.stdout.splitlines()) == 17


def telling_species(work):
    """A species table of which one species tells the state, beside the noise of the other tables."""
    noise = pd.read_csv(work / "species.tsv", sep="\t", index_col="ID")
    told = pd.DataFrame([[5, 50][i % 2] for i in range(noise.shape[1])], index=noise.columns, columns=["k__B|s__T"]).T
    table = pd.concat([noise / 2, told])
    table.to_csv(work / "telling.tsv", sep="\t", index_label="ID")
    return work / "telling.tsv"


def test_a_species_table_is_a_block_of_transfer(work, run, monkeypatch):
    monkeypatch.setattr("biomeformer.phenotypes.cohort_transfer.N_BOOTSTRAPS", 50)
    arguments = ["phenotype", "transfer", work / "species.tsv", "--metadata", two_sites(work), "--target", "state"]
    arguments += ["--estimator", "l1", "--threads", 1, "--leave-out-column", "site"]
    alone = run([*arguments, "--output", work / "alone"])
    beside = run([*arguments, "--species", telling_species(work), "--output", work / "beside"])
    assert alone.exit_code == beside.exit_code == 0, beside.output
    assert "1 -> 2, l1: ROC-AUC 1.000" in beside.stdout and "ROC-AUC 1.000" not in alone.stdout


def test_a_species_table_is_a_block_of_depth(work, run):
    table = AbundanceTable.read(work / "run")
    folders = []
    for share in (1.0, 0.5):
        folders.append(work / f"reads-{share}")
        folders[-1].mkdir()
        # Clusters that tell nothing.
        counts = np.tile(table.counts[:1], (40, 1)) + np.arange(40)[:, None] % 3
        stats = pd.DataFrame({name: counts.sum(1) for name in table.read_stats}, index=table.read_stats.index)
        part = AbundanceTable(
            table.sample_ids, counts, stats, table.metadata, table.provenance | {"read_fraction": share}
        )
        part.write(folders[-1] / "abundance.parquet")
    arguments = ["phenotype", "depth", *folders, "--target", "state", *QUICK]
    result = run([*arguments, "--species", telling_species(work), "--output", work / "depth"])
    assert result.exit_code == 0, result.output
    assert "100 %     l1        1.000" in result.stdout and "50 %      l1        1.000" in result.stdout


@pytest.mark.parametrize("verb", ["evaluate", "train", "predict", "transfer", "robustness"])
def test_help_has_an_example(verb, run):
    result = CliRunner().invoke(app, ["phenotype", verb, "--help"], prog_name="biomeformer", env={"COLUMNS": "120"})
    assert result.exit_code == 0 and re.search(rf"Examples?\W[\s\S]*biomeformer phenotype {verb}", result.stdout)


def test_report_of_a_study(work, run):
    arguments = ["phenotype", "evaluate", work / "run", "--target", "state", "--species", work / "species.tsv"]
    assert run([*arguments, *QUICK, "--output", work / "out"]).exit_code == 0
    first = (work / "out" / "report.html").read_text()
    assert "Predicting state" in first and first.count("<figure") == 11 and "selected by L1" in first
    result = run(["phenotype", "report", work / "out", "--title", "Mine", "--remark", "Of noise.", "--permutations", 9])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"report  {work / 'out' / 'report.html'}\n"
    page = (work / "out" / "report.html").read_text()
    assert "<h1>Mine</h1>" in page and "Of noise." in page and page.count("<figure") == 11
    (work / "species.tsv").write_text((work / "species.tsv").read_text().replace("s__X1", "s__Y1"))
    result = run(["phenotype", "report", work / "out"])
    assert result.exit_code == 2 and "species.tsv has changed since the study was computed from it" in result.stderr
    (work / "species.tsv").unlink()
    result = run(["phenotype", "report", work / "out"])
    assert result.exit_code == 2 and "species.tsv, a table of the study, does not exist" in result.stderr
    for options, words in (
        ([work / "run"], ["holds no study", "study.json"]),
        ([work / "out", "--cohort", "c.csv"], ["--cohort and --model go together"]),
        ([work / "out", "--show-reads"], ["--show-reads needs --cohort and --model"]),
        ([work / "out", "--depth", work / "out"], ["is not a study of read depth"]),
        ([work / "out", "--output", work], ["is a folder; give the name of an HTML file"]),
    ):
        result = run(["phenotype", "report", *options])
        assert result.exit_code == 2 and all(word in result.stderr for word in words), result.output
    (work / "out" / "study.json").write_text("{}")
    result = run(["phenotype", "report", work / "out"])
    assert result.exit_code == 2 and "evaluate again with this version" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.fixture
def cohort(tmp_path):
    """Sixteen samples of reads whose composition tells their group, and the shipped model's name."""
    rows = ["sample_id,fastq,group"]
    for i in range(16):
        reads = random_sequences(60, seed=i)
        write_fastq(tmp_path / f"s{i}.fastq", [r.replace("GC", "AT") for r in reads] if i % 2 else reads)
        rows.append(f"s{i},s{i}.fastq,{'ab'[i % 2]}")
    path = tmp_path / "cohort.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_depth_in_one_command_then_a_report_with_reads(cohort, run, tmp_path, monkeypatch):
    # The report of each depth's table, which `embed` writes, is drawn in the test of a sample without reads below.
    monkeypatch.setattr("biomeformer.cli.embed._write_reports", lambda *args, **kwargs: None)
    model = ["--model", "metagenbert-mini"]
    shares = ["--fraction", 1, "--fraction", 0.5, "--fraction", 0.2]
    rest = ["--folds", 2, "--repeats", 1, "--classifier", "l1", "--threads", 1, "--output", tmp_path / "depth"]
    result = run(["phenotype", "depth", cohort, *model, *shares, "--target", "group", *rest])
    assert result.exit_code == 0, result.output
    assert "100 %     l1" in result.stdout and "20 %      l1" in result.stdout
    assert (tmp_path / "depth" / "depth.svg").read_text().startswith("<?xml")
    study = json.loads((tmp_path / "depth" / "study.json").read_text())
    assert study["inputs"]["read_fractions"] == {"100 %": 1.0, "50 %": 0.5, "20 %": 0.2}
    folders = [tmp_path / "depth" / f"reads-{share}" for share in ("1", "0.5", "0.2")]
    used = [AbundanceTable.read(folder).read_stats["n_used"].sum() for folder in folders]
    assert used[0] == 960 and 0.4 < used[1] / 960 < 0.6 and 0.1 < used[2] / 960 < 0.3
    # The same command goes on: nothing is embedded again.
    kept = [(folder / "abundance.parquet").stat().st_mtime_ns for folder in folders]
    parts = [path.stat().st_mtime_ns for path in sorted(folders[0].rglob("*.safetensors"))]
    again = run(["phenotype", "depth", cohort, *model, *shares, "--target", "group", *rest])
    assert again.exit_code == 0 and again.stdout.splitlines()[-4:] == result.stdout.splitlines()[-4:]
    assert len(kept) == 3 and parts == [p.stat().st_mtime_ns for p in sorted(folders[0].rglob("*.safetensors"))]
    # Tables that are there make the same curve.
    others = run(["phenotype", "depth", *folders, "--target", "group", *rest[:-1], tmp_path / "other"])
    assert others.exit_code == 0, others.output
    a, b = ((tmp_path / name / "scores.csv").read_text() for name in ("depth", "other"))
    assert a == b
    quick = ["--folds", 2, "--repeats", 1, "--estimator", "l1", "--threads", 1]
    study = run(["phenotype", "evaluate", folders[0], "--target", "group", *quick, "--output", tmp_path / "study"])
    assert study.exit_code == 0, study.output
    paths = ["--depth", tmp_path / "depth", "--cohort", cohort, *model, "--output", tmp_path / "r.html"]
    result = run(["phenotype", "report", tmp_path / "study", *paths])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "r.html").read_text()
    assert "<h2>Read depth</h2>" in page and "<h3>Reads of these clusters</h3>" in page
    written = "\n".join(path.read_text() for path in tmp_path.glob("*.fastq"))
    assert '<code class="read">' not in page and "GC 5" in page and "Nearest to the centroid" not in page
    assert not any(line in page for line in written.splitlines() if set(line) <= set("ACGT") and line)
    result = run(["phenotype", "report", tmp_path / "study", *paths, "--show-reads"])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "r.html").read_text()
    sequences = re.findall(r'<code class="read">([ACGT]+)</code>', page)
    assert len(sequences) >= 10 and all(sequence in written for sequence in sequences)


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["cohort.csv"], ["give --model"]),
        (["cohort.csv", "cohort.csv", "--model", "metagenbert-mini"], ["2 were given"]),
        (["cohort.csv", "--model", "metagenbert-mini", "--fraction", 1], ["two fractions of the reads", "is only 1.0"]),
        (["cohort.csv", "--model", "metagenbert-mini", "--fraction", 2, "--fraction", 1], ["read_fraction is 2"]),
        (["cohort.csv", "--model", "metagenbert-mini", "--positive", "c"], ["never is 'c'"]),
    ],
)
def test_phenotype_depth_refuses_bad_depths(cohort, run, tmp_path, monkeypatch, arguments, fragments):
    monkeypatch.chdir(tmp_path)
    result = run(["phenotype", "depth", *arguments, "--target", "group", "--output", "out"])
    assert result.exit_code == 2, result.output
    line = result.stderr.splitlines()[-1]
    assert line.startswith("error: ") and all(fragment in line for fragment in fragments), line


def test_a_sample_without_reads_at_a_depth_is_left_out_and_said(cohort, run, tmp_path):
    write_fastq(tmp_path / "s3.fastq", random_sequences(1, seed=1))
    options = ["--model", "metagenbert-mini", "--fraction", 1, "--fraction", 0.1, "--target", "group"]
    rest = ["--folds", 2, "--repeats", 1, "--classifier", "l1", "--threads", 1, "--output", tmp_path / "depth"]
    result = run(["phenotype", "depth", cohort, *options, *rest])
    assert result.exit_code == 1
    assert "failed  s3" in result.stderr and "100 %: 1 samples that another depth lacks were left out" in result.stderr
    assert "group: a 8, b 7" in result.stdout and (tmp_path / "depth" / "depth.svg").is_file()


@pytest.fixture
def species_cohort(tmp_path):
    """A table of own counts whose `Unassigned` holds a third of the reads, a blank, and metadata with odd words."""
    rng = np.random.default_rng(1)
    ids = [f"s{i}" for i in range(40)]
    state = ["None" if i % 2 else "CD" for i in range(36)] + ["NA", "unknown", "Not collected", ""]
    lineages = [f"k__B;p__P{i // 20};g__G{i};s__{f'sp_{i}' if i % 2 else ''}" for i in range(1, 40)]
    lineages += [f"k__B;p__P{i // 20};g__H{i};s__" for i in range(10)]
    reads = rng.poisson(20, (len(lineages), 40))
    reads[0, [i for i, word in enumerate(state) if word == "CD"]] += 400
    table = pd.DataFrame(reads, index=lineages, columns=ids)
    table.loc["Unassigned"] = table.sum() // 2
    table["BLANK"] = 0
    table.loc["state"] = [i % 2 for i in range(41)]
    table.to_csv(tmp_path / "t.tsv", sep="\t", index_label="#OTU ID")
    pd.DataFrame({"state": state, "kit, lot": "a"}, index=ids).to_csv(
        tmp_path / "m.tsv", sep="\t", index_label="sample"
    )
    return tmp_path


def test_what_is_left_out_stands_on_screen_in_the_study_and_in_the_report(species_cohort, run):
    folder = species_cohort
    arguments = ["phenotype", "evaluate", folder / "t.tsv", "--metadata", folder / "m.tsv", "--target", "state"]
    result = run([*arguments, *QUICK, "--output", folder / "out"])
    assert result.exit_code == 0, result.output
    warning = (
        "features: left out: what is assigned to no taxon or gene ('Unassigned'): 33 % of the abundance on average"
    )
    assert f"warning: {warning}" in result.stderr
    metadata_note = "features: left out: columns that the metadata has too, which are never features ('state')"
    assert metadata_note in result.stderr and "'None' is taken as a class" in result.stderr
    missing = (
        "4 samples without a value ('NA' in 1, 'unknown' in 1, 'Not collected' in 1, empty in 1), 1 sample not in the "
        "metadata ('BLANK')"
    )
    assert f"state: CD 18, None 18; {missing}" in result.stdout
    study = json.loads((folder / "out" / "study.json").read_text())
    table = study["inputs"]["tables"]["features"]
    assert any("Unassigned" in text for text in table["warnings"]) and table["metadata_columns"] == ["state"]
    assert study["target"]["missing_words"] == {"NA": 1, "unknown": 1, "Not collected": 1, "": 1}
    assert study["target"]["not_in_metadata"] == ["BLANK"] and missing in study["methods"]
    report = (folder / "out" / "report.html").read_text()
    assert "33 % of the abundance" in report and "Warning." in report and "&#39;Not collected&#39; in 1" in report
    # The report made again leaves the same columns out and says the same.
    result = run(["phenotype", "report", folder / "out", "--permutations", 9, "--output", folder / "again.html"])
    assert result.exit_code == 0, result.output
    again = (folder / "again.html").read_text()
    assert "33 % of the abundance" in again and "&#39;Not collected&#39; in 1" in again


def test_what_is_left_out_stands_in_the_record_and_report_of_a_transfer(species_cohort, run, monkeypatch):
    monkeypatch.setattr("biomeformer.phenotypes.cohort_transfer.N_BOOTSTRAPS", 50)
    folder = species_cohort
    metadata = pd.read_csv(folder / "m.tsv", sep="\t", keep_default_na=False)
    metadata["study"] = ["1", "1", "2", "2"] * 10
    metadata.to_csv(folder / "m.tsv", sep="\t", index=False)
    arguments = ["phenotype", "transfer", folder / "t.tsv", "--metadata", folder / "m.tsv", "--target", "state"]
    arguments += ["--estimator", "l1", "--threads", 1, "--leave-out-column", "study", "--output", folder / "out"]
    result = run(arguments)
    assert result.exit_code == 0, result.output
    record = json.loads((folder / "out" / "transfer.json").read_text())
    (warning,) = [text for text in record["warnings"] if "33 % of the abundance" in text and text.startswith("1: ")]
    assert any("'Not collected' in 1" in text for text in record["notes"])
    assert (
        record["tables"][str(folder / "t.tsv")]["sha256"] == hashlib.sha256((folder / "t.tsv").read_bytes()).hexdigest()
    )
    report = html.unescape((folder / "out" / "report.html").read_text())
    assert warning in report and "'Not collected' in 1" in report


def test_words_are_classes_or_missing_as_the_options_say(species_cohort, run):
    folder = species_cohort
    metadata = pd.read_csv(folder / "m.tsv", sep="\t", keep_default_na=False)
    metadata.loc[[*range(30, 36), 37], "state"] = "UNKNOWN"
    metadata.to_csv(folder / "m.tsv", sep="\t", index=False)
    arguments = ["phenotype", "robustness", folder / "t.tsv", "--metadata", folder / "m.tsv", "--target", "state"]
    arguments += ["--permutations", 9, "--overwrite", "--output", folder / "out"]
    result = run(arguments)
    assert result.exit_code == 0 and "'UNKNOWN' in 7" in result.stderr, result.output
    result = run([*arguments, "--not-missing", "unknown", "--missing", "none"])
    assert result.exit_code == 0 and "'None' in 15" in result.stderr and "UNKNOWN" not in result.stderr, result.output
    result = run([*arguments, "--not-missing", "NA", "--missing", "na"])
    assert result.exit_code == 2 and "'na' is given both as a missing value and as a value" in result.stderr


@pytest.fixture
def people(work):
    """The metadata of `work` with a number, labels, an age and a sex."""
    rng = np.random.default_rng(1)
    metadata = pd.read_csv(work / "metadata.csv", index_col="sample_id")
    ill = metadata["state"] == "ill"
    metadata["bmi"] = (25 + 6 * ill + rng.normal(size=40)).round(3)
    metadata["labels"] = [";".join(["obese"] * bad + ["smoker"] * (i % 3 == 0)) or "none" for i, bad in enumerate(ill)]
    metadata["age"], metadata["sex"] = rng.integers(20, 80, 40), rng.choice(["F", "M"], 40)
    metadata.to_csv(work / "people.csv")
    return work


def test_a_number_is_evaluated_beside_covariates(people, run):
    arguments = ["phenotype", "evaluate", people / "run", "--metadata", people / "people.csv", "--target", "bmi"]
    arguments += ["--covariates", "age,sex", "--output", people / "out"]
    result = run([*arguments, *QUICK])
    assert result.exit_code == 0, result.output
    assert "bmi holds more than 20 different numbers, which are predicted as numbers (regression)" in result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("bmi: samples 40, median ") and lines[1].split()[2:] == [
        "R²",
        "Spearman's",
        "rho",
        "mean",
        "absolute",
        "error",
    ]
    rows = {row["features"]: row for row in csv.DictReader((people / "out" / "scores.csv").open())}
    assert list(rows) == ["vectors", "covariates", "vectors + covariates"]
    assert float(rows["vectors"]["r2"]) > 0.7 > 0.3 > float(rows["covariates"]["r2"])
    page = (people / "out" / "report.html").read_text()
    assert "divided into thirds" in page and "mean absolute error" in page and "ROC-AUC" not in page
    assert "one column per word" in json.loads((people / "out" / "study.json").read_text())["methods"]
    chosen = run([*arguments, *QUICK, "--features", "covariates+vectors", "--overwrite"])
    assert chosen.exit_code == 0 and "covariates + vectors" in chosen.stdout
    unknown = run([*arguments, *QUICK, "--features", "species", "--overwrite"])
    assert unknown.exit_code == 2 and "no combination of vectors, covariates" in unknown.stderr


def test_labels_are_evaluated_each(people, run):
    arguments = ["phenotype", "evaluate", people / "run", "--metadata", people / "people.csv", "--target", "labels"]
    result = run([*arguments, "--task", "multilabel", *QUICK, "--output", people / "out"])
    assert result.exit_code == 0, result.output
    assert "vectors, l1, ROC-AUC per label: none " in result.stdout
    header = (people / "out" / "scores.csv").read_text().splitlines()[0].split(",")
    assert "roc_auc: obese" in header and "roc_auc: smoker_low" in header
    assert "label obese" in (people / "out" / "report.html").read_text()
    classes = run([*arguments, "--output", people / "other", "--folds", 30])
    assert classes.exit_code == 2 and "'obese;smoker' is taken as one class" in classes.stderr


@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_numbers_and_labels_are_trained_and_predicted_from_reads(tmp_path, model_dir, run, task):
    """The number, and one of the labels, is the share of one read."""
    rows = ["sample_id,fastq,value"]
    for i in range(20):
        sequences = random_sequences(30, seed=i) + [random_sequences(1, seed=99)[0]] * (6 * i)
        write_fastq(tmp_path / f"s{i}.fastq", sequences)
        labels = ";".join(["much"] * (i > 9) + ["odd"] * (i % 2)) or "none"
        rows.append(f"s{i},s{i}.fastq,{labels if task == 'multilabel' else 30 + i}")
    (tmp_path / "cohort.csv").write_text("\n".join(rows) + "\n")
    embed = ["embed", tmp_path / "cohort.csv", "--model", model_dir, "--output", tmp_path / "run", "--no-report"]
    assert run(embed).exit_code == 0
    train = ["phenotype", "train", tmp_path / "run", "--target", "value", "--folds", 4, "--threads", 1, "--task", task]
    result = run([*train, "--model", model_dir, "--output", tmp_path / "test"])
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "test" / "training_record.json").read_text())
    assert record["target"]["kind"] == task
    result = run(["phenotype", "predict", tmp_path / "test", tmp_path / "run", "--output", tmp_path / "p.csv"])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "p.csv", index_col="sample_id")
    assert list(table.columns) == (["value"] if task == "regression" else ["much", "none", "odd"])
    assert np.corrcoef(table.iloc[:, 0], np.arange(20))[0, 1] > 0.8
    result = run(["phenotype", "predict", tmp_path / "test", tmp_path / "s19.fastq"])
    assert float(result.stdout.splitlines()[1].split(",")[1]) == pytest.approx(table.iloc[19, 0], rel=1e-4)
