"""Pretraining of read encoders: reads drawn on the fly, and what is minimised on them."""

from .contrastive import instance_mixup_loss, weighted_simclr_loss
from .divergence import with_diverged_copies
from .masking import mask_tokens
from .modules import ContrastiveLearning, MaskedLanguageModelling, SpeciesClassification
from .reads import ReadSource

__all__ = [
    "ContrastiveLearning",
    "MaskedLanguageModelling",
    "ReadSource",
    "SpeciesClassification",
    "instance_mixup_loss",
    "mask_tokens",
    "weighted_simclr_loss",
    "with_diverged_copies",
]
