"""Maps equal the full model's; pairs are the strongest; what is taken away is gone."""

from __future__ import annotations

from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from biomeformer.attribution.explanation import AttributionSettings, explain_genome
from biomeformer.attribution.maps import METHODS, attention_gradient_map, attention_map, rollout_map, score_gradient_map
from biomeformer.attribution.pairs import ablation, count_pairs, logits_without, random_pairs, top_pairs
from biomeformer.attribution.screening import ablated_pairs, integrated_gradients
from biomeformer.errors import InputError
from factories import random_genome_transformer


def genome(n=50):
    rng = np.random.default_rng(1)
    return torch.from_numpy(rng.normal(size=(n, 24)).astype(np.float32)), torch.arange(n) // 20


@pytest.mark.parametrize("pooling", ["mean", "cls", "attention"])
@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize(("dtype", "spread"), [(torch.float64, 0.3), (torch.float32, 0.1)])
def test_attention_is_that_of_the_full_model(pooling, heads, dtype, spread):
    sizes = {"pooling": pooling, "num_attention_heads": heads, "initializer_range": spread}
    model, (proteins, contigs) = random_genome_transformer(**sizes).to(dtype), genome()
    with torch.no_grad():
        full = model(proteins[None], contig_ids=contigs[None], output_attentions=True).attentions[-1][0].mean(0).float()
    assert full.amax(1).median() > 1.05 / len(full)
    full = full[1:, 1:] if pooling == "cls" else full
    torch.testing.assert_close(attention_map(model, proteins, contigs), full, atol=1e-6, rtol=0)
    # Half of each layer passes by.
    with torch.no_grad():
        every = model(proteins[None], contig_ids=contigs[None], output_attentions=True).attentions
    rolled = torch.eye(every[0].shape[-1])
    for weights in every:
        rolled = (weights[0].float().mean(0) + torch.eye(len(rolled))) / 2 @ rolled
    rolled = rolled[1:, 1:] if pooling == "cls" else rolled
    torch.testing.assert_close(rollout_map(model, proteins, contigs), rolled, atol=1e-6, rtol=0)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_gradients_are_those_of_the_logit(pooling):
    model, (proteins, contigs) = random_genome_transformer(pooling=pooling, num_attention_heads=2), genome(12)
    found = attention_gradient_map(model, proteins, contigs, 1)
    last, shifted = model.genome_transformer.layers[-1].attention, {}
    whole = last.forward

    def with_shift(hidden, mask, output_attentions):
        # The output is linear in the weights: move one of them and see.
        _, weights = whole(hidden, mask, True)
        values = last.query_key_value(hidden).view(1, hidden.shape[1], 3, 2, 8)[:, :, 2].permute(0, 2, 1, 3)
        moved = weights.clone()
        moved[0, shifted["head"], shifted["row"], shifted["column"]] += shifted["by"]
        shape = (1, hidden.shape[1], 16)
        return last.output((moved @ values).transpose(1, 2).reshape(shape)), weights

    def logit(by, head, row, column):
        shifted.update(by=by, head=head, row=row, column=column)
        last.forward = with_shift
        with torch.no_grad():
            value = float(model.double()(proteins.double()[None], contig_ids=contigs[None]).logits[0, 1])
        last.forward = whole
        return value

    offset = 1 if pooling == "cls" else 0
    with torch.no_grad():
        weights = model(proteins[None], contig_ids=contigs[None], output_attentions=True).attentions[-1][0]
    for row, column in ((0, 1), (3, 9), (11, 2)):
        expected = 0.0
        for head in (0, 1):
            place = (head, row + offset, column + offset)
            slope = (logit(1e-4, *place) - logit(-1e-4, *place)) / 2e-4
            expected += max(float(weights[place]) * slope, 0) / 2
        assert float(found[row, column]) == pytest.approx(expected, abs=1e-6, rel=2e-2)
    model.float()


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_score_gradient_is_the_slope_of_the_log_odds_when_a_score_is_moved(pooling):
    model, (proteins, contigs) = random_genome_transformer(pooling=pooling, num_attention_heads=2), genome(12)
    slopes = score_gradient_map(model, proteins, contigs, 1)
    attention, moved = model.genome_transformer.layers[-1].attention, {}
    original = attention.forward

    def with_moved_score(hidden, mask, output_attentions):
        _, weights = original(hidden, mask, True)
        values = attention.query_key_value(hidden).view(1, hidden.shape[1], 3, 2, 8)[:, :, 2].permute(0, 2, 1, 3)
        scores = weights.log()
        scores[0, :, moved["row"], moved["column"]] += moved["by"]
        mixed = (scores.softmax(-1) @ values).transpose(1, 2).reshape(1, hidden.shape[1], 16)
        return attention.output(mixed), weights

    def log_odds(by, row, column):
        moved.update(by=by, row=row, column=column)
        attention.forward = with_moved_score
        with torch.no_grad():
            logits = model.double()(proteins.double()[None], contig_ids=contigs[None]).logits[0].double()
        attention.forward = original
        p = logits.softmax(0)[1]
        return float((p / (1 - p)).log())

    offset = 1 if pooling == "cls" else 0
    for row, column in ((0, 1), (3, 9), (11, 2)):
        slope = (log_odds(1e-2, row + offset, column + offset) - log_odds(-1e-2, row + offset, column + offset)) / 2e-2
        assert float(slopes[row, column]) == pytest.approx(slope, abs=1e-7, rel=2e-2)
    if pooling == "mean":
        torch.testing.assert_close(slopes.sum(1), torch.zeros(12), atol=1e-6, rtol=0)


@pytest.mark.parametrize("symmetry", ["mean", "max"])
@pytest.mark.parametrize("n", [2, 7, 700])
def test_top_pairs_are_the_strongest_of_all_pairs(n, symmetry):
    rng = np.random.default_rng(n)
    weights = np.round(rng.random((n, n)), 3).astype(np.float32)
    both = (weights + weights.T) / 2 if symmetry == "mean" else np.maximum(weights, weights.T)
    every = sorted(combinations(range(n), 2), key=lambda pair: (-both[pair], pair))
    found = top_pairs(torch.from_numpy(weights), 40, symmetry)
    assert [tuple(pair) for pair in found.genes.tolist()] == every[:40]
    assert found.scores.tolist() == [float(both[pair]) for pair in every[:40]]
    assert count_pairs(n, 0.5) == max(round(len(every) / 2), 1) and count_pairs(n, 10**9) == len(every)


@pytest.mark.parametrize("top", [0, -1, 1.5])
def test_bad_numbers_of_pairs(top):
    with pytest.raises(InputError, match="give a number of pairs"):
        count_pairs(10, top)
    with pytest.raises(InputError, match="give a number of pairs"):
        AttributionSettings(top=top)


def test_random_pairs_are_even():
    rng = np.random.default_rng(0)
    assert sorted(map(tuple, random_pairs(6, 99, rng).genes.tolist())) == list(combinations(range(6), 2))
    counts = np.zeros((5, 5))
    for _ in range(2000):
        for i, j in random_pairs(5, 2, rng).genes:
            assert i < j
            counts[i, j] += 1
    drawn = counts[np.triu_indices(5, 1)]
    assert drawn.sum() == 4000 and abs(drawn / 400 - 1).max() < 0.2


def test_ablation_is_the_model_without_the_genes():
    # Without places, a gene that is masked is a gene that is not there.
    model, (proteins, contigs) = random_genome_transformer(positions="none"), genome(20)

    def logit(*gone):
        kept = [i for i in range(20) if i not in gone]
        with torch.no_grad():
            return float(model(proteins[None, kept], contig_ids=contigs[None, kept]).logits[0, 1])

    pairs = [(0, 5), (5, 19), (2, 3)]
    found = ablation(model, proteins, contigs, 1, pairs)
    for value, (i, j) in zip(found, pairs, strict=True):
        assert value == pytest.approx(logit() - logit(i) - logit(j) + logit(i, j), abs=1e-5)
    np.testing.assert_allclose(ablation(model, proteins, contigs, 1, pairs, batch_genes=40), found, atol=1e-5)


def test_explanation_scores_pairs_by_every_method():
    model, (proteins, contigs) = random_genome_transformer(), genome()
    settings = AttributionSettings(top=30, n_ablated=5, n_controls=3)
    found = explain_genome(model, proteins.numpy(), contigs.numpy(), settings)
    with torch.no_grad():
        logits = model(proteins[None], contig_ids=contigs[None]).logits[0]
    np.testing.assert_allclose(found.logits, logits.numpy(), atol=1e-5)
    assert found.label == int(logits.argmax()) and found.genes.shape == (30, 2)
    assert (np.diff(found.scores[:, 0]) <= 0).all() and np.isfinite(found.scores[:, :-1]).all()
    assert np.isfinite(found.scores[:5, -1]).all() and np.isnan(found.scores[5:, -1]).all()
    assert found.random_genes.shape == found.random_pairs.shape == (3, 2) and found.random_ablation.shape == (5,)
    assert found.n_pseudo_genes == len(np.unique(found.genes))
    again = explain_genome(model, proteins.numpy(), contigs.numpy(), settings)
    np.testing.assert_array_equal(again.random_genes, found.random_genes)
    # Another method's strongest pairs are others, scored in its own column.
    other = explain_genome(model, proteins.numpy(), contigs.numpy(), AttributionSettings(method="rollout", top=30))
    weights = METHODS["rollout"](model, proteins, contigs, 0)
    i, j = other.genes[0]
    assert other.scores[0, 0] == pytest.approx(float(weights[i, j] + weights[j, i]) / 2)


def test_integrated_gradients_add_up():
    model, (proteins, contigs) = random_genome_transformer(), genome(20)
    found = integrated_gradients(model, proteins, contigs, 1, n_steps=200)
    with torch.no_grad():
        ends = [
            model(x[None], contig_ids=contigs[None]).logits[0, 1] for x in (proteins, proteins.mean(0).expand(20, -1))
        ]
    assert found.shape == (20,) and found.sum() == pytest.approx(float(ends[0] - ends[1]), abs=1e-4)


def test_ablated_pairs_are_the_largest_of_all():
    model, (proteins, contigs) = random_genome_transformer(), genome(12)
    every = np.array([(i, j) for i in range(12) for j in range(i + 1, 12)])
    together = ablation(model, proteins, contigs, 0, every)
    found = ablated_pairs(model, proteins, contigs, 0, n_screened=12, n_candidates=12)
    assert len(found) == (together > 0).sum() and (found.scores > 0).all()
    order = np.argsort(-together, kind="stable")[: len(found)]
    np.testing.assert_allclose(found.scores, together[order], atol=1e-6)
    assert found.genes[0].tolist() == every[order[0]].tolist()
    # The screen keeps genes whose loss alone is large.
    logits = logits_without(model, proteins, contigs, 0, [(), *((i,) for i in range(12))])
    alone = np.abs(logits[0] - logits[1:])
    few = ablated_pairs(model, proteins, contigs, 0, n_screened=12, n_candidates=3)
    assert set(few.genes.ravel().tolist()) <= set(np.argsort(-alone)[:3].tolist())
    gradients = np.abs(integrated_gradients(model, proteins, contigs, 0))
    fewer = ablated_pairs(model, proteins, contigs, 0, n_screened=4, n_candidates=4)
    assert set(fewer.genes.ravel().tolist()) <= set(np.argsort(-gradients)[:4].tolist())


def test_a_pair_that_counts_together_is_found():
    """A model by hand: the class needs two genes, each of which says nothing alone."""
    model = PairModel().eval()
    proteins, contigs = torch.zeros(40, 4), torch.zeros(40, dtype=torch.int64)
    proteins[7, 0] = proteins[31, 1] = 1
    found = explain_genome(model, proteins.numpy(), contigs.numpy(), AttributionSettings(method="ablation", beside=()))
    assert found.genes[0].tolist() == [7, 31] and found.scores[0, -1] == pytest.approx(1)
    assert found.n_pseudo_genes == 2 and found.random_ablation.shape == (1,)


class PairModel(torch.nn.Module):
    """The logit of class 1 is 1 where both kinds of gene are there, of class 0 a half."""

    config = SimpleNamespace(max_genes=100)
    device = torch.device("cpu")

    def forward(self, proteins, attention_mask=None, contig_ids=None):
        there = 1 if attention_mask is None else attention_mask[:, :, None]
        kinds = (proteins * there).sum(1)
        both = kinds[:, 0] * kinds[:, 1]
        return SimpleNamespace(logits=torch.stack([torch.full_like(both, 0.5), both], 1))


def test_bad_genomes_and_settings():
    model, (proteins, contigs) = random_genome_transformer(), genome(1)
    with pytest.raises(InputError, match="no pair of genes"):
        explain_genome(model, proteins.numpy(), contigs.numpy())
    with pytest.raises(InputError, match="training mode"):
        explain_genome(random_genome_transformer().train(), *(x.numpy() for x in genome()))
    with pytest.raises(InputError, match="training mode"):
        attention_map(random_genome_transformer().train(), *genome())
    for bad, message in (
        ({"method": "saliency"}, "method 'saliency' is unknown"),
        ({"symmetry": "min"}, "symmetry is 'min'"),
        ({"n_ablated": -1}, "n_ablated is -1"),
        ({"n_candidates": 1}, "n_candidates is 1; it must be at least 2"),
        (
            {"beside": ("ablation",)},
            "method 'ablation' is unknown; give attention, attention_gradient, score_gradient, rollout",
        ),
    ):
        with pytest.raises(InputError, match=message):
            AttributionSettings(**bad)


def test_one_map_is_held(monkeypatch):
    model, (proteins, contigs) = random_genome_transformer(num_hidden_layers=6), genome(60)
    sizes = []
    original = torch.nn.functional.softmax

    def watched(scores, *args, **kwargs):
        sizes.append(tuple(scores.shape))
        return original(scores, *args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "softmax", watched)
    attention_map(model, proteins, contigs)
    # No layer made a map of its own: the first five ran their kernel, the last one's was made in place.
    assert sizes == [] and attention_map(model, proteins, contigs).shape == (60, 60)
