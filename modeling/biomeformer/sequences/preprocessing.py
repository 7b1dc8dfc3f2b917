"""What a fine-tuned checkpoint says about its input and its answers, kept in its `config.json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch

from ..errors import CheckpointError

FIELD = "sequence_classification"
PROBLEM_TYPES = {
    "binary": "single_label_classification",
    "multi_class": "single_label_classification",
    "multi_label": "multi_label_classification",
    "regression": "regression",
}


@dataclass(frozen=True)
class SequencePreprocessing:
    """How sequences go in, and how logits become answers.

    Attributes:
        task: `binary`, `multi_class`, `multi_label` or `regression`.
        max_tokens: Tokens of a sequence at most, special ones included; the end is cut off.
        average_strands: Whether the answer is the mean over a sequence and its reverse complement.
        thresholds: From which probability on a label is given: of the second of two classes, or of each of several
            labels. They were chosen on sequences for validation.
        mean: Of what regression predicts, over the training sequences: logits are in units of `spread` about it.
        spread: Standard deviation likewise.
    """

    task: str
    max_tokens: int | None = None
    average_strands: bool = False
    thresholds: Sequence[float] = ()
    mean: float = 0.0
    spread: float = 1.0

    def write_to(self, config: Any) -> None:
        """Put it in a model's config, which its checkpoint is saved with."""
        config.problem_type = PROBLEM_TYPES[self.task]
        setattr(config, FIELD, {**asdict(self), "thresholds": list(self.thresholds)})

    @classmethod
    def read_from(cls, config: Any, where: str) -> SequencePreprocessing:
        """What a checkpoint's config says.

        Raises:
            CheckpointError: It says nothing, or something else.
        """
        found = getattr(config, FIELD, None)
        if not isinstance(found, dict) or found.get("task") not in PROBLEM_TYPES:
            raise CheckpointError(
                f"{where} was not fine-tuned on labelled sequences (its config.json has no {FIELD}); fine-tune it with "
                "recipes/finetune_sequence_classifier.py."
            )
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in found.items() if name in known})

    def answers(self, logits: torch.Tensor) -> np.ndarray:
        """What logits `(n, n_labels)` say: float64 probabilities `(n, n_labels)`, or values `(n, 1)` of regression."""
        values = logits.double()
        if self.task == "regression":
            values = values * self.spread + self.mean
        elif self.task == "multi_label":
            values = values.sigmoid()
        else:
            values = values.softmax(1)
        found: np.ndarray = values.cpu().numpy()
        return found

    def labels(self, answers: np.ndarray, names: Sequence[str]) -> list[str]:
        """Names of the labels given, `;` between several; of regression nothing.

        Args:
            answers: As `answers` gives them.
            names: Of the labels.
        """
        if self.task == "regression":
            return [""] * len(answers)
        if self.task == "multi_label":
            given = answers >= np.array(self.thresholds or [0.5] * len(names))
            return [";".join(name for name, yes in zip(names, row, strict=True) if yes) for row in given.tolist()]
        if self.task == "binary":
            threshold = self.thresholds[0] if self.thresholds else 0.5
            return [names[int(value >= threshold)] for value in answers[:, 1].tolist()]
        return [names[i] for i in answers.argmax(1).tolist()]


__all__ = ["FIELD", "PROBLEM_TYPES", "SequencePreprocessing"]
