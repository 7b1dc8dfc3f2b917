"""DeepSets: a network of sets of vectors, blind to their order."""

from __future__ import annotations

import torch
from torch import nn
from transformers import initialization as init

from .configuration_metagenbert import MetagenBertConfig


class DeepSets(nn.Module):
    """Each element through one network, pooled, and what was pooled through another (Zaheer et al. 2017, 1703.06114).

    An element is a vector with a weight, its share of the sample. Vectors are standardised by `input_mean` and
    `input_scale`, fitted on training samples; the logarithm of an element's share over an even one goes in beside them,
    so that the maximum knows of abundance too. Attention is gated (Ilse et al. 2018, 1802.04712), weighted by shares.

    Args:
        config: `hidden_size`, `head_hidden_size`, `head_dropout`, `set_pooling` and `num_labels` are used.
    """

    input_mean: torch.Tensor
    input_scale: torch.Tensor

    def __init__(self, config: MetagenBertConfig) -> None:
        super().__init__()
        width = config.head_hidden_size
        self.pooling = config.set_pooling
        self.register_buffer("input_mean", torch.zeros(config.hidden_size))
        self.register_buffer("input_scale", torch.ones(config.hidden_size))
        self.element = nn.Sequential(
            nn.Linear(config.hidden_size + 1, width),
            nn.GELU(),
            nn.Dropout(config.head_dropout),
            nn.Linear(width, width),
        )
        if self.pooling == "attention":
            self.attention_value = nn.Linear(width, width)
            self.attention_gate = nn.Linear(width, width)
            self.attention_score = nn.Linear(width, 1)
        self.whole = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Dropout(config.head_dropout),
            nn.Linear(width, config.num_labels),
        )

    @torch.no_grad()
    def init_weights(self) -> None:
        """New weights, by torch's random numbers."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                init.xavier_uniform_(layer.weight)
                init.zeros_(layer.bias)
            elif isinstance(layer, nn.LayerNorm):
                init.ones_(layer.weight)
                init.zeros_(layer.bias)
        init.zeros_(self.input_mean)
        init.ones_(self.input_scale)

    @torch.no_grad()
    def set_scale(self, mean: torch.Tensor, deviation: torch.Tensor) -> None:
        """Standardise by the mean and standard deviation of training vectors, `(hidden_size,)` each."""
        self.input_mean.copy_(mean)
        self.input_scale.copy_(deviation.clamp_min(1e-6))

    def forward(self, elements: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Logits of sets.

        Args:
            elements: `(n_samples, n_elements, hidden_size)`.
            weights: `(n_samples, n_elements)`, 0 or more; 0 is padding. Only their ratios within a sample matter.

        Returns:
            float32 `(n_samples, num_labels)`.
        """
        there = weights > 0
        shares = weights.float() / weights.float().sum(1, keepdim=True)
        n_elements = there.sum(1, keepdim=True)
        evenness = torch.where(there, (shares * n_elements).clamp_min(1e-12).log(), 0.0)
        standardised = (elements.float() - self.input_mean) / self.input_scale
        hidden = self.element(torch.cat([standardised, evenness[:, :, None]], -1))
        if self.pooling == "max":
            pooled = hidden.masked_fill(~there[:, :, None], -torch.inf).amax(1)
        else:
            if self.pooling == "attention":
                gated = self.attention_value(hidden).tanh() * self.attention_gate(hidden).sigmoid()
                scores = self.attention_score(gated)[:, :, 0] + evenness
                factors = scores.masked_fill(~there, -torch.inf).softmax(1)
            else:
                factors = shares * n_elements if self.pooling == "sum" else shares
            # Padding may hold anything.
            pooled = (hidden.masked_fill(~there[:, :, None], 0.0) * factors[:, :, None]).sum(1)
        return self.whole(pooled)


__all__ = ["DeepSets"]
