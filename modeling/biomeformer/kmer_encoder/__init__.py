"""A read encoder for CPUs: the mean of learnt vectors of a read's canonical k-mers."""

from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from .. import bridge
from .configuration_kmer_encoder import KmerEncoderConfig
from .modeling_kmer_encoder import KmerEncoderForSequenceClassification, KmerEncoderModel
from .strict_loading import StrictPreTrainedModel
from .tokenization_kmer_encoder import KmerTokenizer

StrictPreTrainedModel.bridge = bridge
AutoConfig.register("kmer_encoder", KmerEncoderConfig, exist_ok=True)
AutoModel.register(KmerEncoderConfig, KmerEncoderModel, exist_ok=True)
AutoModelForSequenceClassification.register(KmerEncoderConfig, KmerEncoderForSequenceClassification, exist_ok=True)
AutoTokenizer.register(KmerEncoderConfig, slow_tokenizer_class=KmerTokenizer, exist_ok=True)

__all__ = ["KmerEncoderConfig", "KmerEncoderForSequenceClassification", "KmerEncoderModel", "KmerTokenizer"]
