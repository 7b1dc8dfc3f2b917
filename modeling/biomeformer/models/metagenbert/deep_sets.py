"""DeepSets: a network over sets of vectors, invariant to their order."""

from __future__ import annotations

import torch
from torch import nn
from transformers import initialization as init

from .configuration_metagenbert import MetagenBertConfig


class DeepSets(nn.Module):
    """A network for each element, pooling, and a network for the pooled vector (Zaheer et al. 2017, arXiv 1703.06114).

    An element is a vector with a weight, its share of the sample. Vectors are standardised by `input_mean` and
    `input_scale`, fitted on training samples. The logarithm of an element's share relative to equal shares is an
    additional input, so that maximum pooling can use abundance too. Attention is gated (Ilse et al. 2018, arXiv
    1802.04712) and weighted by shares.

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
        """Initialise all weights with torch's random numbers, and the standardisation as the identity."""
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
        """Set the standardisation to the mean and standard deviation of training vectors, `(hidden_size,)` each."""
        self.input_mean.copy_(mean)
        self.input_scale.copy_(deviation.clamp_min(1e-6))

    def forward(self, elements: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Compute the logits of sets.

        Args:
            elements: `(n_samples, n_elements, hidden_size)`.
            weights: `(n_samples, n_elements)`, non-negative; 0 marks padding. Only ratios within a sample matter.

        Returns:
            float32 `(n_samples, num_labels)`.
        """
        mask = weights > 0
        shares = weights.float() / weights.float().sum(1, keepdim=True)
        n_elements = mask.sum(1, keepdim=True)
        log_share = torch.where(mask, (shares * n_elements).clamp_min(1e-12).log(), 0.0)
        standardised = (elements.float() - self.input_mean) / self.input_scale
        hidden = self.element(torch.cat([standardised, log_share[:, :, None]], -1))
        if self.pooling == "max":
            pooled = hidden.masked_fill(~mask[:, :, None], -torch.inf).amax(1)
        else:
            if self.pooling == "attention":
                gated = self.attention_value(hidden).tanh() * self.attention_gate(hidden).sigmoid()
                scores = self.attention_score(gated)[:, :, 0] + log_share
                factors = scores.masked_fill(~mask, -torch.inf).softmax(1)
            else:
                factors = shares * n_elements if self.pooling == "sum" else shares
            # Padding may hold anything, also NaN, so multiplying it with 0 would not do.
            pooled = (hidden.masked_fill(~mask[:, :, None], 0.0) * factors[:, :, None]).sum(1)
        return self.whole(pooled)


__all__ = ["DeepSets"]
