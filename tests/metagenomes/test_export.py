"""Tables in the formats of others, read back by their own libraries."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from biomeformer.cli import app
from biomeformer.errors import InputError, TableError
from biomeformer.metagenomes import AbundanceTable
from biomeformer.metagenomes.abundance_table import table_file
from biomeformer.metagenomes.export import FORMATS, export_table, sample_frame
from biomeformer.metagenomes.sample import READ_STATS
from biomeformer.runs.output_folder import RECORD

METADATA = {
    "disease": ["ibd", "", "healthy, or not", "ibd"],
    "age": ["34", "7", "61", "1"],
    "bmi": ["22.5", "", "31", "1e1"],
    "subject": ["007", "010", "11", "12"],
    "n_reads": ["a", "b", "c", "d"],
    "weight/kg": ["1.5", "2", "3", "4"],
    "nothing": ["", "", "", ""],
    "land": ["Österreich", "日本", "x\ty", 'a "b"'],
}


@pytest.fixture
def table() -> AbundanceTable:
    ids = ("P1", "P2", "p 3", "P4")
    index = pd.Index(ids, name="sample_id")
    counts = np.array([[5, 0, 2**40], [1, 1, 1], [0, 0, 7], [3, 2, 1]], np.int64)
    read_stats = pd.DataFrame({name: counts.sum(1) for name in READ_STATS}, index=index)
    provenance = {
        "model": "m", "weights_sha256": "ab", "n_clusters": 3, "read_fraction": 0.1, "revision": None,
        "versions": {"biomeformer": "0"},
    }  # fmt: skip
    return AbundanceTable(ids, counts, read_stats, pd.DataFrame(METADATA, index=index), provenance)


def export(table: AbundanceTable, folder: Path, file_format: str) -> Path:
    folder.mkdir(parents=True)
    export_table(table, folder, file_format)
    assert json.loads((folder / "provenance.json").read_text()) == table.provenance
    return folder


def test_columns_become_numbers_only_where_they_are(table):
    frame = sample_frame(table)
    assert frame["age"].tolist() == [34, 7, 61, 1] and str(frame["age"].dtype) == "Int64"
    assert frame["bmi"].tolist()[0] == 22.5 and frame["bmi"].isna().tolist() == [False, True, False, False]
    assert frame["subject"].tolist() == METADATA["subject"] and frame["land"].tolist() == METADATA["land"]
    assert frame["disease"].isna().tolist() == [False, True, False, False] and frame["nothing"].isna().all()
    assert frame["metadata.n_reads"].tolist() == ["a", "b", "c", "d"]
    assert frame["n_reads"].tolist() == table.counts.sum(1).tolist()


def test_csv_export_holds_counts_shares_and_metadata(table, tmp_path):
    folder = export(table, tmp_path / "csv", "csv")
    rows = list(csv.DictReader((folder / "counts.csv").open()))
    assert [row["sample_id"] for row in rows] == list(table.sample_ids)
    assert [[int(row[f"cluster_{i}"]) for i in range(3)] for row in rows] == table.counts.tolist()
    shares = pd.read_csv(folder / "abundance.csv", index_col=0)
    np.testing.assert_allclose(shares.to_numpy(), table.abundance, rtol=1e-12)
    samples = list(csv.DictReader((folder / "samples.csv").open(encoding="utf-8")))
    assert [row["land"] for row in samples] == METADATA["land"] and [row["age"] for row in samples] == METADATA["age"]


def test_datasets_export_is_read_back_by_datasets(table, tmp_path, monkeypatch):
    from datasets import load_dataset

    folder = export(table, tmp_path / "datasets", "datasets")
    data = load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert data["sample_id"][:] == list(table.sample_ids) and data["counts"][:] == table.counts.tolist()
    np.testing.assert_array_equal(np.array(data["abundance"][:]), table.abundance)
    assert data["disease"][:] == ["ibd", None, "healthy, or not", "ibd"] and data["bmi"][:] == [22.5, None, 31, 10]
    assert data.features["age"].dtype == "int64" and data.features["counts"].length == 3


@pytest.mark.parametrize("same_time", [False, True], ids=["own times", "equal times"])
def test_load_dataset_gives_the_rows_of_each_of_two_cohorts_and_of_a_second_export(table, tmp_path, same_time):
    """With one cache; the folders have one name, and files may come with equal times, as from an archive."""
    from datasets import load_dataset

    def rows(folder):
        for path in folder.rglob("*.parquet") if same_time else ():
            os.utime(path, (1e9, 1e9))
        return load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))["counts"][:]

    other = replace(table, counts=table.counts[:, ::-1].copy())
    one, two = (export(each, tmp_path / name / "datasets", "datasets") for each, name in ((table, "a"), (other, "b")))
    assert rows(one) == table.counts.tolist() and rows(two) == other.counts.tolist() != rows(one)
    shutil.rmtree(one)
    assert rows(export(other, one, "datasets")) == other.counts.tolist()
    assert "configs:" not in (one / "README.md").read_text()
    # The same table has the same name, so that a copy of it is no new content.
    assert table_file(one).name == table_file(two).name


def test_a_dataset_is_read_by_the_file_name_of_version_0_1_and_refused_with_two_files(table, tmp_path):
    folder = export(table, tmp_path / "datasets", "datasets")
    shutil.copy(table_file(folder), folder / "data" / "train.parquet")
    with pytest.raises(TableError, match=r"has 2 files data/train-.* delete those of earlier exports"):
        AbundanceTable.read(folder)
    table_file_of_now = next(folder.glob("data/train-*"))
    table_file_of_now.unlink()
    assert np.array_equal(AbundanceTable.read(folder).counts, table.counts)


def test_biom_export_is_read_back_by_biom(table, tmp_path):
    import biom

    folder = export(table, tmp_path / "biom", "biom")
    read = biom.load_table(str(folder / "counts.biom"))
    assert read.ids().tolist() == list(table.sample_ids)
    assert read.ids("observation").tolist() == ["cluster_0", "cluster_1", "cluster_2"]
    assert np.array_equal(read.matrix_data.toarray().T, table.counts)
    lines = (folder / "sample-metadata.tsv").read_text(encoding="utf-8").splitlines()
    assert [line.split("\t")[0] for line in lines] == ["sample-id", "#q2:types", *table.sample_ids]


def test_anndata_export_is_read_back_by_anndata(table, tmp_path):
    import anndata

    data = anndata.read_h5ad(export(table, tmp_path / "anndata", "anndata") / "abundance.h5ad")
    assert data.obs_names.tolist() == list(table.sample_ids) and data.var_names.tolist()[2] == "cluster_2"
    np.testing.assert_array_equal(data.X, table.abundance)
    assert np.array_equal(data.layers["counts"], table.counts)
    assert data.obs["age"].tolist() == [34, 7, 61, 1] and data.obs["disease"].isna().tolist()[1]
    assert data.obs["weight_kg"].tolist() == [1.5, 2, 3, 4] and data.obs["land"].tolist() == METADATA["land"]
    assert json.loads(data.uns["biomeformer"]) == table.provenance


@pytest.mark.parametrize(
    ("file_format", "module"), [("datasets", "datasets"), ("biom", "biom"), ("anndata", "anndata")]
)
def test_a_library_that_is_missing(table, tmp_path, monkeypatch, file_format, module):
    table.write(tmp_path / "abundance.parquet")
    monkeypatch.setitem(sys.modules, file_format, None)
    result = CliRunner().invoke(app, ["export", str(tmp_path), "--format", file_format], prog_name="biomeformer")
    assert result.exit_code == 2 and "pip install 'biomeformer[export]'" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["abundance.parquet"]


@pytest.mark.parametrize("file_format", FORMATS)
def test_export_command_writes_every_format(table, tmp_path, file_format):
    def run(*more):
        arguments = ["export", str(tmp_path), "--format", file_format, *map(str, more)]
        return CliRunner().invoke(app, arguments, prog_name="biomeformer")

    result = run()
    assert result.exit_code == 2 and "no such file" in result.stderr
    table.write(tmp_path / "abundance.parquet")
    result = run()
    assert result.exit_code == 0, result.output
    files = (path for path in (tmp_path / file_format).rglob("*") if path.is_file())
    written = sorted(path for path in files if path.name != RECORD)
    assert [line.split()[-1] for line in result.stdout.splitlines()] == [str(path) for path in written]
    assert (tmp_path / file_format / "provenance.json") in written
    assert all(line.startswith("next: biomeformer ") for line in result.stderr.splitlines())
    # No reads: the files are of the table's size, and nothing in them looks like one.
    assert not any(b"ACGT" in path.read_bytes() for path in written)
    result = run()
    assert result.exit_code == 2 and "not empty" in result.stderr
    assert run("--overwrite").exit_code == 0 and run("--output", tmp_path / "deep" / "x").exit_code == 0


def test_a_run_that_is_not_finished(tmp_path):
    (tmp_path / "run").mkdir()
    record = {"format_version": 1, "fingerprint": {}, "samples": {"s0": 5, "s1": 6}, "attempts": []}
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    result = CliRunner().invoke(app, ["export", str(tmp_path), "--format", "csv"], prog_name="biomeformer")
    assert result.exit_code == 2 and "0 of 2 samples done and no abundance.parquet yet" in result.stderr
    with pytest.raises(InputError, match="0 of 2 samples done and no abundance"):
        AbundanceTable.read(tmp_path)
