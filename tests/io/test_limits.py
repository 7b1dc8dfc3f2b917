"""Limits on records, on the expansion of compressed files, and on configs: refused early, and raised on request."""

from __future__ import annotations

import bz2
import gzip
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from biomeformer.checkpoints.source import read_json
from biomeformer.cli import app
from biomeformer.errors import CheckpointError, GenomeError, InputError, ReadFileError, TableError
from biomeformer.genomes.fasta import read_contigs
from biomeformer.genomes.text import read_text
from biomeformer.io import compression, limits
from biomeformer.io.compression import StreamError, open_bytes
from biomeformer.io.limits import EXPANDED_BYTES, RECORD_BASES
from biomeformer.io.tables import TableFormat, read_table
from biomeformer.phenotypes.features import read_feature_table
from biomeformer.reads.fastq import _RecentBytes
from biomeformer.reads.records import RecordFile
from biomeformer.reads.sample import SampleReader, SampleReads
from biomeformer.training.config import read_yaml


def fastq(lengths):
    return "".join(f"@r{i}\n{'ACGT' * (n // 4)}\n+\n{'I' * n}\n" for i, n in enumerate(lengths))


def lengths_of(path, **options):
    with RecordFile(path, **options) as records:
        return [len(record.sequence) for record in records]


@pytest.mark.parametrize("lengths", [[8, 400_000], [8, 4_000], [2_400, 8, 4_000]], ids=["blocks", "block", "last"])
@pytest.mark.parametrize("suffix", ["fq", "fq.gz", "fa"])
def test_a_record_over_the_limit_is_refused_by_its_number(tmp_path, suffix, lengths):
    path = tmp_path / f"a.{suffix}"
    text = fastq(lengths) if "fq" in suffix else "".join(f">r\n{'ACGT' * (n // 4)}\n" for n in lengths)
    path.write_bytes(gzip.compress(text.encode()) if suffix.endswith("gz") else text.encode())
    assert lengths_of(path) == lengths and lengths_of(path, max_record_bases=lengths[-1]) == lengths
    refused = rf"a\.{suffix}, record {len(lengths)}: it is longer than 3,000 bases.* raise --max-record-bases"
    with pytest.raises(ReadFileError, match=refused):
        lengths_of(path, max_record_bases=3_000)
    with pytest.raises(ReadFileError, match=refused):
        list(SampleReader(SampleReads.single(path), max_record_bases=3_000))


def test_the_lines_of_a_fasta_record_count_together(tmp_path, monkeypatch):
    path = tmp_path / "a.fa"
    path.write_text(">r\n" + "ACGTACGT\n" * 500)
    with pytest.raises(ReadFileError, match="record 1: it is longer than 3,999 bases"):
        lengths_of(path, max_record_bases=3_999)
    monkeypatch.setenv(RECORD_BASES.variable, "3999")
    with pytest.raises(GenomeError, match="line 1: it is longer than 3,999 bases"):
        read_contigs(path, path.read_text())


def test_the_work_for_a_long_record_is_linear(tmp_path, monkeypatch):
    """The parser starts an unfinished record again after each read, so that small reads would take quadratic time."""
    length = 16_000_000
    path = tmp_path / "a.fq"
    path.write_text(fastq([length]))
    n_held = [0]
    readinto = _RecentBytes.readinto

    def counted(self, buffer):
        n_bytes = readinto(self, buffer)
        n_held.append(n_held[-1] + n_bytes)
        return n_bytes

    monkeypatch.setattr(_RecentBytes, "readinto", counted)
    assert lengths_of(path) == [length]
    n_bytes = path.stat().st_size
    assert n_held[-1] == n_bytes
    # Reads that double add up to twice the file; blocks of 256 KB would parse it 64 times.
    assert n_bytes <= sum(n_held) < 5 * n_bytes


def test_records_before_a_break_are_delivered_still(tmp_path):
    content = gzip.compress(fastq([100] * 5000).encode(), 1)
    path = tmp_path / "a.fq.gz"
    path.write_bytes(content[: len(content) * 9 // 10])
    n = 0
    with pytest.raises(ReadFileError, match="the gzip stream is cut short") as raised, RecordFile(path) as records:
        for _ in records:
            n += 1
    assert n > 2000 and f"record {n + 1}: " in str(raised.value)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_a_file_that_expands_too_far_is_refused(tmp_path, monkeypatch, compress):
    path = tmp_path / "a.tsv.gz"
    path.write_bytes(compress(b"sample\tvalue\n" + b"s\t0\n" * 30_000))
    assert len(read_table(path, TableFormat())) == 30_000
    monkeypatch.setattr(limits, "RATIO_FLOOR", 10_000)
    monkeypatch.setattr(compression, "RATIO_FLOOR", 10_000)
    monkeypatch.setattr(compression, "MAX_RATIO", 20)
    with pytest.raises(TableError, match=r"a\.tsv\.gz: it holds at least . MB once it is expanded"):
        read_table(path, TableFormat())
    # Who raises the limit means the ratio as well.
    monkeypatch.setenv(EXPANDED_BYTES.variable, str(2 * EXPANDED_BYTES.default))
    assert len(read_table(path, TableFormat())) == 30_000
    monkeypatch.setenv(EXPANDED_BYTES.variable, "1e5")
    with pytest.raises(GenomeError, match=r"more than 0 MB .* raise --max-expanded-bytes \(or BIOMEFORMER_MAX_EXP"):
        read_text(path)
    # A plain file is as large as it looks.
    plain = tmp_path / "plain"
    plain.write_bytes(b"x" * 300_000)
    with open_bytes(plain) as file:
        assert len(file.read()) == 300_000
    # Reads are never in memory as a whole.
    reads = tmp_path / "reads.fq.gz"
    reads.write_bytes(compress(fastq([100] * 10_000).encode()))
    assert len(lengths_of(reads)) == 10_000


def test_biom_tables_that_expand_too_far_are_refused_before_they_are_read(tmp_path, monkeypatch):
    h5py = pytest.importorskip("h5py")
    biom = pytest.importorskip("biom")
    path = tmp_path / "a.biom"
    table = biom.Table(np.eye(300), [f"o{i}" for i in range(300)], [f"s{i}" for i in range(300)])
    with h5py.File(path, "w") as file:
        table.to_hdf5(file, "test")
    assert len(read_feature_table(path)) == 300
    # Not much on the disk, but much once it is dense.
    monkeypatch.setenv(EXPANDED_BYTES.variable, "200000")
    with pytest.raises(TableError, match=r"a\.biom: it holds at least"):
        read_feature_table(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("observation/matrix/data", (10**12,), "f8", chunks=True)
    monkeypatch.delenv(EXPANDED_BYTES.variable)
    with pytest.raises(TableError, match="at least 8,000,000 MB"):
        read_feature_table(path)
    path.write_text(json.dumps({"id": "x" * 3000}))
    (tmp_path / "b.biom").write_bytes(gzip.compress(path.read_bytes()))
    monkeypatch.setenv(EXPANDED_BYTES.variable, "2000")
    with pytest.raises(TableError, match=r"b\.biom: it holds at least"):
        read_feature_table(tmp_path / "b.biom")


@pytest.mark.parametrize("depth", [200, 100_000])
def test_configs_that_are_nested_deeply_are_refused(tmp_path, depth):
    (tmp_path / "config.json").write_text('{"x": ' + "[" * depth + "]" * depth + "}")
    with pytest.raises(CheckpointError, match="nested more than 100 deep"):
        read_json(tmp_path / "config.json")


def test_yaml_that_is_nested_deeply_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("x: " + "[" * 5_000)
    with pytest.raises(InputError, match="cannot be read"):
        read_yaml(tmp_path / "a.yaml")


def test_configs_that_are_large_are_refused(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text(json.dumps({"x": "y" * 2_000_000}))
    assert read_json(tmp_path / "config.json")
    monkeypatch.setattr(limits, "MAX_CONFIG_BYTES", 1_000_000)
    with pytest.raises(CheckpointError, match="it has 2 MB, and configs at most 1"):
        read_json(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-record-bases", "none"], "--max-record-bases is 'none'; give a whole number above 0, such as 1e+08."),
        (["--max-record-bases=0.5"], "--max-record-bases is '0.5'"),
        (["--max-expanded-bytes"], "--max-expanded-bytes has no value"),
    ],
)
def test_limits_are_options_of_every_command(monkeypatch, arguments, message):
    monkeypatch.setenv(RECORD_BASES.variable, "")
    result = CliRunner().invoke(app, ["status", "nowhere", *arguments])
    assert result.exit_code == 2 and message in result.output
    CliRunner().invoke(app, ["status", "--max-record-bases", "2e8", "nowhere"])
    assert RECORD_BASES.get() == 200_000_000


def test_a_bad_environment_variable_is_said(monkeypatch):
    monkeypatch.setenv(RECORD_BASES.variable, "much")
    with pytest.raises(InputError, match="the environment variable BIOMEFORMER_MAX_RECORD_BASES is 'much'"):
        RECORD_BASES.get()


def test_a_stream_breaks_at_a_long_line_and_stays_broken(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"ab\n" * 10 + b"c" * 2000)
    with compression.DecompressedStream(path) as stream:
        stream.limit_lines(1000)
        assert stream.read(100) == b"ab\n" * 10
        for _ in range(2):
            with pytest.raises(StreamError, match="longer than 1,000"):
                stream.read(1)
