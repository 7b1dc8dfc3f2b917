"""Diverged copies: as far away as asked for, with a bias, alike on both strands."""

import numpy as np
import pytest

from biomeformer.reads import GenomeSet
from biomeformer.training.objectives.divergence import diverge, with_diverged_copies

COMPLEMENT = bytes.maketrans(b"ACGT", b"TGCA")


def genome(n, seed=0):
    return np.random.default_rng(seed).choice(np.frombuffer(b"ACGT", np.uint8), n)


@pytest.mark.parametrize("rate", [0.02, 0.1])
def test_rate_is_the_one_asked_for(rate):
    sequence = genome(300_000)
    shares = [(diverge(sequence, rate, np.random.default_rng(seed)) != sequence).mean() for seed in range(4)]
    assert all(0.6 * rate < share < 1.1 * rate for share in shares), shares
    assert (diverge(sequence, 0.0, np.random.default_rng(0)) == sequence).all()


def test_other_letters_and_ends_stay():
    sequence = genome(50_000)
    sequence[1000:1100] = ord("N")
    copy = diverge(sequence, 0.2, np.random.default_rng(1))
    assert (copy[1000:1100] == ord("N")).all() and set(copy[:1000].tobytes()) <= set(b"ACGT")
    assert (copy[[0, -1, 999, 1100]] == sequence[[0, -1, 999, 1100]]).all()


def substitutions(before, after):
    """How often each base becomes each other one, by its neighbours."""
    codes = np.searchsorted(np.frombuffer(b"ACGT", np.uint8), np.stack([before, after]))
    counts = np.zeros((4, 4, 4, 4))
    np.add.at(counts, (codes[0, :-2], codes[0, 1:-1], codes[0, 2:], codes[1, 1:-1]), 1)
    return counts / counts.sum(3, keepdims=True)


def test_the_bias_is_the_same_on_both_strands_and_differs_between_copies():
    sequence = genome(1_000_000)
    first, second = (substitutions(sequence, diverge(sequence, 0.1, np.random.default_rng(seed))) for seed in (0, 1))
    mirrored = first.transpose(2, 1, 0, 3)[::-1, ::-1, ::-1, ::-1]
    np.testing.assert_allclose(first, mirrored, atol=0.03)
    assert np.abs(first - second).max() > 0.1


def test_copies_are_species_of_their_own():
    genomes = GenomeSet(["a", "b"], ["A x", "B y"], ["A", "B"], [genome(5000, 1), genome(4000, 2)], ["1", "2"])
    more = with_diverged_copies(genomes, 2, (0.05, 0.2), seed=3)
    assert len(more.ids) == len(set(more.species)) == len(set(more.ids)) == 6 and more.genera == ["A", "B"] * 3
    assert more.sequences[0] is genomes.sequences[0] and [len(s) for s in more.sequences] == [5000, 4000] * 3
    shares = [(more.sequences[i] != genomes.sequences[i % 2]).mean() for i in range(2, 6)]
    assert all(0.02 < share < 0.25 for share in shares) and len(set(shares)) == 4
    again = with_diverged_copies(genomes, 2, (0.05, 0.2), seed=3)
    assert all((a == b).all() for a, b in zip(more.sequences, again.sequences, strict=True))
