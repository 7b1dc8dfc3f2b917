"""DeepSets: a network over sets of vectors, invariant to their order."""

from __future__ import annotations

import math

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
        self.pooling = config.set_pooling
        self.register_buffer("input_mean", torch.zeros(config.hidden_size))
        self.register_buffer("input_scale", torch.ones(config.hidden_size))
        self.add_layers(config)

    def add_layers(self, config: MetagenBertConfig) -> None:
        """Add the layers, with torch's own initial weights."""
        width = config.head_hidden_size
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

    def counted(self, weights: torch.Tensor) -> torch.Tensor:
        """Return the weights that count, `(n_samples, n_elements)`."""
        return weights

    def inputs(self, elements: torch.Tensor, log_share: torch.Tensor) -> torch.Tensor:
        """Return what the network for each element takes, `(n_samples, n_elements, n_inputs)`."""
        return torch.cat([elements, log_share[:, :, None]], -1)

    def score(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the attention scores `(n_samples, n_elements)` of elements before their shares are added."""
        gated = self.attention_value(hidden).tanh() * self.attention_gate(hidden).sigmoid()
        return self.attention_score(gated)[:, :, 0]

    def forward(self, elements: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Compute the logits of sets.

        Args:
            elements: `(n_samples, n_elements, hidden_size)`.
            weights: `(n_samples, n_elements)`, non-negative; 0 marks padding. Only ratios within a sample matter.

        Returns:
            float32 `(n_samples, num_labels)`.
        """
        mask = weights > 0
        weights = self.counted(weights)
        shares = weights.float() / weights.float().sum(1, keepdim=True)
        n_elements = mask.sum(1, keepdim=True)
        log_share = torch.where(mask, (shares * n_elements).clamp_min(1e-12).log(), 0.0)
        standardised = (elements.float() - self.input_mean) / self.input_scale
        hidden = self.element(self.inputs(standardised, log_share))
        if self.pooling == "max":
            pooled = hidden.masked_fill(~mask[:, :, None], -torch.inf).amax(1)
        else:
            if self.pooling == "attention":
                scores = self.score(hidden) + log_share
                factors = scores.masked_fill(~mask, -torch.inf).softmax(1)
            else:
                factors = shares * n_elements if self.pooling == "sum" else shares
            # Padding may hold anything, also NaN, so multiplying it with 0 would not do.
            pooled = (hidden.masked_fill(~mask[:, :, None], 0.0) * factors[:, :, None]).sum(1)
        return self.whole(pooled)


class PublishedDeepSets(DeepSets):
    """The DeepSets network of the MetagenBERT scripts (arXiv 2601.03295): Phi, pooling, Rho.

    Phi is one layer with LeakyReLU and dropout, Rho another one and the output. All elements of a set count alike,
    whatever their shares; attention scores have one hidden layer of a third of Phi's width. In the scripts Phi's
    dropout is left out if it has one layer; here it is as the paper states it.
    """

    def add_layers(self, config: MetagenBertConfig) -> None:
        """Add the layers, with torch's own initial weights."""
        width, pooled = config.head_hidden_size, config.pooled_hidden_size
        self.element = nn.Sequential(
            nn.Linear(config.hidden_size, width), nn.LeakyReLU(), nn.Dropout(config.head_dropout)
        )
        if self.pooling == "attention":
            attention_width = max(width // 3, 1)
            self.attention = nn.Sequential(nn.Linear(width, attention_width), nn.Tanh(), nn.Linear(attention_width, 1))
        self.whole = nn.Sequential(
            nn.Linear(width, pooled),
            nn.LeakyReLU(),
            nn.Dropout(config.pooled_dropout),
            nn.Linear(pooled, config.num_labels),
        )

    @torch.no_grad()
    def init_weights(self) -> None:
        """Initialise all weights as torch does by default, and the standardisation as the identity."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                bound = 1 / math.sqrt(layer.in_features)
                init.uniform_(layer.weight, -bound, bound)
                init.uniform_(layer.bias, -bound, bound)
        init.zeros_(self.input_mean)
        init.ones_(self.input_scale)

    def counted(self, weights: torch.Tensor) -> torch.Tensor:
        """Return 1 for each element and 0 for padding."""
        return (weights > 0).float()

    def inputs(self, elements: torch.Tensor, log_share: torch.Tensor) -> torch.Tensor:
        """Return the standardised vectors alone."""
        return elements

    def score(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the attention scores `(n_samples, n_elements)`."""
        return self.attention(hidden)[:, :, 0]


def make_deep_sets(config: MetagenBertConfig) -> DeepSets:
    """Build the head that a config describes, with torch's own initial weights."""
    return (PublishedDeepSets if config.head_layout == "published" else DeepSets)(config)


__all__ = ["DeepSets", "PublishedDeepSets", "make_deep_sets"]
