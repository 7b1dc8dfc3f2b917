"""Counting on the device: near ties, batches that do not fit into memory."""

import warnings

import numpy as np
import pytest
import torch

from biomeformer.errors import RunError
from biomeformer.metagenomes import embed_sample
from biomeformer.metagenomes.counting import ClusterCounter
from biomeformer.models.metagenbert import MetagenBertModel
from biomeformer.reads import SampleReads
from factories import random_sequences, tiny_bert, tiny_metagenbert, write_fastq


def encoded(model, reads):
    sequence = np.frombuffer("".join(reads).encode(), np.uint8)
    return model.processor.encode_reads(sequence, np.cumsum([0, *map(len, reads)]))


def with_ties(encoder=None):
    """A model in which many reads have two equally near centroids."""
    model = tiny_metagenbert(encoder)
    return MetagenBertModel.from_encoder_and_centroids(
        model.encoder, model.centroids.repeat(2, 1).numpy(), processor=model.processor
    )


@torch.inference_mode()
@pytest.mark.parametrize("encoder", [None, tiny_bert()])
@pytest.mark.parametrize("budget", [100, 1000, 100_000])
def test_counts_are_those_of_single_reads(encoder, budget):
    model = with_ties(encoder)
    reads = random_sequences(90, 40, 150, seed=3)
    packed = encoded(model, reads)
    _, near_tie, _ = model.nearest_packed(torch.from_numpy(packed.input_ids), torch.from_numpy(packed.lengths))
    assert near_tie.all()
    ids = model.assign_packed(torch.from_numpy(packed.input_ids), torch.from_numpy(packed.lengths))
    counter = ClusterCounter(model, budget)
    for part in (reads[:50], reads[50:]):
        counter.add(encoded(model, part))
    assert np.array_equal(counter.counts, np.bincount(ids, minlength=14)) and counter.counts[7:].sum() == 0


def test_a_full_device_lowers_the_budget_and_loses_nothing(tmp_path, monkeypatch):
    model = tiny_metagenbert()
    fastq = write_fastq(tmp_path / "reads.fastq", random_sequences(120, seed=1))
    expected = embed_sample(model, SampleReads.single(fastq)).counts
    real, sizes = MetagenBertModel.nearest_packed, []

    def full(self, input_ids, lengths):
        sizes.append(len(input_ids))
        if len(input_ids) > 300:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, input_ids, lengths)

    monkeypatch.setattr(MetagenBertModel, "nearest_packed", full)
    with pytest.warns(
        UserWarning, match=r"cpu has no memory for .* tokens at once; continuing with .* .--batch-tokens"
    ):
        found = embed_sample(model, SampleReads.single(fastq))
    assert np.array_equal(found.counts, expected) and found.read_stats["n_used"] == 120 == found.counts.sum()
    assert max(sizes) > 300 and sum(size <= 300 for size in sizes) > 1
    # What was learnt holds for the next sample.
    sizes.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = embed_sample(model, SampleReads.single(fastq))
    assert np.array_equal(again.counts, expected) and max(sizes) <= 300


def test_one_read_that_does_not_fit(tmp_path, monkeypatch):
    model = tiny_metagenbert()
    fastq = write_fastq(tmp_path / "reads.fastq", random_sequences(4, seed=1))

    def full(self, input_ids, lengths):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(MetagenBertModel, "nearest_packed", full)
    with pytest.warns(UserWarning), pytest.raises(RunError, match="does not fit into the memory of cpu"):
        embed_sample(model, SampleReads.single(fastq))
