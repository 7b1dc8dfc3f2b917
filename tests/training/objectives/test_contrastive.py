"""The contrastive losses against the published formulas, written out pair by pair."""

import math

import numpy as np
import pytest
import torch

from biomeformer.training.objectives import instance_mixup_loss, weighted_simclr_loss

TEMPERATURE = 0.05


def unit(n, size, seed):
    vectors = torch.randn(n, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(vectors, dim=1)


def weighted_sum(values):
    """Upstream: `(neg * neg).sum() / neg.mean()`."""
    return sum(v * v for v in values) / (sum(values) / len(values))


def simclr_by_hand(first, second, species):
    vectors = np.concatenate([first.numpy(), second.numpy()])
    kinds, n, total = list(species) * 2, len(first), 0.0
    for i, vector in enumerate(vectors):
        positive = math.exp(vector @ vectors[(i + n) % (2 * n)] / TEMPERATURE)
        others = [math.exp(vector @ vectors[j] / TEMPERATURE) for j in range(2 * n) if kinds[j] != kinds[i]]
        total -= math.log(positive / (weighted_sum(others) + positive))
    return total / (2 * n)


def mixup_by_hand(mixed, second, species, partners, weights):
    total = 0.0
    for i, vector in enumerate(mixed.numpy()):
        scores = [math.exp(vector @ other.numpy() / TEMPERATURE) for other in second]
        p = partners[i]
        others = [
            score for j, score in enumerate(scores) if species[j] != species[i] and (species[j] != species[p] or j == p)
        ]
        below = weighted_sum(others) + scores[i]
        total -= weights[i] * math.log(scores[i] / below) + (1 - weights[i]) * math.log(scores[p] / below)
    return total / len(mixed)


@pytest.mark.parametrize("species", [[0, 1, 2, 3, 4], [0, 1, 0, 2, 1]])
def test_losses_are_the_published_ones(species):
    first, second = unit(5, 8, 0) * 0.4 + unit(5, 8, 1) * 0.6, unit(5, 8, 1)
    first = torch.nn.functional.normalize(first, dim=1)
    numbers = torch.tensor(species)
    assert float(weighted_simclr_loss(first, second, numbers)) == pytest.approx(
        simclr_by_hand(first, second, species), rel=1e-4
    )
    partners, weights = [2, 0, 1, 3, 0], [0.6, 0.9, 0.5, 1.0, 0.7]
    loss = instance_mixup_loss(first, second, numbers, torch.tensor(partners), torch.tensor(weights))
    assert float(loss) == pytest.approx(mixup_by_hand(first, second, species, partners, weights), rel=1e-4)


def test_gradients_are_finite_where_a_mixture_has_no_negatives():
    first, second = unit(4, 6, 0).float().requires_grad_(), unit(4, 6, 1).float()
    species = torch.tensor([0, 1, 0, 1])
    instance_mixup_loss(first, second, species, torch.tensor([1, 2, 3, 0]), torch.full((4,), 0.7)).backward()
    assert torch.isfinite(first.grad).all() and first.grad.abs().max() > 0
    with pytest.raises(ValueError, match="of one species"):
        weighted_simclr_loss(first, second, torch.zeros(4))


def test_training_pulls_pairs_together():
    torch.manual_seed(0)
    table = torch.nn.Parameter(torch.randn(12, 8))
    optimizer = torch.optim.Adam([table], 0.05)
    species = torch.arange(6)
    for _ in range(100):
        vectors = torch.nn.functional.normalize(table, dim=1)
        loss = weighted_simclr_loss(vectors[:6], vectors[6:], species)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    vectors = torch.nn.functional.normalize(table.detach(), dim=1)
    assert ((vectors[:6] @ vectors[6:].T).argmax(1) == species).all()
