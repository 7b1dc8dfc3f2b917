"""FASTQ that is laid out otherwise than in four bare lines per record, and letters other than A, C, G, T and N."""

from __future__ import annotations

import gzip
import io
import itertools
import os
import random
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from Bio.SeqIO.QualityIO import FastqGeneralIterator
from hypothesis import given, settings
from hypothesis import strategies as st
from read_files import COMPRESSORS, fasta, fastq, random_sequences, write, zstd

from biomeformer.errors import ReadFileError
from biomeformer.reads import SampleReader, SampleReads
from biomeformer.reads.records import RecordFile

SEQUENCES = random_sequences(2000, length=70)
# Qualities that look like the other lines of a record.
TRICKY = "@+IA>;\\~!"


def record(name: str, sequence: str, *, plus: str = "+", width: int | None = None, end: str = "\n") -> str:
    generator = random.Random(name)
    qualities = "".join(generator.choices(TRICKY, k=len(sequence)))
    step = width or max(len(sequence), 1)
    lines = [f"@{name}"]
    lines += [sequence[start : start + step] for start in range(0, max(len(sequence), 1), step)]
    lines.append(plus)
    lines += [qualities[start : start + step] for start in range(0, max(len(sequence), 1), step)]
    return "".join(line + end for line in lines)


def sequences_of(path: Path) -> list[str]:
    return [read for batch in SampleReader(SampleReads.single(path)) for read in batch.strings()]


LAYOUTS = {
    "blank line at the end": lambda records: "".join(records) + "\n",
    "blank lines of blanks at the end": lambda records: "".join(records) + "\r\n  \n\t\n",
    "blank lines at the start": lambda records: "\n \r\n" + "".join(records),
    "blank lines between records": lambda records: "\n\n".join(records),
    "blanks before the first name": lambda records: "  " + "".join(records),
    "one blank line in the middle": lambda records: "".join(records[:999]) + "\n" + "".join(records[999:]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("compression", ["plain", "bgzip", "zstd frames"])
def test_blank_lines_around_records_are_layout(tmp_path: Path, layout: str, compression: str) -> None:
    text = LAYOUTS[layout]([record(f"r{i}", sequence) for i, sequence in enumerate(SEQUENCES)])
    path = write(tmp_path, "reads", COMPRESSORS[compression](text.encode()))
    assert sequences_of(path) == SEQUENCES


@pytest.mark.parametrize(
    "change",
    [
        {"plus": "+r"},
        {"plus": "+SRR1.0 0 length=150"},
        {"plus": "+ @anything+"},
        {"end": " \n"},
        {"end": "\t \r\n"},
        {"end": "\r\r\n"},
        {"width": 60},
        {"width": 35},
        {"width": 1, "plus": "+x"},
    ],
    ids=str,
)
def test_plus_lines_blanks_and_wrapped_lines_are_read(tmp_path: Path, change: dict) -> None:
    text = "".join(record(f"r{i}", sequence, **change) for i, sequence in enumerate(SEQUENCES))
    assert sequences_of(write(tmp_path, "reads.gz", gzip.compress(text.encode()))) == SEQUENCES


def test_blanks_at_the_end_of_some_lines(tmp_path: Path) -> None:
    data = b"@a \nACGT \n+\nIIII\n@b\nAC\t\n+ \nII \n@c\nA\n+\nI  "
    assert sequences_of(write(tmp_path, "reads", data)) == ["ACGT", "AC", "A"]
    data = b" \n >a\nAC GT \n".replace(b"C G", b"CG") + b"\n\n>b\n AC\n"
    assert sequences_of(write(tmp_path, "reads.fa", data)) == ["ACGT", "AC"]


def test_an_odd_record_is_found_whatever_was_read_before(tmp_path: Path) -> None:
    # Records longer than the blocks in which the file is read, and an odd one behind each number of records.
    sequences = random_sequences(12, length=150_000)
    for n_before in (0, 1, 5, 11):
        text = "".join(
            record(f"r{i}", sequence, plus="+odd" if i == n_before else "+") for i, sequence in enumerate(sequences)
        )
        assert sequences_of(write(tmp_path, "reads.gz", gzip.compress(text.encode(), 1))) == sequences


@pytest.mark.parametrize("n_before", [0, 1, 370, 371, 1999])
def test_damage_after_an_odd_record_is_reported_with_its_line(tmp_path: Path, n_before: int) -> None:
    records = [record(f"r{i}", sequence) for i, sequence in enumerate(SEQUENCES)]
    records[n_before] = record("odd", SEQUENCES[n_before], plus="+other", width=50)
    text = "\n".join(["", "".join(records[: n_before + 1]), "@cut\nACGT\n+\nIII\n@z\nAC\n+\nII\n"])
    with pytest.raises(ReadFileError) as caught:
        sequences_of(write(tmp_path, "reads", text.encode()))
    line = text[: text.index("@cut")].count("\n") + 4
    reason = f"record {n_before + 2}: line {line}: length of sequence and qualities differ; the file is cut"
    assert reason in str(caught.value)


def test_a_stream_that_breaks_after_an_odd_record_is_reported(tmp_path: Path) -> None:
    text = record("odd", "ACGT", plus="+x") + "".join(record(f"r{i}", s) for i, s in enumerate(SEQUENCES))
    data = gzip.compress(text.encode())
    with pytest.raises(ReadFileError, match=r"record \d{3,}: the gzip stream is cut short"):
        sequences_of(write(tmp_path, "reads.gz", data[: len(data) // 2]))
    with pytest.raises(ReadFileError, match="record 2002: the byte 0xc3 is not ASCII"):
        sequences_of(write(tmp_path, "reads", text.encode() + b"@a\nA\xc3\n+\nII\n"))


def test_an_odd_record_of_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = "".join(record(f"r{i}", sequence, plus=f"+{i // 1500}") for i, sequence in enumerate(SEQUENCES))
    writer = threading.Thread(target=pipe.write_bytes, args=(gzip.compress(text.encode()),))
    writer.start()
    assert sequences_of(pipe) == SEQUENCES
    writer.join()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_layout_is_read_as_biopython_reads_it(data: st.DataObject) -> None:
    sequences = data.draw(st.lists(st.text("ACGTN", min_size=1, max_size=30), min_size=1, max_size=8))
    text = "".join(
        record(
            f"r{i}",
            sequence,
            plus=data.draw(st.sampled_from(["+", f"+r{i}"])),
            width=data.draw(st.sampled_from([None, 1, 7, 30])),
            end=data.draw(st.sampled_from(["\n", "\r\n", " \n"])),
        )
        for i, sequence in enumerate(sequences)
    )
    # Biopython keeps blanks and refuses text after '+' other than the name.
    judge = [name_sequence[1] for name_sequence in FastqGeneralIterator(io.StringIO(text.replace(" \n", "\n")))]
    with tempfile.TemporaryDirectory() as folder:
        assert sequences_of(write(Path(folder), "reads", text.encode())) == judge == sequences


def test_names_and_qualities_come_through(tmp_path: Path) -> None:
    path = write(tmp_path, "reads", b"@a b/1 \nAC\nG\n+whatever\n@+\n! \n")
    with RecordFile(path) as file:
        (found,) = file
    assert (found.name, found.sequence, found.qualities) == ("a b/1", "ACG", "@+!")


@pytest.mark.parametrize("layout", [fastq, fasta])
def test_dots_are_n(tmp_path: Path, layout) -> None:
    path = write(tmp_path, "reads", layout(["AC.T", "....", "acgu", "ACGT."]))
    reader = SampleReader(SampleReads.single(path), batch_reads=3)
    assert [batch.strings() for batch in reader] == [["ACNT", "NNNN", "acgu"], ["ACGTN"]]


@pytest.mark.parametrize("layout", [fastq, fasta])
@pytest.mark.parametrize("letter", ["-", "*"])
def test_gaps_are_refused_with_the_way_to_remove_them(tmp_path: Path, layout, letter: str) -> None:
    path = write(tmp_path, "reads", layout(["AC.T", f"AC{letter}T"]))
    with pytest.raises(ReadFileError, match=r"record 2: the sequence holds '.', a gap of an alignment; .* seqkit seq"):
        sequences_of(path)


def test_blanks_and_dots_do_not_move_reads_or_numbers(tmp_path: Path) -> None:
    plain = fastq([sequence.replace("A", "N") for sequence in SEQUENCES])
    odd = b"".join(
        line.replace(b"N", b".") + b" \n" if i % 4 == 1 else line + b"\n" for i, line in enumerate(plain.splitlines())
    )
    arguments = {"read_fraction": 0.4, "seed": 3, "batch_reads": 100}
    expected = list(SampleReader(SampleReads.single(write(tmp_path, "plain", plain)), **arguments))
    found = list(SampleReader(SampleReads.single(write(tmp_path, "odd", odd)), **arguments))
    assert list(itertools.chain(*(batch.strings() for batch in found))) == list(
        itertools.chain(*(batch.strings() for batch in expected))
    )
    assert np.array_equal(
        np.concatenate([batch.index for batch in found]), np.concatenate([batch.index for batch in expected])
    )


def test_a_long_window_of_zstd_is_read(tmp_path: Path) -> None:
    options = {zstd.CompressionParameter.window_log: 30, zstd.CompressionParameter.enable_long_distance_matching: 1}
    # Written in parts, so that the frame's header has the window and not the size.
    compressor = zstd.ZstdCompressor(options=options)
    data = compressor.compress(fastq(SEQUENCES)) + compressor.flush()
    with pytest.raises(zstd.ZstdError, match="memory"):
        zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: 27}).decompress(data)
    assert sequences_of(write(tmp_path, "reads.zst", data)) == SEQUENCES


def test_the_cause_of_a_decompression_error_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = fastq(SEQUENCES)
    dictionary = zstd.train_dict([fastq([sequence]) for sequence in SEQUENCES], 4096)
    with pytest.raises(ReadFileError, match=r"compressed with a dictionary; decompress it with that dictionary first"):
        sequences_of(write(tmp_path, "reads.zst", zstd.compress(text, zstd_dict=dictionary)))
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 28})
    path = write(tmp_path, "long.zst", compressor.compress(text) + compressor.flush())
    options = {zstd.DecompressionParameter.window_log_max: 20}
    monkeypatch.setattr("biomeformer.io.compression._ZSTD_OPTIONS", options)
    with pytest.raises(ReadFileError, match=r"needs more memory .* smaller window, e.g. without zstd's --long"):
        sequences_of(path)
