"""One small model, and a folder with a cohort for each test."""

from __future__ import annotations

import csv
import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from biomeformer.cli import app
from factories import random_sequences, tiny_dnabert2, tiny_metagenbert, write_fastq


@dataclass
class Workplace:
    """A folder with what a command needs, to be spoilt by a test."""

    folder: Path
    shared_model: Path

    @property
    def output(self) -> Path:
        """Where results go; it does not exist yet."""
        return self.folder / "out"

    def model(self) -> Path:
        """A copy of the model, to be changed."""
        return Path(shutil.copytree(self.shared_model, self.folder / "model"))

    def cohort(self, **columns: str) -> Path:
        """A table of one sample, `s0`; `columns` replace or add to fastq and group."""
        if not columns:
            columns = {"fastq": str(self.reads())}
        row = {"sample_id": "s0", **columns, "group": "a"}
        path = self.folder / "cohort.csv"
        with path.open("w", newline="") as handle:
            writer = csv.DictWriter(handle, row)
            writer.writeheader()
            writer.writerow(row)
        return path

    def table(self, text: str) -> Path:
        """A cohort table with the text given, beside a file of reads r.fastq."""
        self.reads()
        path = self.folder / "cohort.csv"
        path.write_text(text)
        return path

    def reads(self, file: str = "r.fastq", n_reads: int = 30, seed: int = 1, **options) -> Path:
        """Reads in FASTQ."""
        return write_fastq(self.folder / file, random_sequences(n_reads, seed=seed), **options)

    def raw(self, name: str, content: bytes) -> Path:
        """A file with the bytes given."""
        path = self.folder / name
        path.write_bytes(content)
        return path

    def embed(self, *options: object, cohort: Path | None = None, model: object = None) -> list[str]:
        """Arguments of `biomeformer embed`."""
        arguments = ["embed", cohort or self.cohort(), "--model", model or self.shared_model, "--output", self.output]
        return [str(argument) for argument in [*arguments, *options]]

    def fit(self, *options: object, cohort: Path | None = None, encoder: object = None) -> list[str]:
        """Arguments of `biomeformer fit-centroids`."""
        encoder = encoder or self.shared_model
        arguments = ["fit-centroids", cohort or self.cohort(), "--read-encoder", encoder, "--output", self.output]
        if "--n-clusters" not in options:
            options = ("--n-clusters", 3, *options)
        return [str(argument) for argument in [*arguments, *options]]

    def contents(self) -> dict[str, str]:
        """Every path under the folder, with a hash of what it holds."""
        return {
            str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            for path in sorted(self.folder.rglob("*"))
        }


@pytest.fixture(scope="session")
def encoder_dir(tmp_path_factory) -> Path:
    """A DNABERT-2 with random weights, and its tokenizer."""
    folder = tmp_path_factory.mktemp("encoder")
    tiny_metagenbert().processor.tokenizer.save_pretrained(folder)
    tiny_dnabert2().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory) -> Path:
    """A MetagenBERT checkpoint with random weights."""
    folder = tmp_path_factory.mktemp("model")
    tiny_metagenbert(min_read_length=20).save_pretrained(folder)
    return folder


@pytest.fixture
def work(tmp_path, model_dir) -> Workplace:
    return Workplace(tmp_path, model_dir)


@pytest.fixture
def run():
    """Runs the command line in this process."""

    def invoke(arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="biomeformer")

    return invoke
