"""Compiled encoders: the same vectors, whatever the batch."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

import biomeformer
from biomeformer.errors import InputError
from biomeformer.inference.batching import embed_vectors
from biomeformer.inference.compiling import compile_encoder
from biomeformer.reads import ReadBatch
from factories import random_sequences, tiny_metagenbert


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for a CPU needs g++")
def test_compiled_modules_give_the_same_vectors_for_any_number_of_tokens():
    torch._dynamo.reset()
    model = tiny_metagenbert()
    batch = ReadBatch.from_strings(random_sequences(50, 40, 150, seed=4))
    expected, _ = embed_vectors(model, model.processor, batch)
    assert compile_encoder(model) > 0
    compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert compiled >= 2
    for budget in (90, 300, 5000):
        found, _ = embed_vectors(model, model.processor, batch, budget)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    # What was compiled at first served all of them.
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == compiled


def test_what_cannot_be_compiled():
    with pytest.raises(InputError, match="a kmer_encoder encoder has no modules that can be compiled"):
        compile_encoder(biomeformer.load("metagenbert-mini"))
    model = tiny_metagenbert()
    model.processor = None
    with pytest.raises(InputError, match="leave it out"):
        compile_encoder(model)
