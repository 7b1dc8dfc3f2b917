"""`--quiet` and `--verbose`, at any position."""

from __future__ import annotations

import logging

import pytest
from typer.testing import CliRunner

from biomeformer.cli.app import app
from factories import random_sequences, write_fastq


@pytest.fixture
def cohort(tmp_path):
    write_fastq(tmp_path / "a.fastq", random_sequences(20))
    (tmp_path / "cohort.csv").write_text("sample_id,fastq\na,a.fastq\n")
    return tmp_path / "cohort.csv"


def embed(cohort, *options):
    command = ["embed", str(cohort), "--model", "metagenbert-mini", "--output", str(cohort.parent / "out")]
    done = CliRunner().invoke(app, [*command, *options])
    assert done.exit_code == 0, done.output
    return done


def test_remarks_are_shown_by_default_and_silenced_by_quiet(cohort):
    assert "Using" in embed(cohort, "--no-report").stderr
    quiet = embed(cohort, "--overwrite", "--quiet")
    assert quiet.stderr == "" and "abundance.parquet" in quiet.stdout
    # The next command of the process is not quiet.
    assert "Using" in embed(cohort, "--overwrite", "--no-report").stderr


def test_quiet_still_prints_errors(tmp_path):
    done = CliRunner().invoke(app, ["--quiet", "embed", str(tmp_path / "none.csv"), "--model", "metagenbert-mini"])
    assert done.exit_code == 2 and done.stderr.startswith("error: ")


def test_verbose_shows_what_transformers_says(cohort):
    import transformers

    try:
        embed(cohort, "--verbose", "--no-report")
        assert transformers.logging.get_verbosity() == logging.INFO
    finally:
        transformers.logging.set_verbosity_error()


def test_remarks_obey_the_level_of_their_logger(cohort, caplog):
    logger = logging.getLogger("biomeformer.console")
    logger.setLevel(logging.ERROR)
    try:
        assert embed(cohort).stderr == ""
    finally:
        logger.setLevel(logging.INFO)
