"""MetagenBERT-Glob (arXiv 2601.03295): a read encoder and its centroids as one pretrained model."""

from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoProcessor
from transformers.pipelines import PIPELINE_REGISTRY

from .. import bridge
from ..checkpoints import resolve_checkpoint
from ..pipeline_support import CheckpointReference
from .configuration_metagenbert import POOLING_MODES, MetagenBertConfig
from .modeling_metagenbert import MetagenBertForPhenotypeClassification, MetagenBertModel, MetagenBertOutput
from .pipeline_metagenbert import MetagenomeClassificationPipeline, MetagenomeEmbeddingPipeline
from .processing_metagenbert import MetagenBertProcessor, PackedReads
from .strict_loading import StrictPreTrainedModel

StrictPreTrainedModel.bridge = bridge
AutoConfig.register("metagenbert", MetagenBertConfig, exist_ok=True)
AutoModel.register(MetagenBertConfig, MetagenBertModel, exist_ok=True)
AutoModelForSequenceClassification.register(MetagenBertConfig, MetagenBertForPhenotypeClassification, exist_ok=True)
AutoProcessor.register(MetagenBertConfig, MetagenBertProcessor, exist_ok=True)
PIPELINE_REGISTRY.register_pipeline(
    "metagenome-embedding",
    pipeline_class=MetagenomeEmbeddingPipeline,
    pt_model=CheckpointReference,
    default={"model": (resolve_checkpoint("metagenbert-mini"), "main")},
    type="multimodal",
)
PIPELINE_REGISTRY.register_pipeline(
    "metagenome-classification",
    pipeline_class=MetagenomeClassificationPipeline,
    pt_model=CheckpointReference,
    type="multimodal",
)

__all__ = [
    "POOLING_MODES",
    "MetagenBertConfig",
    "MetagenBertForPhenotypeClassification",
    "MetagenBertModel",
    "MetagenBertOutput",
    "MetagenBertProcessor",
    "MetagenomeClassificationPipeline",
    "MetagenomeEmbeddingPipeline",
    "PackedReads",
]
