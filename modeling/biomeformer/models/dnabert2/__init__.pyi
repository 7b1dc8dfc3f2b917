from .configuration_dnabert2 import DnaBert2Config as DnaBert2Config
from .modeling_dnabert2 import (
    DnaBert2ForMaskedLM as DnaBert2ForMaskedLM,
    DnaBert2ForSequenceClassification as DnaBert2ForSequenceClassification,
    DnaBert2Model as DnaBert2Model,
    DnaBert2PreTrainedModel as DnaBert2PreTrainedModel,
)
