"""Counting as on a GPU, where doubtful reads are assigned some batches later, several together."""

import numpy as np
import pytest
import torch

import biomeformer
from biomeformer.metagenomes.counting import ClusterCounter
from biomeformer.models.dnabert2 import DnaBert2Config, DnaBert2Model
from biomeformer.models.metagenbert import MetagenBertModel
from biomeformer.models.metagenbert.exact_batches import EXACT_BATCH_READS
from biomeformer.reads import ReadBatch
from factories import random_sequences, tiny_bert, tiny_dnabert2, tiny_metagenbert


def packed(model, reads):
    batch = ReadBatch.from_strings(reads)
    return model.processor.encode_reads(batch.sequence, batch.offsets)


def with_near_ties(model):
    """Each centroid beside one that is nearer to or farther from a read by less than a batch's rounding."""
    centroids = model.centroids.repeat_interleave(2, 0)
    centroids[1::2] += 1e-7 * torch.randn_like(centroids[1::2])
    return MetagenBertModel.from_encoder_and_centroids(model.encoder, centroids.numpy(), processor=model.processor)


def counts(model, reads, budget, *, n_parts=1):
    """Counted as on a GPU."""
    counter = ClusterCounter(model, budget)
    counter._runs_ahead = True
    for part in range(n_parts):
        counter.add(packed(model, reads[part::n_parts]))
    return counter.counts


@pytest.fixture
def together(monkeypatch):
    """Equally long reads go together on a CPU too."""
    monkeypatch.setitem(EXACT_BATCH_READS, "cpu", 16)


@pytest.mark.usefixtures("together")
@pytest.mark.parametrize("encoder", [tiny_dnabert2, tiny_bert])
def test_counts_depend_neither_on_batches_nor_on_the_order_of_reads(encoder):
    torch.manual_seed(1)
    model = with_near_ties(tiny_metagenbert(encoder(), n_clusters=40))
    reads = random_sequences(300, 20, 60, seed=2)
    with torch.inference_mode():
        lengths = packed(model, reads).lengths
        ids = torch.from_numpy(packed(model, reads).input_ids)
        assert model.nearest_packed(ids, torch.from_numpy(lengths)).near_tie.all()
        assigned = model.assign_packed(ids, torch.from_numpy(lengths))
    expected = np.bincount(assigned, minlength=80)
    assert expected.sum() == 300 and (expected > 0).sum() > 10
    for budget in (1, 90, 1000, 100_000):
        assert np.array_equal(counts(model, reads, budget), expected)
        assert np.array_equal(counts(model, reads[::-1], budget, n_parts=3), expected)


@pytest.mark.usefixtures("together")
@torch.inference_mode()
def test_a_doubtful_reads_vector_is_the_same_to_the_last_bit_whatever_it_is_embedded_with():
    torch.manual_seed(0)
    encoder = DnaBert2Model(DnaBert2Config(num_hidden_layers=2)).eval()
    model = MetagenBertModel.from_encoder_and_centroids(encoder, torch.randn(50, 768).numpy(), pooling="mean")
    for length in (7, 35, 61):
        read = torch.randint(5, 4000, (length,))
        vectors, seen = [], []

        def nearest_exactly(found, seen=seen):
            seen.append(found)
            return found[:, 0].long()

        model.nearest_exactly = nearest_exactly
        for n_before, n_after in ((0, 0), (3, 9), (15, 4), (21, 1)):
            mates = torch.randint(5, 4000, (n_before + n_after, length))
            model.assign_exact(torch.cat([mates[:n_before], read[None], mates[n_before:]]))
            vectors.append(seen[-1][n_before])
        assert all(torch.equal(vector, vectors[0]) for vector in vectors)


@pytest.mark.usefixtures("together")
@torch.inference_mode()
def test_reads_are_embedded_one_by_one_where_their_place_in_a_batch_matters(monkeypatch):
    model = tiny_metagenbert()
    real, sizes = MetagenBertModel._embed_equally_long, []

    def places_differ(self, reads):
        sizes.append(len(reads))
        vectors = real(self, reads)
        return vectors + 1e-7 * torch.arange(len(reads))[:, None]

    monkeypatch.setattr(MetagenBertModel, "_embed_equally_long", places_differ)
    reads = torch.randint(5, 100, (5, 30))
    model.assign_exact(reads)
    model.assign_exact(reads[:2])
    assert sizes == [16, 1, 1, 1, 1, 1, 1, 1]
    # Long ones take fewer at once, by their length alone.
    sizes.clear()
    model.assign_exact(torch.randint(5, 100, (3, 1500)))
    assert sizes == [2, 1, 1, 1]


@pytest.mark.usefixtures("together")
def test_equally_long_doubtful_reads_of_several_batches_are_one_pass(monkeypatch):
    model = with_near_ties(tiny_metagenbert())
    reads = random_sequences(400, 30, 30, seed=3)
    lengths = packed(model, reads).lengths
    sizes = []
    real = MetagenBertModel._embed_equally_long
    monkeypatch.setattr(
        MetagenBertModel, "_embed_equally_long", lambda self, some: sizes.append(some.shape) or real(self, some)
    )
    assert counts(model, reads, 300).sum() == 400
    n_passes = sum(-(-int(n) // 16) for n in np.unique(lengths, return_counts=True)[1])
    assert {n for n, _ in sizes} == {16}
    # And one for each length, to see that places do not matter.
    assert len(sizes) == n_passes + len(np.unique(lengths))


@pytest.mark.parametrize("kind", ["bfloat16", "k-mers"])
def test_vectors_that_are_not_exact_or_always_the_same_are_not_embedded_again(kind, monkeypatch):
    model = tiny_metagenbert().to(torch.bfloat16) if kind == "bfloat16" else biomeformer.load("metagenbert-mini")
    # Each centroid thrice: of equally near ones the first.
    n = len(model.centroids)
    model = MetagenBertModel.from_encoder_and_centroids(
        model.encoder, model.centroids.repeat(3, 1).numpy(), processor=model.processor
    )
    assert model.settles_near_ties_by_distance and not tiny_metagenbert().settles_near_ties_by_distance
    reads = random_sequences(90, 60, 150, seed=4)
    embedded = []
    real = MetagenBertModel.embed_packed
    monkeypatch.setattr(
        MetagenBertModel,
        "embed_packed",
        lambda self, ids, lengths: embedded.extend(lengths) or real(self, ids, lengths),
    )
    found = counts(model, reads, 100_000)
    assert len(embedded) == 90 and found.sum() == 90 and not found[n:].any()
    with torch.inference_mode():
        batch = packed(model, reads)
        ids = model.assign_packed(torch.from_numpy(batch.input_ids), torch.from_numpy(batch.lengths))
    assert len(embedded) == 180 and np.array_equal(np.bincount(ids, minlength=3 * n), found)
