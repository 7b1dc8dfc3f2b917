"""`TokenizerTesterMixin`: the k-mer tokenizer."""

from __future__ import annotations

import unittest
from typing import Any, ClassVar

from biomeformer.models.kmer_encoder import KmerTokenizer
from biomeformer.models.kmer_encoder.tokenization_kmer_encoder import BASES

from .upstream import suite

READ = "ACGTTGCAGGCTAACGT"


class LetterTokenizer(KmerTokenizer):
    """A k-mer tokenizer that reads every character as one of the bases: the suite's texts are English."""

    def _tokenize(self, text: str, **kwargs: Any) -> list[str]:
        bases = "".join(letter if letter in BASES else BASES[ord(letter) % len(BASES)] for letter in text)
        return super()._tokenize(bases, **kwargs)


class CanonicalKmerTokenizerTest(suite("test_tokenization_common").TokenizerTesterMixin, unittest.TestCase):
    tokenizer_class = LetterTokenizer
    options: ClassVar[dict[str, Any]] = {"k": 3}
    test_seq2seq = False

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        LetterTokenizer(**cls.options).save_pretrained(cls.tmpdirname)

    def get_clean_sequence(self, tokenizer: Any, *args: Any, **kwargs: Any) -> tuple[str, list[int]]:
        return READ, tokenizer.encode(READ, add_special_tokens=False)

    def get_input_output_texts(self, tokenizer: Any) -> tuple[str, str]:
        return READ, tokenizer.decode(tokenizer.encode(READ))


class KmerTokenizerTest(CanonicalKmerTokenizerTest):
    options: ClassVar[dict[str, Any]] = {"k": 2, "canonical": False}
