"""`pipeline("metagenome-embedding")` and `pipeline("metagenome-classification")`: vectors and labels of samples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ..errors import InputError
from ..models.metagenbert.modeling_metagenbert import MetagenBertForPhenotypeClassification, MetagenBertModel
from .base import FilePipeline, check_top_k, refuse_unknown

OPTIONS = ("read_fraction", "seed", "batch_tokens")


class MetagenomePipeline(FilePipeline):
    """Base class of the pipelines of metagenomes.

    A sample is the path of a FASTQ or FASTA file (`str` or `Path`), plain or compressed; paired files are a tuple, or
    `{"fastq_1": ..., "fastq_2": ...}`; a list is a list of samples. So a list of two paths is two samples, and a tuple
    of two paths is one.

    Args:
        model: `MetagenBertModel` or `MetagenBertForPhenotypeClassification` with its processor, or a
            `CheckpointReference`.
        *args: Positional arguments of `transformers.Pipeline`.
        **kwargs: Options of `transformers.Pipeline`, and default options of its calls. A `device` that is not available
            is an error.

    Raises:
        CheckpointError: The checkpoint cannot be found, is damaged, or is of another model type.
        InputError: The device is not available, or an option is unknown.
    """

    model_class: type[PreTrainedModel] = MetagenBertModel

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        refuse_unknown(kwargs, OPTIONS)
        return {}, {name: value for name, value in kwargs.items() if value is not None}, {}

    def preprocess(self, input_: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the paths of a sample's files; they are read in the model's `embed_sample`.

        Raises:
            InputError: The input is not a sample.
        """
        files: tuple[Any, ...] = (input_,)
        if isinstance(input_, Mapping):
            refuse_unknown(input_, ("fastq_1", "fastq_2"), "keys of a sample")
            second = input_.get("fastq_2")
            files = (input_.get("fastq_1"),) if second is None else (input_.get("fastq_1"), second)
        elif isinstance(input_, tuple):
            files = input_
        if len(files) not in (1, 2) or not all(isinstance(file, str | Path) for file in files):
            raise InputError(
                f"{input_!r} is no sample; give the path of a FASTQ or FASTA file, a tuple of two mates' files, or "
                '{"fastq_1": ..., "fastq_2": ...}.'
            )
        return {"files": tuple(map(str, files))}


class MetagenomeEmbeddingPipeline(MetagenomePipeline):
    """Compute abundance vectors of metagenomes.

    `pipeline("metagenome-embedding")("sample.fastq.gz")`, which loads `metagenbert-mini` if no model is given, returns
    a dictionary: `abundance`, float64 `(n_clusters,)`; `counts`, int64 `(n_clusters,)`, equal to those of
    `MetagenBertModel.embed_sample`; and `read_stats`. For a list of samples it returns a list of dictionaries.

    A sample is one path, or a tuple of the paths of paired files; a list of two paths is two samples (see
    `MetagenomePipeline`). Options of a call: `read_fraction`, `seed`, `batch_tokens`.
    """

    def _forward(self, input_tensors: dict[str, Any], **options: Any) -> dict[str, Any]:
        return {"sample": self.model.base_model.embed_sample(*input_tensors["files"], **options)}

    def postprocess(self, model_outputs: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Return abundance, counts and read statistics."""
        sample = model_outputs["sample"]
        return {"abundance": sample.abundance, "counts": sample.counts, "read_stats": sample.read_stats}


class MetagenomeClassificationPipeline(MetagenomePipeline):
    """Predict phenotypes of metagenomes, with a checkpoint that has a head.

    `pipeline("metagenome-classification", model="RUN/model")("sample.fastq.gz")` returns a list of
    `{"label", "score"}`, the most likely first; for a list of samples, a list of such lists. Scores are probabilities,
    which sum to one in single-label classification and are independent in multi-label classification; in regression
    they are the predicted numbers, in the order of the outputs.

    A sample is one path, or a tuple of the paths of paired files; a list of two paths is two samples (see
    `MetagenomePipeline`). Options of a call: `top_k` labels and `batch_tokens`; with a linear head also `read_fraction`
    and `seed`.
    """

    model_class = MetagenBertForPhenotypeClassification

    def _sanitize_parameters(
        self, top_k: int | None = None, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        refuse_unknown(kwargs, (*OPTIONS, "top_k"))
        check_top_k(top_k)
        config = self.model.config
        if top_k is not None and config.problem_type == "regression":
            raise InputError(
                "top_k was given and the model's outputs are numbers, none likelier than another; leave it."
            )
        _, forward, _ = super()._sanitize_parameters(**kwargs)
        fixed = [name for name in ("read_fraction", "seed") if name in forward and config.head != "linear"]
        if fixed:
            raise InputError(
                f"{', '.join(fixed)}: no options of a {config.head} head, whose config says which reads are drawn "
                f"(set_reads {config.set_reads}, set_seed {config.set_seed}); leave them out."
            )
        return {}, forward, {} if top_k is None else {"top_k": top_k}

    def _forward(self, input_tensors: dict[str, Any], **options: Any) -> dict[str, Any]:
        return {"scores": self.model.predict(*input_tensors["files"], **options)}

    def postprocess(self, model_outputs: dict[str, Any], top_k: int | None = None, **kwargs: Any) -> list[dict]:
        """Return the labels with their scores, the most likely first; numbers of a regression keep their order."""
        scores = list(model_outputs["scores"].items())
        if self.model.config.problem_type != "regression":
            scores.sort(key=lambda pair: -pair[1])
        return [{"label": label, "score": score} for label, score in scores[:top_k]]


__all__ = [
    "MetagenomeClassificationPipeline",
    "MetagenomeEmbeddingPipeline",
    "MetagenomePipeline",
]
