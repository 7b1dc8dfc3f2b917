"""A convolutional network over one-hot bases, the baseline of fine-tuned read encoders."""

from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from .. import bridge
from ..kmer_encoder import KmerTokenizer
from .configuration_sequence_cnn import SequenceCnnConfig
from .modeling_sequence_cnn import SequenceCnnForSequenceClassification
from .strict_loading import StrictPreTrainedModel

StrictPreTrainedModel.bridge = bridge
AutoConfig.register("sequence_cnn", SequenceCnnConfig, exist_ok=True)
AutoModelForSequenceClassification.register(SequenceCnnConfig, SequenceCnnForSequenceClassification, exist_ok=True)
# Its tokens are single bases.
AutoTokenizer.register(SequenceCnnConfig, slow_tokenizer_class=KmerTokenizer, exist_ok=True)

__all__ = ["SequenceCnnConfig", "SequenceCnnForSequenceClassification"]
