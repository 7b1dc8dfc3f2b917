"""`ProcessorTesterMixin`: both processors."""

from __future__ import annotations

import unittest
from typing import Any

import numpy as np

from biomeformer.models.genome_transformer import GenomeTransformerProcessor
from biomeformer.models.metagenbert import MetagenBertProcessor
from factories import bpe_tokenizer, random_sequences

from .upstream import suite


class MetagenBertProcessorTest(suite("test_processing_common").ProcessorTesterMixin, unittest.TestCase):
    processor_class = MetagenBertProcessor

    @classmethod
    def _setup_tokenizer(cls) -> Any:
        return bpe_tokenizer()

    @staticmethod
    def prepare_processor_dict() -> dict[str, Any]:
        return {"max_length": 64, "min_read_length": 20}

    def prepare_text_inputs(self, batch_size: int | None = None, modalities: Any = None) -> str | list[str]:
        reads = random_sequences(batch_size or 1)
        return reads if batch_size else reads[0]


class GenomeTransformerProcessorTest(suite("test_processing_common").ProcessorTesterMixin, unittest.TestCase):
    processor_class = GenomeTransformerProcessor

    @staticmethod
    def prepare_processor_dict() -> dict[str, Any]:
        return {"protein_size": 12, "max_genes": 30}

    def prepare_text_inputs(self, batch_size: int | None = None, modalities: Any = None) -> np.ndarray:
        return np.zeros((5, 12), np.float32)
