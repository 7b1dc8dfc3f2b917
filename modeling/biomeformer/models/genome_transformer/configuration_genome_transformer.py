"""Genome transformer configuration."""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

POSITIONS = ("none", "contig", "genome")
POOLING_MODES = ("mean", "cls", "attention")
CHOICES = {"positions": POSITIONS, "pooling": POOLING_MODES}


@strict
class GenomeTransformerConfig(PreTrainedConfig):
    r"""Configuration of an encoder over the genes of a genome (arXiv 2405.05998).

    Args:
        protein_size: Width of a protein's vector; 2,560 for the ESM-2 with 3 billion parameters.
        hidden_size: Width of the encoder.
        num_hidden_layers: Number of layers.
        num_attention_heads: Number of heads; with one, a layer's attention is one number per pair of genes.
        intermediate_size: Width of the feed-forward networks.
        hidden_act: Activation of the feed-forward networks.
        hidden_dropout_prob: Dropout of embeddings, feed-forward networks and residuals.
        attention_probs_dropout_prob: Dropout of attention weights.
        max_genes: Largest number of genes of a genome; the processor keeps the first, in the order of contigs.
        positions: Positional encoding of a gene: `none` (a genome is a set), `contig` (its rank within its contig, so
            that the order of contigs does not matter), or `genome` (its rank among all genes).
        pooling: How genes are pooled: `mean`, `cls` (the vector of an additional first token), or `attention` (a
            weighted mean with learnt weights).
        layer_norm_eps: Epsilon of layer normalisation.
        initializer_range: Standard deviation of new weights.
        classifier_dropout: Dropout before the classifier; `hidden_dropout_prob` if None.
        label_name: Name of what the classifier predicts, such as `habitat`.
        temperature: By which `predict` divides the classifier's logits, so that probabilities are calibrated; fitted to
            the predictions of held-out folds.
        training_range: Range of the genomes the model was trained on (GC, number of genes, protein vectors), with which
            `predict` compares a genome; unknown if None.

    Raises:
        ValueError: A value is unknown or out of range.
    """

    model_type = "genome_transformer"

    protein_size: int = 2560
    hidden_size: int = 640
    num_hidden_layers: int = 15
    num_attention_heads: int = 1
    intermediate_size: int = 2560
    hidden_act: str = "gelu"
    hidden_dropout_prob: float | int = 0.1
    attention_probs_dropout_prob: float | int = 0.0
    max_genes: int = 4096
    positions: str = "contig"
    pooling: str = "mean"
    layer_norm_eps: float = 1e-5
    initializer_range: float = 0.02
    classifier_dropout: float | int | None = None
    label_name: str = "label"
    temperature: float | int = 1.0
    training_range: dict[str, Any] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} {getattr(self, name)!r} is not one of {', '.join(choices)}.")
        for name in ("protein_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_genes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature is {self.temperature}; it must be above 0.")
        vector = (self.training_range or {}).get("mean_vector")
        if vector is not None and len(vector) != self.protein_size:
            raise ValueError(
                f"training_range has a mean vector of {len(vector)} numbers, and protein_size is {self.protein_size}."
            )
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size is {self.hidden_size} and num_attention_heads {self.num_attention_heads}, which does not "
                "divide it."
            )
        if self._auto_class is None:
            # A checkpoint saved by this class has no code beside it, so it must not keep an `auto_map` that names some.
            kwargs.pop("auto_map", None)
        super().__post_init__(**kwargs)


__all__ = ["POOLING_MODES", "POSITIONS", "GenomeTransformerConfig"]
