"""DNABERT-2: BERT with ALiBi and gated linear units (arXiv 2306.15006, section 3.2), computed on packed tokens.

Behaviour follows `bert_layers.py` of `zhihan1996/DNABERT-2-117M`. Padding never reaches a matrix product: the tokens of
a batch are concatenated, sequences in order of length, and attention is computed for groups of equally long sequences.
In `forward`, each layer packs and unpacks for itself, so that its inputs and outputs, and the gradients of both, are in
the order of the batch. Where a graph is traced (`torch.export`, ONNX, `torch.compile`), the batch remains padded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling, MaskedLMOutput, SequenceClassifierOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import can_return_tuple

from .configuration_dnabert2 import DnaBert2Config, is_published_layout
from .head_loss import head_loss, masked_lm_loss
from .layouts import BatchPacking, Layout, PackedLayout, PaddedLayout
from .strict_loading import StrictPreTrainedModel, WeightRules

POOLING_MODES = ("mean", "mean_over_max_length", "cls")
# Longest sequence whose ALiBi bias is cached: it takes memory quadratic in the length.
KEPT_BIAS_LENGTH = 512
# On CUDA, torch copies an attention bias in every call unless its rows begin at multiples of 8 numbers.
BIAS_MULTIPLE = 64
# Buffers of published checkpoints that hold 0, 1, 2 and so on, and are not used.
POSITION_IDS = ("embeddings.position_ids", "bert.embeddings.position_ids")


def alibi_slopes(n_heads: int) -> list[float]:
    """Return ALiBi's slope of each head (arXiv 2108.12409, section 3), also for numbers of heads not a power of two."""
    power = 2 ** math.floor(math.log2(n_heads))
    ratio = 2.0 ** (-8.0 / power)
    slopes = [ratio ** (i + 1) for i in range(power)]
    if power < n_heads:
        slopes += alibi_slopes(2 * power)[0::2][: n_heads - power]
    return slopes


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    query_mask: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute softmax attention.

    Args:
        module: The attention module, for its training mode.
        query: `(batch, n_heads, length, head_size)`.
        key: `(batch, n_heads, length, head_size)`.
        value: `(batch, n_heads, length, head_size)`.
        attention_mask: Bias that is added to the scores, broadcastable to `(batch, n_heads, length, length)`.
        scaling: Factor of the scores.
        dropout: Dropout of the weights in training.
        query_mask: bool `(batch, length)`; the weights of the other positions, which are padding, are zero.
        **kwargs: Ignored options of other attention functions.

    Returns:
        Outputs `(batch, length, n_heads, head_size)` and weights `(batch, n_heads, length, length)`.
    """
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = nn.functional.softmax(scores, dim=-1)
    if query_mask is not None:
        weights = weights * query_mask[:, None, :, None]
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2), weights


def is_traced() -> bool:
    """Return whether a graph of this call is recorded, in which no operation may depend on a tensor's values."""
    return bool(torch.compiler.is_compiling() or torch.jit.is_tracing())


@contextmanager
def without_cudnn_attention(device: torch.device) -> Iterator[None]:
    """Keep torch's attention from choosing cuDNN's kernel on a GPU within this context.

    On Hopper, torch prefers cuDNN's kernel, which is planned for every new number and length of sequences, in tens of
    milliseconds; and groups of equally long sequences differ in every batch. If the host program has disabled all other
    kernels, cuDNN's stays enabled. The setting is global to the process; changing it takes microseconds.
    """
    settings = torch.backends.cuda
    others = (settings.flash_sdp_enabled, settings.mem_efficient_sdp_enabled, settings.math_sdp_enabled)
    if (
        device.type != "cuda"
        or is_traced()
        or not settings.cudnn_sdp_enabled()
        or not any(enabled() for enabled in others)
    ):
        yield
        return
    settings.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        settings.enable_cudnn_sdp(True)


class DnaBert2Embeddings(nn.Module):
    """Embeddings of words and token types, without positions, which ALiBi adds to attention."""

    def __init__(self, config: DnaBert2Config) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
    ) -> torch.Tensor:
        words = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        if token_type_ids is None:
            # By a call, so that weights which a hook fetches or an adapter changes are those used.
            token_type_ids = torch.zeros(1, dtype=torch.long, device=words.device)
        types = self.token_type_embeddings(token_type_ids)
        return self.dropout(self.LayerNorm(words + types))


class DnaBert2SelfAttention(nn.Module):
    """Self-attention with ALiBi within each sequence of a packed batch."""

    def __init__(self, config: DnaBert2Config) -> None:
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = False
        self.Wqkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)

    def forward(
        self, hidden_states: torch.Tensor, layout: Layout, bias: torch.Tensor, output_attentions: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        implementation = "eager" if output_attentions else self.config._attn_implementation
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
        # A padded batch is one group, so that its weights are one tensor.
        options = {"query_mask": layout.mask} if output_attentions and isinstance(layout, PaddedLayout) else {}
        qkv = self.Wqkv(hidden_states).unflatten(-1, (3, self.config.num_attention_heads, self.head_dim))
        contexts, weights = [], None
        # Set in each layer, not once around all, since gradient checkpointing runs layers again in the backward pass.
        with without_cudnn_attention(qkv.device):
            for group in layout.views(qkv):
                length = group.shape[1]
                query, key, value = group.permute(2, 0, 3, 1, 4).unbind(0)
                context, weights = attend(
                    self,
                    query,
                    key,
                    value,
                    bias[:, :, :length, :length],
                    dropout=self.config.attention_probs_dropout_prob if self.training else 0.0,
                    scaling=self.scaling,
                    **options,
                )
                contexts.append(context.flatten(2))
        return layout.join(contexts), weights if output_attentions else None


class DnaBert2SelfOutput(nn.Module):
    """Output projection of attention, with residual and layer normalisation."""

    # Each token's output depends on that token alone, so the module may be compiled for packed tokens of any layout.
    works_token_by_token = True

    def __init__(self, config: DnaBert2Config) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden_states: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        return self.LayerNorm(self.dropout(self.dense(hidden_states)) + residual)


class DnaBert2Attention(nn.Module):
    """Self-attention and its output projection."""

    def __init__(self, config: DnaBert2Config) -> None:
        super().__init__()
        self.self = DnaBert2SelfAttention(config)
        self.output = DnaBert2SelfOutput(config)

    def forward(
        self, hidden_states: torch.Tensor, layout: Layout, bias: torch.Tensor, output_attentions: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        context, attentions = self.self(hidden_states, layout, bias, output_attentions)
        return self.output(context, hidden_states), attentions


class DnaBert2GatedMLP(nn.Module):
    """Gated linear unit with residual and layer normalisation."""

    works_token_by_token = True

    def __init__(self, config: DnaBert2Config) -> None:
        super().__init__()
        self.gated_layers = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.act = ACT2FN[config.hidden_act]
        self.wo = nn.Linear(config.intermediate_size, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        gate, value = self.gated_layers(hidden_states).chunk(2, dim=-1)
        return self.layernorm(self.wo(self.dropout(self.act(gate) * value)) + hidden_states)


class DnaBert2Layer(GradientCheckpointingLayer):
    """Attention followed by a gated linear unit."""

    def __init__(self, config: DnaBert2Config) -> None:
        super().__init__()
        self.attention = DnaBert2Attention(config)
        self.mlp = DnaBert2GatedMLP(config)

    def forward(
        self,
        hidden_states: torch.Tensor,
        layout: Layout,
        bias: torch.Tensor,
        attentions: list[torch.Tensor] | None = None,
    ) -> torch.Tensor:
        # Weights are collected in a list, not returned, so that hooks on a layer see one tensor.
        mixed, weights = self.attention(layout.pack(hidden_states), layout, bias, attentions is not None)
        if attentions is not None and weights is not None:
            attentions.append(weights)
        return layout.unpack(self.mlp(mixed))


class DnaBert2Encoder(nn.Module):
    """The layers, and the ALiBi bias that they share."""

    def __init__(self, config: DnaBert2Config) -> None:
        super().__init__()
        self.config = config
        self.layer = nn.ModuleList([DnaBert2Layer(config) for _ in range(config.num_hidden_layers)])
        self.gradient_checkpointing = False
        self._last_bias: torch.Tensor | None = None

    def alibi_bias(self, length: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        """Return ALiBi's bias, minus slope times distance: `(1, n_heads, length, length)`; cached for later batches."""
        bias = self._last_bias
        if is_traced():
            return self._new_bias(length, device, dtype)
        if bias is None or bias.device != device or bias.dtype != dtype or bias.shape[-1] < length:
            # A tensor made in inference mode could not be used in training afterwards.
            with torch.inference_mode(False):
                bias = self._new_bias(length + -length % BIAS_MULTIPLE, device, dtype)
            # The bias of a long sequence is large, and such sequences are rare.
            if length <= KEPT_BIAS_LENGTH:
                self._last_bias = bias
        return bias[:, :, :length, :length]

    def _new_bias(self, length: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        slopes = torch.tensor(alibi_slopes(self.config.num_attention_heads))
        slopes = slopes.to(device) if is_traced() else to_device(slopes, device)
        position = torch.arange(length, device=device)
        distance = (position[None, :] - position[:, None]).abs()
        return (-slopes[:, None, None] * distance).to(dtype)[None]

    def forward(
        self,
        hidden_states: torch.Tensor,
        layout: Layout,
        bias: torch.Tensor,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
        """Run all layers; also return the input of each and the last output, and attention weights, if asked for."""
        all_hidden: list[torch.Tensor] = []
        all_attentions: list[torch.Tensor] = []
        for layer in self.layer:
            if output_hidden_states:
                all_hidden.append(hidden_states)
            hidden_states = layer(hidden_states, layout, bias, all_attentions if output_attentions else None)
        if output_hidden_states:
            all_hidden.append(hidden_states)
        return hidden_states, all_hidden, all_attentions


class DnaBert2Pooler(nn.Module):
    def __init__(self, config: DnaBert2Config) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, first_token: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.dense(first_token))


class DnaBert2PreTrainedModel(StrictPreTrainedModel):
    """Base class of the DNABERT-2 models."""

    config_class = DnaBert2Config
    base_model_prefix = "bert"
    supports_gradient_checkpointing = True
    _no_split_modules = ["DnaBert2Layer"]
    _supports_sdpa = True
    _supports_flash_attn = False
    _supports_flex_attn = False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        std = self.config.initializer_range
        if isinstance(module, nn.Linear):
            init.normal_(module.weight, mean=0.0, std=std)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, mean=0.0, std=std)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)

    @classmethod
    def reads_config(cls, config: dict[str, Any]) -> bool:
        """Return whether a `config.json` is DNABERT-2's, in our layout or as its authors publish it."""
        return super().reads_config(config) or is_published_layout(config)


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor to a device; to a GPU from pinned memory, so that the CPU does not wait for the copy."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def _token_indices(starts: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return the concatenated token indices of sequences: of each, `starts` to `starts + lengths - 1`."""
    packed_starts = torch.cumsum(lengths, 0) - lengths
    shift = torch.repeat_interleave(starts - packed_starts, lengths)
    return shift + torch.arange(len(shift), device=shift.device)


def _inverse(order: torch.Tensor) -> torch.Tensor:
    """Return the inverse of a permutation."""
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order), device=order.device)
    return inverse


def _pool_groups(
    hidden_states: torch.Tensor, layout: PackedLayout, pooling: str, max_length: int | None
) -> torch.Tensor:
    """Pool packed token vectors to one vector per sequence, in the order of `layout`; see `embed_packed`."""
    if pooling == "cls":
        return torch.cat([group[:, 0] for group in layout.views(hidden_states)])
    sums = [group.sum(dim=1, dtype=torch.float32) for group in layout.views(hidden_states)]
    divisors = [length if pooling == "mean" else max_length or 1 for _, _, length in layout.groups]
    return torch.cat([total / divisor for total, divisor in zip(sums, divisors, strict=True)])


class DnaBert2Model(DnaBert2PreTrainedModel):
    """The encoder: takes `[CLS] tokens [SEP]` and returns one vector per token."""

    weight_rules = WeightRules(optional=("pooler.",), ignored=(*POSITION_IDS, "cls.", "classifier."))

    def __init__(self, config: DnaBert2Config, add_pooling_layer: bool | None = None) -> None:
        super().__init__(config)
        self.embeddings = DnaBert2Embeddings(config)
        self.encoder = DnaBert2Encoder(config)
        with_pooler = config.add_pooling_layer if add_pooling_layer is None else add_pooling_layer
        self.pooler = DnaBert2Pooler(config) if with_pooler else None
        self.post_init()

    def _finish_loading(self, info: dict[str, Any], options: dict[str, Any]) -> None:
        if any(key.startswith("pooler.") for key in info["missing_keys"]):
            # The pooler's weights are random: better no pooled output than a meaningless one.
            self.pooler = None
            self.config.add_pooling_layer = False

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.embeddings.word_embeddings = value

    def forward_packed(self, input_ids: torch.Tensor, layout: PackedLayout) -> torch.Tensor:
        """Encode packed tokens.

        Args:
            input_ids: `(n_tokens,)`, concatenated sequences in the order of `layout`.
            layout: Positions of the sequences.

        Returns:
            Token vectors `(n_tokens, hidden_size)`.
        """
        hidden_states = self.embeddings(input_ids)
        bias = self.encoder.alibi_bias(layout.max_length, hidden_states.device, hidden_states.dtype)
        return self.encoder(hidden_states, layout, bias)[0]

    def embed_packed(
        self, input_ids: torch.Tensor, lengths: torch.Tensor, pooling: str = "mean", max_length: int | None = None
    ) -> torch.Tensor:
        """Embed packed sequences, one vector per sequence, without any padding.

        Args:
            input_ids: `(n_tokens,)`, concatenated sequences in any order, special tokens included.
            lengths: `(n_sequences,)`, tokens of each sequence, all positive; on the CPU, or the CPU waits for the GPU.
            pooling: `mean` (over all tokens, `[CLS]` and `[SEP]` included), `mean_over_max_length` (their sum over
                `max_length`, the scale of the published MetagenBERT scripts) or `cls`.
            max_length: Divisor of `mean_over_max_length`, in tokens.

        Returns:
            `(n_sequences, hidden_size)`, in the order given; float32 for the two means.

        Raises:
            ValueError: `pooling` is unknown, or `max_length` is missing where needed.
        """
        if pooling not in POOLING_MODES:
            raise ValueError(f"pooling {pooling!r} is not one of {', '.join(POOLING_MODES)}.")
        if pooling == "mean_over_max_length" and not max_length:
            raise ValueError("pooling 'mean_over_max_length' needs max_length, the divisor in tokens.")
        lengths = lengths.cpu()
        if bool((lengths[1:] >= lengths[:-1]).all()):
            layout = PackedLayout.from_sorted_lengths(lengths.tolist())
            return _pool_groups(self.forward_packed(input_ids, layout), layout, pooling, max_length)
        order = torch.argsort(lengths, stable=True)
        sorted_lengths = lengths[order]
        starts = torch.cumsum(lengths, 0) - lengths
        input_ids = input_ids[to_device(_token_indices(starts[order], sorted_lengths), input_ids.device)]
        layout = PackedLayout.from_sorted_lengths(sorted_lengths.tolist())
        hidden_states = self.forward_packed(input_ids, layout)
        vectors = _pool_groups(hidden_states, layout, pooling, max_length)
        return vectors[to_device(_inverse(order), vectors.device)]

    @property
    def num_mixup_layers(self) -> int:
        """Number of layers at whose input `embed_packed_mixed` can mix; the first input is the embeddings."""
        return int(self.config.num_hidden_layers)

    def embed_packed_mixed(
        self,
        input_ids: torch.Tensor,
        lengths: torch.Tensor,
        partners: torch.Tensor,
        weights: torch.Tensor,
        layer: int,
    ) -> torch.Tensor:
        """Embed packed sequences with manifold instance mixup (DNABERT-S, arXiv 2402.08777, section 3.3).

        As in the published `train/pretrain/DNABERT2_MIX/bert_layers.py`, token vectors at the input of one layer are
        mixed position by position, up to the length of the shorter of the two sequences.

        Args:
            input_ids: `(n_tokens,)`, concatenated sequences in any order, special tokens included.
            lengths: `(n_sequences,)`, tokens of each sequence, all positive; on the CPU, or the CPU waits for the GPU.
            partners: `(n_sequences,)`, index of the sequence that is mixed into each; likewise on the CPU.
            weights: `(n_sequences,)`, weight of each sequence itself; its partner has one minus this.
            layer: Layer at whose input to mix, from 0 (the embeddings) to `num_mixup_layers - 1`.

        Returns:
            float32 `(n_sequences, hidden_size)`, means over tokens, in the order given.
        """
        # The layout is computed on the CPU, but DistributedDataParallel moves every argument to the GPU.
        lengths, partners = lengths.cpu(), partners.cpu()
        order = torch.argsort(lengths, stable=True)
        starts = torch.cumsum(lengths, 0) - lengths
        indices = _token_indices(starts[order], lengths[order])
        layout = PackedLayout.from_sorted_lengths(lengths[order].tolist())
        hidden_states = self.embeddings(input_ids[to_device(indices, input_ids.device)])
        bias = self.encoder.alibi_bias(layout.max_length, hidden_states.device, hidden_states.dtype)
        for module in self.encoder.layer[:layer]:
            hidden_states = module(hidden_states, layout, bias)

        # From here on each mixed sequence has the length that it shares with its partner, so the packing changes.
        sorted_starts = torch.cumsum(lengths[order], 0) - lengths[order]
        packed_starts = sorted_starts[_inverse(order)]
        shared = torch.minimum(lengths, lengths[partners])
        order = torch.argsort(shared, stable=True)
        layout = PackedLayout.from_sorted_lengths(shared[order].tolist())
        device = hidden_states.device
        own = to_device(_token_indices(packed_starts[order], shared[order]), device)
        other = to_device(_token_indices(packed_starts[partners[order]], shared[order]), device)
        share = torch.repeat_interleave(
            to_device(weights, device)[to_device(order, device)],
            to_device(shared[order], device),
            output_size=len(own),
        )[:, None]
        hidden_states = share * hidden_states[own] + (1 - share) * hidden_states[other]
        for module in self.encoder.layer[layer:]:
            hidden_states = module(hidden_states, layout, bias)
        return _pool_groups(hidden_states, layout, "mean", None)[to_device(_inverse(order), device)]

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPooling:
        """Encode padded sequences.

        Args:
            input_ids: `(batch, length)`.
            attention_mask: `(batch, length)`, 1 on tokens and 0 on padding, which may be on either side.
            token_type_ids: `(batch, length)`; zeros by default.
            inputs_embeds: `(batch, length, hidden_size)`, vectors of tokens instead of `input_ids`.
            output_hidden_states: Whether to return every layer's input and the last output; by default as the config
                says.
            output_attentions: Whether to return attention weights, which are then computed eagerly; likewise.
            **kwargs: Ignored arguments of the transformers interface.

        Returns:
            `last_hidden_state (batch, length, hidden_size)`, zero on padding as in the published code;
            `pooler_output (batch, hidden_size)` if the checkpoint has a pooler; hidden states and attentions if asked
            for.

        Raises:
            ValueError: Not exactly one of `input_ids` and `inputs_embeds` is given, shapes differ, or a row of
                `attention_mask` has padding between tokens, or no token at all.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give either input_ids or inputs_embeds, and not both.")
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        hidden = self.embeddings(input_ids, token_type_ids, inputs_embeds)
        mask = None if attention_mask is None else attention_mask.bool()
        if mask is not None and mask.shape != hidden.shape[:2]:
            raise ValueError(
                f"attention_mask is {tuple(mask.shape)} and the sequences are {tuple(hidden.shape[:2])}; they must "
                "agree."
            )
        bias = self.encoder.alibi_bias(hidden.shape[1], hidden.device, hidden.dtype)
        layout = self._layout(mask, bool(output_attentions))
        if isinstance(layout, PaddedLayout) and layout.mask is not None:
            bias = torch.where(layout.mask[:, None, None, :], bias, torch.finfo(bias.dtype).min)
        hidden = hidden if mask is None else hidden * mask[:, :, None]
        hidden, all_hidden, all_attentions = self.encoder(
            hidden, layout, bias, bool(output_hidden_states), bool(output_attentions)
        )
        pooled = None
        if self.pooler is not None:
            first = 0 if mask is None else mask.int().argmax(1)
            pooled = self.pooler(hidden[torch.arange(hidden.shape[0], device=hidden.device), first])
        return BaseModelOutputWithPooling(
            last_hidden_state=hidden,
            pooler_output=pooled,
            hidden_states=tuple(all_hidden) if output_hidden_states else None,
            attentions=tuple(all_attentions) if output_attentions else None,
        )

    def _layout(self, mask: torch.Tensor | None, output_attentions: bool) -> Layout:
        """Return the layout in which to compute a padded batch with a mask, bool `(batch, length)`.

        Raises:
            ValueError: A row of the mask has padding between tokens, or no token at all.
        """
        if mask is None or is_traced():
            return PaddedLayout(mask)
        packing = BatchPacking.from_mask(mask)
        if len(packing.source) == mask.numel():
            return PaddedLayout()
        return PaddedLayout(mask) if output_attentions else packing


class DnaBert2PredictionHeadTransform(nn.Module):
    def __init__(self, config: DnaBert2Config) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.act = ACT2FN[config.hidden_act]
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.LayerNorm(self.act(self.dense(hidden_states)))


class DnaBert2LMPredictionHead(nn.Module):
    def __init__(self, config: DnaBert2Config) -> None:
        super().__init__()
        self.transform = DnaBert2PredictionHeadTransform(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.transform(hidden_states))


class DnaBert2OnlyMLMHead(nn.Module):
    def __init__(self, config: DnaBert2Config) -> None:
        super().__init__()
        self.predictions = DnaBert2LMPredictionHead(config)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.predictions(hidden_states)


class DnaBert2ForMaskedLM(DnaBert2PreTrainedModel):
    """The encoder with its masked-language-model head, tied to the input embeddings.

    A base checkpoint, of an encoder alone, loads with a new head to train, and a warning, if `new_head=True` is given.
    Without it, it is refused: transformers would warn only, and a warning is missed where the model is used at once, as
    in `pipeline("fill-mask")`, which would predict from random weights.
    """

    _tied_weights_keys = {"cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight"}
    weight_rules = WeightRules(
        head=("cls.",),
        no_head="language-model head; give a checkpoint that was pretrained with one",
        # The pooler of an encoder that was saved alone has no prefix.
        ignored=(*POSITION_IDS, "bert.pooler.", "pooler.", "cls.seq_relationship.", "cls.predictions.bias"),
    )

    def __init__(self, config: DnaBert2Config) -> None:
        super().__init__(config)
        self.bert = DnaBert2Model(config, add_pooling_layer=False)
        self.cls = DnaBert2OnlyMLMHead(config)
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        return self.cls.predictions.decoder

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        self.cls.predictions.decoder = new_embeddings

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> MaskedLMOutput:
        """Predict masked tokens.

        Args:
            input_ids: `(batch, length)`.
            attention_mask: `(batch, length)`.
            labels: `(batch, length)`, token ids; positions with -100 do not count towards the loss.
            inputs_embeds: `(batch, length, hidden_size)`, vectors of tokens instead of `input_ids`.
            **kwargs: As for `DnaBert2Model.forward`.

        Returns:
            `logits (batch, length, vocab_size)`, and `loss` (mean cross-entropy) with labels.
        """
        outputs = self.bert(
            input_ids, attention_mask=attention_mask, inputs_embeds=inputs_embeds, return_dict=True, **kwargs
        )
        logits = self.cls(outputs.last_hidden_state)
        loss = None
        if labels is not None:
            loss = masked_lm_loss(logits, labels, num_items_in_batch=kwargs.get("num_items_in_batch"))
        return MaskedLMOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


class DnaBert2ForSequenceClassification(DnaBert2PreTrainedModel):
    """The encoder with its pooler and a linear head over the first token, as in the published fine-tuning code."""

    weight_rules = WeightRules(
        head=("classifier.",),
        no_head="classifier of sequences; fine-tune it with recipes/finetune_sequence_classifier.py",
        new_with_head=("bert.pooler.",),
        ignored=(*POSITION_IDS, "cls."),
    )

    def __init__(self, config: DnaBert2Config) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.bert = DnaBert2Model(config, add_pooling_layer=True)
        dropout = config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Classify sequences.

        Args:
            input_ids: `(batch, length)`.
            attention_mask: `(batch, length)`.
            labels: `(batch,)` class numbers, `(batch, num_labels)` of 0 and 1 for several labels at once, or floats for
                regression, by `config.problem_type`.
            inputs_embeds: `(batch, length, hidden_size)`, vectors of tokens instead of `input_ids`.
            **kwargs: As for `DnaBert2Model.forward`.

        Returns:
            `logits (batch, num_labels)`, and `loss` with labels.
        """
        outputs = self.bert(
            input_ids, attention_mask=attention_mask, inputs_embeds=inputs_embeds, return_dict=True, **kwargs
        )
        logits = self.classifier(self.dropout(outputs.pooler_output))
        loss = None
        if labels is not None:
            loss = head_loss(logits, labels, self.config, num_items_in_batch=kwargs.get("num_items_in_batch"))
        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


__all__ = [
    "DnaBert2ForMaskedLM",
    "DnaBert2ForSequenceClassification",
    "DnaBert2Model",
    "DnaBert2PreTrainedModel",
]
