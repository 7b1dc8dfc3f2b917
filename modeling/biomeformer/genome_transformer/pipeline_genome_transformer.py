"""`pipeline("genome-classification")`: genomes' files to labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import Pipeline


class GenomeClassificationPipeline(Pipeline):
    """Classifies genomes by their files: FASTA, GenBank, GFF3, or FASTA of proteins.

    `pipeline("genome-classification", model="RUN/model")("genome.fna.gz")` gives a list of labels with their scores,
    the likeliest first; of a list of files a list of such lists.
    """

    _load_processor = False
    _load_tokenizer = False
    _load_image_processor = False
    _load_feature_extractor = False

    def _sanitize_parameters(
        self, top_k: int | None = None, threads: int | None = None, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if kwargs:
            raise ValueError(f"{', '.join(kwargs)}: no options of this pipeline; it takes top_k and threads.")
        return {}, {} if threads is None else {"threads": threads}, {} if top_k is None else {"top_k": top_k}

    def preprocess(self, input_: str | Path, **kwargs: Any) -> dict[str, Any]:
        """The file's path; reading is part of the model's `predict`."""
        return {"path": str(input_)}

    def _forward(self, input_tensors: dict[str, Any], threads: int = 1) -> dict[str, Any]:
        return {"probabilities": self.model.predict(input_tensors["path"], threads=threads)}

    def postprocess(self, model_outputs: dict[str, Any], top_k: int | None = None) -> list[dict[str, Any]]:
        """Labels with their scores, the likeliest first."""
        ordered = sorted(model_outputs["probabilities"].items(), key=lambda pair: -pair[1])
        return [{"label": label, "score": score} for label, score in ordered[:top_k]]


__all__ = ["GenomeClassificationPipeline"]
