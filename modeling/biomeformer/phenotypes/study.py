"""Feature sets side by side: the same folds, several models, and what tells them apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import InputError, TableError
from ..metrics.probabilities import METRICS, score
from .evaluation import Comparison, Evaluation, compare, cross_validate, interval
from .features import FeatureTable
from .models import DESCRIPTIONS, MODELS
from .target import Target
from .transforms import ZERO_RULE

# A linear model needs ratios; trees split shares as they are.
DEFAULT_TRANSFORMS = {"l1": "clr", "forest": "none", "boosting": "none"}


@dataclass(frozen=True)
class Study:
    """Evaluations of several feature sets and models on the same folds.

    Attributes:
        target: What was predicted.
        evaluations: One for each feature set and model.
        comparisons: Of every two feature sets under one model, by ROC-AUC.
        n_splits: Folds a repeat.
        n_repeats: Of the cross-validation.
        n_permutations: Of the permutation test.
        seed: Of everything.
        sources: Where each feature set came from.
        inputs: What a report needs to find the tables again: see `biomeformer.reports.phenotype`.
    """

    target: Target
    evaluations: tuple[Evaluation, ...]
    comparisons: tuple[Comparison, ...]
    n_splits: int
    n_repeats: int
    n_permutations: int
    seed: int
    sources: dict[str, str]
    inputs: dict[str, Any] = field(default_factory=dict)

    @property
    def models(self) -> list[str]:
        """Names of the models, in order."""
        return list(dict.fromkeys(found.model for found in self.evaluations))

    @property
    def feature_sets(self) -> list[str]:
        """Names of the feature sets, in order."""
        return list(dict.fromkeys(found.features for found in self.evaluations))

    def evaluation(self, features: str, model: str) -> Evaluation:
        """That of one feature set and model.

        Raises:
            InputError: There is none.
        """
        for found in self.evaluations:
            if (found.features, found.model) == (features, model):
                return found
        raise InputError(
            f"the study has no {features!r} with {model!r}; it has {', '.join(self.feature_sets)} with "
            f"{', '.join(self.models)}."
        )

    @property
    def scores(self) -> pd.DataFrame:
        """One row a feature set and model: mean, low and high of each metric, and the permutation test's p."""
        rows = []
        for found in self.evaluations:
            row: dict[str, Any] = {"features": found.features, "model": found.model, "transform": found.transform}
            for metric, span in found.scores.items():
                row |= {metric: span.mean, f"{metric}_low": span.low, f"{metric}_high": span.high}
            rows.append(row | {"permutation_p": found.permutation_p})
        return pd.DataFrame(rows)

    @property
    def predictions(self) -> pd.DataFrame:
        """One row a sample: its class, and out-of-fold probabilities of the classes by each feature set and model."""
        columns: dict[str, Any] = {"class": [self.target.classes[label] for label in self.target.labels]}
        for found in self.evaluations:
            for name, values in zip(self.target.classes, found.probabilities.T, strict=True):
                columns[f"{found.features}.{found.model}.{name}"] = values
        return pd.DataFrame(columns, index=pd.Index(self.target.sample_ids, name="sample_id"))

    @property
    def methods(self) -> str:
        """A paragraph for a methods section, with every setting."""
        target = self.target
        sizes = ", ".join(f"{n} {name}" for name, n in target.sizes.items())
        kinds = {found.model: found.transform for found in self.evaluations}
        models = "; ".join(f"{DESCRIPTIONS[model]} (features: {_transform(kinds[model])})" for model in kinds)
        grouped = "" if target.group_column is None else f", no {target.group_column} in two folds"
        permutations = ""
        if self.n_permutations:
            permutations = (
                f" P values against chance are from {self.n_permutations} permutations of the labels, each "
                "cross-validated once in the same way."
            )
        zeros = f" For log-ratios, {ZERO_RULE}." if set(kinds.values()) - {"none"} else ""
        left_out = f" {target.n_missing} samples without a value were left out." if target.n_missing else ""
        return (
            f"{target.column} ({sizes}) was predicted from {', '.join(self.sources)} by {models}.{zeros}{left_out} "
            f"Models were evaluated by stratified {self.n_splits}-fold cross-validation, {self.n_repeats} x"
            f"{grouped} (seed {self.seed}), in which everything that is fitted or chosen saw the training folds alone. "
            "Scores are means over test folds with 95 % intervals of the corrected resampled t-test (Nadeau and Bengio "
            f"2003), by which feature sets were also compared on the same folds.{permutations}"
        )

    @property
    def record(self) -> dict[str, Any]:
        """All figures, in values JSON can hold."""
        return {
            "target": {
                "column": self.target.column,
                "classes": self.target.sizes,
                "group_column": self.target.group_column,
                "n_missing": self.target.n_missing,
            },
            "n_splits": self.n_splits,
            "n_repeats": self.n_repeats,
            "n_permutations": self.n_permutations,
            "seed": self.seed,
            "sources": self.sources,
            "inputs": self.inputs,
            "scores": json.loads(self.scores.to_json(orient="records")),
            "comparisons": [asdict(comparison) for comparison in self.comparisons],
            "folds": [_folds_record(found) for found in self.evaluations],
            "methods": self.methods,
        }

    @classmethod
    def read(cls, folder: str | Path) -> Study:
        """Read what `write` wrote.

        Raises:
            TableError: The folder holds no study, or one of another version.
        """
        folder = Path(folder)
        try:
            record = json.loads((folder / "study.json").read_text())
            predictions = pd.read_csv(
                folder / "predictions.csv", dtype={"sample_id": str, "class": str}, keep_default_na=False
            )
            return _from_record(cls, record, predictions.set_index("sample_id"))
        except OSError as error:
            raise TableError(
                f"{folder} holds no study ({Path(error.filename or folder).name}: {error.strerror}); give the folder "
                "that `biomeformer phenotype evaluate` wrote."
            ) from error
        except (KeyError, ValueError) as error:
            raise TableError(
                f"{folder}: the study cannot be read ({type(error).__name__}: {' '.join(str(error).split())}); "
                "evaluate again with this version."
            ) from error

    def write(self, folder: str | Path) -> dict[str, Path]:
        """Write `scores.csv`, `predictions.csv` and `study.json` to an existing folder; gives their paths."""
        folder = Path(folder)
        self.scores.to_csv(folder / "scores.csv", index=False)
        self.predictions.to_csv(folder / "predictions.csv")
        (folder / "study.json").write_text(json.dumps(self.record, indent=1) + "\n")
        return {
            "scores": folder / "scores.csv",
            "predictions": folder / "predictions.csv",
            "all": folder / "study.json",
        }


def run_study(
    feature_sets: dict[str, Sequence[FeatureTable]],
    target: Target,
    *,
    models: Sequence[str] = MODELS,
    transform: str | None = None,
    n_splits: int = 10,
    n_repeats: int = 5,
    n_permutations: int = 0,
    seed: int = 0,
    n_jobs: int | None = -1,
    sources: dict[str, str] | None = None,
    inputs: dict[str, Any] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Study:
    """Evaluate every feature set with every model on the same folds, and compare the feature sets.

    Args:
        feature_sets: By name, the tables that stand side by side; they need the target's samples, in any order.
        target: Classes.
        models: Of `l1`, `forest` and `boosting`.
        transform: `none`, `clr` or `ilr` for all models; by default `clr` for `l1` and `none` for the others.
        n_splits: Folds a repeat.
        n_repeats: Of the cross-validation.
        n_permutations: Of the labels, for the permutation test.
        seed: Of everything.
        n_jobs: Processes or threads at once.
        sources: Where each feature set came from.
        inputs: Kept in the record as they are.
        progress: Called after each fold with what is evaluated, folds done and in all.

    Returns:
        The study.

    Raises:
        InputError: No feature set or model is given, or as for `cross_validate`.
        TableError: A table lacks a sample.
    """
    if not feature_sets or not models:
        raise InputError("a study needs a feature set and a model; give one of each.")
    evaluations = []
    for name, tables in feature_sets.items():
        blocks = [table.take(target.sample_ids, name) for table in tables]
        for model in models:
            what = f"{name}, {model}"
            evaluations.append(
                cross_validate(
                    blocks,
                    target,
                    model,
                    name=name,
                    transform=transform or DEFAULT_TRANSFORMS.get(model, "none"),
                    n_splits=n_splits,
                    n_repeats=n_repeats,
                    n_permutations=n_permutations,
                    seed=seed,
                    n_jobs=n_jobs,
                    progress=None if progress is None else partial(progress, what),
                )
            )
    return Study(
        target,
        tuple(evaluations),
        tuple(_comparisons(evaluations)),
        n_splits,
        n_repeats,
        n_permutations,
        seed,
        {name: (sources or {}).get(name, name) for name in feature_sets},
        inputs or {},
    )


def study_of_folds(
    target: Target,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    probabilities: Sequence[np.ndarray],
    *,
    features: str,
    model: str,
    n_splits: int,
    n_repeats: int,
    seed: int,
    source: str,
) -> Study:
    """A study of a model that was trained and tested elsewhere.

    Args:
        target: Classes.
        splits: Training and test samples of each fold, repeat after repeat.
        probabilities: `(n_test, n_classes)` of each fold's test samples.
        features: Name of what the model saw.
        model: Name of the model.
        n_splits: Folds a repeat.
        n_repeats: Of the cross-validation.
        seed: Of everything.
        source: Where the features came from.
    """
    total = np.zeros((len(target.labels), len(target.classes)))
    found: dict[str, list[float]] = {metric: [] for metric in METRICS}
    for (_, test), predicted in zip(splits, probabilities, strict=True):
        total[test] += predicted
        for metric, value in score(target.labels[test], predicted).items():
            found[metric].append(value)
    correction = 1 / len(splits) + float(np.mean([len(test) / len(train) for train, test in splits]))
    fold_scores = {metric: np.array(values) for metric, values in found.items()}
    evaluation = Evaluation(
        features=features,
        model=model,
        transform="",
        scores={metric: interval(values, correction).clipped() for metric, values in fold_scores.items()},
        fold_scores=fold_scores,
        probabilities=total / n_repeats,
        correction=correction,
        n_repeats=n_repeats,
        n_splits=n_splits,
    )
    return Study(target, (evaluation,), (), n_splits, n_repeats, 0, seed, {features: source})


def _comparisons(evaluations: Sequence[Evaluation]) -> list[Comparison]:
    """Of every two feature sets under one model."""
    return [
        compare(first, second)
        for first, second in combinations(evaluations, 2)
        if first.model == second.model and first.features != second.features
    ]


def _folds_record(found: Evaluation) -> dict[str, Any]:
    """What a study's scores were made from, in values JSON can hold: NaN is None."""
    return {
        "features": found.features,
        "model": found.model,
        "transform": found.transform,
        "correction": found.correction,
        "scores": {
            metric: [None if np.isnan(value) else value for value in values.tolist()]
            for metric, values in found.fold_scores.items()
        },
        "permuted": found.permuted.tolist(),
        "chosen": found.chosen,
    }


def _from_record(cls: type[Study], record: dict[str, Any], predictions: pd.DataFrame) -> Study:
    classes = tuple(record["target"]["classes"])
    target = Target(
        record["target"]["column"],
        tuple(map(str, predictions.index)),
        classes,
        predictions["class"].map({name: i for i, name in enumerate(classes)}).to_numpy(np.int64),
        group_column=record["target"]["group_column"],
        n_missing=record["target"]["n_missing"],
    )
    evaluations = []
    for found in record["folds"]:
        fold_scores = {metric: np.array(values, np.float64) for metric, values in found["scores"].items()}
        columns = [f"{found['features']}.{found['model']}.{name}" for name in classes]
        evaluations.append(
            Evaluation(
                features=found["features"],
                model=found["model"],
                transform=found["transform"],
                scores={
                    metric: interval(values, found["correction"]).clipped() for metric, values in fold_scores.items()
                },
                fold_scores=fold_scores,
                probabilities=predictions[columns].to_numpy(np.float64),
                correction=found["correction"],
                n_repeats=record["n_repeats"],
                n_splits=record["n_splits"],
                permuted=np.array(found["permuted"], np.float64),
                chosen=found["chosen"],
            )
        )
    return cls(
        target,
        tuple(evaluations),
        tuple(_comparisons(evaluations)),
        record["n_splits"],
        record["n_repeats"],
        record["n_permutations"],
        record["seed"],
        record["sources"],
        record["inputs"],
    )


def _transform(name: str) -> str:
    return {"": "sets of vectors", "none": "shares", "clr": "centred log-ratios", "ilr": "isometric log-ratios"}[name]


__all__ = ["DEFAULT_TRANSFORMS", "Study", "run_study", "study_of_folds"]
