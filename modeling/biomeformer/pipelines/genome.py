"""`pipeline("genome-classification")`: labels of genomes, from their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ..errors import InputError
from ..models.genome_transformer.modeling_genome_transformer import GenomeTransformerForSequenceClassification
from .base import CheckpointReference, FilePipeline, check_top_k


class GenomeClassificationPipeline(FilePipeline):
    """Classify genomes from their files: FASTA, GenBank, GFF3, or FASTA of proteins.

    `pipeline("genome-classification", model="RUN/model")("genome.fna.gz")` returns a list of labels with their scores,
    the most likely first; for a list of files, a list of such lists. Options of a call: `top_k` labels, and `threads`
    for gene calling.

    Args:
        model: `GenomeTransformerForSequenceClassification` with its processor, or a `CheckpointReference`, whose
            protein encoder is loaded too, from the same commit if it is part of the checkpoint.
        *args: Positional arguments of `transformers.Pipeline`.
        **kwargs: Options of `transformers.Pipeline`, and default options of its calls. A `device` that is not available
            is an error.

    Raises:
        CheckpointError: The checkpoint or its protein encoder cannot be found, is damaged, or is of another model type.
        InputError: The device is not available, or an option is unknown.
    """

    model_class = GenomeTransformerForSequenceClassification

    def __init__(self, model: PreTrainedModel | CheckpointReference, *args: Any, **kwargs: Any) -> None:
        super().__init__(model, *args, **kwargs)
        if isinstance(model, CheckpointReference):
            from ..genomes.prediction import protein_encoder_of

            # Loaded now, so that a missing encoder is an error of the pipeline and not of its first call.
            protein_encoder_of(self.model)

    def _sanitize_parameters(
        self, top_k: int | None = None, threads: int | None = None, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if kwargs:
            raise InputError(f"{', '.join(kwargs)}: no options of this pipeline; it takes top_k and threads.")
        check_top_k(top_k)
        return {}, {} if threads is None else {"threads": threads}, {} if top_k is None else {"top_k": top_k}

    def preprocess(self, input_: str | Path, **kwargs: Any) -> dict[str, Any]:
        """Check that the input is a path; the file is read in the model's `predict`.

        Raises:
            InputError: It is something else.
        """
        if not isinstance(input_, str | Path):
            raise InputError(f"{input_!r} is no genome; give the path of a FASTA, GenBank or GFF3 file.")
        return {"path": str(input_)}

    def _forward(self, input_tensors: dict[str, Any], threads: int = 1) -> dict[str, Any]:
        return {"probabilities": self.model.predict(input_tensors["path"], threads=threads)}

    def postprocess(self, model_outputs: dict[str, Any], top_k: int | None = None) -> list[dict[str, Any]]:
        """Return the labels with their scores, the most likely first."""
        ordered = sorted(model_outputs["probabilities"].items(), key=lambda pair: -pair[1])
        return [{"label": label, "score": score} for label, score in ordered[:top_k]]


__all__ = ["GenomeClassificationPipeline"]
