"""MetagenBERT configuration."""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

POOLING_MODES = ("mean", "mean_over_max_length", "cls")
ABUNDANCE_TRANSFORMS = ("none", "clr")


@strict
class MetagenBertConfig(PreTrainedConfig):
    r"""Configuration of a read encoder with centroids.

    Args:
        encoder_config: Configuration of the read encoder, any transformers encoder (a config or its dictionary).
        n_clusters: Number of centroids.
        pooling: How a read's token vectors become one: `mean` (over tokens, special ones included),
            `mean_over_max_length` (their sum over `max_length`, the scale of the published MetagenBERT scripts), `cls`.
        max_length: Longest read in tokens, special ones included; longer ones lose their tail. `None`: no limit.
        normalize_embeddings: Whether read vectors are scaled to unit length before the nearest centroid is sought.
        abundance_transform: What a phenotype's head sees: `none` (shares of reads) or `clr` (their centred log-ratios).
    """

    model_type = "metagenbert"
    sub_configs = {"encoder_config": AutoConfig}

    encoder_config: dict | PreTrainedConfig | None = None
    n_clusters: int = 1024
    pooling: str = "mean"
    max_length: int | None = None
    normalize_embeddings: bool = False
    abundance_transform: str = "none"
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        if isinstance(self.encoder_config, dict):
            values = dict(self.encoder_config)
            model_type = values.pop("model_type", None)
            if model_type is None:
                raise ValueError("encoder_config has no model_type; it must be the config of a transformers encoder.")
            self.encoder_config = AutoConfig.for_model(model_type, **values)
        elif self.encoder_config is None:
            self.encoder_config = AutoConfig.for_model("bert")
        if self.pooling not in POOLING_MODES:
            raise ValueError(f"pooling {self.pooling!r} is not one of {', '.join(POOLING_MODES)}.")
        if self.pooling == "mean_over_max_length" and not self.max_length:
            raise ValueError("pooling 'mean_over_max_length' needs max_length, the divisor in tokens.")
        if self.abundance_transform not in ABUNDANCE_TRANSFORMS:
            raise ValueError(
                f"abundance_transform {self.abundance_transform!r} is not one of {', '.join(ABUNDANCE_TRANSFORMS)}."
            )
        if self.n_clusters < 1:
            raise ValueError(f"n_clusters is {self.n_clusters}; it must be at least 1.")
        super().__post_init__(**kwargs)

    @property
    def hidden_size(self) -> int:
        """Width of a read's vector and of a centroid."""
        return int(getattr(self.encoder_config, "hidden_size"))  # noqa: B009


__all__ = ["ABUNDANCE_TRANSFORMS", "POOLING_MODES", "MetagenBertConfig"]
