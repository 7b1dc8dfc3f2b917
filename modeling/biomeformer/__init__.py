"""Foundation models for metagenomes and microbial genomes.

Importing the package imports neither torch nor transformers. Names are loaded when they are first used, and
transformers' Auto classes and `pipeline` know the package's models whether transformers is imported before or after.
"""

import warnings
from importlib import import_module
from typing import Any

import lazy_loader

from .registration import register
from .version import __version__ as __version__

# The public names, and where each is from, are listed in `__init__.pyi` alone.
_getattr, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# Names that version 0.1 had here, by the package that has them now.
_MOVED = {
    "AttributionSettings": "biomeformer.attribution",
    "ClusterSettings": "biomeformer.attribution",
    "Cohort": "biomeformer.reads",
    "DnaBert2Config": "biomeformer.dnabert2",
    "DnaBert2ForMaskedLM": "biomeformer.dnabert2",
    "DnaBert2ForSequenceClassification": "biomeformer.dnabert2",
    "DnaBert2Model": "biomeformer.dnabert2",
    "GeneInteractionNetwork": "biomeformer.attribution",
    "Genome": "biomeformer.genomes",
    "GenomeTransformerModel": "biomeformer.genome_transformer",
    "KmerEncoderConfig": "biomeformer.kmer_encoder",
    "KmerEncoderForSequenceClassification": "biomeformer.kmer_encoder",
    "KmerEncoderModel": "biomeformer.kmer_encoder",
    "KmerTokenizer": "biomeformer.kmer_encoder",
    "MetagenBertOutput": "biomeformer.metagenbert",
    "PreparationSettings": "biomeformer.sequences",
    "PreparedSequences": "biomeformer.sequences",
    "SampleEmbedding": "biomeformer.embedding",
    "SampleReads": "biomeformer.reads",
    "SequenceCnnConfig": "biomeformer.sequence_cnn",
    "SequenceCnnForSequenceClassification": "biomeformer.sequence_cnn",
    "convert_checkpoint": "biomeformer.dnabert2",
}


def __getattr__(name: str) -> Any:
    if name in _MOVED:
        home = _MOVED[name]
        warnings.warn(
            f"biomeformer.{name} has moved: import it from {home}. The old name goes with the next version.",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(import_module(home), name)
    return _getattr(name)


register()
