"""Preprocessing and decision rule of a fine-tuned sequence classifier, kept in its checkpoint's `config.json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch

from ..errors import CheckpointError
from ..moved import renamed

FIELD = "sequence_classification"
PROBLEM_TYPES = {
    "binary": "single_label_classification",
    "multi_class": "single_label_classification",
    "multi_label": "multi_label_classification",
    "regression": "regression",
}


@dataclass(frozen=True)
class SequencePreprocessing:
    """How sequences are encoded and how logits become predictions.

    Attributes:
        task: `binary`, `multi_class`, `multi_label` or `regression`.
        max_tokens: Maximum number of tokens per sequence, special tokens included; longer sequences are truncated.
        average_strands: Whether predictions are means over a sequence and its reverse complement.
        thresholds: Smallest probability at which a label is predicted: of the second of two classes, or of each label
            of a multi-label task. They are chosen on validation sequences.
        mean: Mean of the regression target over the training sequences; logits are standardized by `mean` and `spread`.
        spread: Standard deviation of the regression target over the training sequences.
    """

    task: str
    max_tokens: int | None = None
    average_strands: bool = False
    thresholds: Sequence[float] = ()
    mean: float = 0.0
    spread: float = 1.0

    answers = renamed("answers", "predictions")

    def write_to(self, config: Any) -> None:
        """Store these settings in a model's config, which is saved with its checkpoint."""
        config.problem_type = PROBLEM_TYPES[self.task]
        setattr(config, FIELD, {**asdict(self), "thresholds": list(self.thresholds)})

    @classmethod
    def read_from(cls, config: Any, where: str) -> SequencePreprocessing:
        """Read the settings from a checkpoint's config.

        Raises:
            CheckpointError: The config has none, or an unknown task.
        """
        values = getattr(config, FIELD, None)
        if not isinstance(values, dict) or values.get("task") not in PROBLEM_TYPES:
            raise CheckpointError(
                f"{where} was not fine-tuned on labelled sequences (its config.json has no {FIELD}); fine-tune it with "
                "recipes/finetune_sequence_classifier.py."
            )
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})

    def predictions(self, logits: torch.Tensor) -> np.ndarray:
        """Turn logits `(n, n_labels)` into float64 probabilities of that shape, or values `(n, 1)` of a regression."""
        values = logits.double()
        if self.task == "regression":
            values = values * self.spread + self.mean
        elif self.task == "multi_label":
            values = values.sigmoid()
        else:
            values = values.softmax(1)
        array: np.ndarray = values.cpu().numpy()
        return array

    def labels(self, predictions: np.ndarray, names: Sequence[str]) -> list[str]:
        """Return the names of the predicted labels, several separated by `;`; empty strings for a regression.

        Args:
            predictions: As returned by `predictions`.
            names: Names of the labels, in the order of the logits.
        """
        if self.task == "regression":
            return [""] * len(predictions)
        if self.task == "multi_label":
            is_above = predictions >= np.array(self.thresholds or [0.5] * len(names))
            return [";".join(name for name, yes in zip(names, row, strict=True) if yes) for row in is_above.tolist()]
        if self.task == "binary":
            threshold = self.thresholds[0] if self.thresholds else 0.5
            return [names[int(value >= threshold)] for value in predictions[:, 1].tolist()]
        return [names[i] for i in predictions.argmax(1).tolist()]


__all__ = ["FIELD", "PROBLEM_TYPES", "SequencePreprocessing"]
