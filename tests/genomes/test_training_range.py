"""What of a genome lies outside the range of the training genomes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from biomeformer import GenomeTransformerConfig
from biomeformer.genomes.training_range import outside_range, training_range

RNG = np.random.default_rng(0)
GC, N_GENES = RNG.uniform(0.3, 0.6, 200), RNG.integers(1000, 5000, 200)
VECTORS = RNG.normal(size=(200, 8)) * np.arange(1, 9)


def known():
    return json.loads(json.dumps(training_range(GC.tolist(), N_GENES.tolist(), VECTORS)))


def test_at_most_one_in_fifty_training_genomes_is_unlike_by_each_criterion():
    outside = [outside_range(known(), gc, n, vector) for gc, n, vector in zip(GC, N_GENES, VECTORS, strict=True)]
    for word in ("GC", "genes", "vector"):
        n_outside = sum(any(word in difference for difference in differences) for differences in outside)
        assert 0 < n_outside <= 4


def test_each_difference_is_named_with_both_figures():
    typical = np.zeros(8)
    assert outside_range(known(), 0.45, 3000, typical) == ()
    (gc,) = outside_range(known(), 0.75, 3000, typical)
    assert gc.startswith("GC 75.0% (theirs 30.")
    (size,) = outside_range(known(), 0.45, 480, typical)
    assert size.startswith("480 genes (theirs 1,0")
    (vector,) = outside_range(known(), 0.45, 3000, typical + 40)
    assert vector.startswith("mean protein vector ")


def test_an_unknown_gc_is_no_difference():
    assert outside_range(known(), float("nan"), 3000, np.zeros(8)) == ()
    without = training_range([float("nan")] * 200, N_GENES.tolist(), VECTORS)
    assert "gc" not in without and outside_range(without, 0.9, 3000, np.zeros(8)) == ()
    assert training_range(GC[:9].tolist(), N_GENES[:9].tolist(), VECTORS[:9]) is None


def test_the_config_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="a mean vector of 8 numbers, and protein_size is 24"):
        GenomeTransformerConfig(protein_size=24, training_range=known())
    with pytest.raises(ValueError, match="temperature is 0"):
        GenomeTransformerConfig(temperature=0)
    assert GenomeTransformerConfig(protein_size=8, training_range=known()).training_range == known()
