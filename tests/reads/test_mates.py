"""Mates by their names, as Illumina, NCBI and KneadData write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from dnaio import SequenceRecord
from read_files import fastq, write

from biomeformer.errors import ReadFileError
from biomeformer.reads import SampleReader, SampleReads
from biomeformer.reads.mates import are_mates


@pytest.mark.parametrize(
    "name",
    [
        "r7/{}",
        "r7.{}",
        "r7_R{}",
        "r7 {}:N:0:ACGT",
        "r7_{}:N:0:ACGT",
        "r7.{}:Y:18:1",
        "M0:1:1101:0.{}:N:0:ACGT#0/{}",
        "M0:1:1101:0:{}:N:0:ACGT+ACGT",
        "M0:1:1101:0#ACGT/{}",
        "M0:1:1101:0#0/{}_extra",
        "M0:1:1101:0/{}\tcomment",
        "SRR12.7.{} 7 length=150",
        "SRR12.7.{}_7_length=150",
        "ERR12.7.{}-HWI:3",
    ],
)
def test_names_that_differ_in_the_mate_number_are_mates(name: str) -> None:
    first, second = (SequenceRecord(name.format(*[mate] * 2), "A", "I") for mate in (1, 2))
    assert are_mates(first, second) and are_mates(second, first)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("M0:1:1101:5", "M0:2:1101:5"),
        ("M0:1:1101:5.1:N:0:ACGT", "M0:1:1101:6.2:N:0:ACGT"),
        ("M0:1:1101:5_1:N:0:A", "M0:2:1101:5_2:N:0:A"),
        ("SRR1.5.1_5_length=150", "SRR1.6.2_6_length=150"),
        ("SRR1.1_x", "SRR1.2_x"),
        ("r1/1_x", "r2/2_x"),
        ("r/1x", "r/2x"),
        ("a", "b"),
    ],
)
def test_other_names_are_not_mates(first: str, second: str) -> None:
    assert not are_mates(SequenceRecord(first, "A", "I"), SequenceRecord(second, "A", "I"))


def test_pairs_of_kneaddata_are_read(tmp_path: Path) -> None:
    paths = []
    for mate in (1, 2):
        text = "".join(f"@M0:1:{i}.{mate}:N:0:ACGT#0/{mate}\n{'AC'[mate - 1]}\n+\nI\n" for i in range(20))
        paths.append(write(tmp_path, f"r{mate}", text.encode()))
    (batch,) = SampleReader(SampleReads.paired(*paths))
    assert batch.strings() == ["A", "C"] * 20


@pytest.mark.parametrize("second", [fastq(["AC"] * 3).replace(b"@read2", b"@other"), fastq(["AC"] * 2)])
def test_mates_that_do_not_match_can_be_given_unpaired_as_the_error_says(tmp_path: Path, second: bytes) -> None:
    paths = write(tmp_path, "r1", fastq(["AC"] * 3)), write(tmp_path, "r2", second)
    with pytest.raises(ReadFileError, match=r"two files unpaired: as 'FILE;FILE' in the column fastq .*SampleReads\."):
        list(SampleReader(SampleReads.paired(*paths)))
    assert sum(map(len, SampleReader(SampleReads.single(*paths)))) >= 5
