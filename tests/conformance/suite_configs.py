"""`ConfigTester`: every config class."""

from __future__ import annotations

import unittest
from types import SimpleNamespace
from typing import Any

from biomeformer.models.dnabert2 import DnaBert2Config
from biomeformer.models.genome_transformer import GenomeTransformerConfig
from biomeformer.models.kmer_encoder import KmerEncoderConfig
from biomeformer.models.metagenbert import MetagenBertConfig
from biomeformer.models.sequence_cnn import SequenceCnnConfig

from .upstream import suite

CONFIGS: dict[str, tuple[type, dict[str, Any], bool]] = {
    # Class, values, and whether it has the size of a vocabulary.
    "dnabert2": (DnaBert2Config, {"hidden_size": 24, "num_attention_heads": 3}, True),
    "genome_transformer": (GenomeTransformerConfig, {"hidden_size": 24, "protein_size": 12}, False),
    "kmer_encoder": (KmerEncoderConfig, {"hidden_size": 16, "k": 4}, True),
    "metagenbert": (MetagenBertConfig, {"n_clusters": 9, "pooling": "cls"}, False),
    "sequence_cnn": (SequenceCnnConfig, {"hidden_size": 16, "pool_size": 3}, False),
}
# Properties of every encoder that a config without attention lacks.
PROPERTIES = {"kmer_encoder": ["hidden_size"], "sequence_cnn": ["hidden_size"], "metagenbert": ["hidden_size"]}


class ConfigTest(unittest.TestCase):
    """One test for each config and each check of `ConfigTester`."""


def _check(model_type: str, name: str) -> Any:
    def test(self: ConfigTest) -> None:
        config_class, values, has_text = CONFIGS[model_type]
        self.model_tester = SimpleNamespace(get_config=lambda: config_class(**values))
        tester = suite("test_configuration_common").ConfigTester(
            self, config_class, has_text, PROPERTIES.get(model_type, None), **values
        )
        getattr(tester, name)()

    return test


for _model_type in CONFIGS:
    for _name in dir(suite("test_configuration_common").ConfigTester):
        if _name.startswith(("create_and_test_", "check_")):
            setattr(ConfigTest, f"test_{_model_type}_{_name}", _check(_model_type, _name))
