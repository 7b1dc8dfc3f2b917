"""Scores of fine-tuned sequence models, with decision thresholds chosen on validation and bootstrap intervals.

The scores of a binary classifier are those of arXiv 2509.25274 (ROC-AUC, PR-AUC, the best F1 with its threshold,
precision, recall) and more. Every score is written over weights of sequences, `(n_draws, n)`: ones give the score, and
the numbers of times a bootstrap draws each sequence give its distribution, with one sort for all draws.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import pyarrow as pa

from ..errors import InputError, TableError
from ..io.atomic import atomic_write
from ..phenotypes.metrics import N_BINS

Task = Literal["binary", "multi_class", "multi_label", "regression"]
TASKS: tuple[Task, ...] = get_args(Task)
SPLITS = ("validation", "test")
EVALUATION_NAME = "evaluation.json"
PREDICTIONS_NAME = "predictions.parquet"
FORMAT_VERSION = 1
# Sequences times ranked columns times draws of a bootstrap, and the draws made whatever this allows.
MAX_BOOTSTRAP_WORK = 500_000_000
MIN_BOOTSTRAPS = 100
# Weights made at once: few enough to stay in a core's cache.
DRAWN_AT_ONCE = 200_000

Scorer = Callable[[np.ndarray], dict[str, np.ndarray]]


def ranked_counts(truth: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True and false positives at each threshold.

    Args:
        truth: bool `(n,)`.
        probability: `(n,)`.

    Returns:
        Distinct probabilities from the highest down, `(n_thresholds,)`, and how many positives and negatives are at
        least as probable.
    """
    probability = np.asarray(probability, np.float64)
    ranked = _Ranked.of(np.asarray(truth, bool), probability)
    true, false = ranked.counts(np.ones((1, len(probability))))
    return probability[ranked.order[ranked.last]], true[0], false[0]


def best_f1_threshold(truth: np.ndarray, probability: np.ndarray) -> tuple[float, float]:
    """The threshold of the highest F1, a sequence being predicted positive where its probability is no lower.

    It lies half-way between neighbouring distinct probabilities, or between the lowest one and 0. Of thresholds that
    do equally well it is the one nearest to 0.5, and the higher of two equally near.

    Args:
        truth: bool `(n,)`.
        probability: `(n,)`.

    Returns:
        Threshold and F1; 0.5 and NaN where nothing is positive.
    """
    truth = np.asarray(truth, bool)
    if not truth.any():
        return 0.5, float("nan")
    values, true, false = ranked_counts(truth, probability)
    f1 = 2 * true / (true + false + true[-1])
    below = np.append(values[1:], 0.0)
    middle = (values + below) / 2
    # Half-way between two floats that are next to each other is one of them.
    middle = np.where(middle > below, middle, values)
    best = np.flatnonzero(f1 == f1.max())
    chosen = best[np.abs(middle[best] - 0.5).argmin()]
    return float(middle[chosen]), float(f1[chosen])


def choose_thresholds(task: Task, truth: np.ndarray, predicted: np.ndarray) -> list[float]:
    """Thresholds of the highest F1.

    Args:
        task: One of `TASKS`.
        truth: As for `score_predictions`.
        predicted: As for `score_predictions`.

    Returns:
        Of a binary task one, of the second class; of several labels one a label; else none.
    """
    if task == "binary":
        return [best_f1_threshold(truth == 1, predicted[:, 1])[0]]
    if task == "multi_label":
        return [best_f1_threshold(truth[:, i] == 1, predicted[:, i])[0] for i in range(truth.shape[1])]
    return []


def bootstraps_within_budget(task: Task, n: int, n_labels: int, asked: int) -> int:
    """Draws of a bootstrap: those asked for, or as many as `MAX_BOOTSTRAP_WORK` allows, but `MIN_BOOTSTRAPS`.

    The work of a draw is `n` times the columns that are ranked: one of a binary task, one a class or label of others,
    two of a regression.
    """
    columns = {"binary": 1, "regression": 2}.get(task, n_labels)
    return min(asked, max(MIN_BOOTSTRAPS, MAX_BOOTSTRAP_WORK // max(n * columns, 1)))


def score_predictions(
    task: Task,
    label_names: Sequence[str],
    truth: np.ndarray,
    predicted: np.ndarray,
    thresholds: Sequence[float],
    *,
    seed: int = 0,
    n_bootstraps: int = 1000,
) -> dict[str, dict[str, float]]:
    """Scores with 95 % percentile intervals of a bootstrap over sequences.

    The bootstrap keeps the numbers of sequences of each class in binary and multi-class tasks. It makes as many draws
    as `bootstraps_within_budget` says. An interval is widened to its score where resampling is biased, as it is for
    the calibration error.

    Args:
        task: One of `TASKS`.
        label_names: Names of classes or labels; of a regression anything.
        truth: Binary and multi-class: int `(n,)`, places of classes. Multi-label: 0 or 1, `(n, n_labels)`. Regression:
            float `(n,)`.
        predicted: Probabilities `(n, n_labels)`; of a regression values `(n,)`.
        thresholds: What `choose_thresholds` gave, on other sequences than these.
        seed: Of the bootstrap.
        n_bootstraps: Draws asked for.

    Returns:
        By metric, `value`, `low` and `high`. Macro scores are means over the classes or labels that are there and not
        everywhere; a score is NaN where no such class is.

    Raises:
        InputError: The arrays do not fit each other or the task.
    """
    truth, predicted = _checked(task, label_names, truth, predicted, thresholds)
    n = len(truth)
    strata = [n]
    if task in ("binary", "multi_class"):
        # Sequences of a class lie together, so that a stratum is a slice.
        order = np.argsort(truth, kind="stable")
        truth, predicted = truth[order], predicted[order]
        strata = [int(size) for size in np.bincount(truth) if size]
    scorer = _scorer(task, truth, predicted, thresholds)
    values = scorer(np.ones((1, n)))
    n_draws = bootstraps_within_budget(task, n, len(label_names), n_bootstraps)
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in values}
    at_once = max(1, DRAWN_AT_ONCE // n)
    for done in range(0, n_draws, at_once):
        for name, scores in scorer(_draw(rng, strata, min(at_once, n_draws - done))).items():
            drawn[name].append(scores)
    return {name: _interval(float(value[0]), drawn[name]) for name, value in values.items()}


def per_class(
    task: Task, label_names: Sequence[str], truth: np.ndarray, predicted: np.ndarray, thresholds: Sequence[float]
) -> dict[str, dict[str, float]]:
    """Scores of each class or label against all others.

    Args:
        task: One of `TASKS`.
        label_names: As for `score_predictions`.
        truth: As for `score_predictions`.
        predicted: As for `score_predictions`.
        thresholds: As for `score_predictions`.

    Returns:
        By name, `n` (sequences of it), `precision`, `recall`, `f1`, `roc_auc` and `pr_auc`, of labels also
        `threshold`; nothing of a regression.

    Raises:
        InputError: The arrays do not fit each other or the task.
    """
    truth, predicted = _checked(task, label_names, truth, predicted, thresholds)
    if task == "regression":
        return {}
    ones = np.ones((1, len(truth)))
    several = task == "multi_label"
    if not several:
        labels = (predicted[:, 1] >= thresholds[0]).astype(int) if task == "binary" else predicted.argmax(1)
        classes = _of_confusion(_confusion(ones, truth, labels, len(label_names)))
    found = {}
    for i, name in enumerate(label_names):
        is_it = truth[:, i] == 1 if several else truth == i
        ranked = _Ranked.of(is_it, predicted[:, i])
        true, false = ranked.counts(ones)
        if several:
            precision, recall, f1 = (float(one[0]) for one in _of_counts(true, false, ranked.above(thresholds[i])))
        else:
            precision, recall, f1 = (float(one[0, i]) for one in classes)
        scores = {"n": float(is_it.sum()), "precision": precision, "recall": recall, "f1": f1}
        scores |= {"roc_auc": float(_roc_auc(true, false)[0]), "pr_auc": float(_pr_auc(true, false)[0])}
        found[name] = scores | ({"threshold": float(thresholds[i])} if several else {})
    return found


@dataclass(frozen=True)
class SequenceEvaluation:
    """How well a fine-tuned model predicts, thresholds being chosen on validation and applied to test.

    Attributes:
        task: One of `TASKS`.
        label_names: Of classes or labels; of a regression the name of what is predicted.
        thresholds: Of `choose_thresholds` on validation.
        n_sequences: By split.
        n_by_class: By split and class or label; nothing of a regression.
        scores: Of test, as `score_predictions` gives them.
        validation_scores: The same of validation, on which thresholds were chosen.
        per_class: Of test, as `per_class` gives them.
        model: Name of the fine-tuned model.
        base_model: What it was fine-tuned from.
        settings: Of the fine-tuning, for the report; JSON values.
        n_bootstraps: Draws made, by split.
        seed: Of the bootstrap.
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
            table: Of `prediction_table`.
            task: One of `TASKS`.
            label_names: As for `prediction_table`.
            model: Name of the fine-tuned model.
            base_model: What it was fine-tuned from.
            settings: Of the fine-tuning; JSON values.
            seed: Of the bootstrap.
            n_bootstraps: Draws asked for; see `score_predictions`.

        Raises:
            InputError: A split is empty, or the values do not fit the task.
            TableError: The table lacks a column, or has a class that is not in `label_names`.
        """
        arrays = {split: split_arrays(table, task, label_names, split) for split in SPLITS}
        _checked(task, label_names, *arrays["validation"])
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
        """Write `evaluation.json`, whole or not at all, and return its path; the folder is made."""
        path = Path(folder) / EVALUATION_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {"format_version": FORMAT_VERSION, **asdict(self)}
        for name in ("scores", "validation_scores", "per_class"):
            record[name] = _map_scores(record[name], lambda value: None if np.isnan(value) else value)
        with atomic_write(path) as partial:
            partial.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        return path

    @classmethod
    def load(cls, folder: str | Path) -> SequenceEvaluation:
        """Read what `save` wrote.

        Raises:
            TableError: The folder holds no evaluation, or none of this format.
        """
        path = Path(folder) / EVALUATION_NAME
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise TableError(f"{path}: no such file; give the folder that an evaluation was saved to.") from error
        except (OSError, ValueError) as error:
            raise TableError(f"{path}: cannot be read as JSON ({error}).") from error
        wanted = {one.name for one in fields(cls)}
        if (
            not isinstance(record, dict)
            or record.pop("format_version", None) != FORMAT_VERSION
            or set(record) != wanted
        ):
            raise TableError(f"{path}: is no evaluation of format {FORMAT_VERSION}; evaluate the model again.")
        for name in ("scores", "validation_scores", "per_class"):
            record[name] = _map_scores(record[name], lambda value: float("nan") if value is None else value)
        for name in ("label_names", "thresholds"):
            record[name] = tuple(record[name])
        return cls(**record)


def prediction_table(
    task: Task,
    label_names: Sequence[str],
    ids: Sequence[str],
    splits: Sequence[str],
    truth: np.ndarray,
    predicted: np.ndarray,
) -> pd.DataFrame:
    """Predictions of both splits as one table.

    Args:
        task: One of `TASKS`.
        label_names: As for `score_predictions`.
        ids: Of the sequences.
        splits: `validation` or `test`, of each sequence.
        truth: As for `score_predictions`.
        predicted: As for `score_predictions`.

    Returns:
        Columns `id`, `split`, `truth` (the class's name, or the value of a regression) or `truth NAME` a label, and
        `probability NAME` a class or label, or `predicted` of a regression.

    Raises:
        InputError: The arrays do not fit each other or the task, or a split has another name.
    """
    truth, predicted = _checked(task, label_names, truth, predicted)
    if not len(ids) == len(splits) == len(truth):
        raise InputError(f"there are {len(ids)} ids, {len(splits)} splits and {len(truth)} predictions; give as many.")
    if unknown := sorted(set(splits) - set(SPLITS)):
        raise InputError(f"a split is named {unknown[0]!r}; name it {' or '.join(SPLITS)}.")
    columns: dict[str, Any] = {"id": [str(one) for one in ids], "split": list(splits)}
    if task == "regression":
        columns |= {"truth": truth, "predicted": predicted}
    elif task == "multi_label":
        columns |= {f"truth {name}": truth[:, i] for i, name in enumerate(label_names)}
    else:
        columns["truth"] = np.array(label_names, object)[truth]
    if task != "regression":
        columns |= {f"probability {name}": predicted[:, i] for i, name in enumerate(label_names)}
    return pd.DataFrame(columns)


def write_predictions(table: pd.DataFrame, folder: str | Path) -> Path:
    """Write `predictions.parquet`, whole or not at all, and return its path; the folder is made."""
    path = Path(folder) / PREDICTIONS_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        table.to_parquet(partial, index=False)
    return path


def read_predictions(folder: str | Path) -> pd.DataFrame:
    """Read what `write_predictions` wrote.

    Raises:
        TableError: The folder holds no such table.
    """
    path = Path(folder) / PREDICTIONS_NAME
    try:
        return pd.read_parquet(path)
    except FileNotFoundError as error:
        raise TableError(f"{path}: no such file; give the folder that predictions were written to.") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"{path}: cannot be read as Parquet ({str(error).splitlines()[0]}).") from error


def split_arrays(
    table: pd.DataFrame, task: Task, label_names: Sequence[str], split: str
) -> tuple[np.ndarray, np.ndarray]:
    """Truth and predictions of one split, in the shapes of `score_predictions`.

    Raises:
        TableError: The table lacks a column, or has a class that is not in `label_names`.
    """
    several = task == "multi_label"
    truth_columns = [f"truth {name}" for name in label_names] if several else ["truth"]
    columns = ["predicted"] if task == "regression" else [f"probability {name}" for name in label_names]
    if missing := [name for name in ("split", *truth_columns, *columns) if name not in table]:
        raise TableError(f"the predictions have no column {missing[0]!r}; make them with the same labels and task.")
    rows = table[table["split"] == split]
    predicted = rows[columns].to_numpy(np.float64)
    if task == "regression":
        return rows["truth"].to_numpy(np.float64), predicted[:, 0]
    if several:
        return rows[truth_columns].to_numpy(np.int64), predicted
    truth = pd.Index(label_names).get_indexer(rows["truth"]).astype(np.int64)
    if (truth < 0).any():
        found = rows["truth"].to_numpy()[truth < 0][0]
        raise TableError(f"the predictions have class {found!r}, which is none of {', '.join(label_names)}.")
    return truth, predicted


def _checked(
    task: Task,
    label_names: Sequence[str],
    truth: np.ndarray,
    predicted: np.ndarray,
    thresholds: Sequence[float] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The arrays as integers, or floats of a regression, and float64, once they fit each other and the task."""
    if task not in TASKS:
        raise InputError(f"there is no task {task!r}; choose of {', '.join(TASKS)}.")
    truth, predicted = np.asarray(truth), np.asarray(predicted, np.float64)
    names = list(label_names)
    if len(set(names)) != len(names):
        raise InputError(f"two classes have one name among {', '.join(names)}; give each its own.")
    if (task == "binary" and len(names) != 2) or (task == "multi_class" and len(names) < 2) or not names:
        raise InputError(f"a {task} task cannot have {len(names)} label names; give one a class or label.")
    wide = (len(truth), len(names))
    shapes = {"regression": ((len(truth),),) * 2, "multi_label": (wide, wide)}.get(task, ((len(truth),), wide))
    if (truth.shape, predicted.shape) != shapes:
        raise InputError(
            f"truth is {truth.shape} and predictions are {predicted.shape}; of this {task} task they are {shapes[0]} "
            f"and {shapes[1]}."
        )
    if not len(truth):
        raise InputError("there are no predictions to score; give those of one sequence at least of each split.")
    if not np.isfinite(predicted).all():
        raise InputError("a prediction is no finite number; look for where training diverged.")
    n_thresholds = {"binary": 1, "multi_label": len(names)}.get(task, 0)
    if thresholds is not None and len(thresholds) != n_thresholds:
        raise InputError(
            f"there are {len(thresholds)} thresholds and a {task} task of these labels has {n_thresholds}."
        )
    if task == "regression":
        truth = truth.astype(np.float64)
        if not np.isfinite(truth).all():
            raise InputError("a true value is no finite number; leave such sequences out.")
        return truth, predicted
    if predicted.min() < 0 or predicted.max() > 1:
        raise InputError("a prediction lies outside 0 to 1; give probabilities rather than logits.")
    n_values = 2 if task == "multi_label" else len(names)
    if not np.isin(truth, np.arange(n_values)).all():
        raise InputError(
            f"the truth of a {task} task of these labels is 0 to {n_values - 1}, and other values are there."
        )
    return truth.astype(np.int64), predicted


def _class_sizes(task: Task, label_names: Sequence[str], truth: np.ndarray) -> dict[str, int]:
    if task == "regression":
        return {}
    sizes = truth.sum(0) if task == "multi_label" else np.bincount(truth, minlength=len(label_names))
    return {name: int(n) for name, n in zip(label_names, sizes, strict=True)}


def _map_scores(
    scores: dict[str, dict[str, Any]], change: Callable[[Any], float | None]
) -> dict[str, dict[str, float | None]]:
    return {name: {part: change(value) for part, value in parts.items()} for name, parts in scores.items()}


def _draw(rng: np.random.Generator, strata: list[int], n_draws: int) -> np.ndarray:
    """How often each sequence is drawn, float64 `(n_draws, n)`, each stratum keeping its size."""
    weights = np.empty((n_draws, sum(strata)))
    first = 0
    for size in strata:
        picked = rng.integers(0, size, (n_draws, size), dtype=np.int32)
        for row, places in zip(weights, picked, strict=True):
            row[first : first + size] = np.bincount(places, minlength=size)
        first += size
    return weights


def _interval(value: float, drawn: list[np.ndarray]) -> dict[str, float]:
    scores = np.concatenate(drawn)
    scores = scores[~np.isnan(scores)]
    if np.isnan(value) or not len(scores):
        return {"value": value, "low": float("nan"), "high": float("nan")}
    low, high = np.quantile(scores, [0.025, 0.975])
    return {"value": value, "low": min(float(low), value), "high": max(float(high), value)}


@dataclass(frozen=True)
class _Ranked:
    """A column of probabilities, sorted once: positives at least as probable as each distinct value are sums."""

    order: np.ndarray
    positive: np.ndarray
    last: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, truth: np.ndarray, probability: np.ndarray) -> _Ranked:
        order = np.argsort(-probability, kind="stable")
        values = probability[order]
        last = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
        return cls(order, truth[order].astype(np.float64), last, values[last])

    def counts(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """True and false positives, `(n_draws, n_distinct)`, as the threshold falls."""
        drawn = np.take(weights, self.order, axis=1)
        predicted = np.cumsum(drawn, axis=1)
        drawn *= self.positive
        true = np.cumsum(drawn, axis=1, out=drawn)
        if len(self.last) < len(self.order):
            predicted, true = np.take(predicted, self.last, axis=1), np.take(true, self.last, axis=1)
        predicted -= true
        return true, predicted

    def above(self, threshold: float) -> int:
        """How many distinct values are at the threshold or above."""
        return int((self.values >= threshold).sum())


def _roc_auc(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    """Area under the ROC curve `(n_draws,)` by the trapezoidal rule; NaN with one class only."""
    steps = np.diff(false, axis=1)
    area = (steps * (true[:, 1:] + true[:, :-1])).sum(1) + false[:, 0] * true[:, 0]
    return _ratio(area, 2 * true[:, -1] * false[:, -1])


def _pr_auc(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    """Average precision `(n_draws,)`; NaN with one class only."""
    precision = true / np.maximum(true + false, 1)
    steps = np.diff(true, axis=1)
    area = (steps * precision[:, 1:]).sum(1) + true[:, 0] * precision[:, 0]
    return np.where(false[:, -1] > 0, _ratio(area, true[:, -1]), np.nan)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)


def _at(true: np.ndarray, false: np.ndarray, above: int) -> tuple[np.ndarray, np.ndarray]:
    if above == 0:
        return np.zeros(len(true)), np.zeros(len(true))
    return true[:, above - 1], false[:, above - 1]


def _of_counts(true: np.ndarray, false: np.ndarray, above: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision (0 where nothing is predicted), recall and F1, `(n_draws,)`; NaN where nothing is positive."""
    hits, misses = _at(true, false, above)
    return _three(hits, hits + misses, true[:, -1])


def _three(hits: np.ndarray, predicted: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    precision = np.where(positive > 0, hits / np.maximum(predicted, 1), np.nan)
    return precision, _ratio(hits, positive), np.where(positive > 0, _ratio(2 * hits, predicted + positive), np.nan)


def _mean_where_known(values: np.ndarray) -> np.ndarray:
    """Mean over columns `(n_draws,)`, NaN ones left out."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0).sum(1), known.sum(1))


def _confusion(weights: np.ndarray, truth: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Sequences by class and predicted class, `(n_draws, n_classes, n_classes)`."""
    cell = truth * n_classes + predicted
    return _sums_in(weights, cell, n_classes**2).reshape(-1, n_classes, n_classes)


def _sums_in(weights: np.ndarray, bins: np.ndarray, n_bins: int) -> np.ndarray:
    """Sums of weights in each bin, `(n_draws, n_bins)`."""
    return np.stack([np.bincount(bins, row, n_bins) for row in weights])


def _of_confusion(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F1 of each class, `(n_draws, n_classes)`."""
    return _three(np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(1), confusion.sum(2))


def _matthews(confusion: np.ndarray) -> np.ndarray:
    """Matthews correlation (Gorodkin 2004, doi:10.1016/j.compbiolchem.2004.09.006); 0 where all are predicted alike."""
    true, predicted, n = confusion.sum(2), confusion.sum(1), confusion.sum((1, 2))
    covariance = np.trace(confusion, axis1=1, axis2=2) * n - (true * predicted).sum(1)
    spread, predicted_spread = n**2 - (true**2).sum(1), n**2 - (predicted**2).sum(1)
    scale = np.sqrt(spread * predicted_spread)
    return np.where(spread > 0, covariance / np.where(scale > 0, scale, 1), np.nan)


def _calibration_scorer(truth: np.ndarray, predicted: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The calibration error of `phenotypes.metrics`."""
    confidence = predicted.max(1)
    bins = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    gap = (predicted.argmax(1) == truth) - confidence
    return lambda weights: np.abs(_sums_in(weights * gap, bins, N_BINS)).sum(1) / len(truth)


def _scorer(task: Task, truth: np.ndarray, predicted: np.ndarray, thresholds: Sequence[float]) -> Scorer:
    if task == "binary":
        return _binary_scorer(truth, predicted, thresholds[0])
    if task == "multi_class":
        return _multi_class_scorer(truth, predicted)
    if task == "multi_label":
        return _multi_label_scorer(truth, predicted, thresholds)
    return _regression_scorer(truth, predicted)


def _binary_scorer(truth: np.ndarray, predicted: np.ndarray, threshold: float) -> Scorer:
    ranked = _Ranked.of(truth == 1, predicted[:, 1])
    above = ranked.above(threshold)
    squared = (predicted[:, 1] - truth) ** 2
    calibration = _calibration_scorer(truth, predicted)

    def scores(weights: np.ndarray) -> dict[str, np.ndarray]:
        true, false = ranked.counts(weights)
        hits, misses = _at(true, false, above)
        positive, negative = true[:, -1], false[:, -1]
        confusion = np.stack([negative - misses, misses, positive - hits, hits], 1).reshape(-1, 2, 2)
        precision, recall, f1 = _of_confusion(confusion)
        return {
            "roc_auc": _roc_auc(true, false),
            "pr_auc": _pr_auc(true, false),
            "f1": f1[:, 1],
            "precision": precision[:, 1],
            "recall": recall[:, 1],
            "accuracy": (confusion[:, 0, 0] + confusion[:, 1, 1]) / len(truth),
            "balanced_accuracy": _mean_where_known(recall),
            "mcc": _matthews(confusion),
            "brier": weights @ squared / len(truth),
            "calibration_error": calibration(weights),
        }

    return scores


def _multi_class_scorer(truth: np.ndarray, predicted: np.ndarray) -> Scorer:
    n_classes = predicted.shape[1]
    ranked = [_Ranked.of(truth == label, predicted[:, label]) for label in range(n_classes)]
    labels = predicted.argmax(1)
    squared = (predicted**2).sum(1) - 2 * predicted[np.arange(len(truth)), truth] + 1
    calibration = _calibration_scorer(truth, predicted)

    def scores(weights: np.ndarray) -> dict[str, np.ndarray]:
        areas = [(_roc_auc(*counts), _pr_auc(*counts)) for counts in (one.counts(weights) for one in ranked)]
        confusion = _confusion(weights, truth, labels, n_classes)
        _, recall, f1 = _of_confusion(confusion)
        return {
            "roc_auc": _mean_where_known(np.stack([area for area, _ in areas], 1)),
            "pr_auc": _mean_where_known(np.stack([area for _, area in areas], 1)),
            "accuracy": np.trace(confusion, axis1=1, axis2=2) / len(truth),
            "balanced_accuracy": _mean_where_known(recall),
            "f1": _mean_where_known(f1),
            "mcc": _matthews(confusion),
            "brier": weights @ squared / len(truth),
            "calibration_error": calibration(weights),
        }

    return scores


def _multi_label_scorer(truth: np.ndarray, predicted: np.ndarray, thresholds: Sequence[float]) -> Scorer:
    ranked = [_Ranked.of(truth[:, i] == 1, predicted[:, i]) for i in range(truth.shape[1])]
    above = [one.above(threshold) for one, threshold in zip(ranked, thresholds, strict=True)]
    all_right = ((predicted >= np.asarray(thresholds)) == truth).all(1).astype(np.float64)
    squared = ((predicted - truth) ** 2).mean(1)

    def scores(weights: np.ndarray) -> dict[str, np.ndarray]:
        found: dict[str, list[np.ndarray]] = {name: [] for name in ("roc_auc", "pr_auc", "f1", "precision", "recall")}
        total = np.zeros((3, len(weights)))
        for one, place in zip(ranked, above, strict=True):
            true, false = one.counts(weights)
            hits, misses = _at(true, false, place)
            total += np.stack([hits, hits + misses, true[:, -1]])
            precision, recall, f1 = _three(hits, hits + misses, true[:, -1])
            for name, value in zip(
                found, (_roc_auc(true, false), _pr_auc(true, false), f1, precision, recall), strict=True
            ):
                found[name].append(value)
        return {name: _mean_where_known(np.stack(values, 1)) for name, values in found.items()} | {
            "micro_f1": _three(*total)[2],
            "subset_accuracy": weights @ all_right / len(truth),
            "brier": weights @ squared / len(truth),
        }

    return scores


def _regression_scorer(truth: np.ndarray, predicted: np.ndarray) -> Scorer:
    n = len(truth)
    # Around their medians: constant columns are 0 to the last bit.
    t, p = truth - np.median(truth), predicted - np.median(predicted)
    error = predicted - truth
    moments = np.stack([t, p, t**2, p**2, t * p, error**2, np.abs(error)], 1)
    flat = 1e-12 * np.array([(t**2).mean(), (p**2).mean()])
    ranks = _rank_scorer(truth), _rank_scorer(predicted)

    def scores(weights: np.ndarray) -> dict[str, np.ndarray]:
        mean_t, mean_p, tt, pp, tp, squared, absolute = (weights @ moments / n).T
        var_t, var_p = tt - mean_t**2, pp - mean_p**2
        var_t, var_p = np.where(var_t > flat[0], var_t, 0), np.where(var_p > flat[1], var_p, 0)
        rank_t, rank_p = (ranked(weights) for ranked in ranks)
        rank_scale = np.sqrt((weights * rank_t**2).sum(1) * (weights * rank_p**2).sum(1))
        return {
            "pearson": _ratio(tp - mean_t * mean_p, np.sqrt(var_t * var_p)),
            "spearman": _ratio((weights * rank_t * rank_p).sum(1), rank_scale),
            "rmse": np.sqrt(squared),
            "mae": absolute,
            "r2": 1 - _ratio(squared, var_t),
        }

    return scores


def _rank_scorer(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Mean ranks of tied values less the mean of all ranks, `(n_draws, n)`."""
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    last = np.append(np.flatnonzero(np.diff(group[order])), len(values) - 1)

    def ranks(weights: np.ndarray) -> np.ndarray:
        upto = np.cumsum(weights[:, order], axis=1)[:, last]
        before = np.pad(upto[:, :-1], ((0, 0), (1, 0)))
        return ((before + upto - len(values)) / 2)[:, group]

    return ranks


__all__ = [
    "EVALUATION_NAME",
    "MAX_BOOTSTRAP_WORK",
    "MIN_BOOTSTRAPS",
    "PREDICTIONS_NAME",
    "SPLITS",
    "TASKS",
    "SequenceEvaluation",
    "Task",
    "best_f1_threshold",
    "bootstraps_within_budget",
    "choose_thresholds",
    "per_class",
    "prediction_table",
    "ranked_counts",
    "read_predictions",
    "score_predictions",
    "split_arrays",
    "write_predictions",
]
