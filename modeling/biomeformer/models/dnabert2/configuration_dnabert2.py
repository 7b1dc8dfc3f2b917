"""DNABERT-2 configuration."""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class DnaBert2Config(PreTrainedConfig):
    r"""Configuration of a DNABERT-2 encoder. The defaults are those of `zhihan1996/DNABERT-2-117M`.

    A published `config.json` (`model_type: "bert"` with an `auto_map` to `bert_layers.py`) is read as it is; a stock
    BERT configuration is refused, because its weights have learnt positions where DNABERT-2 has ALiBi.

    Args:
        vocab_size: Number of tokens of the BPE vocabulary.
        hidden_size: Width of a token's vector.
        intermediate_size: Width of the gated linear unit of each layer.
        alibi_starting_size: Kept for the round trip with published checkpoints. Longer sequences need no setting.
        pad_token_id: The tokenizer's `[PAD]`, 3 in the published vocabulary, whatever the published config says. The
            model takes padding from `attention_mask` alone.
        add_pooling_layer: Whether the checkpoint has the `[CLS]` pooler (DNABERT-S has, DNABERT-2 has not).
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
            # An `auto_map` stays with the class it names: what this one saves has no code beside it.
            kwargs.pop("auto_map", None)
        super().__post_init__(**kwargs)
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}; "
                "choose sizes that divide."
            )

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Build from a dictionary; also from the published layout (see the class)."""
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
    """Whether a `config.json` is one of the DNABERT-2 family as its authors publish it."""
    if config_dict.get("model_type", "bert") != "bert":
        return False
    remote_code = " ".join(str(value) for value in (config_dict.get("auto_map") or {}).values())
    return "alibi_starting_size" in config_dict or "bert_layers." in remote_code


__all__ = ["DnaBert2Config", "is_published_layout"]
