"""`pipeline("genome-classification")`: genomes' files to labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ..errors import InputError
from ..models.genome_transformer.modeling_genome_transformer import GenomeTransformerForSequenceClassification
from .base import CheckpointReference, FilePipeline, check_top_k


class GenomeClassificationPipeline(FilePipeline):
    """Classifies genomes by their files: FASTA, GenBank, GFF3, or FASTA of proteins.

    `pipeline("genome-classification", model="RUN/model")("genome.fna.gz")` gives a list of labels with their scores,
    the likeliest first; of a list of files a list of such lists. Options: `top_k` labels, and `threads` for calling
    genes.

    Args:
        model: `GenomeTransformerForSequenceClassification` with its processor, or a `CheckpointReference`, of
            which the protein encoder is loaded too, from the same revision where it is the checkpoint's own.
        device: As for every pipeline; one that is not there is an error.
        **kwargs: Of `transformers.Pipeline`, and options of a call that hold for all of them.

    Raises:
        CheckpointError: The checkpoint or its protein encoder cannot be found, is damaged, or is of another kind.
        InputError: The device is not there, or an option is unknown.
    """

    model_class = GenomeTransformerForSequenceClassification

    def __init__(self, model: PreTrainedModel | CheckpointReference, *args: Any, **kwargs: Any) -> None:
        super().__init__(model, *args, **kwargs)
        if isinstance(model, CheckpointReference):
            from ..genomes.prediction import protein_encoder_of

            protein_encoder_of(self.model)

    def _sanitize_parameters(
        self, top_k: int | None = None, threads: int | None = None, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if kwargs:
            raise InputError(f"{', '.join(kwargs)}: no options of this pipeline; it takes top_k and threads.")
        check_top_k(top_k)
        return {}, {} if threads is None else {"threads": threads}, {} if top_k is None else {"top_k": top_k}

    def preprocess(self, input_: str | Path, **kwargs: Any) -> dict[str, Any]:
        """The file's path; reading is part of the model's `predict`."""
        if not isinstance(input_, str | Path):
            raise InputError(f"{input_!r} is no genome; give the path of a FASTA, GenBank or GFF3 file.")
        return {"path": str(input_)}

    def _forward(self, input_tensors: dict[str, Any], threads: int = 1) -> dict[str, Any]:
        return {"probabilities": self.model.predict(input_tensors["path"], threads=threads)}

    def postprocess(self, model_outputs: dict[str, Any], top_k: int | None = None) -> list[dict[str, Any]]:
        """Labels with their scores, the likeliest first."""
        ordered = sorted(model_outputs["probabilities"].items(), key=lambda pair: -pair[1])
        return [{"label": label, "score": score} for label, score in ordered[:top_k]]


__all__ = ["GenomeClassificationPipeline"]
