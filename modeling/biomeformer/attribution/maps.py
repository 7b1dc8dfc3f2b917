"""MapMethod of gene by gene: how much each pair of a genome's genes matters for its prediction.

Every map has the same signature, takes one genome at a time, and is float32 `(n_genes, n_genes)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..errors import InputError
from ..models.genome_transformer import GenomeTransformerForSequenceClassification

MapMethod = Callable[
    [GenomeTransformerForSequenceClassification, torch.Tensor, torch.Tensor, int],
    torch.Tensor,
]


def attention_map(
    model: GenomeTransformerForSequenceClassification,
    proteins: torch.Tensor,
    contig_ids: torch.Tensor,
    label: int = 0,
) -> torch.Tensor:
    """Compute the attention of the last layer, averaged over heads (arXiv 2405.05998).

    The layers before it run with the model's own attention kernel, which stores no weights; those of the last layer are
    computed here, head by head and in place. So memory is two maps, whatever the number of layers and heads.

    Args:
        model: Model in evaluation mode.
        proteins: Vectors of one genome, `(n_genes, protein_size)`.
        contig_ids: `(n_genes,)`, contig index of each gene.
        label: Ignored: attention does not depend on the class.

    Returns:
        float32 `(n_genes, n_genes)`: row *i* holds how much gene *i* attends to each gene. A `cls` position is left
        out, so rows sum to at most one.

    Raises:
        InputError: The model is in training mode.
    """
    with torch.no_grad():
        hidden = _last_layer_input(model, proteins, contig_ids)
        last: Any = model.genome_transformer.layers[-1]
        query, key = _query_and_key(last, hidden)
        total: torch.Tensor | None = None
        for head in range(query.shape[0]):
            weights = (query[head] @ key[head].T).float()
            # Softmax in place; the row maximum is subtracted first, so that `exp` cannot overflow.
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
    """Compute the attention of the last layer times the positive part of its gradient, averaged over heads.

    This is the relevance of Chefer et al. 2021 (doi:10.1109/CVPR46437.2021.00084, equation 5) for one layer.

    Args:
        model: Model in evaluation mode.
        proteins: Vectors of one genome, `(n_genes, protein_size)`.
        contig_ids: `(n_genes,)`, contig index of each gene.
        label: Index of the class whose logit is differentiated.

    Returns:
        float32 `(n_genes, n_genes)`, in the layout of `attention_map`.

    Raises:
        InputError: The model is in training mode.
    """
    hidden = _last_layer_input(model, proteins, contig_ids)
    encoder = model.genome_transformer
    with torch.enable_grad():
        attentions: list[torch.Tensor] = []
        state = encoder.layers[-1](hidden.requires_grad_(True), None, attentions)
        (weights,) = attentions
        mask = torch.ones(state.shape[:2], dtype=torch.bool, device=state.device)
        logit = model.classifier(encoder.pool(encoder.norm(state), mask))[0, label]
        (gradient,) = torch.autograd.grad(logit, weights)
    relevance = weights.detach().mul_(gradient).clamp_(min=0).mean((0, 1)).float()
    return _genes_only(model, relevance)


def rollout_map(
    model: GenomeTransformerForSequenceClassification,
    proteins: torch.Tensor,
    contig_ids: torch.Tensor,
    label: int = 0,
) -> torch.Tensor:
    """Compute the attention rollout over all layers (Abnar and Zuidema 2020, arXiv 2005.00928, section 3).

    Args:
        model: Model in evaluation mode.
        proteins: Vectors of one genome, `(n_genes, protein_size)`.
        contig_ids: `(n_genes,)`, contig index of each gene.
        label: Ignored: attention does not depend on the class.

    Returns:
        float32 `(n_genes, n_genes)`, in the layout of `attention_map`.
    """
    with torch.no_grad():
        encoder = model.genome_transformer
        hidden = encoder.embeddings(proteins[None], contig_ids[None])
        rolled: torch.Tensor | None = None
        for layer in encoder.layers:
            attentions: list[torch.Tensor] = []
            hidden = layer(hidden, None, attentions)
            flow = attentions.pop()[0].float().mean(0)
            # The residual connection: half of a position's state is passed on unchanged.
            flow.diagonal().add_(1.0)
            flow /= 2
            rolled = flow if rolled is None else flow @ rolled
        assert rolled is not None
        return _genes_only(model, rolled)


METHODS: dict[str, MapMethod] = {
    "attention": attention_map,
    "attention_gradient": attention_gradient_map,
    "rollout": rollout_map,
}


def _last_layer_input(
    model: GenomeTransformerForSequenceClassification, proteins: torch.Tensor, contig_ids: torch.Tensor
) -> torch.Tensor:
    """Return the input of the last layer, `(1, n_positions, hidden_size)`."""
    if model.training:
        raise InputError("the model is in training mode, in which dropout changes attention; call eval() first.")
    encoder = model.genome_transformer
    with torch.no_grad():
        hidden = encoder.embeddings(proteins[None], contig_ids[None])
        for layer in encoder.layers[:-1]:
            hidden = layer(hidden, None)
    return hidden


def _query_and_key(layer: Any, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the queries and the keys of a layer, `(n_heads, n_positions, head_size)` each."""
    attention = layer.attention
    size = hidden.shape[2]
    # The projection's rows are those of queries, keys and values; values are not needed.
    projected = torch.nn.functional.linear(
        layer.attention_norm(hidden),
        attention.query_key_value.weight[: 2 * size],
        attention.query_key_value.bias[: 2 * size],
    )
    query, key = projected.view(hidden.shape[1], 2, -1, attention.head_size).permute(1, 2, 0, 3)
    return query, key


def _genes_only(model: GenomeTransformerForSequenceClassification, weights: torch.Tensor) -> torch.Tensor:
    """Drop the `cls` position, which is no gene."""
    return weights[1:, 1:] if model.config.pooling == "cls" else weights
