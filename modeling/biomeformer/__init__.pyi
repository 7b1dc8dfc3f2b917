from . import (
    attribution as attribution,
    checkpoints as checkpoints,
    errors as errors,
    genomes as genomes,
    metagenomes as metagenomes,
    models as models,
    phenotypes as phenotypes,
    reads as reads,
    reports as reports,
    sequences as sequences,
)
from .attribution import attribute as attribute
from .checkpoints.loading import (
    load as load,
    load_encoder_with_processor as load_encoder_with_processor,
    load_read_encoder as load_read_encoder,
)
from .genomes import EmbeddedGenomes as EmbeddedGenomes, read_genome as read_genome
from .metagenomes import (
    AbundanceTable as AbundanceTable,
    embed_cohort as embed_cohort,
    embed_sample as embed_sample,
    fit_centroids as fit_centroids,
)
from .models.genome_transformer import (
    GenomeTransformerConfig as GenomeTransformerConfig,
    GenomeTransformerForSequenceClassification as GenomeTransformerForSequenceClassification,
    GenomeTransformerProcessor as GenomeTransformerProcessor,
)
from .models.metagenbert import (
    MetagenBertConfig as MetagenBertConfig,
    MetagenBertForPhenotypeClassification as MetagenBertForPhenotypeClassification,
    MetagenBertModel as MetagenBertModel,
    MetagenBertProcessor as MetagenBertProcessor,
)
from .reads import read_cohort as read_cohort
from .sequences import prepare_sequences as prepare_sequences
from .sequences.classifier import SequenceClassifier as SequenceClassifier

__version__: str
