"""ESM-2 on packed tokens: proteins end to end, nothing padded, attention within each protein."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import EsmModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ..models.dnabert2.modeling_dnabert2 import PackedLayout, eager_attention_forward, without_cudnn_attention
from .batching import to_device

# What the training of ESM-2 left of the embeddings where no residue is masked (token dropout; fair-esm's
# `esm/model/esm2.py`).
TOKEN_DROPOUT_SCALE = 1 - 0.15 * 0.8
# Positions begin after the padding's number.
FIRST_POSITION = 2


def mean_residue_vectors(model: EsmModel, input_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return means over the residues' last hidden states, as transformers' `EsmModel` has them beyond rounding.

    The weights are the model's own; its forward pass is not used, since it pads, and computes GELU and rotary positions
    in many small steps.

    Args:
        model: ESM-2, or another ESM with its positions; no residue may be masked.
        input_ids: `(n_tokens,)` on the model's device, proteins end to end with CLS and EOS, in order of length.
        lengths: `(n_proteins,)`, tokens of each, at least three, not falling; on the CPU, or a GPU must be waited for.

    Returns:
        float32 `(n_proteins, hidden_size)`.
    """
    lengths = lengths.cpu()
    layout = PackedLayout.from_sorted_lengths(lengths.tolist())
    if looks_up_residues(model):
        tokens = torch.arange(model.config.vocab_size, device=input_ids.device)
        vectors = model.encoder.emb_layer_norm_after(_embed(model, tokens, tokens))
        return _mean_residues(layout, vectors[input_ids])
    positions = torch.arange(len(input_ids)) - torch.repeat_interleave(torch.cumsum(lengths, 0) - lengths, lengths)
    positions = to_device(positions + FIRST_POSITION, input_ids.device)
    hidden_states = _embed(model, input_ids, positions)
    rotation = None
    if model.rotary_embeddings is not None:
        angles = positions[:, None].float() * model.rotary_embeddings.inv_freq.float()
        rotation = angles.cos()[:, None], angles.sin()[:, None]
    for layer in model.encoder.layer:
        hidden_states = _layer(layer, hidden_states, rotation, layout, model.config)
    hidden_states = model.encoder.emb_layer_norm_after(hidden_states)
    return _mean_residues(layout, hidden_states)


def looks_up_residues(model: EsmModel) -> bool:
    """Return whether a residue's vector depends on the residue alone: there is no layer, and no absolute position."""
    return not len(model.encoder.layer) and model.embeddings.position_embedding_type != "absolute"


def _mean_residues(layout: PackedLayout, hidden_states: torch.Tensor) -> torch.Tensor:
    """Return the mean of each protein's tokens but the first and the last, float32 `(n_proteins, hidden_size)`."""
    return torch.cat([group[:, 1:-1].mean(1, dtype=torch.float32) for group in layout.views(hidden_states)])


def _embed(model: EsmModel, input_ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    embeddings = model.embeddings
    vectors = embeddings.word_embeddings(input_ids)
    if embeddings.token_dropout:
        vectors = vectors * TOKEN_DROPOUT_SCALE
    if embeddings.position_embedding_type == "absolute":
        vectors = vectors + embeddings.position_embeddings(positions)
    return vectors if embeddings.layer_norm is None else embeddings.layer_norm(vectors)


Rotation = tuple[torch.Tensor, torch.Tensor]


def _layer(
    layer: Any, hidden_states: torch.Tensor, rotation: Rotation | None, layout: PackedLayout, config: Any
) -> torch.Tensor:
    attention = layer.attention
    part = attention.self
    before = attention.LayerNorm(hidden_states)
    heads = (config.num_attention_heads, -1)
    query = part.query(before).unflatten(-1, heads)
    key = part.key(before).unflatten(-1, heads)
    value = part.value(before).unflatten(-1, heads)
    if rotation is not None:
        query, key = rotate(query, *rotation), rotate(key, *rotation)
    attend = ALL_ATTENTION_FUNCTIONS.get_interface(config._attn_implementation, eager_attention_forward)
    contexts = []
    with without_cudnn_attention(query.device):
        for q, k, v in zip(layout.views(query), layout.views(key), layout.views(value), strict=True):
            q, k, v = (group.transpose(1, 2) for group in (q, k, v))
            context, _ = attend(part, q, k, v, None, dropout=0.0, scaling=part.attention_head_size**-0.5)
            contexts.append(context.flatten(2).flatten(0, 1))
    context = contexts[0] if len(contexts) == 1 else torch.cat(contexts)
    hidden_states = attention.output.dense(context) + hidden_states
    inner = nn.functional.gelu(layer.intermediate.dense(layer.LayerNorm(hidden_states)))
    return layer.output.dense(inner) + hidden_states


def rotate(vectors: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Apply rotary positions (arXiv 2104.09864), computed in float32.

    Args:
        vectors: `(n_tokens, n_heads, head_dim)`.
        cos: float32 `(n_tokens, 1, head_dim / 2)`, of each position and frequency.
        sin: As `cos`.

    Returns:
        The vectors, turned, in their own precision.
    """
    # On a CPU each product of two types would convert its input again.
    wide = vectors.to(cos.dtype) if vectors.device.type == "cpu" else vectors
    first, second = wide.chunk(2, dim=-1)
    turned = torch.empty_like(wide)
    half = first.shape[-1]
    turned[..., :half] = first * cos - second * sin
    turned[..., half:] = second * cos + first * sin
    return turned.to(vectors.dtype)


__all__ = ["looks_up_residues", "mean_residue_vectors", "rotate"]
