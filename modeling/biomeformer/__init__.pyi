from . import (
    attribution as attribution,
    clustering as clustering,
    dnabert2 as dnabert2,
    embedding as embedding,
    errors as errors,
    genome_transformer as genome_transformer,
    genomes as genomes,
    kmer_encoder as kmer_encoder,
    metagenbert as metagenbert,
    phenotypes as phenotypes,
    reads as reads,
    reports as reports,
    sequence_cnn as sequence_cnn,
    sequences as sequences,
)
from .attribution import attribute as attribute
from .clustering import fit_centroids as fit_centroids
from .embedding import AbundanceTable as AbundanceTable, embed_cohort as embed_cohort, embed_sample as embed_sample
from .genome_transformer import (
    GenomeTransformerConfig as GenomeTransformerConfig,
    GenomeTransformerForSequenceClassification as GenomeTransformerForSequenceClassification,
    GenomeTransformerProcessor as GenomeTransformerProcessor,
)
from .genomes import EmbeddedGenomes as EmbeddedGenomes, read_genome as read_genome
from .loading import load as load, load_read_encoder as load_read_encoder
from .metagenbert import (
    MetagenBertConfig as MetagenBertConfig,
    MetagenBertForPhenotypeClassification as MetagenBertForPhenotypeClassification,
    MetagenBertModel as MetagenBertModel,
    MetagenBertProcessor as MetagenBertProcessor,
)
from .reads import read_cohort as read_cohort
from .sequences import prepare_sequences as prepare_sequences
from .sequences.classifier import SequenceClassifier as SequenceClassifier

__version__: str
