"""Records by the block, in compiled functions, against dnaio's records."""

from __future__ import annotations

import platform
import random
from pathlib import Path

import numpy as np
import pytest

from biomeformer.errors import ReadFileError
from biomeformer.inference import kernels
from biomeformer.io.compression import DecompressedStream
from biomeformer.reads import ReadBatch, SampleReader, SampleReads, records
from biomeformer.reads import blocks as blocks_module
from biomeformer.reads.blocks import BlockReader

from .read_files import bgzip, fastq, random_sequences


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_DECOMPRESSING_THREADS", 2)
    if platform.machine() not in kernels.PROCESSORS:
        pytest.skip(f"there are no kernels for {platform.machine()}")
    monkeypatch.setattr(kernels, "KERNELS", kernels._Kernels())
    assert kernels.KERNELS.load() is not None, "numba is a dependency"


def record(rng: random.Random, name: str, kind: str) -> bytes:
    length = rng.choice([0, 1, 63, 64, 65, 128, 150, 151, 700])
    letters = {"lower": "acgtn", "iupac": "ACGTRYKMU", "dots": "ACGT."}.get(kind, "ACGTN")
    sequence = "".join(rng.choices(letters, k=length))
    qualities = "".join(rng.choices("@+IF#", k=length))
    if kind == "bad letter":
        sequence, qualities = sequence + "AC*T", qualities + "IIII"
    if kind == "short qualities":
        qualities = qualities[:-1] if qualities else "I"
    end = "\r\n" if kind == "carriage returns" else "\n"
    plus = f"+{name}" if kind == "named plus" else "+"
    if kind == "wrapped" and length > 1:
        middle = length // 2
        sequence = f"{sequence[:middle]}\n{sequence[middle:]}"
        qualities = f"{qualities[:middle]}\n{qualities[middle:]}"
    blank = "\n" if kind == "blank line" else ""
    return f"{blank}@{name}{end}{sequence}{end}{plus}{end}{qualities}{end}".encode()


ODD = (
    "lower", "iupac", "dots", "bad letter", "short qualities", "carriage returns", "named plus", "wrapped",
    "blank line", "cut", "other names",
)  # fmt: skip


def file_of_reads(rng: random.Random, mate: str, oddity: str | None) -> bytes:
    """A file with one oddity at most, since it depends on the batches which of two faults is found."""
    n_records = rng.choice([1, 3, 40, 150])
    odd_at = rng.choice([0, n_records // 2, n_records - 1])
    data = b"".join(
        record(rng, f"r{number}{mate}", oddity if oddity is not None and number == odd_at else "regular")
        for number in range(n_records)
    )
    return (
        data[: rng.randrange(len(data) - 2, len(data)) if rng.random() < 0.5 else rng.randrange(len(data))]
        if oddity == "cut"
        else data
    )


def outcome(reads: SampleReads, fraction: float, batch_bases: int, *, by_block: bool) -> tuple[object, ...]:
    source = kernels.record_kernels if by_block else lambda: None
    reader = SampleReader(
        reads, read_fraction=fraction, seed=1, batch_reads=64, batch_bases=batch_bases, kernels=source
    )
    try:
        batch = ReadBatch.concatenate(list(reader))
    except ReadFileError as error:
        return (str(error),)
    return batch.strings(), batch.index.tolist(), reader.n_reads, reader.n_selected


@pytest.mark.parametrize("paired", [False, True])
def test_blocks_give_the_same_reads_and_errors_as_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paired: bool
) -> None:
    # Smaller than the longest records.
    monkeypatch.setattr(blocks_module, "_BLOCK_BYTES", 512)
    rng = random.Random(paired)
    n_read = n_refused = 0
    for number in range(90):
        oddity = rng.choice([None, *ODD])
        paths = [tmp_path / "R1.fastq.gz", tmp_path / "R2.fastq"]
        suffixes = rng.choice([("", ""), ("/1", "/2"), (" 1:N:0", " 2:N:0"), ("_R1", "_R2")])
        if oddity == "other names":
            suffixes = ("x", "y")
        for path, suffix in zip(paths, suffixes, strict=True):
            data = file_of_reads(random.Random(number), suffix, oddity if path == paths[-paired] else None)
            path.write_bytes(bgzip(data) if path.suffix == ".gz" else data)
        reads = SampleReads.paired(*paths) if paired else SampleReads.single(paths[0])
        settings = rng.choice([(1.0, 4 << 20), (1.0, 900), (0.3, 4 << 20)])
        expected = outcome(reads, *settings, by_block=False)
        assert outcome(reads, *settings, by_block=True) == expected, number
        n_read, n_refused = n_read + (len(expected) > 1), n_refused + (len(expected) == 1)
    assert n_read > 15, "files that are read"
    assert n_refused > 15, "files that are refused"


def test_all_regular_records_are_taken_by_the_block(tmp_path: Path) -> None:
    sequences = random_sequences(3000, length=150)
    path = tmp_path / "reads.fastq"
    path.write_bytes(fastq(sequences).rstrip(b"\n"))
    source = kernels.record_kernels()
    assert source is not None
    reader = BlockReader(DecompressedStream(path), source)
    taken = 0
    while n := len(reader.ready()):
        block = reader.take(n)
        assert block.name(n - 1) == f"read{taken + n - 1}"
        assert (block.lengths() == 150).all()
        taken += n
    assert taken == 3000
    assert reader.is_finished


def test_reading_goes_on_by_the_block_once_kernels_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "reads.fastq"
    sequences = random_sequences(100)
    path.write_bytes(fastq(sequences))
    late: list[object] = [None, None, None]
    taken: list[int] = []
    take = BlockReader.take
    monkeypatch.setattr(BlockReader, "take", lambda self, n: taken.append(n) or take(self, n))
    reader = SampleReader(
        SampleReads.single(path), batch_reads=30, kernels=lambda: late.pop() if late else kernels.record_kernels()
    )
    batches = list(reader)
    assert 0 < sum(taken) < 100
    assert ReadBatch.concatenate(batches).strings() == sequences
    assert np.concatenate([batch.index for batch in batches]).tolist() == list(range(100))
