"""Damaged input: every case is one clear error that names file, record and reason, or it works."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from read_files import BGZF_END, COMPRESSORS, bgzip, fasta, fastq, random_sequences, write, zstd

from biomeformer.errors import ReadFileError
from biomeformer.io.compression import open_file
from biomeformer.reads import SampleReader, SampleReads

N_READS = 4000
TEXT = fastq(random_sequences(N_READS))
GZIP = gzip.compress(TEXT, mtime=0)
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bgzip": bgzip,
    "zstd": lambda data: zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


def flip(data: bytes, position: int, bits: int = 8) -> bytes:
    position %= len(data)
    return data[:position] + bytes([data[position] ^ bits]) + data[position + 1 :]


def failure(path: Path) -> str:
    """The error of reading the file to its end; it must be one line and begin with the file."""
    with pytest.raises(ReadFileError) as caught:
        list(SampleReader(SampleReads.single(path)))
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message


def record_of(message: str) -> int:
    found = re.search(r", record (\d+): ", message)
    assert found is not None, message
    return int(found.group(1))


@pytest.mark.parametrize("compression", PACK)
def test_truncated_stream_is_reported_with_its_record(tmp_path: Path, compression: str) -> None:
    data = PACK[compression](TEXT)
    for n_bytes in (len(data) // 2, len(data) - len(BGZF_END) - 3):
        message = failure(write(tmp_path, "reads.gz", data[:n_bytes]))
        assert (
            f"the {compression.removeprefix('b') if 'gz' in compression else compression} stream is cut short"
            in message
        )
        assert 1 <= record_of(message) <= N_READS + 1


@pytest.mark.parametrize("n_missing", [1, 4, 8])
def test_gzip_without_the_end_of_its_trailer(tmp_path: Path, n_missing: int) -> None:
    message = failure(write(tmp_path, "reads.gz", GZIP[:-n_missing]))
    assert "cut short" in message
    assert record_of(message) == N_READS + 1


def test_truncated_stream_names_the_first_record_that_is_lost(tmp_path: Path) -> None:
    message = failure(write(tmp_path, "reads.gz", GZIP[: len(GZIP) // 2]))
    assert N_READS // 2 - 100 < record_of(message) < N_READS // 2 + 100


def test_gzip_checksum_and_length(tmp_path: Path) -> None:
    for position in (-8, -1):
        message = failure(write(tmp_path, "reads.gz", flip(GZIP, position)))
        assert "the gzip stream is damaged" in message
        assert "checksum" in message


@pytest.mark.parametrize("compression", PACK)
def test_flipped_bit_is_reported_with_its_record(tmp_path: Path, compression: str) -> None:
    data = PACK[compression](TEXT)
    for position in (len(data) // 3, len(data) // 2, len(data) * 2 // 3):
        assert 1 <= record_of(failure(write(tmp_path, "reads.gz", flip(data, position)))) <= N_READS + 1


SMALL = {name: pack(fastq(random_sequences(30, length=40))) for name, pack in PACK.items()}


@settings(max_examples=100, deadline=None)
@given(data=st.data(), compression=st.sampled_from(sorted(PACK)))
def test_any_changed_byte_or_cut_is_harmless_or_an_error(data: st.DataObject, compression: str) -> None:
    packed = SMALL[compression]
    position = data.draw(st.integers(0, len(packed) - 1))
    broken = data.draw(st.sampled_from([packed[:position], flip(packed, position, data.draw(st.integers(1, 255)))]))
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), "reads.gz", broken)
        try:
            sequences = [read for batch in SampleReader(SampleReads.single(path)) for read in batch.strings()]
        except ReadFileError as error:
            outcome: object = str(error).startswith(str(path))
        else:
            outcome = sequences == random_sequences(30, length=40)
    assert outcome is True


@pytest.mark.parametrize("garbage", [b"garbage", b"\0\0\0garbage", b"\n", b"x"])
@pytest.mark.parametrize("compression", PACK)
def test_bytes_after_the_stream_are_refused(tmp_path: Path, compression: str, garbage: bytes) -> None:
    message = failure(write(tmp_path, "reads.gz", PACK[compression](TEXT) + garbage))
    assert "follow the end of the" in message
    assert record_of(message) == N_READS + 1


def test_trailing_half_a_member(tmp_path: Path) -> None:
    assert "cut short" in failure(write(tmp_path, "reads.gz", GZIP + GZIP[:5]))


@pytest.mark.parametrize("compression", ["gzip members", "bgzip", "gzip, zero bytes after"])
def test_several_members_and_trailing_zero_bytes_work(tmp_path: Path, compression: str) -> None:
    reader = SampleReader(SampleReads.single(write(tmp_path, "reads.gz", COMPRESSORS[compression](TEXT))))
    assert sum(map(len, reader)) == N_READS


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bgzip, zstd.compress])
@pytest.mark.parametrize(
    ("n_cut", "reason"),
    [
        (3, "length of sequence and qualities differ"),
        (103, "premature end of file"),
        (150, "premature end of file"),
        (208, "premature end of file"),
    ],
)
def test_last_record_cut_inside_a_whole_stream(
    tmp_path: Path, pack: Callable[[bytes], bytes], n_cut: int, reason: str
) -> None:
    message = failure(write(tmp_path, "reads.fastq", pack(TEXT[:-n_cut])))
    assert record_of(message) == N_READS
    assert reason in message


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd.compress, bz2.compress, lzma.compress])
def test_file_without_reads_is_refused(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    assert "holds no reads" in failure(write(tmp_path, "reads.fastq.gz", pack(b"")))


def test_one_empty_file_among_several(tmp_path: Path) -> None:
    good, empty = write(tmp_path, "a", TEXT), write(tmp_path, "b", b"")
    with pytest.raises(ReadFileError, match=f"{re.escape(str(empty))} holds no reads"):
        list(SampleReader(SampleReads.single(good, empty)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"sample_id,fastq\n", r"neither FASTQ nor FASTA, it starts with b'sample_id,fastq\\n'"),
        (b"\n@", "premature end of file"),
        (b"@HD\tVN:1.6\n@SQ\tSN:chr1\tLN:9\n", "is a SAM file; convert it with samtools fastq"),
        (b"reads.fastq".ljust(257, b"\0") + b"ustar\x0000", "is a tar archive; unpack it first"),
        (b"\x04\x22\x4d\x18", "compressed with lz4"),
        (gzip.compress(b"\0" * 512, mtime=0), "neither FASTQ nor FASTA"),
        (gzip.compress(b"BAM\x01\x00", mtime=0), "is a BAM file; convert it with samtools fastq"),
        (gzip.compress(GZIP, mtime=0), "is compressed twice"),
        (b"PK\x03\x04", "is a zip archive"),
        (b"<!DOCTYPE html>", "is a web page"),
        (b"\xef\xbb\xbf@a\nAC\n+\nII\n", "byte-order mark"),
        (b"\x1f\x8b", "cut short"),
    ],
)
def test_content_that_is_no_reads_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    assert re.search(reason, failure(write(tmp_path, "reads.fastq.gz", data)))


@pytest.mark.parametrize(
    ("data", "record", "reason"),
    [
        (b"@a\nAC\n+\nII\n@b\nAC*T\n+\nIIII\n", 2, r"holds '\*'"),
        (b"@a\nAC\n+\nII\n@b\nA-CT\n+\nIIII\n", 2, "holds '-'"),
        (b"@a\nAC\n+\nII\n@b\nA-CT\n+\nIIII\n", 2, "remove the gaps, e.g. with seqkit seq --remove-gaps"),
        (b"@a\nA1\n+\nII\n", 1, "holds '1'"),
        (b"@a\nA C\n+\nIII\n", 1, "holds ' '"),
        (b"@a\nA\0C\n+\nIII\n", 1, r"holds '\\x00'"),
        (b"@a\nAC\n+\nII\n@b\nA\xc3\n+\nII\n", 2, "the byte 0xc3 is not ASCII"),
        (b"@a\nACGT\nIIII\n@b\nAC\n+\nII\n", 1, "line 3: line expected to start with '\\+', but it starts with 'I'"),
        (b"@a\nAC@b\nACGT\n+\nIIII\n", 1, "line 3: line expected to start with '\\+'"),
        (b"@a\nAC\n\n+\nII\n", 1, "line 3: line expected to start with '\\+', but it starts with a blank line"),
        (b"@a\nAC\n+\nII\n\nAC\n+\nII\n", 2, "line 6: line expected to start with '@', but it starts with 'A'"),
        (b"@a\nAC\n+\nII\n\n@b\n", 2, "line 6: premature end of file"),
        (b"\n\n@a\nAC\n+b\nIII\n", 1, "line 6: length of sequence and qualities differ; the file is cut or was edited"),
        (b"@a\rAC\r+\rII\r", 1, "carriage returns alone; convert the line ends, e.g. with mac2unix$"),
        (b"@a\nAC\n+\nIII\n", 1, "length of sequence and qualities differ"),
        (b">a\nAC\n>b\nMKVLEEQL\n", 2, "holds 'L'"),
        (b">a\nAC\n#comment\nAC\n", 1, "holds '#'"),
        (b">a\nAC\n>b\nA\xc3\n", 2, "holds 'Ã'"),
        (b">a\rAC\r>b\rAC\r", 1, "carriage returns"),
    ],
)
def test_records_that_break_the_format(tmp_path: Path, data: bytes, record: int, reason: str) -> None:
    message = failure(write(tmp_path, "reads", data))
    assert record_of(message) == record
    assert re.search(reason, message)


def test_a_bad_letter_far_into_the_second_file(tmp_path: Path) -> None:
    sequences = random_sequences(9000)
    sequences[8500] = "ACGT?"
    reads = SampleReads.single(write(tmp_path, "a", TEXT), write(tmp_path, "b", fasta(sequences)))
    with pytest.raises(ReadFileError, match=r"b, record 8501: the sequence holds '\?'"):
        list(SampleReader(reads, batch_reads=1000))


def test_a_bad_letter_in_a_second_mate(tmp_path: Path) -> None:
    reads = SampleReads.paired(
        write(tmp_path, "r1", fastq(["AC"] * 5)), write(tmp_path, "r2", fastq(["AC"] * 4 + ["A!"]))
    )
    with pytest.raises(ReadFileError, match=r"r2, record 5: the sequence holds '!'"):
        list(SampleReader(reads, batch_reads=4))


def test_paths_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ReadFileError, match="there is no such file"):
        SampleReader(SampleReads.single(tmp_path / "absent.fastq"))
    with pytest.raises(ReadFileError, match="is a directory"):
        SampleReader(SampleReads.single(tmp_path))
    with pytest.raises(ReadFileError, match="cannot be opened: Not a directory"):
        SampleReader(SampleReads.single(write(tmp_path, "a", TEXT) / "b"))
    with pytest.raises(ReadFileError, match="there is no such file"):
        open_file(tmp_path / "absent.fastq")
    with pytest.raises(ReadFileError, match="is a directory"):
        open_file(tmp_path)

    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("biomeformer.io.compression.io.FileIO", refuse)
    assert "you may not read this file" in failure(tmp_path / "a")


def test_a_file_given_twice(tmp_path: Path) -> None:
    path = write(tmp_path, "a", TEXT)
    link, hard_link = tmp_path / "link", tmp_path / "hard_link"
    link.symlink_to(path)
    os.link(path, hard_link)
    for other in (path, link, hard_link, tmp_path / "." / "a"):
        with pytest.raises(ReadFileError, match="for one sample; give each file once"):
            SampleReader(SampleReads.paired(path, other))
        with pytest.raises(ReadFileError, match="for one sample; give each file once"):
            SampleReader(SampleReads.single(path, other))


@pytest.mark.parametrize(("n_first", "n_second", "short"), [(3, 9000, "r1"), (9000, 8999, "r2")])
def test_mates_of_unequal_number(tmp_path: Path, n_first: int, n_second: int, short: str) -> None:
    paths = {
        "r1": write(tmp_path, "r1", fastq(["ACGT"] * n_first)),
        "r2": write(tmp_path, "r2", gzip.compress(fastq(["ACGT"] * n_second))),
    }
    n_records = min(n_first, n_second)
    expected = f"{paths[short]}, record {n_records + 1}: the file ends after {n_records} records while its mate"
    with pytest.raises(ReadFileError, match=re.escape(expected)):
        list(SampleReader(SampleReads.paired(paths["r1"], paths["r2"])))


def test_mates_with_other_names(tmp_path: Path) -> None:
    first = write(tmp_path, "r1", b"@a/1\nAC\n+\nII\n@b/1\nAC\n+\nII\n")
    second = write(tmp_path, "r2", b"@a/2\nAC\n+\nII\n@c/2 x\nAC\n+\nII\n")
    with pytest.raises(ReadFileError) as caught:
        list(SampleReader(SampleReads.paired(first, second)))
    message = str(caught.value)
    assert message.startswith(f"{first}, record 2: the read's name is 'b/1'")
    assert f"its mate in {second} is 'c/2'" in message


def test_damage_in_a_second_mate_is_named(tmp_path: Path) -> None:
    reads = SampleReads.paired(write(tmp_path, "r1", TEXT), write(tmp_path, "r2.gz", GZIP[: len(GZIP) // 2]))
    with pytest.raises(ReadFileError, match=r"r2\.gz, record \d+: the gzip stream is cut short"):
        list(SampleReader(reads))
