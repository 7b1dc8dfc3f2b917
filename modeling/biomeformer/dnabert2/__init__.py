"""DNABERT-2 (arXiv 2306.15006) as a native transformers model, without remote code or Triton."""

from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification

from .. import bridge
from .configuration_dnabert2 import DnaBert2Config
from .conversion_dnabert2 import convert_checkpoint
from .modeling_dnabert2 import (
    DnaBert2ForMaskedLM,
    DnaBert2ForSequenceClassification,
    DnaBert2Model,
    DnaBert2PreTrainedModel,
)
from .strict_loading import StrictPreTrainedModel

StrictPreTrainedModel.bridge = bridge
AutoConfig.register("dnabert2", DnaBert2Config, exist_ok=True)
AutoModel.register(DnaBert2Config, DnaBert2Model, exist_ok=True)
AutoModelForMaskedLM.register(DnaBert2Config, DnaBert2ForMaskedLM, exist_ok=True)
AutoModelForSequenceClassification.register(DnaBert2Config, DnaBert2ForSequenceClassification, exist_ok=True)

__all__ = [
    "DnaBert2Config",
    "DnaBert2ForMaskedLM",
    "DnaBert2ForSequenceClassification",
    "DnaBert2Model",
    "DnaBert2PreTrainedModel",
    "convert_checkpoint",
]
