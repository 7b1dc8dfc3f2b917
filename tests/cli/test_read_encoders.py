"""Read encoders of any kind through the commands: what is said of them, and what is refused."""

from __future__ import annotations

import pytest

from biomeformer.metagenomes import AbundanceTable
from factories import random_sequences, tiny_bert, tiny_metagenbert, write_cohort, write_fastq
from read_encoders import LAYOUTS


@pytest.fixture
def cohort(tmp_path):
    path = write_cohort(tmp_path / "cohort", n_samples=2, n_reads=12)
    write_fastq(tmp_path / "cohort" / "s0.fastq.gz", [*random_sequences(12), *random_sequences(1, 8000, 8000)])
    return path


def fit(cohort, encoder, output, *options):
    return ["fit-centroids", cohort, "--read-encoder", encoder, "-k", 3, "--n-iterations", 2, "-o", output, *options]


def test_fit_centroids_says_what_becomes_of_reads_and_embed_cuts_windows(run, cohort, tmp_path):
    LAYOUTS["DNABERT-1"].write(tmp_path / "dnabert")
    result = run(fit(cohort, tmp_path / "dnabert", tmp_path / "model"))
    assert result.exit_code == 0, result.output
    assert "reads are written as 4-mers with blanks between" in result.stderr
    assert "reads of more than 64 tokens are truncated" in result.stderr
    embed = ["embed", cohort, "--model", tmp_path / "model", "--output"]
    result = run([*embed, tmp_path / "heads", "--no-report"])
    assert result.exit_code == 0, result.output
    assert "reads used (100.0%) were truncated" in result.stderr
    result = run([*embed, tmp_path / "windows", "--windows"])
    assert result.exit_code == 0, result.output
    assert "truncated" not in result.stderr
    table = AbundanceTable.read(tmp_path / "windows")
    assert table.read_stats["n_windows"].iloc[0] > 130 and table.read_stats["n_used"].tolist() == [13, 12]
    report = (tmp_path / "windows" / "report.html").read_text()
    assert "windows counted" in report and "unknown tokens" in report
    # The folder holds a run of windows.
    result = run([*embed, tmp_path / "windows"])
    assert result.exit_code == 2 and "truncation" in result.stderr


def test_fit_centroids_translates_for_an_encoder_of_proteins(run, cohort, tmp_path):
    LAYOUTS["ESM-2"].write(tmp_path / "esm")
    result = run(fit(cohort, tmp_path / "esm", tmp_path / "model"))
    assert result.exit_code == 2 and "is an encoder of proteins" in result.stderr and "--translate" in result.stderr
    result = run(fit(cohort, tmp_path / "esm", tmp_path / "model", "--translate", "--windows", "--max-length", 40))
    assert result.exit_code == 0, result.output
    assert "reads are translated to their longest open frame" in result.stderr
    assert "reads of more than 40 tokens are cut into windows" in result.stderr
    assert "windows of reads" in result.stdout


def test_windows_without_a_length_and_a_length_without_windows_are_refused(run, cohort, tmp_path):
    tiny_metagenbert(tiny_bert()).save_pretrained(tmp_path / "model")
    embed = ["embed", cohort, "--model", tmp_path / "model", "--output", tmp_path / "run"]
    result = run([*embed, "--windows"])
    assert result.exit_code == 2 and "windows have no length" in result.stderr
    result = run([*embed, "--max-length", 50])
    assert result.exit_code == 2 and "--max-length is the length of windows; add --windows" in result.stderr
    assert run([*embed, "--windows", "--max-length", 50, "--no-report"]).exit_code == 0
    contract = AbundanceTable.read(tmp_path / "run").provenance["contract"]
    assert (contract["truncation"], contract["max_length"]) == ("windows", 50)
