"""Labelled sequences as datasets for fine-tuning a genomic language model (arXiv 2509.25274)."""

from .prepare import PreparedSequences, prepare_sequences
from .settings import PreparationSettings
from .token_lengths import TokenLengths

__all__ = ["PreparationSettings", "PreparedSequences", "TokenLengths", "prepare_sequences"]
