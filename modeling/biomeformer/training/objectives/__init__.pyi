from .contrastive import instance_mixup_loss as instance_mixup_loss, weighted_simclr_loss as weighted_simclr_loss
from .divergence import with_diverged_copies as with_diverged_copies
from .masking import mask_tokens as mask_tokens
from .modules import (
    ContrastiveLearning as ContrastiveLearning,
    MaskedLanguageModelling as MaskedLanguageModelling,
    SpeciesClassification as SpeciesClassification,
)
from .reads import ReadSource as ReadSource
