"""`PipelineTesterMixin`: the models under the pipelines of transformers, and the package's own pipelines.

The suite takes small models from a folder, which is made here, and the checks of each task from modules that the source
distribution lacks, so those are written here.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
import transformers
from transformers import pipeline

import factories
from biomeformer.checkpoints import FOLDER as CHECKPOINTS
from biomeformer.models.dnabert2 import (
    DnaBert2Config,
    DnaBert2ForMaskedLM,
    DnaBert2ForSequenceClassification,
    DnaBert2Model,
)
from biomeformer.models.genome_transformer import GenomeTransformerForSequenceClassification
from biomeformer.models.kmer_encoder import (
    KmerEncoderConfig,
    KmerEncoderForSequenceClassification,
    KmerEncoderModel,
    KmerTokenizer,
)
from biomeformer.models.metagenbert import (
    MetagenBertForPhenotypeClassification,
    MetagenBertModel,
    MetagenBertProcessor,
)
from biomeformer.models.sequence_cnn import SequenceCnnConfig, SequenceCnnForSequenceClassification

from .upstream import suite

FOLDER = tempfile.TemporaryDirectory()
READS = factories.random_sequences(2)


def _small_models() -> list[tuple[Any, Any]]:
    """Return a model of each class with its tokenizer."""
    torch.manual_seed(0)
    bpe = factories.bpe_tokenizer()
    bert = DnaBert2Config(**factories.tiny_dnabert2().config.to_diff_dict())
    kmers = KmerEncoderConfig(k=3, hidden_size=8, num_gate_heads=2)
    metagenbert = factories.tiny_metagenbert()
    phenotype = MetagenBertForPhenotypeClassification(metagenbert.config)
    phenotype.processor = phenotype.metagenbert.processor = metagenbert.processor
    models: list[tuple[Any, Any]] = [(cls(bert), bpe) for cls in (DnaBert2Model, DnaBert2ForMaskedLM)]
    models.append((DnaBert2ForSequenceClassification(bert), bpe))
    models += [
        (cls(kmers), KmerTokenizer(k=3, canonical=False))
        for cls in (KmerEncoderModel, KmerEncoderForSequenceClassification)
    ]
    cnn = SequenceCnnForSequenceClassification(SequenceCnnConfig(n_filters=8, hidden_size=8))
    return [*models, (cnn, KmerTokenizer(k=1, canonical=False)), (metagenbert, bpe), (phenotype, bpe)]


def _write_models(folder: Path) -> None:
    """Write the folder of models and its table of contents, as the suite reads them."""
    contents = {}
    for model, tokenizer in _small_models():
        name = type(model).__name__
        path = folder / model.config.model_type / name
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
        contents[name] = {"tokenizer_classes": [type(tokenizer).__name__], "processor_classes": []}
    # With its protein encoder.
    name = GenomeTransformerForSequenceClassification.__name__
    path = shutil.copytree(CHECKPOINTS / "genome-transformer-mini", folder / "genome_transformer" / name)
    # The suite skips models without a tokenizer; the pipeline has no use for this one.
    tokenizer = factories.bpe_tokenizer()
    tokenizer.save_pretrained(path)
    contents[name] = {"tokenizer_classes": [type(tokenizer).__name__], "processor_classes": []}
    (folder / "reports").mkdir()
    (folder / "reports/tiny_model_summary.json").write_text(json.dumps(contents))


def is_whole(model: Any) -> bool:
    """Return whether a model is a read encoder with centroids."""
    return model.config.model_type == "metagenbert"


class TaskChecks(unittest.TestCase):
    """Checks of a task, in the form that the suite calls."""

    task: ClassVar[str]
    examples: ClassVar[list[Any]] = READS

    def get_test_pipeline(
        self, model: Any, tokenizer: Any = None, dtype: str = "float32", **processors: Any
    ) -> tuple[Any, list[Any]]:
        return pipeline(self.task, model=model, tokenizer=tokenizer, dtype=dtype), self.examples

    def run_pipeline_test(self, run: Any, examples: list[Any]) -> None:
        raise NotImplementedError


class FeatureExtractionChecks(TaskChecks):
    task = "feature-extraction"

    def run_pipeline_test(self, run: Any, examples: list[Any]) -> None:
        size = run.model.config.hidden_size
        for outputs, read in zip(run(examples), examples, strict=True):
            of_tokens = (1, len(run.tokenizer(read)["input_ids"]), size)
            assert torch.tensor(outputs).shape == ((1, size) if is_whole(run.model) else of_tokens)


class ReadEmbeddingChecks(TaskChecks):
    task = "read-embedding"

    def get_test_pipeline(
        self, model: Any, tokenizer: Any = None, dtype: str = "float32", **processors: Any
    ) -> tuple[Any, list[Any]]:
        processor = None if is_whole(model) else MetagenBertProcessor(tokenizer)
        return pipeline(self.task, model=model, processor=processor, dtype=dtype), self.examples

    def run_pipeline_test(self, run: Any, examples: list[Any]) -> None:
        assert [vector.shape for vector in run(examples)] == [(run.model.config.hidden_size,)] * len(examples)


class FillMaskChecks(TaskChecks):
    task = "fill-mask"
    examples = [f"{READS[0]} [MASK] {READS[1]}"]

    def run_pipeline_test(self, run: Any, examples: list[Any]) -> None:
        outputs = run(examples[0], top_k=3)
        assert len(outputs) == 3 and all({"score", "token", "token_str", "sequence"} <= set(row) for row in outputs)
        for row in outputs:
            assert run.tokenizer.decode([row["token"]]) == row["token_str"]


class TextClassificationChecks(TaskChecks):
    task = "text-classification"

    def run_pipeline_test(self, run: Any, examples: list[Any]) -> None:
        labels = set(run.model.config.id2label.values())
        assert len(run(examples)) == len(examples)
        (scores,) = run([examples[0]], top_k=None)
        assert {row["label"] for row in scores} == labels
        assert abs(sum(row["score"] for row in scores) - 1) < 1e-3


class MetagenomeEmbeddingChecks(TaskChecks):
    task = "metagenome-embedding"
    examples = [str(factories.write_fastq(Path(FOLDER.name) / "a.fastq.gz", factories.random_sequences(20)))]

    def run_pipeline_test(self, run: Any, examples: list[Any]) -> None:
        assert run(examples[0])["counts"].sum() == 20


class MetagenomeClassificationChecks(MetagenomeEmbeddingChecks):
    task = "metagenome-classification"

    def run_pipeline_test(self, run: Any, examples: list[Any]) -> None:
        assert {row["label"] for row in run(examples[0])} == set(run.model.config.id2label.values())


class GenomeClassificationChecks(MetagenomeClassificationChecks):
    task = "genome-classification"
    examples = [str(factories.write_protein_genomes(Path(FOLDER.name), n_genomes=1).with_name("g0.faa"))]


CHECKS = {
    checks.task: checks
    for checks in (
        FeatureExtractionChecks,
        ReadEmbeddingChecks,
        FillMaskChecks,
        TextClassificationChecks,
        MetagenomeEmbeddingChecks,
        MetagenomeClassificationChecks,
        GenomeClassificationChecks,
    )
}


def _load_suite() -> Any:
    """Import the suite, pointed at the models and checks of this module."""
    _write_models(Path(FOLDER.name))
    os.environ["TRANSFORMERS_TINY_MODEL_PATH"] = FOLDER.name
    module = suite("test_pipeline_mixin")
    validate = module.validate_test_components
    # Compares the sizes of two vocabularies, and fails if the model has none.
    module.validate_test_components = lambda model, tokenizer: (
        None if isinstance(model, GenomeTransformerForSequenceClassification) else validate(model, tokenizer)
    )
    for task, checks in CHECKS.items():
        module.pipeline_test_mapping[task] = {"test": f"{__name__}.{checks.__name__}"}
    module.transformers_module = SimpleNamespace(
        KmerTokenizer=KmerTokenizer,
        TokenizersBackend=transformers.PreTrainedTokenizerFast,
    )
    return module


class PipelineTest(_load_suite().PipelineTesterMixin, unittest.TestCase):
    pipeline_model_mapping: ClassVar[dict[str, Any]] = {
        "feature-extraction": (DnaBert2Model, KmerEncoderModel, MetagenBertModel),
        "read-embedding": (DnaBert2Model, KmerEncoderModel, MetagenBertModel),
        "fill-mask": DnaBert2ForMaskedLM,
        "text-classification": (
            DnaBert2ForSequenceClassification,
            KmerEncoderForSequenceClassification,
            SequenceCnnForSequenceClassification,
        ),
        "metagenome-embedding": MetagenBertModel,
        "metagenome-classification": MetagenBertForPhenotypeClassification,
        "genome-classification": GenomeTransformerForSequenceClassification,
    }

    def test_pipeline_read_embedding(self) -> None:
        self.run_task_tests(task="read-embedding")

    def test_pipeline_genome_classification(self) -> None:
        self.run_task_tests(task="genome-classification")

    def test_pipeline_metagenome_embedding(self) -> None:
        self.run_task_tests(task="metagenome-embedding")

    def test_pipeline_metagenome_classification(self) -> None:
        self.run_task_tests(task="metagenome-classification")
