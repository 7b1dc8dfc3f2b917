"""`biomeformer sequences predict`."""

from __future__ import annotations

import gzip
import io

import numpy as np
import pandas as pd
import pytest

from biomeformer import SequenceClassifier
from biomeformer.sequences.preprocessing import SequencePreprocessing
from biomeformer.sequences.starting_points import new_classifier
from factories import random_sequences

SEQUENCES = random_sequences(30, 50, 120, seed=5)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("model")
    preprocessing = SequencePreprocessing("binary", max_tokens=100, average_strands=True, thresholds=[0.4])
    new_classifier("cnn", ["other", "enhancer"], preprocessing).save(folder)
    return str(folder)


@pytest.fixture
def fasta(tmp_path):
    path = tmp_path / "new.fa"
    path.write_text("".join(f">s{i} of mine\n{one}\n" for i, one in enumerate(SEQUENCES)))
    return path


def test_predicts_as_the_classifier(run, model, fasta, tmp_path):
    result = run(["sequences", "predict", fasta, "--model", model, "--output", tmp_path / "t.tsv"])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "t.tsv", sep="\t")
    found = SequenceClassifier.load(model).predict(SEQUENCES)
    assert table["id"].tolist() == [f"s{i}" for i in range(30)] and table["length"].tolist() == list(
        map(len, SEQUENCES)
    )
    assert table["probability enhancer"].to_numpy() == pytest.approx(found[:, 1], abs=1e-5)
    assert (table["label"] == "enhancer").tolist() == (found[:, 1] >= 0.4).tolist()
    n_cut = sum(len(one) > 100 for one in SEQUENCES)
    assert table["is_cut"].sum() == n_cut and f"{n_cut} of 30 sequences have more than 100 tokens" in result.stderr


def test_compressed_and_to_stdout(run, model, fasta, tmp_path):
    packed = tmp_path / "new.fa.gz"
    packed.write_bytes(gzip.compress(fasta.read_bytes()))
    plain, other = (run(["sequences", "predict", path, "--model", model]) for path in (fasta, packed))
    assert plain.exit_code == 0 and plain.stdout == other.stdout
    assert plain.stdout.splitlines()[0].split("\t")[:4] == ["id", "length", "is_cut", "label"]
    assert len(plain.stdout.splitlines()) == 31


def test_says_how_many_sequences_have_only_ambiguous_bases(run, model, tmp_path):
    path = tmp_path / "n.fa"
    path.write_text(">a\nACGTACGT\n>b\nNNNNNNNN\n>c\nnnRY\n>d\nNNNA\n")
    result = run(["sequences", "predict", path, "--model", model])
    assert "2 of 4 sequences (50.0%) have only ambiguous bases such as N" in result.stderr
    table = pd.read_csv(io.StringIO(result.stdout), sep="\t")
    assert np.isfinite(table["probability enhancer"]).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (">a\nACGT\n>b\n\n", "record 2: the sequence is empty"),
        (">a\nACGT\n>b\nACGX\n", "record 2: the sequence holds 'X'"),
        ("", "holds no reads"),
        ("ACGT\n", "neither FASTQ nor FASTA"),
    ],
)
def test_sequences_predict_refuses_bad_sequences(run, model, tmp_path, content, message):
    (tmp_path / "bad.fa").write_text(content)
    result = run(["sequences", "predict", tmp_path / "bad.fa", "--model", model, "--output", tmp_path / "t.tsv"])
    assert result.exit_code == 2 and message in result.stderr, result.output
    assert not (tmp_path / "t.tsv").exists()


def test_sequences_predict_refuses_a_model_of_another_kind(run, fasta, tmp_path):
    result = run(["sequences", "predict", fasta, "--model", "metagenbert-mini"])
    assert result.exit_code == 2 and "not fine-tuned on labelled sequences" in result.stderr
    result = run(["sequences", "predict", fasta, "--model", "metagenbert-mini", "--output", tmp_path])
    assert result.exit_code == 2 and "cannot be written" in result.stderr
