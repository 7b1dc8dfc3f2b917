"""Convolutions over one-hot bases: the baseline of fine-tuned language models."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import can_return_tuple

from .configuration_sequence_cnn import SequenceCnnConfig
from .head_loss import head_loss
from .strict_loading import StrictPreTrainedModel

N_BASES = 4
# Gain for which the outputs of a rectifier keep the variance of its inputs.
RELU_GAIN = 2**0.5


class StandardizedConv1d(nn.Conv1d):
    """A convolution whose filters have mean 0 and a common norm, times a learnt gain each (arXiv 1903.10520).

    Unlike batch normalisation, an output does not depend on the other sequences of a batch or on padding.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding="same")
        self.gain = nn.Parameter(torch.empty(out_channels, 1, 1))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Convolve `(batch, in_channels, length)` to `(batch, out_channels, length)`."""
        centered = self.weight - self.weight.mean((1, 2), keepdim=True)
        norm = centered.square().sum((1, 2), keepdim=True).add(torch.finfo(torch.float32).eps).sqrt()
        return nn.functional.conv1d(input, centered * (self.gain / norm), self.bias, padding="same")


class SequenceCnnForSequenceClassification(StrictPreTrainedModel):
    """Convolutions with maximum pooling, then the maximum and the mean of each filter, then a classifier.

    A baseline in the place of EnhancerNet, with which arXiv 2509.25274 compares DNABERT-2; its layers are ours, not
    EnhancerNet's. Sequences may have any length, and padding does not change the result.
    """

    config_class = SequenceCnnConfig
    base_model_prefix = "sequence_cnn"
    main_input_name = "input_ids"

    def __init__(self, config: SequenceCnnConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        sizes = [N_BASES, *[config.n_filters] * len(config.kernel_sizes)]
        is_layer = config.normalization == "layer"
        self.convolutions = nn.ModuleList(
            nn.Conv1d(sizes[i], sizes[i + 1], kernel, padding="same")
            if is_layer
            else StandardizedConv1d(sizes[i], sizes[i + 1], kernel)
            for i, kernel in enumerate(config.kernel_sizes)
        )
        self.norms = nn.ModuleList(
            nn.LayerNorm(config.n_filters) if is_layer else nn.Identity() for _ in config.kernel_sizes
        )
        self.pooled_norm = nn.Identity() if is_layer else nn.LayerNorm(2 * config.n_filters)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.dense = nn.Linear(2 * config.n_filters, config.hidden_size)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv1d):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
            init.zeros_(module.bias)
            if isinstance(module, StandardizedConv1d):
                init.constant_(module.gain, RELU_GAIN)
        elif isinstance(module, nn.Linear):
            if self.config.normalization == "layer":
                init.normal_(module.weight, mean=0.0, std=self.config.initializer_range)
            else:
                init.kaiming_normal_(module.weight, nonlinearity="relu" if module is self.dense else "linear")
            init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Classify sequences.

        Args:
            input_ids: `(batch, length)`, 1 to 4 for A, C, G and T, 0 for other letters and padding.
            attention_mask: `(batch, length)`, 1 on bases; by default all but 0.
            labels: `(batch,)` class numbers, `(batch, num_labels)` of 0 and 1 for several labels at once, or floats for
                regression, by `config.problem_type`.
            inputs_embeds: `(batch, length, 4)` instead of `input_ids`: one-hot bases, or weights of A, C, G and T.
            output_hidden_states: Whether to return `hidden_states`: the output of each convolution after pooling,
                `(batch, length, n_filters)`, ever shorter; by default as the config says.
            **kwargs: Ignored arguments of the transformers interface.

        Returns:
            `logits (batch, num_labels)`, and `loss` with labels; hidden states if asked for.

        Raises:
            ValueError: Not exactly one of `input_ids` and `inputs_embeds` is given.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give either input_ids or inputs_embeds, and not both.")
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if input_ids is not None:
            bases = nn.functional.one_hot(input_ids.long(), N_BASES + 1)[..., 1:].to(self.dense.weight.dtype)
            tokens = input_ids != 0
        else:
            assert inputs_embeds is not None
            bases, tokens = inputs_embeds, torch.ones_like(inputs_embeds[:, :, 0], dtype=torch.bool)
        if not bases.shape[1]:
            # Sequences without tokens: one position of padding, since a convolution needs one.
            bases, tokens = bases.new_zeros(len(bases), 1, N_BASES), tokens.new_zeros(len(tokens), 1)
            attention_mask = None
        # `(batch, 1, length)`, shortened along with the hidden states. Padding is zeroed before each operation that
        # looks at neighbouring positions.
        mask = (tokens if attention_mask is None else attention_mask.bool())[:, None]
        states: list[torch.Tensor] = []
        hidden = bases.transpose(1, 2)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            hidden = norm(convolution(hidden * mask).transpose(1, 2)).transpose(1, 2).relu()
            size = min(self.config.pool_size, hidden.shape[2])
            hidden = nn.functional.max_pool1d(hidden * mask, size, ceil_mode=True)
            mask = nn.functional.max_pool1d(mask.to(hidden.dtype), size, ceil_mode=True).bool()
            # What is returned is also what is used, so that gradients reach it.
            states.append(hidden.transpose(1, 2))
            hidden = states[-1].transpose(1, 2)
        largest = (hidden * mask).amax(2)
        mean = (hidden * mask).sum(2) / mask.sum(2).clamp_min(1)
        pooled = self.pooled_norm(torch.cat([largest, mean], 1))
        hidden = self.dense(self.dropout(pooled)).relu()
        logits = self.classifier(self.dropout(hidden))
        loss = None
        if labels is not None:
            loss = head_loss(logits, labels, self.config, num_items_in_batch=kwargs.get("num_items_in_batch"))
        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=tuple(states) if output_hidden_states else None
        )


__all__ = ["SequenceCnnForSequenceClassification"]
