"""A transformer over the genes of a genome (arXiv 2405.05998): from one vector per gene to a label of the genome."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import can_return_tuple

from .configuration_genome_transformer import GenomeTransformerConfig
from .head_loss import head_loss
from .processing_genome_transformer import GenomeTransformerProcessor
from .strict_loading import StrictPreTrainedModel, WeightRules


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute softmax attention.

    Args:
        module: The attention module, for its training mode.
        query: `(batch, n_heads, n_genes, head_size)`.
        key: `(batch, n_heads, n_genes, head_size)`.
        value: `(batch, n_heads, n_genes, head_size)`.
        attention_mask: Bias that is added to the scores, broadcastable to `(batch, n_heads, n_genes, n_genes)`.
        scaling: Factor of the scores.
        dropout: Dropout of the weights in training.
        **kwargs: Ignored options of other attention functions.

    Returns:
        Outputs `(batch, n_genes, n_heads, head_size)`, and weights before dropout `(batch, n_heads, n_genes, n_genes)`.
    """
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    dropped = nn.functional.dropout(weights, p=dropout, training=module.training)
    return torch.matmul(dropped, value).transpose(1, 2).contiguous(), weights


# Copied from biomeformer/models/dnabert2/modeling_dnabert2.py
def is_traced() -> bool:
    """Return whether a graph of this call is recorded, in which no operation may depend on a tensor's values."""
    return bool(torch.compiler.is_compiling() or torch.jit.is_tracing())


class GenomeTransformerEmbeddings(nn.Module):
    """Projection of protein vectors, plus positional encodings."""

    def __init__(self, config: GenomeTransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.norm = nn.LayerNorm(config.protein_size, eps=config.layer_norm_eps)
        self.projection = nn.Linear(config.protein_size, config.hidden_size)
        if config.pooling == "cls":
            self.cls = nn.Parameter(torch.empty(config.hidden_size))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, proteins: torch.Tensor, contig_ids: torch.Tensor | None) -> torch.Tensor:
        """Embed genes: `(batch, n_genes, hidden_size)`, with one position more at the front for `cls` pooling."""
        # Quantised weights of the projection have a type of their own; the norm's are never quantised.
        hidden = self.projection(self.norm(proteins.to(self.norm.weight.dtype)))
        if self.config.positions != "none":
            ranks = self._ranks(proteins, contig_ids)
            hidden = hidden + sinusoids(ranks, self.config.hidden_size).to(hidden.dtype)
        if self.config.pooling == "cls":
            hidden = torch.cat([self.cls.expand(hidden.shape[0], 1, -1), hidden], 1)
        return self.dropout(hidden)

    def _ranks(self, proteins: torch.Tensor, contig_ids: torch.Tensor | None) -> torch.Tensor:
        """Return the rank of each gene within its contig or the genome, from 0: `(batch, n_genes)`."""
        rank = torch.arange(proteins.shape[1], device=proteins.device).expand(proteins.shape[:2])
        if self.config.positions == "genome" or contig_ids is None:
            return rank
        changes = contig_ids[:, 1:] != contig_ids[:, :-1]
        is_first = nn.functional.pad(changes, (1, 0), value=True)
        if is_traced():
            # ONNX has no running maximum: of each gene, the smallest rank among those of its contig.
            contig = torch.cumsum(is_first, 1)
            return rank - torch.where(contig[:, :, None] == contig[:, None], rank[:, None], rank.shape[1]).amin(2)
        # Subtract the rank of the contig's first gene, which is the last one seen so far.
        return rank - (rank * is_first).cummax(1).values


def sinusoids(positions: torch.Tensor, size: int) -> torch.Tensor:
    """Compute sinusoidal positional encodings (arXiv 1706.03762, section 3.5).

    Args:
        positions: `(batch, n_genes)`.
        size: Width of an encoding.

    Returns:
        float32 `(batch, n_genes, size)`, sines and cosines interleaved.
    """
    exponents = torch.arange(0, size, 2, device=positions.device, dtype=torch.float32)
    angles = positions[:, :, None].float() * torch.exp(exponents * (-math.log(10_000.0) / size))
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(2)[:, :, :size]


class GenomeTransformerAttention(nn.Module):
    """Self-attention of all genes over all genes."""

    def __init__(self, config: GenomeTransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.head_size = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_size**-0.5
        self.is_causal = False
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self, hidden: torch.Tensor, attention_mask: torch.Tensor | None, output_attentions: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend over `hidden` `(batch, n_genes, hidden_size)`; also return the weights if they are asked for."""
        batch, n_genes, size = hidden.shape
        shape = (batch, n_genes, 3, self.config.num_attention_heads, self.head_size)
        query, key, value = self.query_key_value(hidden).view(shape).permute(2, 0, 3, 1, 4)
        implementation = "eager" if output_attentions else self.config._attn_implementation
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
        mixed, weights = attend(
            self,
            query,
            key,
            value,
            attention_mask,
            scaling=self.scaling,
            dropout=self.config.attention_probs_dropout_prob if self.training else 0.0,
        )
        return self.output(mixed.reshape(batch, n_genes, size)), weights if output_attentions else None


class GenomeTransformerLayer(GradientCheckpointingLayer):
    """Attention and a feed-forward network, each with layer normalisation before it and a residual around it."""

    def __init__(self, config: GenomeTransformerConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = GenomeTransformerAttention(config)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.intermediate = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACT2FN[config.hidden_act]
        self.output = nn.Linear(config.intermediate_size, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        hidden: torch.Tensor,
        attention_mask: torch.Tensor | None,
        attentions: list[torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Return the hidden states of the next layer; append the attention weights to a list, if one is given."""
        # They are not returned, so that hooks on a layer see one tensor.
        mixed, weights = self.attention(self.attention_norm(hidden), attention_mask, attentions is not None)
        if attentions is not None and weights is not None:
            attentions.append(weights)
        hidden = hidden + self.dropout(mixed)
        inner = self.dropout(self.activation(self.intermediate(self.feed_forward_norm(hidden))))
        return hidden + self.dropout(self.output(inner))


class GenomeTransformerPreTrainedModel(StrictPreTrainedModel):
    """Base class of the models over a genome's proteins.

    Attributes:
        processor: The preprocessing config, or None if the checkpoint has none.
        hub_options: Options with which the model was loaded: `revision` as a commit, `cache_dir` and so on.
    """

    hub_options: Mapping[str, Any] = MappingProxyType({})
    processor: GenomeTransformerProcessor | None = None
    config_class = GenomeTransformerConfig
    base_model_prefix = "genome_transformer"
    main_input_name = "proteins"
    processor_class = GenomeTransformerProcessor
    input_kinds = ("vectors of proteins", "genomes")
    _supports_sdpa = True
    # Padding is a bias on the scores, which FlashAttention does not take.
    _supports_flash_attn = False
    supports_gradient_checkpointing = True
    _no_split_modules = ["GenomeTransformerLayer"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, GenomeTransformerEmbeddings) and hasattr(module, "cls"):
            init.normal_(module.cls, std=self.config.initializer_range)

    def get_input_embeddings(self) -> nn.Module:
        """Return the projection of protein vectors, which is what a table of embeddings is to other models."""
        return self.base_model.embeddings.projection

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the projection of protein vectors."""
        self.base_model.embeddings.projection = value

    def _finish_loading(self, info: dict[str, Any], options: dict[str, Any]) -> None:
        self.hub_options = {key: value for key, value in options.items() if key != "subfolder"}


class GenomeTransformerModel(GenomeTransformerPreTrainedModel):
    """The encoder: from vectors of a genome's proteins to contextual vectors of its genes and one of the genome."""

    weight_rules = WeightRules(ignored=("classifier.",))

    def __init__(self, config: GenomeTransformerConfig) -> None:
        super().__init__(config)
        self.embeddings = GenomeTransformerEmbeddings(config)
        self.layers = nn.ModuleList(GenomeTransformerLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        if config.pooling == "attention":
            self.gene_score = nn.Linear(config.hidden_size, 1)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        proteins: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        contig_ids: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPooling:
        """Encode genomes.

        Args:
            proteins: `(batch, n_genes, protein_size)`, the genes of a contig in sequence.
            attention_mask: `(batch, n_genes)`, 1 on genes, 0 on padding; all genes by default.
            contig_ids: `(batch, n_genes)`, contig index of each gene; one contig by default.
            output_attentions: Whether to return attention weights `(batch, n_heads, n_genes, n_genes)` of each layer,
                which are then computed eagerly; by default as the config says.
            output_hidden_states: Whether to return the input of each layer, and the output of the last; likewise.
            **kwargs: Ignored arguments of the transformers interface.

        Returns:
            `last_hidden_state (batch, n_genes, hidden_size)`, 0 on padding, and `pooler_output (batch, hidden_size)`.
            With `cls` pooling, all but the pooled vector have one position more at the front.

        Raises:
            ValueError: A genome has no gene, or more genes than `config.max_genes`, or a shape does not fit.
        """
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        if proteins.ndim != 3 or proteins.shape[2] != self.config.protein_size:
            raise ValueError(
                f"proteins have shape {tuple(proteins.shape)}; this model reads (batch, n_genes, "
                f"{self.config.protein_size})."
            )
        if proteins.shape[1] > self.config.max_genes:
            raise ValueError(
                f"a genome of {proteins.shape[1]} genes was given and the model reads {self.config.max_genes}; cut it "
                "with the processor, which says what is lost."
            )
        mask = torch.ones(proteins.shape[:2], device=proteins.device) if attention_mask is None else attention_mask
        if not is_traced() and not bool(mask.any(1).all()):
            row = int(mask.any(1).int().argmin())
            raise ValueError(f"genome {row} of the batch has no gene, so there is nothing to encode; leave it out.")
        if self.config.pooling == "cls":
            mask = torch.cat([torch.ones_like(mask[:, :1]), mask], 1)
        mask = mask.bool()
        hidden = self.embeddings(proteins, contig_ids)
        # Without padding there is no bias, so that attention can use its fastest kernel. In a graph that is recorded,
        # nothing may depend on the mask's values.
        bias = None
        if is_traced() or not bool(mask.all()):
            bias = torch.zeros_like(mask, dtype=hidden.dtype).masked_fill(~mask, torch.finfo(hidden.dtype).min)
            bias = bias[:, None, None, :].expand(-1, 1, mask.shape[1], -1)
        attentions: list[torch.Tensor] = []
        states: list[torch.Tensor] = []
        for layer in self.layers:
            # States are kept only if they are asked for: that of 4,096 genes takes 10 MB.
            if output_hidden_states:
                states.append(hidden)
            hidden = layer(hidden, bias, attentions if output_attentions else None)
        hidden = self.norm(hidden).masked_fill(~mask[:, :, None], 0.0)
        return BaseModelOutputWithPooling(
            last_hidden_state=hidden,
            pooler_output=self.pool(hidden, mask),
            hidden_states=(*states, hidden) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )

    def pool(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Pool genes to one vector per genome.

        Args:
            hidden: `(batch, n_genes, hidden_size)`, normalised hidden states, 0 on padding.
            mask: bool `(batch, n_genes)`, true on genes.

        Returns:
            `(batch, hidden_size)`.
        """
        if self.config.pooling == "cls":
            return hidden[:, 0]
        if self.config.pooling == "mean":
            return hidden.sum(1) / mask.sum(1, keepdim=True)
        scores = self.gene_score(hidden)[:, :, 0].masked_fill(~mask, -torch.inf)
        return (hidden * scores.softmax(1)[:, :, None]).sum(1)


class GenomeTransformerForSequenceClassification(GenomeTransformerPreTrainedModel):
    """A classifier of genomes, by habitat or another label; `config.id2label` names the classes."""

    weight_rules = WeightRules(
        head=("classifier.",),
        no_head="classifier of genomes; give a checkpoint that was trained on genomes with labels",
    )

    def __init__(self, config: GenomeTransformerConfig) -> None:
        super().__init__(config)
        self.genome_transformer = GenomeTransformerModel(config)
        dropout = config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        proteins: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        contig_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        class_weights: torch.Tensor | None = None,
        smoothing: float = 0.0,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Classify genomes.

        Args:
            proteins: `(batch, n_genes, protein_size)`, as for `GenomeTransformerModel`.
            attention_mask: `(batch, n_genes)`, 1 on genes, 0 on padding; all genes by default.
            contig_ids: `(batch, n_genes)`, contig index of each gene; one contig by default.
            labels: `(batch,)` class indices, `(batch, num_labels)` of 0 and 1 for several labels at once, or numbers
                for regression, by `config.problem_type`.
            class_weights: `(num_labels,)`, factor of the loss of each class.
            smoothing: Fraction of a label that is distributed over all classes.
            **kwargs: `output_attentions` and `output_hidden_states`.

        Returns:
            `logits (batch, num_labels)`, and `loss` with labels.
        """
        num_items = kwargs.pop("num_items_in_batch", None)
        kwargs["return_dict"] = True
        outputs = self.genome_transformer(proteins, attention_mask, contig_ids, **kwargs)
        logits = self.classifier(self.dropout(outputs.pooler_output)).float()
        loss = None
        if labels is not None:
            loss = head_loss(
                logits,
                labels,
                self.config,
                num_items_in_batch=num_items,
                class_weights=class_weights,
                smoothing=smoothing,
            )
        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )

    def predict(self, path: str | Path, **options: Any) -> dict[str, float]:
        """Predict the label of a genome from its file; see `biomeformer.genomes.predict_genome` for the options.

        Args:
            path: FASTA, GenBank, GFF3, or FASTA of proteins.
            **options: `protein_encoder`, `threads`, `batch_tokens`.

        Returns:
            The probability of each class, by its name.

        Raises:
            ImportError: This model's code came with its checkpoint, without the package.
        """
        return self._package().predict_genome(self, path, **options).probabilities


__all__ = [
    "GenomeTransformerForSequenceClassification",
    "GenomeTransformerModel",
    "GenomeTransformerPreTrainedModel",
]
