"""The whole-genome transformer (arXiv 2405.05998)."""

from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoProcessor
from transformers.pipelines import PIPELINE_REGISTRY

from .. import bridge
from ..checkpoints import resolve_checkpoint
from ..pipeline_support import CheckpointReference
from .configuration_genome_transformer import GenomeTransformerConfig
from .modeling_genome_transformer import (
    GenomeTransformerForSequenceClassification,
    GenomeTransformerModel,
    GenomeTransformerPreTrainedModel,
)
from .pipeline_genome_transformer import GenomeClassificationPipeline
from .processing_genome_transformer import GenomeTransformerProcessor
from .strict_loading import StrictPreTrainedModel

StrictPreTrainedModel.bridge = bridge
AutoConfig.register("genome_transformer", GenomeTransformerConfig, exist_ok=True)
AutoModel.register(GenomeTransformerConfig, GenomeTransformerModel, exist_ok=True)
AutoModelForSequenceClassification.register(
    GenomeTransformerConfig, GenomeTransformerForSequenceClassification, exist_ok=True
)
AutoProcessor.register(GenomeTransformerConfig, GenomeTransformerProcessor, exist_ok=True)
PIPELINE_REGISTRY.register_pipeline(
    "genome-classification",
    pipeline_class=GenomeClassificationPipeline,
    pt_model=CheckpointReference,
    default={"model": (resolve_checkpoint("genome-transformer-mini"), "main")},
    type="multimodal",
)

__all__ = [
    "GenomeClassificationPipeline",
    "GenomeTransformerConfig",
    "GenomeTransformerForSequenceClassification",
    "GenomeTransformerModel",
    "GenomeTransformerPreTrainedModel",
    "GenomeTransformerProcessor",
]
