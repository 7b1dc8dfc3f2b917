"""`pipeline("genome-classification")`: genomes' files to labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import Pipeline, PreTrainedModel

from ..errors import InputError
from ..pipeline_support import CheckpointReference, check_batch_size, check_device, check_model, check_top_k, load_whole
from .modeling_genome_transformer import GenomeTransformerForSequenceClassification


class GenomeClassificationPipeline(Pipeline):
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

    _load_processor = False
    _load_tokenizer = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_video_processor = False

    def __init__(
        self,
        model: PreTrainedModel | CheckpointReference,
        *args: Any,
        device: int | str | torch.device | None = None,
        **kwargs: Any,
    ) -> None:
        check_device(device)
        kwargs.pop("local_files_only", None)  # It is in the checkpoint's options.
        checkpoint = model if isinstance(model, CheckpointReference) else None
        if checkpoint is not None:
            model = load_whole(
                GenomeTransformerForSequenceClassification,
                checkpoint.name,
                checkpoint.options,
                head="classifier of genomes; give a checkpoint that was trained on genomes with labels",
            )
        check_model(model, GenomeTransformerForSequenceClassification)
        check_batch_size(kwargs.get("batch_size"))
        super().__init__(model, *args, device=device, **kwargs)
        if checkpoint is not None:
            from ..genomes.prediction import protein_encoder_of

            protein_encoder_of(self.model)

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Labels of a genome, or a list of them of a list of genomes.

        Args:
            inputs: A file's path, or a list of paths (a generator or dataset of them gives its results one by one).
            *args: None are known.
            **kwargs: `top_k`, `threads`.

        Raises:
            GenomeError: A file cannot be read, or has no gene.
            InputError: An option is unknown or out of range.
        """
        check_batch_size(kwargs.get("batch_size"))
        if isinstance(inputs, list | tuple) and not inputs:
            # transformers would look at the first.
            return [] if isinstance(inputs, list) else self.preprocess(inputs)  # type: ignore[arg-type]
        return super().__call__(inputs, *args, **kwargs)

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

    def save_pretrained(self, save_directory: Any, **kwargs: Any) -> None:
        """Save the model as `save_pretrained` of the model does, with no code to be trusted when it is loaded."""
        self.model.save_pretrained(save_directory, **kwargs)


__all__ = ["GenomeClassificationPipeline"]
