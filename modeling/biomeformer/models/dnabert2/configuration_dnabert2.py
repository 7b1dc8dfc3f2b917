"""DNABERT-2 configuration."""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class DnaBert2Config(PreTrainedConfig):
    r"""Configuration of a DNABERT-2 encoder. The defaults are those of `zhihan1996/DNABERT-2-117M`.

    A published `config.json` (`model_type: "bert"` with an `auto_map` to `bert_layers.py`) is accepted as it is. A
    stock BERT configuration is refused: its weights include learnt positions, where DNABERT-2 has ALiBi.

    Args:
        vocab_size: Number of tokens of the BPE vocabulary.
        hidden_size: Width of a token's vector.
        num_hidden_layers: Number of layers.
        num_attention_heads: Number of attention heads per layer.
        intermediate_size: Width of the gated linear unit of each layer.
        hidden_act: Activation of the gated linear unit.
        hidden_dropout_prob: Dropout of embeddings and of the outputs of attention and gated linear units.
        attention_probs_dropout_prob: Dropout of attention weights.
        classifier_dropout: Dropout before the classifier; `hidden_dropout_prob` if None.
        max_position_embeddings: Kept for the round trip with published checkpoints; it limits nothing.
        alibi_starting_size: Kept for the round trip with published checkpoints; longer sequences need no setting.
        type_vocab_size: Number of token types.
        initializer_range: Standard deviation of new weights.
        layer_norm_eps: Epsilon of layer normalisation.
        pad_token_id: The tokenizer's `[PAD]`, 3 in the published vocabulary whatever the published config says. The
            model takes padding from `attention_mask` alone.
        add_pooling_layer: Whether the checkpoint has the `[CLS]` pooler (DNABERT-S has, DNABERT-2 has not).
        tie_word_embeddings: Whether the language-model head shares the weights of the input embeddings.

    Raises:
        ValueError: `hidden_size` is not a multiple of `num_attention_heads`.
    """

    model_type = "dnabert2"

    vocab_size: int = 4096
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float | int = 0.1
    attention_probs_dropout_prob: float | int = 0.0
    classifier_dropout: float | int | None = None
    max_position_embeddings: int = 512
    alibi_starting_size: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 3
    add_pooling_layer: bool = True
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        if self._auto_class is None:
            # A checkpoint saved by this class has no code beside it, so it must not keep an `auto_map` that names some.
            kwargs.pop("auto_map", None)
        super().__post_init__(**kwargs)
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}; "
                "choose sizes that divide."
            )

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Build from a dictionary, also one in the published layout (see the class).

        Raises:
            ValueError: The dictionary is the config of another model type.
        """
        config_dict = dict(config_dict)
        if config_dict.get("model_type", cls.model_type) != cls.model_type:
            if not is_published_layout(config_dict):
                raise ValueError(
                    f"The config says model_type {config_dict['model_type']!r} and has no DNABERT-2 auto_map or "
                    "alibi_starting_size, so it is not a DNABERT-2 checkpoint; load it with AutoModel instead."
                )
            config_dict["model_type"] = cls.model_type
            config_dict["architectures"] = None
            config_dict.pop("auto_map", None)
            # The published value, 0, is the tokenizer's [UNK].
            config_dict["pad_token_id"] = 3
        return super().from_dict(config_dict, **kwargs)


def is_published_layout(config_dict: dict[str, Any]) -> bool:
    """Tell whether a `config.json` is of the DNABERT-2 family, in the layout in which its authors publish it."""
    if config_dict.get("model_type", "bert") != "bert":
        return False
    remote_code = " ".join(str(value) for value in (config_dict.get("auto_map") or {}).values())
    return "alibi_starting_size" in config_dict or "bert_layers." in remote_code


__all__ = ["DnaBert2Config", "is_published_layout"]
