"""The mean of learnt k-mer vectors: composition over medium k-mers, at the speed of a table look-up."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import can_return_tuple

from .configuration_kmer_encoder import KmerEncoderConfig


class KmerEncoderModel(PreTrainedModel):
    """One vector a k-mer; a read's vector is their mean, and the same on both strands."""

    config_class = KmerEncoderConfig
    base_model_prefix = "kmer_encoder"
    main_input_name = "input_ids"
    # A read's vector is summed in the order of its own tokens, so its batch-mates cannot change a bit of it.
    embeds_reads_independently = True

    def __init__(self, config: KmerEncoderConfig) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=0)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            init.normal_(module.weight, mean=0.0, std=self.config.initializer_range)
            if not getattr(module.weight, "_is_hf_initialized", False):
                init.zeros_(module.weight[0])

    def get_input_embeddings(self) -> nn.Embedding:
        """The k-mer vectors."""
        return self.embeddings

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the k-mer vectors."""
        self.embeddings = value

    def embed_packed(
        self, input_ids: torch.Tensor, lengths: torch.Tensor, pooling: str = "mean", max_length: int | None = None
    ) -> torch.Tensor:
        """One vector a read.

        Args:
            input_ids: `(n_tokens,)`, reads end to end, int32 or int64.
            lengths: `(n_reads,)`, k-mers of each read.
            pooling: `mean`, or `mean_over_max_length` (sum over `max_length`).
            max_length: Divisor of `mean_over_max_length`.

        Returns:
            `(n_reads, hidden_size)`; zero for a read without k-mers.

        Raises:
            ValueError: `pooling` is another one, or `max_length` is missing.
        """
        if pooling not in ("mean", "mean_over_max_length"):
            raise ValueError(f"pooling {pooling!r} is not one of mean, mean_over_max_length: k-mers have no [CLS].")
        if pooling == "mean_over_max_length" and not max_length:
            raise ValueError("pooling 'mean_over_max_length' needs max_length, the divisor in tokens.")
        offsets = (torch.cumsum(lengths, 0) - lengths).to(input_ids.device, input_ids.dtype)
        mode = "mean" if pooling == "mean" else "sum"
        vectors = nn.functional.embedding_bag(input_ids, self.embeddings.weight, offsets, mode=mode)
        return vectors if mode == "mean" else vectors / (max_length or 1)

    @can_return_tuple
    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        """K-mer vectors and their mean.

        Args:
            input_ids: `(batch, length)`.
            attention_mask: `(batch, length)`, 1 on k-mers.
            **kwargs: Ignored arguments of the transformers interface.

        Returns:
            `last_hidden_state (batch, length, hidden_size)`, zero on padding; `pooler_output (batch, hidden_size)`.
        """
        mask = input_ids != 0 if attention_mask is None else attention_mask.bool()
        hidden = self.embeddings(input_ids) * mask[:, :, None]
        pooled = hidden.sum(1) / mask.sum(1, keepdim=True).clamp_min(1)
        return BaseModelOutputWithPooling(last_hidden_state=hidden, pooler_output=pooled)


__all__ = ["KmerEncoderModel"]
