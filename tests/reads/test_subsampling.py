"""Subsampling by identity and drawing: what is kept depends on read number and seed, on nothing else."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from read_files import fasta, fastq, random_sequences, write

from biomeformer.errors import InputError, ReadFileError
from biomeformer.reads import ReadBatch, SampleReader, SampleReads, draw_reads, keep_reads, read_hash
from biomeformer.reads.subsampling import _mix

GAMMA = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
PINNED_SEED_0 = [12035550249420947055, 12935080325729570654, 7141179953334974231, 12080578367813020076]
PINNED_SEED_42 = [6332618229526065668, 17630415256238047317]
SEQUENCES = random_sequences(1000, length=20)


def test_the_mixer_is_splitmix64() -> None:
    """The first outputs of the published generator for seed 1234567."""
    states = np.array([(1234567 + step * GAMMA) & MASK for step in (1, 2, 3)], dtype=np.uint64)
    assert _mix(states).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_hashes_are_pinned() -> None:
    assert read_hash(np.array([0, 1, 2, 10**12]), 0).tolist() == PINNED_SEED_0
    assert read_hash(np.array([0, 1]), 42).tolist() == PINNED_SEED_42
    assert read_hash(np.array([5]), -1).tolist() == read_hash(np.array([5]), 2**64 - 1).tolist()


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 0.9])
def test_the_fraction_is_kept(fraction: float) -> None:
    n_reads = 200_000
    for seed in (0, 1):
        kept = int(keep_reads(np.arange(n_reads), fraction, seed).sum())
        assert abs(kept - fraction * n_reads) < 5 * np.sqrt(n_reads * fraction * (1 - fraction))


def test_seeds_are_independent() -> None:
    numbers = np.arange(100_000)
    both = keep_reads(numbers, 0.5, 0) & keep_reads(numbers, 0.5, 1)
    assert abs(int(both.sum()) - 25_000) < 700


@given(
    st.lists(st.integers(0, 2**62), min_size=1, max_size=50),
    st.floats(0, 1, exclude_min=True),
    st.floats(0, 1, exclude_min=True),
    st.integers(),
)
def test_fractions_are_nested(numbers: list[int], first: float, second: float, seed: int) -> None:
    small, large = sorted((first, second))
    assert not (keep_reads(numbers, small, seed) & ~keep_reads(numbers, large, seed)).any()
    assert keep_reads(numbers, 1.0, seed).all()
    assert keep_reads(numbers, 1, seed).all()


@pytest.mark.parametrize("fraction", [0, -0.1, 1.0001, float("nan"), float("inf")])
def test_fractions_out_of_range_are_refused(fraction: float) -> None:
    with pytest.raises(InputError, match="above 0 and at most 1"):
        keep_reads([1], fraction, 0)


@settings(max_examples=40, deadline=None)
@given(
    fraction=st.floats(0.001, 1),
    seed=st.integers(0, 2**64 - 1),
    batch_reads=st.integers(2, 700),
    batch_bases=st.integers(1, 20_000),
    n_first=st.integers(1, 999),
    paired=st.booleans(),
)
def test_the_subsample_does_not_depend_on_batches_files_or_pairing(
    fraction: float, seed: int, batch_reads: int, batch_bases: int, n_first: int, paired: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = write(folder, "a", fastq(SEQUENCES[:n_first]))
        second = write(folder, "b", fasta(SEQUENCES[n_first:]))
        if paired:
            mates = [write(folder, "c", fastq(SEQUENCES[:n_first])), write(folder, "d", fasta(SEQUENCES[n_first:]))]
            reads = SampleReads.paired([first, second], mates)
        else:
            reads = SampleReads.single(first, second)
        reader = SampleReader(
            reads, read_fraction=fraction, seed=seed, batch_reads=batch_reads, batch_bases=batch_bases
        )
        batch = ReadBatch.concatenate(list(reader))
    expected = np.flatnonzero(keep_reads(np.arange(1000), fraction, seed))
    if paired:
        expected = np.repeat(expected, 2)
    assert batch.index.tolist() == expected.tolist()
    assert batch.strings() == [SEQUENCES[number] for number in expected]
    assert (reader.n_reads, reader.n_selected) == (2000 if paired else 1000, len(expected))


def test_damage_outside_the_fraction_is_found(tmp_path: Path) -> None:
    path = write(tmp_path, "a.gz", gzip.compress(fastq(SEQUENCES))[:-1])
    with pytest.raises(ReadFileError, match="cut short"):
        list(SampleReader(SampleReads.single(path), read_fraction=0.001))


def test_a_fraction_that_keeps_nothing_still_counts(tmp_path: Path) -> None:
    reader = SampleReader(SampleReads.single(write(tmp_path, "a", fastq(SEQUENCES))), read_fraction=1e-12)
    assert list(reader) == []
    assert (reader.n_reads, reader.n_selected) == (1000, 0)


@pytest.mark.parametrize("n_drawn", [1, 7, 100, 999])
def test_drawn_reads_have_the_smallest_hashes(tmp_path: Path, n_drawn: int) -> None:
    reads = SampleReads.single(
        write(tmp_path, "a", fastq(SEQUENCES[:600])), write(tmp_path, "b", fasta(SEQUENCES[600:]))
    )
    batch, n_reads = draw_reads(reads, n_drawn, seed=3)
    expected = sorted(np.argsort(read_hash(np.arange(1000), 3))[:n_drawn].tolist())
    assert n_reads == 1000
    assert batch.index.tolist() == expected
    assert batch.strings() == [SEQUENCES[number] for number in expected]


def test_drawing_over_many_batches(tmp_path: Path) -> None:
    sequences = random_sequences(30_000, length=10)
    batch, n_reads = draw_reads(SampleReads.single(write(tmp_path, "a", fasta(sequences))), 500, seed=9)
    expected = sorted(np.argsort(read_hash(np.arange(30_000), 9))[:500].tolist())
    assert (n_reads, batch.index.tolist()) == (30_000, expected)
    assert batch.strings() == [sequences[number] for number in expected]
    assert len(batch.sequence) == 5000


def test_drawing_from_pairs_and_from_few(tmp_path: Path) -> None:
    reads = SampleReads.paired(write(tmp_path, "a", fastq(SEQUENCES)), write(tmp_path, "b", fastq(SEQUENCES)))
    batch, n_reads = draw_reads(reads, 101, seed=0)
    numbers, counts = np.unique(batch.index, return_counts=True)
    assert (n_reads, len(batch), len(numbers)) == (2000, 101, 51)
    assert sorted(counts.tolist()) == [1, *[2] * 50]
    assert set(numbers.tolist()) == set(np.argsort(read_hash(np.arange(1000), 0))[:51].tolist())
    everything, n_reads = draw_reads(reads, 5000)
    assert (len(everything), n_reads) == (2000, 2000)
    with pytest.raises(InputError, match="draw at least one"):
        draw_reads(reads, 0)
