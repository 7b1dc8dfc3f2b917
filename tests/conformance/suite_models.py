"""`ModelTesterMixin`: every model class."""

from __future__ import annotations

import copy
import unittest
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar
from unittest.mock import patch

import torch
from transformers import PreTrainedConfig, set_seed

from biomeformer.checkpoints import loader
from biomeformer.models.dnabert2 import (
    DnaBert2Config,
    DnaBert2ForMaskedLM,
    DnaBert2ForSequenceClassification,
    DnaBert2Model,
)
from biomeformer.models.genome_transformer import (
    GenomeTransformerConfig,
    GenomeTransformerForSequenceClassification,
    GenomeTransformerModel,
)
from biomeformer.models.kmer_encoder import (
    KmerEncoderConfig,
    KmerEncoderForSequenceClassification,
    KmerEncoderModel,
)
from biomeformer.models.metagenbert import (
    MetagenBertConfig,
    MetagenBertForPhenotypeClassification,
    MetagenBertModel,
    MetagenBertProcessor,
)
from biomeformer.models.metagenbert.modeling_metagenbert import MetagenBertPreTrainedModel
from biomeformer.models.sequence_cnn import SequenceCnnConfig, SequenceCnnForSequenceClassification
from factories import bpe_tokenizer

from .upstream import suite

common = suite("test_modeling_common")
BATCH, LENGTH = 5, 9
SMALL_BERT = {
    "vocab_size": 37,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 37,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
}


class Inputs:
    """Config and inputs of a small model, in the form that the suite takes (a `ModelTester`).

    Args:
        parent: The test case.
        config_class: Class of the config.
        **values: Values of the config.
    """

    is_training = True
    batch_size = BATCH
    seq_length = LENGTH
    encoder_seq_length = LENGTH
    key_length = LENGTH
    num_labels = 3

    def __init__(self, parent: unittest.TestCase, config_class: type[PreTrainedConfig], **values: Any) -> None:
        self.parent = parent
        self.config_class = config_class
        self.values = values
        # A composite model's encoder has them.
        for name in ("hidden_size", "num_hidden_layers", "num_attention_heads"):
            if not hasattr(self, name) and name in (sizes := values | values.get("encoder_config", {})):
                setattr(self, name, sizes[name])

    def get_config(self) -> PreTrainedConfig:
        return self.config_class(**copy.deepcopy(self.values))

    def prepare_config_and_inputs_for_common(self) -> tuple[PreTrainedConfig, dict[str, torch.Tensor]]:
        config = self.get_config()
        return config, self.inputs(config)

    def inputs(self, config: PreTrainedConfig) -> dict[str, torch.Tensor]:
        vocab_size = getattr(config, "vocab_size", None) or 5
        mask = torch.ones(BATCH, LENGTH, dtype=torch.long)
        for row in range(1, BATCH):
            mask[row, LENGTH - row :] = 0
        return {"input_ids": common.ids_tensor([BATCH, LENGTH], vocab_size - 1) + 1, "attention_mask": mask}


@contextmanager
def lenient_loading(model_classes: Iterable[Any]) -> Iterator[None]:
    """Accept checkpoints whose weights do not fit the model, as transformers does."""
    with ExitStack() as patches:
        # Each model folder has a class of its own.
        for rules in {type(cls.weight_rules) for cls in model_classes}:
            patches.enter_context(patch.object(rules, "problem", return_value=None))
        for cls in model_classes:
            patches.enter_context(patch.object(cls, "_finish_loading"))
        patches.enter_context(patch.object(loader, "_check_layers"))
        yield


class ModelSuite:
    """What the adapters share."""

    config_class: ClassVar[type[PreTrainedConfig]]
    values: ClassVar[dict[str, Any]]
    inputs_class: ClassVar[type[Inputs]] = Inputs
    all_model_classes: ClassVar[tuple[type, ...]]
    test_can_init_all_missing_weights_before_2023 = True

    def setUp(self) -> None:
        set_seed(0)
        self.model_tester = self.inputs_class(self, self.config_class, **self.values)


def _leniently(name: str) -> Any:
    """Return a test of the suite that runs with `lenient_loading`, for what it tests apart from the refusal."""

    def run(self: Any) -> None:
        with lenient_loading(self.all_model_classes):
            getattr(common.ModelTesterMixin, name)(self)

    return run


# The suite loads checkpoints that lack weights, which is refused here: see `known_differences.toml`.
for _name in (
    "test_base_model_prefix_loads_base_weights",
    "test_can_init_all_missing_weights",
    "test_correct_missing_keys",
    "test_model_weights_reload_no_missing_tied_weights",
):
    setattr(ModelSuite, _name, _leniently(_name))


class DnaBert2Test(ModelSuite, common.ModelTesterMixin, unittest.TestCase):
    config_class, values = DnaBert2Config, SMALL_BERT
    all_model_classes = (DnaBert2Model, DnaBert2ForMaskedLM, DnaBert2ForSequenceClassification)


class KmerInputs(Inputs):
    """The embedding of k-mers is the only layer, and its output the only hidden state."""

    num_hidden_layers = 0


class KmerEncoderTest(ModelSuite, common.ModelTesterMixin, unittest.TestCase):
    config_class, values = KmerEncoderConfig, {"k": 3, "hidden_size": 16}
    inputs_class = KmerInputs
    all_model_classes = (KmerEncoderModel, KmerEncoderForSequenceClassification)
    has_attentions = False
    test_resize_embeddings = False


class GatedKmerEncoderTest(KmerEncoderTest):
    values = {"k": 2, "hidden_size": 16, "num_gate_heads": 2, "classifier_hidden_size": 8}


class GenomeInputs(Inputs):
    """Genomes of a few genes."""

    def inputs(self, config: PreTrainedConfig) -> dict[str, torch.Tensor]:
        mask = torch.ones(BATCH, LENGTH, dtype=torch.long)
        for row in range(1, BATCH):
            mask[row, LENGTH - row :] = 0
        return {"proteins": common.floats_tensor([BATCH, LENGTH, config.protein_size]), "attention_mask": mask}


class GenomeTransformerTest(ModelSuite, common.ModelTesterMixin, unittest.TestCase):
    config_class = GenomeTransformerConfig
    values = {
        "protein_size": 12,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 37,
        "max_genes": 64,
    }
    inputs_class = GenomeInputs
    all_model_classes = (GenomeTransformerModel, GenomeTransformerForSequenceClassification)
    test_resize_embeddings = False


class CnnInputs(Inputs):
    """Each convolution gives a hidden state, the first of half the length."""

    expected_num_hidden_layers = 2
    num_hidden_layers = 1
    hidden_size = 8
    encoder_seq_length = 5


class SequenceCnnTest(ModelSuite, common.ModelTesterMixin, unittest.TestCase):
    config_class = SequenceCnnConfig
    values = {"n_filters": 8, "kernel_sizes": [3, 3], "pool_size": 2, "hidden_size": 8}
    inputs_class = CnnInputs
    all_model_classes = (SequenceCnnForSequenceClassification,)
    has_attentions = False
    test_resize_embeddings = False


class MetagenBertTest(ModelSuite, common.ModelTesterMixin, unittest.TestCase):
    config_class = MetagenBertConfig
    values = {"encoder_config": {"model_type": "dnabert2", **SMALL_BERT}, "n_clusters": 6, "max_length": 64}
    all_model_classes = (MetagenBertModel,)
    _is_composite = True

    def setUp(self) -> None:
        super().setUp()
        processor = MetagenBertProcessor(bpe_tokenizer(self.values["encoder_config"]["vocab_size"]), max_length=64)
        # Without a processor a model cannot be loaded again.
        patcher = patch.object(MetagenBertPreTrainedModel, "processor", processor)
        patcher.start()
        self.addCleanup(patcher.stop)


class CountInputs(Inputs):
    """Abundance vectors."""

    def inputs(self, config: PreTrainedConfig) -> dict[str, torch.Tensor]:
        return {"counts": common.ids_tensor([BATCH, config.n_clusters], 50) + 1}


class MetagenBertPhenotypeTest(MetagenBertTest):
    inputs_class = CountInputs
    all_model_classes = (MetagenBertForPhenotypeClassification,)
    has_attentions = False
    test_resize_embeddings = False
