"""Even batches, and batches that a device has no memory for."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from biomeformer.errors import RunError
from biomeformer.inference.batching import embed_vectors, iter_token_batches
from biomeformer.inference.token_budget import is_out_of_memory
from biomeformer.models.metagenbert import MetagenBertModel, PackedReads
from biomeformer.reads import ReadBatch
from factories import random_sequences, tiny_metagenbert

# As torch, CUDA, cuBLAS, cuDNN and the CPU's allocators say it.
FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.10 GiB"),
    RuntimeError(
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call"
    ),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN Frontend error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("MPS backend out of memory (MPS allocated: 17.93 GB, other allocations: 384.00 KB)"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 4398046511104 bytes. Error code 12 (Cannot allocate memory)"
    ),
    MemoryError(),
]
OTHER = [
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(handle)`"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    ValueError("out of memory"),
]


@pytest.mark.parametrize("error", FULL, ids=lambda error: str(error)[:40])
def test_vectors_of_a_batch_that_does_not_fit_come_in_halves(error, monkeypatch):
    assert is_out_of_memory(error)
    model = tiny_metagenbert()
    reads = ReadBatch.from_strings(random_sequences(60, seed=1))
    expected, _ = embed_vectors(model, model.processor, reads)
    real, sizes = MetagenBertModel.embed_packed, []

    def full(self, input_ids, lengths):
        sizes.append(len(input_ids))
        if len(input_ids) > 300:
            raise error
        return real(self, input_ids, lengths)

    monkeypatch.setattr(MetagenBertModel, "embed_packed", full)
    with pytest.warns(UserWarning, match=r"cpu has no memory for .* tokens at once; continuing with"):
        found, _ = embed_vectors(model, model.processor, reads)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert max(sizes) > 300
    sizes.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embed_vectors(model, model.processor, reads)
    assert max(sizes) <= 300
    monkeypatch.setattr(MetagenBertModel, "embed_packed", lambda *args: full(args[0], torch.zeros(301), None))
    one = ReadBatch.from_strings(random_sequences(1))
    with pytest.raises(RunError, match="does not fit into the memory of cpu: set max_length"):
        embed_vectors(model, model.processor, one)


@pytest.mark.parametrize("error", OTHER, ids=str)
def test_other_errors_pass_through(error, monkeypatch):
    assert not is_out_of_memory(error)

    def fail(self, input_ids, lengths):
        raise error

    model = tiny_metagenbert()
    monkeypatch.setattr(MetagenBertModel, "embed_packed", fail)
    with pytest.raises(type(error)) as raised:
        embed_vectors(model, model.processor, ReadBatch.from_strings(random_sequences(3)))
    assert raised.value is error


def test_the_cpus_own_allocator_says_what_is_known():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 60)
    assert is_out_of_memory(raised.value)


def packed_reads(lengths):
    lengths = np.asarray(lengths, np.int64)
    ids = np.repeat(np.arange(len(lengths)), lengths)
    return PackedReads(ids, lengths, np.arange(len(lengths)), {})


def fewest_batches(lengths, budget):
    """Of reads in order, each batch taking what it can."""
    n, room = 0, 0
    for length in lengths:
        if not n or length > room:
            n, room = n + 1, budget
        room -= length
    return n


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=80), st.integers(1, 400), st.booleans())
def test_batches_are_few_and_even_and_hold_every_read_once(lengths, budget, sort):
    batches = list(iter_token_batches(packed_reads(lengths), budget, sort=sort))
    order = sorted(lengths) if sort else lengths
    assert [n for _, part, _ in batches for n in part.tolist()] == order
    assert sorted(place for _, _, places in batches for place in places) == list(range(len(lengths)))
    for ids, part, places in batches:
        assert ids.tolist() == [int(p) for p, n in zip(places, part, strict=True) for _ in range(n)]
    sizes = [len(ids) for ids, _, _ in batches]
    assert all(size <= budget or len(part) == 1 for size, (_, part, _) in zip(sizes, batches, strict=True))
    # No more than the budget asks for, and the largest could not be smaller without one more.
    assert len(batches) == fewest_batches(order, budget)
    largest = max((len(ids) for ids, part, _ in batches if len(part) > 1), default=0)
    assert not largest or fewest_batches(order, largest - 1) > len(batches)


def test_a_little_more_than_the_budget_is_two_halves():
    lengths = np.random.default_rng(0).integers(28, 43, 8192)
    budget = int(lengths.sum() / 1.09)
    sizes = [len(ids) for ids, _, _ in iter_token_batches(packed_reads(lengths), budget)]
    assert len(sizes) == 2 and max(sizes) - min(sizes) <= 2 * 42
