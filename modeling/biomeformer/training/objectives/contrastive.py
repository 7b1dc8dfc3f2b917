"""DNABERT-S's contrastive losses (arXiv 2402.08777, section 3; upstream `train/pretrain/utils/contrastive_utils.py`).

One change: reads of the same species are never negatives of each other. Upstream draws pairs from tens of thousands
of species, where that does not happen; from a hundred genomes it would happen in every batch.
"""

from __future__ import annotations

import math

import torch
from torch import nn


def weighted_simclr_loss(
    first: torch.Tensor, second: torch.Tensor, species: torch.Tensor, temperature: float = 0.05
) -> torch.Tensor:
    """Compute the SimCLR loss with negatives weighted by their similarity (upstream `HardConLoss`).

    Args:
        first: Unit vectors `(n_pairs, size)` of one read of each pair.
        second: Unit vectors `(n_pairs, size)` of the other.
        species: Species number of each pair `(n_pairs,)`.
        temperature: Divisor of the similarities.

    Returns:
        Mean loss over all `2 * n_pairs` reads.

    Raises:
        ValueError: All pairs are of one species, which leaves no negatives.
    """
    vectors = torch.cat([first, second]).float()
    other = _of_other_species(species, species).repeat(2, 2)
    positive = (first.float() * second.float()).sum(1).repeat(2) / temperature
    return _minus_log_share(positive, _log_weighted_sum(vectors @ vectors.T / temperature, other), positive).mean()


def instance_mixup_loss(
    mixed: torch.Tensor,
    second: torch.Tensor,
    species: torch.Tensor,
    partners: torch.Tensor,
    weights: torch.Tensor,
    temperature: float = 0.05,
) -> torch.Tensor:
    """Compute the manifold instance mixup loss (upstream `iMIXConLoss`): two positives, weighted by mixing share.

    Args:
        mixed: Unit vectors `(n_pairs, size)` of the mixed first reads.
        second: Unit vectors `(n_pairs, size)` of the second reads, as they are.
        species: Species number of each pair `(n_pairs,)`.
        partners: Number of the pair whose first read was mixed in, `(n_pairs,)`.
        weights: Share of the read itself in its mixture, `(n_pairs,)`.
        temperature: Divisor of the similarities.

    Returns:
        Mean loss over the pairs.

    Raises:
        ValueError: All pairs are of one species, which leaves no negatives.
    """
    similarities = mixed.float() @ second.float().T / temperature
    # As upstream, the partner's second read is among the negatives of the mixture.
    rows = torch.arange(len(species), device=species.device)
    other = _of_other_species(species, species) & (species[partners][:, None] != species[None, :])
    other[rows, partners] = species != species[partners]
    own, partner = similarities[rows, rows], similarities[rows, partners]
    log_sum = _log_weighted_sum(similarities, other)
    return (
        weights * _minus_log_share(own, log_sum, own) + (1 - weights) * _minus_log_share(partner, log_sum, own)
    ).mean()


def _of_other_species(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    other = rows[:, None] != columns[None, :]
    if not other.any():
        raise ValueError(
            "All pairs of the batch are of one species, which leaves no negatives; draw from more genomes."
        )
    return other


def _log_weighted_sum(similarities: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """Return the log of the sum over negatives of exp(s), each weighted by exp(s) over its mean."""
    # A mixture of the only two species of a batch has no negatives, so they add nothing to its loss.
    has_negatives = negative.any(1)
    masked = similarities.masked_fill(~negative & has_negatives[:, None], -math.inf)
    log_mean = masked.logsumexp(1) - negative.sum(1).clamp_min(1).log()
    return ((2 * masked).logsumexp(1) - log_mean).masked_fill(~has_negatives, -math.inf)


def _minus_log_share(chosen: torch.Tensor, log_negatives: torch.Tensor, positive: torch.Tensor) -> torch.Tensor:
    return nn.functional.softplus(log_negatives - positive) + positive - chosen


__all__ = ["instance_mixup_loss", "weighted_simclr_loss"]
