"""Evaluation of a fine-tuned sequence model: thresholds chosen on validation, scores of both splits, saved as JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
import pandas as pd

from ..errors import TableError
from ..io.records import MissingChecksumError, RecordType
from ..io.short_repr import short_repr
from ..metrics.tasks import (
    Task,
    bootstraps_within_budget,
    check_predictions,
    choose_thresholds,
    per_class,
    score_predictions,
)
from .prediction_table import SplitPredictions

EVALUATION_NAME = "evaluation.json"
FORMAT_VERSION = 1


class _EvaluationRecord(TypedDict):
    """Content of `evaluation.json`: the fields of `SequenceEvaluation`."""

    format_version: int
    task: Literal["binary", "multi_class", "multi_label", "regression"]
    label_names: list[str]
    thresholds: list[float]
    n_sequences: dict[str, int]
    n_by_class: dict[str, dict[str, int]]
    scores: dict[str, dict[str, float | None]]
    validation_scores: dict[str, dict[str, float | None]]
    per_class: dict[str, dict[str, float | None]]
    model: str
    base_model: str
    settings: dict[str, Any]
    n_bootstraps: dict[str, int]
    seed: int


_RECORD = RecordType(_EvaluationRecord, "evaluate the model again", [_EvaluationRecord.__annotations__])


@dataclass(frozen=True)
class SequenceEvaluation:
    """Scores of a fine-tuned model; decision thresholds are chosen on validation and applied to test.

    Attributes:
        task: One of `TASKS`.
        label_names: Names of the classes or labels; for a regression the name of the predicted value.
        thresholds: Result of `choose_thresholds` on validation.
        n_sequences: Number of sequences, by split.
        n_by_class: Number of sequences, by split and class or label; empty for a regression.
        scores: Test scores, as returned by `score_predictions`.
        validation_scores: Validation scores; the thresholds were chosen on these sequences.
        per_class: Test scores per class, as returned by `per_class`.
        model: Name of the fine-tuned model.
        base_model: Checkpoint that it was fine-tuned from.
        settings: Settings of the fine-tuning, for the report; JSON values.
        n_bootstraps: Bootstrap resamples drawn, by split.
        seed: Seed of the bootstrap.
    """

    task: Task
    label_names: tuple[str, ...]
    thresholds: tuple[float, ...]
    n_sequences: dict[str, int]
    n_by_class: dict[str, dict[str, int]]
    scores: dict[str, dict[str, float]]
    validation_scores: dict[str, dict[str, float]]
    per_class: dict[str, dict[str, float]]
    model: str = ""
    base_model: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    n_bootstraps: dict[str, int] = field(default_factory=dict)
    seed: int = 0

    __repr__ = short_repr

    @classmethod
    def from_predictions(
        cls,
        table: pd.DataFrame,
        task: Task,
        label_names: Sequence[str],
        *,
        model: str = "",
        base_model: str = "",
        settings: dict[str, Any] | None = None,
        seed: int = 0,
        n_bootstraps: int = 1000,
    ) -> SequenceEvaluation:
        """Choose thresholds on validation and score both splits with them.

        Args:
            table: Table returned by `prediction_table`.
            task: One of `TASKS`.
            label_names: As for `prediction_table`.
            model: Name of the fine-tuned model.
            base_model: Checkpoint that it was fine-tuned from.
            settings: Settings of the fine-tuning; JSON values.
            seed: Seed of the bootstrap.
            n_bootstraps: Requested number of resamples; see `score_predictions`.

        Raises:
            InputError: A split is empty, or the values do not fit the task.
            TableError: The table lacks a column, or has a class that is not in `label_names`.
        """
        arrays = SplitPredictions.from_table(table, task, label_names).arrays
        check_predictions(task, label_names, *arrays["validation"])
        thresholds = choose_thresholds(task, *arrays["validation"])
        scores = {
            split: score_predictions(
                task, label_names, truth, predicted, thresholds, seed=seed, n_bootstraps=n_bootstraps
            )
            for split, (truth, predicted) in arrays.items()
        }
        n_sequences = {split: len(truth) for split, (truth, _) in arrays.items()}
        return cls(
            task=task,
            label_names=tuple(label_names),
            thresholds=tuple(thresholds),
            n_sequences=n_sequences,
            n_by_class={split: _class_sizes(task, label_names, truth) for split, (truth, _) in arrays.items()},
            scores=scores["test"],
            validation_scores=scores["validation"],
            per_class=per_class(task, label_names, *arrays["test"], thresholds),
            model=model,
            base_model=base_model,
            settings=settings or {},
            n_bootstraps={
                split: bootstraps_within_budget(task, n, len(label_names), n_bootstraps)
                for split, n in n_sequences.items()
            },
            seed=seed,
        )

    def save(self, folder: str | Path) -> Path:
        """Write `evaluation.json` atomically, creating the folder if needed, and return its path."""
        path = Path(folder) / EVALUATION_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {"format_version": FORMAT_VERSION, **asdict(self)}
        for name in ("scores", "validation_scores", "per_class"):
            record[name] = _map_scores(record[name], lambda value: None if np.isnan(value) else value)
        _RECORD.write(path, record, indent=2)
        return path

    @classmethod
    def load(cls, folder: str | Path) -> SequenceEvaluation:
        """Read an evaluation written by `save`.

        Raises:
            TableError: The folder holds no evaluation, or one of another format version.
            DamagedFileError: It is damaged.
        """
        path = Path(folder) / EVALUATION_NAME
        try:
            record: dict[str, Any] = dict(_RECORD.read(path))
        except FileNotFoundError as error:
            raise TableError(f"{path}: no such file; give the folder that an evaluation was saved to.") from error
        except MissingChecksumError as error:
            raise _another_format(path) from error
        if record.pop("format_version") != FORMAT_VERSION:
            raise _another_format(path)
        for name in ("scores", "validation_scores", "per_class"):
            record[name] = _map_scores(record[name], lambda value: float("nan") if value is None else value)
        for name in ("label_names", "thresholds"):
            record[name] = tuple(record[name])
        return cls(**record)


def _another_format(path: Path) -> TableError:
    return TableError(f"{path}: is no evaluation of format {FORMAT_VERSION}; evaluate the model again.")


def _class_sizes(task: Task, label_names: Sequence[str], truth: np.ndarray) -> dict[str, int]:
    if task == "regression":
        return {}
    sizes = truth.sum(0) if task == "multi_label" else np.bincount(truth, minlength=len(label_names))
    return {name: int(n) for name, n in zip(label_names, sizes, strict=True)}


def _map_scores(
    scores: dict[str, dict[str, Any]], change: Callable[[Any], float | None]
) -> dict[str, dict[str, float | None]]:
    return {name: {part: change(value) for part, value in parts.items()} for name, parts in scores.items()}


__all__ = ["EVALUATION_NAME", "SequenceEvaluation"]
