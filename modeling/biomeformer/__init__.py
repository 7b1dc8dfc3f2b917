"""Foundation models for metagenomes and microbial genomes.

Importing the package registers its models with transformers' Auto classes.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .attribution import AttributionSettings, ClusterSettings, GeneInteractionNetwork, attribute
    from .clustering import fit_centroids
    from .dnabert2 import (
        DnaBert2Config,
        DnaBert2ForMaskedLM,
        DnaBert2ForSequenceClassification,
        DnaBert2Model,
        convert_checkpoint,
    )
    from .embedding import AbundanceTable, SampleEmbedding, embed_cohort, embed_sample
    from .genome_transformer import (
        GenomeTransformerConfig,
        GenomeTransformerForSequenceClassification,
        GenomeTransformerModel,
        GenomeTransformerProcessor,
    )
    from .genomes import Genome, read_genome
    from .kmer_encoder import (
        KmerEncoderConfig,
        KmerEncoderForSequenceClassification,
        KmerEncoderModel,
        KmerTokenizer,
    )
    from .loading import load, load_read_encoder
    from .metagenbert import (
        MetagenBertConfig,
        MetagenBertForPhenotypeClassification,
        MetagenBertModel,
        MetagenBertOutput,
        MetagenBertProcessor,
    )
    from .reads import Cohort, SampleReads, read_cohort
    from .sequence_cnn import SequenceCnnConfig, SequenceCnnForSequenceClassification
    from .sequences import PreparationSettings, PreparedSequences, prepare_sequences
    from .sequences.classifier import SequenceClassifier

_HOME = {
    "AbundanceTable": "embedding",
    "AttributionSettings": "attribution",
    "ClusterSettings": "attribution",
    "Cohort": "reads",
    "DnaBert2Config": "dnabert2",
    "DnaBert2ForMaskedLM": "dnabert2",
    "DnaBert2ForSequenceClassification": "dnabert2",
    "DnaBert2Model": "dnabert2",
    "GeneInteractionNetwork": "attribution",
    "Genome": "genomes",
    "GenomeTransformerConfig": "genome_transformer",
    "GenomeTransformerForSequenceClassification": "genome_transformer",
    "GenomeTransformerModel": "genome_transformer",
    "GenomeTransformerProcessor": "genome_transformer",
    "KmerEncoderConfig": "kmer_encoder",
    "KmerEncoderForSequenceClassification": "kmer_encoder",
    "KmerEncoderModel": "kmer_encoder",
    "KmerTokenizer": "kmer_encoder",
    "MetagenBertConfig": "metagenbert",
    "MetagenBertForPhenotypeClassification": "metagenbert",
    "MetagenBertModel": "metagenbert",
    "MetagenBertOutput": "metagenbert",
    "MetagenBertProcessor": "metagenbert",
    "SampleEmbedding": "embedding",
    "PreparationSettings": "sequences",
    "PreparedSequences": "sequences",
    "SampleReads": "reads",
    "SequenceClassifier": "sequences.classifier",
    "SequenceCnnConfig": "sequence_cnn",
    "SequenceCnnForSequenceClassification": "sequence_cnn",
    "attribute": "attribution",
    "convert_checkpoint": "dnabert2",
    "embed_cohort": "embedding",
    "embed_sample": "embedding",
    "fit_centroids": "clustering",
    "load": "loading",
    "load_read_encoder": "loading",
    "prepare_sequences": "sequences",
    "read_cohort": "reads",
    "read_genome": "genomes",
}

__all__ = [
    "AbundanceTable",
    "AttributionSettings",
    "ClusterSettings",
    "Cohort",
    "DnaBert2Config",
    "DnaBert2ForMaskedLM",
    "DnaBert2ForSequenceClassification",
    "DnaBert2Model",
    "GeneInteractionNetwork",
    "Genome",
    "GenomeTransformerConfig",
    "GenomeTransformerForSequenceClassification",
    "GenomeTransformerModel",
    "GenomeTransformerProcessor",
    "KmerEncoderConfig",
    "KmerEncoderForSequenceClassification",
    "KmerEncoderModel",
    "KmerTokenizer",
    "MetagenBertConfig",
    "MetagenBertForPhenotypeClassification",
    "MetagenBertModel",
    "MetagenBertOutput",
    "MetagenBertProcessor",
    "PreparationSettings",
    "PreparedSequences",
    "SampleEmbedding",
    "SampleReads",
    "SequenceClassifier",
    "SequenceCnnConfig",
    "SequenceCnnForSequenceClassification",
    "__version__",
    "attribute",
    "convert_checkpoint",
    "embed_cohort",
    "embed_sample",
    "fit_centroids",
    "load",
    "load_read_encoder",
    "prepare_sequences",
    "read_cohort",
    "read_genome",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__


# Each model folder registers its classes when it is imported. The command line imports them when a command needs them,
# because transformers takes seconds to load and `biomeformer --help` should not.
if not sys.argv or Path(sys.argv[0]).stem != "biomeformer":
    from . import dnabert2, genome_transformer, kmer_encoder, metagenbert, sequence_cnn  # noqa: F401
