"""MetagenBERT-Glob (arXiv 2601.03295): a read encoder and its centroids as one pretrained model."""

from transformers import AutoConfig, AutoModel, AutoProcessor

from .configuration_metagenbert import POOLING_MODES, MetagenBertConfig
from .modeling_metagenbert import MetagenBertForPhenotypeClassification, MetagenBertModel, MetagenBertOutput
from .processing_metagenbert import MetagenBertProcessor, PackedReads

AutoConfig.register("metagenbert", MetagenBertConfig, exist_ok=True)
AutoModel.register(MetagenBertConfig, MetagenBertModel, exist_ok=True)
AutoProcessor.register(MetagenBertConfig, MetagenBertProcessor, exist_ok=True)

__all__ = [
    "POOLING_MODES",
    "MetagenBertConfig",
    "MetagenBertForPhenotypeClassification",
    "MetagenBertModel",
    "MetagenBertOutput",
    "MetagenBertProcessor",
    "PackedReads",
]
