from .configuration_metagenbert import POOLING_MODES as POOLING_MODES, MetagenBertConfig as MetagenBertConfig
from .modeling_metagenbert import (
    MetagenBertForPhenotypeClassification as MetagenBertForPhenotypeClassification,
    MetagenBertModel as MetagenBertModel,
    MetagenBertOutput as MetagenBertOutput,
)
from .processing_metagenbert import MetagenBertProcessor as MetagenBertProcessor, PackedReads as PackedReads
