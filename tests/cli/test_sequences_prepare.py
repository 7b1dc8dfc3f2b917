"""`biomeformer sequences prepare`: from files to a dataset; errors in one line."""

from __future__ import annotations

import os
import signal

import datasets
import pyarrow.parquet as pq
import pytest

from biomeformer.sequences import prepare as library
from factories import random_sequences


@pytest.fixture
def inputs(tmp_path):
    for i, name in enumerate(("pos", "neg")):
        lines = [f">{name}{j}\n{one}" for j, one in enumerate(random_sequences(40, 200, 240, seed=i))]
        (tmp_path / f"{name}.fa").write_text("\n".join([*lines, lines[0]]) + "\n")
    return [f"enhancer={tmp_path}/pos.fa", f"other={tmp_path}/neg.fa"]


def test_sequences_prepare_prints_counts_and_writes_the_dataset(inputs, run, tmp_path):
    folder = tmp_path / "out"
    command = ["sequences", "prepare", *inputs, "--output", folder, "--max-tokens", 196, "--split", "cluster"]
    result = run(command)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[:3] == [
        "82 records read, 80 kept",
        "  dropped             2  duplicate: further copies of identical sequences",
        "80 clusters of near-duplicates",
    ]
    assert lines[3].split() == ["split", "sequences", "enhancer", "other"]
    assert [line.split() for line in lines[4:7]] == [
        ["train", "64", "32", "32"],
        ["validation", "8", "4", "4"],
        ["test", "8", "4", "4"],
    ]
    assert lines[7].startswith("tokens with metagenbert-mini, of 80 sequences: median 2")
    assert (
        lines[8].startswith("a context of 240 tokens truncates 0.0%")
        and "a context of 196 tokens truncates" in lines[9]
    )
    assert lines[10] == f"data       {folder / 'data'}" and lines[-1] == f"conflicts  {folder / 'conflicts.tsv'}"
    progress = [line for line in result.stderr.splitlines() if not line.startswith("next: ")]
    assert progress == ["reading", "comparing", "joining", "writing"]
    dataset = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert dataset["test"].features["label"].names == ["enhancer", "other"] and dataset["train"].num_rows == 64
    again = run(command)
    assert again.exit_code == 2 and "is a folder that is not empty; give a new one, or --overwrite" in again.stderr
    assert run([*command, "--overwrite", "--balance", "--seed", 3]).exit_code == 0


def test_load_dataset_gives_the_sequences_of_each_of_two_folders_of_one_name(inputs, run, tmp_path):
    """The same numbers of equally long sequences, so that only content tells the two apart."""
    found = []
    for place, seed in (("a", 1), ("b", 2)):
        result = run(["sequences", "prepare", *inputs, "--output", tmp_path / place / "out", "--seed", seed])
        assert result.exit_code == 0, result.output
        for path in (tmp_path / place / "out").rglob("*.parquet"):
            os.utime(path, (1e9, 1e9))
        read = datasets.load_dataset(str(tmp_path / place / "out"), cache_dir=str(tmp_path / "cache"))
        written = pq.read_table(next((tmp_path / place / "out" / "data").glob("test-*")))
        assert read["test"]["id"][:] == written["id"].to_pylist() and set(read) == {"train", "validation", "test"}
        found.append(set(read["test"]["id"][:]))
    assert found[0] != found[1]


def test_intervals_are_cut_from_the_genome_and_split_by_contig(run, tmp_path):
    contigs = random_sequences(3, 500, 500)
    (tmp_path / "genome.fa").write_text("".join(f">chr{i}\n{one}\n" for i, one in enumerate(contigs)))
    for name, start in (("pos", 10), ("neg", 30)):
        lines = [f"chr{i}\t{at}\t{at + 10}" for i in range(3) for at in range(start, 480, 40)]
        (tmp_path / f"{name}.bed").write_text("\n".join(lines) + "\n")
    files = [f"{name}={tmp_path}/{name}.bed" for name in ("pos", "neg")]
    options = ["--genome", tmp_path / "genome.fa", "--length", 60, "--split", "chromosome", "--test-contigs", "chr2"]
    result = run(["sequences", "prepare", *files, *options, "-o", tmp_path / "out"])
    assert result.exit_code == 0, result.output
    assert "past_contig_end: windows across the end of a contig" in result.stdout
    assert "validation" not in result.stdout and "has no sequence" not in result.stderr
    found = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert set(found) == {"train", "test"} and all(row.startswith("chr2:") for row in found["test"]["source"])


def test_too_few_for_a_split(run, tmp_path):
    (tmp_path / "t.csv").write_text("sequence,label\nACGTA,a\nACGTC,b\n")
    result = run(["sequences", "prepare", tmp_path / "t.csv", "-o", tmp_path / "out"])
    assert result.exit_code == 0 and "validation is empty: there are too few" in result.stderr


def test_counts_of_many_classes_are_left_to_the_record(run, tmp_path):
    rows = [f"{one},{i % 13}" for i, one in enumerate(random_sequences(130))]
    (tmp_path / "t.csv").write_text("\n".join(["sequence,label", *rows]) + "\n")
    result = run(["sequences", "prepare", tmp_path / "t.csv", "-o", tmp_path / "out"])
    assert result.exit_code == 0 and "13 classes; their counts are in prepare.json" in result.stdout
    assert ["train", "104"] in [line.split() for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--shares", "0.8,0.2"], "--shares is '0.8,0.2', which is not three numbers; give them like 0.8,0.1,0.1"),
        (["--shares", "0.8,0.8,0.1"], "shares are 0.8,0.8,0.1"),
        (["--split", "colour"], "colour"),
        (["--split", "group"], "go together"),
        (["--split", "chromosome"], "is FASTA and names no contigs"),
        (["--genome", "none.fa"], "no input holds intervals"),
        (["--read-encoder", "metagenbert-minni"], "did you mean metagenbert-mini?"),
        (["--max-n", "3"], "--max-n"),
        (["--min-length", "1000"], "of 82 records none can be used (82 too_short)"),
    ],
)
def test_sequences_prepare_refuses_bad_options(inputs, run, tmp_path, options, words):
    result = run(["sequences", "prepare", *inputs, "--output", tmp_path / "out", *options])
    assert result.exit_code == 2, result.output
    line = result.stderr.splitlines()[-1]
    assert line.startswith("error: ") and words in line
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*"))


def test_interrupted_prepare_leaves_no_files(inputs, run, tmp_path, monkeypatch):
    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return select(*arguments)

    select = library.select
    monkeypatch.setattr(library, "select", interrupted)
    result = run(["sequences", "prepare", *inputs, "--output", tmp_path / "out"])
    assert result.exit_code == 130 and "interrupted by SIGINT; nothing was written" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["neg.fa", "pos.fa"]
