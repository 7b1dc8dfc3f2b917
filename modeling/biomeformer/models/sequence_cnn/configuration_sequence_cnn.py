"""Convolutional baseline configuration."""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

NORMALIZATIONS = ("layer", "weights")


@strict
class SequenceCnnConfig(PreTrainedConfig):
    r"""Configuration of a `SequenceCnnForSequenceClassification`.

    Args:
        n_filters: Number of filters of each convolution.
        kernel_sizes: Kernel size of each convolution, in positions.
        normalization: `layer` normalizes the outputs of a convolution over the filters at each position; `weights`
            standardizes each filter instead (arXiv 1903.10520) and normalizes the pooled features, so that outputs keep
            how well a position matches.
        pool_size: Window of the maximum pooling after each convolution, in positions.
        hidden_size: Width of the layer before the classifier.
        hidden_dropout_prob: Dropout of the inputs of that layer and of the classifier.
        pad_token_id: Token id of padding and of unknown bases; A, C, G and T are 1 to 4.
        initializer_range: Standard deviation of new weights of the last two layers with normalization `layer`; with
            `weights` it follows from their number of inputs.

    Raises:
        ValueError: A size is below 1, there is no convolution, or the normalization is unknown.
    """

    model_type = "sequence_cnn"

    n_filters: int = 64
    kernel_sizes: list[int] | tuple[int, ...] = (9, 7, 5)
    normalization: str = "layer"
    pool_size: int = 4
    hidden_size: int = 128
    hidden_dropout_prob: float | int = 0.3
    pad_token_id: int | None = 0
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        if self._auto_class is None:
            # A checkpoint saved by this class has no code beside it, so it must not keep an `auto_map` that names some.
            kwargs.pop("auto_map", None)
        super().__post_init__(**kwargs)
        if not self.kernel_sizes or min(self.kernel_sizes) < 1 or self.pool_size < 1:
            raise ValueError(
                f"kernel_sizes are {list(self.kernel_sizes)} and pool_size {self.pool_size}; give whole numbers of at "
                "least 1."
            )
        if self.normalization not in NORMALIZATIONS:
            raise ValueError(f"normalization is {self.normalization!r}; give {' or '.join(NORMALIZATIONS)}.")

    @property
    def vocab_size(self) -> int:
        """Number of tokens: padding, A, C, G and T."""
        return 5


__all__ = ["SequenceCnnConfig"]
