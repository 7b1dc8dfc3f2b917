"""MetagenBERT configuration."""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

POOLING_MODES = ("mean", "mean_over_max_length", "cls")
ABUNDANCE_TRANSFORMS = ("none", "clr")
ZERO_REPLACEMENTS = ("fixed", "sq", "epsilon")
HEADS = ("linear", "deep_sets")
SET_ELEMENTS = ("centroids", "reads")
HEAD_LAYOUTS = ("default", "published")
SET_POOLING_MODES = ("mean", "sum", "max", "attention")
CHOICES = {
    "pooling": POOLING_MODES,
    "head": HEADS,
    "abundance_transform": ABUNDANCE_TRANSFORMS,
    "zero_replacement": ZERO_REPLACEMENTS,
    "set_elements": SET_ELEMENTS,
    "set_pooling": SET_POOLING_MODES,
    "head_layout": HEAD_LAYOUTS,
}
# Config classes of read encoders by model_type, of those whose code comes with a checkpoint and is unknown to
# transformers.
READ_ENCODERS: dict[str, Any] = {}


@strict
class MetagenBertConfig(PreTrainedConfig):
    r"""Configuration of a read encoder with centroids.

    Args:
        encoder_config: Configuration of the read encoder, any encoder of transformers (a config or its dictionary).
        n_clusters: Number of centroids.
        pooling: How a read's token vectors are pooled: `mean` (over all tokens, special ones included),
            `mean_over_max_length` (the sum divided by `max_length`, as in the published MetagenBERT scripts), or `cls`.
        max_length: Longest read in tokens, special ones included; longer reads are truncated. None: no limit.
        normalize_embeddings: Whether read vectors are scaled to unit length before they are assigned to centroids.
        far_distances: Distance from its nearest centroid that 5 % of the reads that the centroids were learned on
            exceed, by length: a list of the fewest and most tokens of a read, and the distance. None: unknown.
        centroids_from: What the centroids were fitted on, if on the cohort that is embedded, for tables' provenance.
        head: Head of a phenotype model: `linear` on the abundance vector, or `deep_sets` on a set of vectors of the
            sample.
        abundance_transform: Input of a linear head: `none` (fractions of reads) or `clr` (their centred log-ratios).
        zero_replacement: Replacement of zeros for log-ratios: `fixed` (1/n² of the whole for n clusters), `sq`
            (1/(n(√N + 1)) for N reads), which needs counts rather than fractions, or `epsilon` (1e-12 is added to
            every fraction, as in the published MetagenBERT scripts).
        set_elements: Elements of a DeepSets head's set: `centroids` of a k-means over the sample's own reads
            (MetagenBERT-Local), or `reads` drawn from the sample (MetagenBERT-Sub).
        set_size: Number of elements of a set.
        set_reads: Number of reads drawn from a sample: the input of k-means, or the reads that are divided into sets of
            `set_size`, over which predictions are averaged.
        set_seed: Seed of the draw and of k-means.
        set_pooling: Pooling of a set: `mean`, `sum`, `max` or `attention`.
        head_layout: Layers of a DeepSets head: `default`, or `published`: those of the MetagenBERT scripts, for which
            all elements of a set count alike.
        head_hidden_size: Width of a DeepSets head; of the network for each element (Phi) in the published layout.
        head_dropout: Dropout of a DeepSets head, or of Phi.
        pooled_hidden_size: Width of the network for the pooled vector (Rho) in the published layout.
        pooled_dropout: Dropout of Rho.
        initializer_range: Standard deviation of new centroids.

    Raises:
        ValueError: The encoder's model type or another value is unknown, or a value is out of range.
    """

    model_type = "metagenbert"
    sub_configs = {"encoder_config": AutoConfig}

    encoder_config: dict | PreTrainedConfig | None = None
    n_clusters: int = 1024
    pooling: str = "mean"
    max_length: int | None = None
    normalize_embeddings: bool = False
    far_distances: list[list[float]] | None = None
    centroids_from: str | None = None
    head: str = "linear"
    abundance_transform: str = "none"
    zero_replacement: str = "fixed"
    set_elements: str = "centroids"
    set_size: int = 64
    set_reads: int = 10_000
    set_seed: int = 0
    set_pooling: str = "attention"
    head_layout: str = "default"
    head_hidden_size: int = 64
    head_dropout: float = 0.1
    pooled_hidden_size: int = 256
    pooled_dropout: float = 0.2
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        if isinstance(self.encoder_config, dict):
            values = dict(self.encoder_config)
            model_type = values.pop("model_type", None)
            if model_type is None:
                raise ValueError("encoder_config has no model_type; it must be the config of a transformers encoder.")
            if model_type not in READ_ENCODERS and model_type not in CONFIG_MAPPING:
                raise ValueError(
                    f"encoder_config is of model_type {model_type!r}, which neither transformers nor this package "
                    "knows; update them, or check where the checkpoint came from."
                )
            make = READ_ENCODERS.get(model_type)
            self.encoder_config = make(**values) if make else AutoConfig.for_model(model_type, **values)
        elif self.encoder_config is None:
            self.encoder_config = AutoConfig.for_model("bert")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} {getattr(self, name)!r} is not one of {', '.join(choices)}.")
        if self.pooling == "mean_over_max_length" and not self.max_length:
            raise ValueError("pooling 'mean_over_max_length' needs max_length, the divisor in tokens.")
        for name in ("n_clusters", "set_size", "set_reads", "head_hidden_size", "pooled_hidden_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if self.set_reads < self.set_size:
            raise ValueError(
                f"set_reads is {self.set_reads} and set_size {self.set_size}; a set is made from that many reads."
            )
        if self._auto_class is None:
            # A checkpoint saved by this class has no code beside it, so it must not keep an `auto_map` that names some.
            kwargs.pop("auto_map", None)
        super().__post_init__(**kwargs)

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> PreTrainedConfig:
        """Return the encoder's config, which is the one with a vocabulary."""
        assert isinstance(self.encoder_config, PreTrainedConfig)
        return self.encoder_config

    @property
    def hidden_size(self) -> int:
        """Width of a read's vector and of a centroid."""
        return int(getattr(self.encoder_config, "hidden_size"))  # noqa: B009


__all__ = ["ABUNDANCE_TRANSFORMS", "POOLING_MODES", "ZERO_REPLACEMENTS", "MetagenBertConfig"]
