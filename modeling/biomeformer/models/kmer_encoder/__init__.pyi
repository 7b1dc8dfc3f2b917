from .configuration_kmer_encoder import KmerEncoderConfig as KmerEncoderConfig
from .modeling_kmer_encoder import (
    KmerEncoderForSequenceClassification as KmerEncoderForSequenceClassification,
    KmerEncoderModel as KmerEncoderModel,
)
from .tokenization_kmer_encoder import KmerTokenizer as KmerTokenizer
