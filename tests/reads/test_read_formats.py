"""What works: every compression and layout, told by content, and reads that come through letter by letter."""

from __future__ import annotations

import gzip
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from read_files import COMPRESSORS, bgzip, fasta, fastq, random_sequences, write

from biomeformer.errors import InputError
from biomeformer.reads import ReadBatch, SampleReader, SampleReads

SEQUENCES = random_sequences(3000)


def read_all(reads: SampleReads, **arguments) -> tuple[list[str], list[int]]:
    batches = list(SampleReader(reads, **arguments))
    return [read for batch in batches for read in batch.strings()], [int(i) for batch in batches for i in batch.index]


@pytest.mark.parametrize("layout", ["fastq", "fastq crlf", "fasta", "fasta wrapped", "fasta crlf"])
@pytest.mark.parametrize("compression", COMPRESSORS)
def test_every_layout_in_every_compression(tmp_path: Path, compression: str, layout: str) -> None:
    newline = "\r\n" if layout.endswith("crlf") else "\n"
    text = (
        fastq(SEQUENCES, newline=newline)
        if layout.startswith("fastq")
        else fasta(SEQUENCES, newline=newline, width=60 if layout.endswith("wrapped") else None)
    )
    path = write(tmp_path, "reads.txt", COMPRESSORS[compression](text))
    sequences, index = read_all(SampleReads.single(path))
    assert sequences == SEQUENCES
    assert index == list(range(len(SEQUENCES)))


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_headers_of_fasta_may_be_any_text(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path, "a.fa", ">a isolé µ\nACGT\n>b é\nGGCC\n".encode(encoding))
    assert read_all(SampleReads.single(path))[0] == ["ACGT", "GGCC"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("plain.fastq.gz", fastq(SEQUENCES)),
        ("fasta.fastq.gz", gzip.compress(fasta(SEQUENCES))),
        ("plain_fasta.fastq.gz", fasta(SEQUENCES)),
        ("gzip.fastq", gzip.compress(fastq(SEQUENCES))),
        ("gzip.zst", bgzip(fastq(SEQUENCES))),
        ("fastq.fasta", fastq(SEQUENCES)),
        ("no_suffix", COMPRESSORS["zstd"](fastq(SEQUENCES))),
    ],
)
def test_the_name_does_not_matter(tmp_path: Path, name: str, data: bytes) -> None:
    assert read_all(SampleReads.single(write(tmp_path, name, data)))[0] == SEQUENCES


@pytest.mark.parametrize(
    "data",
    [
        b"@a\nACGT\n+\nIIII\n@b\n\n+\n\n@c\nnnNNacgtRYSWKMBDHVuU\n+\nIIIIIIIIIIIIIIIIIIII",
        b">a\nACGT\n>b\n>c desc\nnnNN\n\nacgtRYSW\nKMBDHVuU",
    ],
    ids=["fastq", "fasta"],
)
def test_letters_and_empty_reads_come_through_untouched(tmp_path: Path, data: bytes) -> None:
    (batch,) = SampleReader(SampleReads.single(write(tmp_path, "reads", data)))
    assert batch.strings() == ["ACGT", "", "nnNNacgtRYSWKMBDHVuU"]
    assert batch.lengths().tolist() == [4, 0, 20]
    assert batch.offsets.tolist() == [0, 4, 4, 24]
    assert (batch.sequence.dtype, batch.offsets.dtype, batch.index.dtype) == (np.uint8, np.int64, np.int64)
    assert len(batch) == 3


@pytest.mark.parametrize("layout", [fastq, fasta, lambda sequences: fasta(sequences, width=70)])
def test_two_megabase_reads_close_a_batch(tmp_path: Path, layout) -> None:
    long = "ACGTN" * 400_000
    path = write(tmp_path, "reads.gz", gzip.compress(layout([long, "AC", long, long]), 1))
    batches = list(SampleReader(SampleReads.single(path), batch_bases=3_000_000))
    assert [batch.lengths().tolist() for batch in batches] == [[2_000_000, 2, 2_000_000], [2_000_000]]
    assert batches[1].strings() == [long]


def test_batches_close_by_reads_by_bases_and_at_a_file_end(tmp_path: Path) -> None:
    first = write(tmp_path, "a", fastq(["A" * 10] * 7))
    second = write(tmp_path, "b", fasta(["C" * 10] * 3))
    reads = SampleReads.single(first, second)
    by_reads = [batch.index.tolist() for batch in SampleReader(reads, batch_reads=3)]
    assert by_reads == [[0, 1, 2], [3, 4, 5], [6], [7, 8, 9]]
    by_bases = [batch.index.tolist() for batch in SampleReader(reads, batch_bases=41)]
    assert by_bases == [[0, 1, 2, 3, 4], [5, 6], [7, 8, 9]]


def test_pairs_are_interleaved_numbered_and_never_torn(tmp_path: Path) -> None:
    first, second = random_sequences(50, seed=1), random_sequences(50, length=80, seed=2)
    reads = SampleReads.paired(
        [write(tmp_path, "a1", fastq(first, suffix="/1")), write(tmp_path, "b1", fasta(first))],
        [write(tmp_path, "a2", gzip.compress(fastq(second, suffix="/2"))), write(tmp_path, "b2", fasta(second))],
    )
    reader = SampleReader(reads, batch_reads=7, batch_bases=500)
    batches = list(reader)
    assert all(len(batch) % 2 == 0 for batch in batches)
    assert max(map(len, batches)) == 6
    interleaved = [read for pair in zip(first, second, strict=True) for read in pair]
    assert [read for batch in batches for read in batch.strings()] == interleaved * 2
    assert np.concatenate([batch.index for batch in batches]).tolist() == [i for i in range(100) for _ in range(2)]
    assert (reader.n_reads, reader.n_selected) == (200, 200)


def test_counters_end_at_the_totals(tmp_path: Path) -> None:
    paths = [write(tmp_path, "a.gz", gzip.compress(fastq(SEQUENCES))), write(tmp_path, "b", fastq(SEQUENCES))]
    reader = SampleReader(SampleReads.single(*paths), batch_reads=500)
    assert (reader.bytes_done, reader.n_reads) == (0, 0)
    seen = [(reader.bytes_done, reader.n_reads) for _ in reader]
    assert seen == sorted(seen)
    assert [n_reads for _, n_reads in seen] == list(range(500, 6001, 500))
    assert reader.bytes_done == reader.bytes_total == sum(path.stat().st_size for path in paths)


def test_a_pipe_can_be_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(gzip.compress(fastq(SEQUENCES)),))
    writer.start()
    assert read_all(SampleReads.single(pipe))[0] == SEQUENCES
    writer.join()


def test_a_reader_reads_once(tmp_path: Path) -> None:
    reader = SampleReader(SampleReads.single(write(tmp_path, "a", fastq(["ACGT"]))))
    assert len(list(reader)) == 1
    with pytest.raises(RuntimeError, match="reads its sample once"):
        list(reader)


def test_arguments_out_of_range_are_refused(tmp_path: Path) -> None:
    reads = SampleReads.single(write(tmp_path, "a", fastq(["ACGT"])))
    for arguments in ({"read_fraction": 0.0}, {"read_fraction": 1.5}, {"batch_reads": 1}, {"batch_bases": 0}):
        with pytest.raises(InputError, match=next(iter(arguments))):
            SampleReader(reads, **arguments)
    with pytest.raises(InputError, match="at least one read file"):
        SampleReads.single()
    with pytest.raises(InputError, match="1 files of first mates and 2 of second"):
        SampleReads.paired("a", ["b", "c"])


def test_batch_from_strings() -> None:
    batch = ReadBatch.from_strings(["AC", "", "GTN"], index=[4, 7, 9])
    assert (batch.strings(), batch.index.tolist()) == (["AC", "", "GTN"], [4, 7, 9])
    selected = batch.select(np.array([True, False, True]))
    assert (selected.strings(), selected.index.tolist()) == (["AC", "GTN"], [4, 9])
    joined = ReadBatch.concatenate([selected, batch])
    assert (joined.strings(), joined.index.tolist()) == (["AC", "GTN", "AC", "", "GTN"], [4, 9, 4, 7, 9])
    assert len(ReadBatch.concatenate([])) == len(ReadBatch.from_strings([])) == 0
    with pytest.raises(InputError, match="one number per sequence"):
        ReadBatch.from_strings(["AC"], index=[1, 2])
    with pytest.raises(InputError, match="not an ASCII letter"):
        ReadBatch.from_strings(["AÇ"])
