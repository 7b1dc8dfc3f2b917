"""`pipeline("metagenome-embedding")` and `pipeline("metagenome-classification")`: from reads to vectors and labels."""

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
    """What the pipelines of metagenomes share.

    A sample is the path of a FASTQ or FASTA file (`str` or `Path`), plain or compressed; a pair of mates' files as a
    tuple, or as `{"fastq_1": ..., "fastq_2": ...}`; a list is a list of samples. So a list of two paths is two samples,
    and a tuple of two paths is one.

    Args:
        model: `MetagenBertModel` or `MetagenBertForPhenotypeClassification` with its processor, or a
            `CheckpointReference`.
        device: As for every pipeline; one that is not there is an error.
        **kwargs: Of `transformers.Pipeline`, and options of a call that hold for all of them.

    Raises:
        CheckpointError: The checkpoint cannot be found, is damaged, or is of another kind.
        InputError: The device is not there, or an option is unknown.
    """

    model_class: type[PreTrainedModel] = MetagenBertModel

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        refuse_unknown(kwargs, OPTIONS)
        return {}, {name: value for name, value in kwargs.items() if value is not None}, {}

    def preprocess(self, input_: Any, **kwargs: Any) -> dict[str, Any]:
        """The sample's files; reading is part of the model's `embed_sample`."""
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
    """Abundance vectors of metagenomes.

    `pipeline("metagenome-embedding")("sample.fastq.gz")`, which loads `metagenbert-mini` where no model is given, gives
    a dictionary: `abundance`, float64 `(n_clusters,)`; `counts`, int64 `(n_clusters,)`, equal to those of
    `MetagenBertModel.embed_sample`; and `read_stats`. Of a list of samples it gives a list of dictionaries.

    A sample is one path, or a tuple of two mates' paths; a list of two paths is two samples (see
    `MetagenomePipeline`). Options: `read_fraction`, `seed`, `batch_tokens`.
    """

    def _forward(self, input_tensors: dict[str, Any], **options: Any) -> dict[str, Any]:
        return {"sample": self.model.base_model.embed_sample(*input_tensors["files"], **options)}

    def postprocess(self, model_outputs: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Abundance, counts and tallies."""
        sample = model_outputs["sample"]
        return {"abundance": sample.abundance, "counts": sample.counts, "read_stats": sample.read_stats}


class MetagenomeClassificationPipeline(MetagenomePipeline):
    """Phenotypes of metagenomes, by a checkpoint with a head.

    `pipeline("metagenome-classification", model="RUN/model")("sample.fastq.gz")` gives a list of `{"label", "score"}`,
    the likeliest first; of a list of samples a list of such lists. Scores of one class of several sum to one; those of
    several labels at once are independent; of a regression they are the numbers, in the order of the outputs.

    A sample is one path, or a tuple of two mates' paths; a list of two paths is two samples (see
    `MetagenomePipeline`). Options: `top_k` labels and `batch_tokens`; with a linear head `read_fraction` and `seed`.
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
        """Labels with their scores."""
        found = list(model_outputs["scores"].items())
        if self.model.config.problem_type != "regression":
            found.sort(key=lambda pair: -pair[1])
        return [{"label": label, "score": score} for label, score in found[:top_k]]


__all__ = [
    "MetagenomeClassificationPipeline",
    "MetagenomeEmbeddingPipeline",
    "MetagenomePipeline",
]
