"""How much each pair of a genome's genes counts for its prediction: one map of gene by gene, one genome at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..errors import InputError
from ..models.genome_transformer import GenomeTransformerForSequenceClassification

Maps = Callable[
    [GenomeTransformerForSequenceClassification, torch.Tensor, torch.Tensor, int],
    torch.Tensor,
]


def attention_map(
    model: GenomeTransformerForSequenceClassification,
    proteins: torch.Tensor,
    contig_ids: torch.Tensor,
    label: int = 0,
) -> torch.Tensor:
    """Attention of the last layer, mean over heads (arXiv 2405.05998).

    The layers before it run with the model's own kernel, which keeps no map; the last one's weights are made in place.
    So a genome of n genes needs n x n numbers a head, whatever the number of layers.

    Args:
        model: In evaluation mode.
        proteins: Vectors of one genome, `(n_genes, protein_size)`.
        contig_ids: `(n_genes,)`.
        label: Not used: attention knows of no class.

    Returns:
        float32 `(n_genes, n_genes)`: row *i* is what gene *i* takes from each other gene. Special positions are left
        out, so rows sum to at most one.
    """
    with torch.no_grad():
        hidden = _before_last(model, proteins, contig_ids)
        last: Any = model.genome_transformer.layers[-1]
        query, key = _query_and_key(last, hidden)
        total: torch.Tensor | None = None
        for head in range(query.shape[0]):
            # One map lives at a time.
            weights = (query[head] @ key[head].T).float()
            weights *= last.attention.scaling
            weights -= weights.amax(1, keepdim=True)
            weights.exp_()
            weights /= weights.sum(1, keepdim=True)
            total = weights if total is None else total.add_(weights)
        assert total is not None
        return _genes_only(model, total.div_(query.shape[0]))


def attention_gradient_map(
    model: GenomeTransformerForSequenceClassification,
    proteins: torch.Tensor,
    contig_ids: torch.Tensor,
    label: int = 0,
) -> torch.Tensor:
    """Attention of the last layer times what the class's logit gains by it, where it gains; mean over heads.

    The relevance of Chefer et al. 2021 (doi:10.1109/CVPR46437.2021.00084, equation 5) for one layer.

    Args:
        model: As for `attention_map`.
        proteins: As there.
        contig_ids: As there.
        label: Number of the class.
    """
    hidden = _before_last(model, proteins, contig_ids)
    encoder = model.genome_transformer
    with torch.enable_grad():
        state, weights = encoder.layers[-1](hidden.requires_grad_(True), None, True)
        there = torch.ones(state.shape[:2], dtype=torch.bool, device=state.device)
        logit = model.classifier(encoder.pool(encoder.norm(state), there))[0, label]
        (gradient,) = torch.autograd.grad(logit, weights)
    relevance = weights.detach().mul_(gradient).clamp_(min=0).mean((0, 1)).float()
    return _genes_only(model, relevance)


def rollout_map(
    model: GenomeTransformerForSequenceClassification,
    proteins: torch.Tensor,
    contig_ids: torch.Tensor,
    label: int = 0,
) -> torch.Tensor:
    """Attention rolled out over all layers, half of each being what passes by (Abnar and Zuidema 2020, section 3).

    Args:
        model: As for `attention_map`.
        proteins: As there.
        contig_ids: As there.
        label: Not used.
    """
    with torch.no_grad():
        encoder = model.genome_transformer
        hidden = encoder.embeddings(proteins[None], contig_ids[None])
        rolled: torch.Tensor | None = None
        for layer in encoder.layers:
            hidden, weights = layer(hidden, None, True)
            flow = weights[0].float().mean(0)
            del weights
            flow.diagonal().add_(1.0)
            flow /= 2
            rolled = flow if rolled is None else flow @ rolled
        assert rolled is not None
        return _genes_only(model, rolled)


METHODS: dict[str, Maps] = {
    "attention": attention_map,
    "attention_gradient": attention_gradient_map,
    "rollout": rollout_map,
}


def _before_last(
    model: GenomeTransformerForSequenceClassification, proteins: torch.Tensor, contig_ids: torch.Tensor
) -> torch.Tensor:
    """What goes into the last layer, `(1, n_places, hidden_size)`."""
    if model.training:
        raise InputError("the model is in training mode, in which dropout changes attention; call eval() first.")
    encoder = model.genome_transformer
    with torch.no_grad():
        hidden = encoder.embeddings(proteins[None], contig_ids[None])
        for layer in encoder.layers[:-1]:
            hidden, _ = layer(hidden, None, False)
    return hidden


def _query_and_key(layer: Any, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`(n_heads, n_places, head_size)` each."""
    attention = layer.attention
    size = hidden.shape[2]
    both = torch.nn.functional.linear(
        layer.attention_norm(hidden),
        attention.query_key_value.weight[: 2 * size],
        attention.query_key_value.bias[: 2 * size],
    )
    query, key = both.view(hidden.shape[1], 2, -1, attention.head_size).permute(1, 2, 0, 3)
    return query, key


def _genes_only(model: GenomeTransformerForSequenceClassification, weights: torch.Tensor) -> torch.Tensor:
    return weights[1:, 1:] if model.config.pooling == "cls" else weights
