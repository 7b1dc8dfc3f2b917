"""Objectives for pretraining read encoders: masked tokens, species, and species-aware contrastive learning."""

from .contrastive import instance_mixup_loss, weighted_simclr_loss
from .masking import mask_tokens

__all__ = ["instance_mixup_loss", "mask_tokens", "weighted_simclr_loss"]
