"""Studies: feature sets and models evaluated on the same folds and compared."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import pandas as pd

from ..checkpoints.source import public_record
from ..errors import InputError, TableError
from ..io.atomic import atomic_write
from ..io.digests import FileDigest, check_files, digest_files
from ..io.html_repr import count, html_table
from ..io.records import DamagedFileError, MissingChecksumError, RecordType
from ..io.short_repr import short_repr
from ..io.spreadsheets import undo_spreadsheet, write_spreadsheet
from ..metrics.targets import CHANCE, score_target
from .confounding import Confounding
from .evaluation import Comparison, Evaluation, Interval, compare, cross_validate, interval, intervals
from .features import FeatureTable
from .importance import GroupImportance, HeldOutImportance, importance_table, with_selection
from .models import DESCRIPTIONS, MODELS, REGRESSION_DESCRIPTIONS, is_constant
from .target import LABEL_SEPARATOR, Kind, Target
from .transforms import ZERO_RULES

# What `Study.write` writes.
STUDY_FILES = ("scores.csv", "predictions.csv", "study.json", "confounders.csv", "importance.csv")
TRANSFORM_NAMES = {
    "": "sets of vectors",
    "none": "shares",
    "clr": "centred log-ratios",
    "ilr": "isometric log-ratios",
}
# Column of `predictions.csv` with the samples' values.
VALUE_COLUMNS: dict[Kind, str] = {"classification": "class", "regression": "value", "multilabel": "labels"}
# A linear model needs log-ratios; trees split shares as they are.
DEFAULT_TRANSFORMS = {"l1": "clr", "lasso": "clr", "forest": "none", "boosting": "none"}


class _TargetRecord(TypedDict):
    column: str
    classes: dict[str, int]
    group_column: str | None
    n_missing: int
    # Version 0.1 did not write these.
    missing_words: NotRequired[dict[str, int]]
    not_in_metadata: NotRequired[list[str]]
    kind: NotRequired[Kind]


class _FoldsRecord(TypedDict):
    features: str
    model: str
    transform: str
    correction: float
    scores: dict[str, list[float | None]]
    permuted: list[float | None]
    chosen: dict[str, float]
    # Version 0.1 did not write these.
    n_empty: NotRequired[int]
    zeros: NotRequired[list[str]]


class _StudyRecord(TypedDict):
    """Content of `study.json`; `files` are the tables that `write` puts beside it, absent in those of version 0.1."""

    target: _TargetRecord
    n_splits: int
    n_repeats: int
    n_permutations: int
    seed: int
    sources: dict[str, str]
    inputs: dict[str, Any]
    scores: list[dict[str, Any]]
    comparisons: list[dict[str, Any]]
    folds: list[_FoldsRecord]
    methods: str
    files: NotRequired[dict[str, FileDigest]]
    confounding: NotRequired[Confounding | None]
    importance: NotRequired[list[GroupImportance]]


ADVICE = "evaluate again"
NOT_IN_0_1 = {"files", "confounding", "importance"}
RECORD = RecordType(_StudyRecord, ADVICE, [set(_StudyRecord.__annotations__) - NOT_IN_0_1])


@dataclass(frozen=True)
class Study:
    """Evaluations of several feature sets and models on the same folds.

    Attributes:
        target: The predicted classes, numbers or labels.
        evaluations: One per feature set and model.
        comparisons: One per pair of feature sets with the same model, by the main metric.
        n_splits: Folds per repeat.
        n_repeats: Repeats of the cross-validation.
        n_permutations: Permutations of the permutation test.
        seed: Seed of all random choices.
        sources: Origin of each feature set, by name.
        inputs: Paths and digests by which a report locates the tables: see `biomeformer.reports.phenotype`.
        confounding: Metadata columns that predict the target or explain the features; None if none were tested.
        importance: Permutation importance of groups of features; empty if it was not computed.
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
    confounding: Confounding | None = None
    importance: tuple[GroupImportance, ...] = ()

    __repr__ = short_repr

    def _repr_html_(self) -> str:
        folds = f"{self.n_splits} folds x {count(self.n_repeats, 'repeat')}"
        n_samples = count(len(self.target.sample_ids), "sample")
        title = f"{self.target.column} of {n_samples}, {folds}; means with 95 % intervals"
        rows = [
            {"features": one.features, "model": one.model, **{name: str(value) for name, value in one.scores.items()}}
            for one in self.evaluations
        ]
        return html_table(self, title, pd.DataFrame(rows).set_index(["features", "model"]))

    @property
    def notes(self) -> list[str]:
        """How the tables were read and what was left out."""
        return [f"{name}: {text}" for name, record in self._tables().items() for text in record.get("notes", [])]

    @property
    def warnings(self) -> list[str]:
        """What may change the results: what was left out of tables or assumed about them, and `result_warnings`."""
        tables = self._tables().items()
        from_tables = [f"{name}: {text}" for name, record in tables for text in record.get("warnings", [])]
        return from_tables + self.result_warnings

    def _tables(self) -> dict[str, Any]:
        tables: dict[str, Any] = self.inputs.get("tables", {})
        return tables

    @property
    def models(self) -> list[str]:
        """Names of the models, in order."""
        return list(dict.fromkeys(evaluation.model for evaluation in self.evaluations))

    @property
    def feature_sets(self) -> list[str]:
        """Names of the feature sets, in order."""
        return list(dict.fromkeys(evaluation.features for evaluation in self.evaluations))

    def evaluation(self, features: str, model: str) -> Evaluation:
        """Return the evaluation of one feature set and model.

        Raises:
            InputError: The study has none.
        """
        for evaluation in self.evaluations:
            if (evaluation.features, evaluation.model) == (features, model):
                return evaluation
        raise InputError(
            f"the study has no {features!r} with {model!r}; it has {', '.join(self.feature_sets)} with "
            f"{', '.join(self.models)}."
        )

    @property
    def scores(self) -> pd.DataFrame:
        """One row per feature set and model: mean, low and high of each metric, and p of the permutation test."""
        rows = []
        for evaluation in self.evaluations:
            row: dict[str, Any] = {
                "features": evaluation.features,
                "model": evaluation.model,
                "transform": evaluation.transform,
            }
            rows.append(row | score_columns(evaluation.scores) | {"permutation_p": evaluation.permutation_p})
        return pd.DataFrame(rows)

    @property
    def fit_warnings(self) -> list[str]:
        """A sentence for each evaluation whose model learned nothing in some or all folds."""
        return [evaluation.warning for evaluation in self.evaluations if evaluation.warning]

    @property
    def result_warnings(self) -> list[str]:
        """What the results themselves warn of: `fit_warnings`, and metadata that predict as well as the features."""
        if self.confounding is None:
            return self.fit_warnings
        known = [
            one.scores[self.confounding.metric].mean
            for one in self.evaluations
            if one.features == self.confounding.features and not one.learned_nothing
        ]
        best = max((value for value in known if not np.isnan(value)), default=CHANCE[self.confounding.metric])
        return self.fit_warnings + self.confounding.warnings(self.target.column, best)

    @property
    def predictions(self) -> pd.DataFrame:
        """One row per sample: its value, and out-of-fold predictions by feature set, model and class.

        The value is in the column `class`, of a regression `value`, of several labels `labels`.
        """
        columns: dict[str, Any] = {VALUE_COLUMNS[self.target.kind]: self.target.values}
        for evaluation in self.evaluations:
            for name, values in zip(self.target.classes, evaluation.probabilities.T, strict=True):
                columns[f"{evaluation.features}.{evaluation.model}.{name}"] = values
        return pd.DataFrame(columns, index=pd.Index(self.target.sample_ids, name="sample_id"))

    @property
    def methods(self) -> str:
        """A paragraph for a methods section, with all settings."""
        target = self.target
        sizes = ", ".join(f"{n} {name}" for name, n in target.sizes.items())
        descriptions, what, strata = DESCRIPTIONS, "the labels", "stratified"
        if target.kind == "regression":
            sizes = "a number, " + ", ".join(f"{name} {text}" for name, text in target.summary.items())
            descriptions = DESCRIPTIONS | REGRESSION_DESCRIPTIONS
            what, strata = "the numbers", "by quantiles of the numbers stratified"
        covariates = ""
        if "covariates" in self.inputs:
            imputed = (
                ", missing numbers replaced by the median of the training samples" * self.inputs["covariates"]["impute"]
            )
            covariates = f" Covariates are not transformed: numbers as they are, one column per word{imputed}."
        per_label = ""
        if target.kind == "multilabel":
            sizes = f"several labels per sample: {sizes}"
            strata = "by the rarest label of a sample stratified"
            per_label = " Each label has a model of its own; scores of all are macro averages."
        kinds = {evaluation.model: evaluation.transform for evaluation in self.evaluations}
        models = "; ".join(f"{descriptions[model]} (features: {TRANSFORM_NAMES[kinds[model]]})" for model in kinds)
        grouped = "" if target.group_column is None else f", no {target.group_column} in two folds"
        permutations = ""
        if self.n_permutations:
            permutations = (
                f" P values against chance are from {self.n_permutations} permutations of {what}, each "
                "cross-validated once in the same way."
            )
        rules = dict.fromkeys(rule for evaluation in self.evaluations for rule in evaluation.zeros)
        zeros = f" For log-ratios, {'; '.join(ZERO_RULES[rule] for rule in rules)}." if rules else ""
        left_out = f" Left out: {target.describe_missing()}." if target.n_missing else ""
        return (
            f"{target.column} ({sizes}) was predicted from {', '.join(self.sources)} by {models}.{zeros}{covariates}"
            f"{left_out} Models were evaluated by {strata} {self.n_splits}-fold cross-validation, {self.n_repeats} x"
            f"{grouped} (seed {self.seed}), in which all fitting and model selection used only the training folds. "
            "Scores are means over test folds with 95 % intervals of the corrected resampled t-test (Nadeau and Bengio "
            f"2003), which was also used to compare feature sets on the same folds.{per_label}{permutations}"
        )

    @property
    def record(self) -> dict[str, Any]:
        """The study as JSON values."""
        return {
            "target": {
                "column": self.target.column,
                "classes": self.target.sizes,
                "group_column": self.target.group_column,
                "n_missing": self.target.n_missing,
                "missing_words": self.target.missing_words,
                "not_in_metadata": list(self.target.not_in_metadata),
                "kind": self.target.kind,
            },
            "n_splits": self.n_splits,
            "n_repeats": self.n_repeats,
            "n_permutations": self.n_permutations,
            "seed": self.seed,
            "sources": self.sources,
            "inputs": self.inputs,
            "scores": json.loads(self.scores.to_json(orient="records")),
            "comparisons": [_without_nan(asdict(comparison)) for comparison in self.comparisons],
            "warnings": self.warnings,
            "folds": [_folds_record(evaluation) for evaluation in self.evaluations],
            "methods": self.methods,
            "confounding": None if self.confounding is None else asdict(self.confounding),
            "importance": [asdict(one) for one in self.importance],
        }

    @classmethod
    def read(cls, folder: str | Path) -> Study:
        """Read a study written by `write`, and verify it: a table that was edited since is refused.

        Raises:
            TableError: The folder holds no study, or one of another version.
            DamagedFileError: The study is damaged.
        """
        folder = Path(folder)
        try:
            record = RECORD.read(folder / "study.json")
            record["inputs"] = _change_paths(record["inputs"], lambda path: _absolute(path, folder))
            check_files(folder, record.get("files", {}), ADVICE)
            predictions = pd.read_csv(
                folder / "predictions.csv",
                dtype={"sample_id": str, "class": str, "labels": str},
                keep_default_na=False,
            )
            return _from_record(cls, record, undo_spreadsheet(predictions).set_index("sample_id"))
        except MissingChecksumError as error:
            raise TableError(
                f"{folder}: the study cannot be read, since study.json has no checksum and not the fields of version "
                "0.1; evaluate again with this version."
            ) from error
        except DamagedFileError:
            raise
        except OSError as error:
            raise TableError(
                f"{folder} holds no study ({Path(error.filename or folder).name}: {error.strerror}); give the folder "
                "that `biomeformer phenotype evaluate` wrote."
            ) from error
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise TableError(
                f"{folder}: the study cannot be read ({type(error).__name__}: {' '.join(str(error).split())}); "
                "evaluate again with this version."
            ) from error

    def write(self, folder: str | Path) -> dict[str, Path]:
        """Write the files of `STUDY_FILES` atomically to a folder, and return their paths.

        `confounders.csv` and `importance.csv` are written if they were computed.
        """
        folder = Path(folder)
        tables = {"scores": self.scores}
        if self.confounding is not None:
            tables["confounders"] = self.confounding.table
        if self.importance:
            tables["importance"] = importance_table(self.importance)
        files = {name: folder / f"{name}.csv" for name in [*tables, "predictions"]}
        for name, table in tables.items():
            with atomic_write(files[name]) as partial:
                write_spreadsheet(table, partial, index=False)
        with atomic_write(files["predictions"]) as partial:
            write_spreadsheet(self.predictions, partial)
        digests = digest_files(folder, [path.name for path in files.values()])
        files["all"] = folder / "study.json"
        inputs = _change_paths(self.inputs, lambda path: _relative(path, folder))
        RECORD.write(files["all"], self.record | {"inputs": inputs, "files": digests})
        return files


def _change_paths(inputs: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Return the inputs of a study with the paths of its tables changed."""
    if "tables" not in inputs:
        return dict(inputs)
    tables = {name: table | {"path": change(table["path"])} for name, table in inputs["tables"].items()}
    return {**inputs, "tables": tables}


def _relative(path: str, folder: Path) -> str:
    """Return an absolute path relative to the study's folder, so that its record holds no path of the machine."""
    if not Path(path).is_absolute():
        return path
    relative = Path(os.path.relpath(path, folder.resolve())).as_posix()
    # What does not begin with a dot is the Hub id of a dataset.
    return relative if relative.startswith("../") else f"./{relative}"


def _absolute(path: str, folder: Path) -> str:
    """Return the path that `_relative` made relative."""
    return str((folder / path).resolve()) if path.startswith(("./", "../")) else path


def run_study(
    feature_sets: Mapping[str, Sequence[FeatureTable]],
    target: Target,
    *,
    models: Sequence[str] = MODELS,
    transform: str | None = None,
    zeros: str = "auto",
    n_splits: int = 10,
    n_repeats: int = 5,
    n_permutations: int = 0,
    seed: int = 0,
    n_jobs: int | None = -1,
    sources: dict[str, str] | None = None,
    inputs: dict[str, Any] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    importance: bool = False,
) -> Study:
    """Evaluate every feature set with every model on the same folds, and compare the feature sets.

    Args:
        feature_sets: Tables of each feature set, by name, which are concatenated by column; they need the target's
            samples, in any order.
        target: Classes, numbers or labels of the samples.
        models: Any of `l1`, `forest` and `boosting`.
        transform: `none`, `clr` or `ilr` for all models; by default `clr` for `l1` and `none` for the others.
        zeros: Rule for zeros of log-ratios, one of `transforms.ZERO_CHOICES`.
        n_splits: Folds per repeat.
        n_repeats: Repeats of the cross-validation.
        n_permutations: Permutations of the labels, for the permutation test.
        seed: Seed of all random choices.
        n_jobs: Number of parallel jobs, as in scikit-learn.
        sources: Origin of each feature set, by name.
        inputs: JSON values stored in the record.
        progress: Called after each fold with what is evaluated, the number of folds done and their total number.
        importance: Whether to compute the permutation importance of groups of correlated features.

    Returns:
        The study.

    Raises:
        InputError: There is no feature set or model, or as for `cross_validate`.
        TableError: A table lacks a sample.

    Examples:
        >>> ids = tuple(f"s{i}" for i in range(24))
        >>> values = np.random.default_rng(0).integers(1, 50, (24, 5)).astype(float)
        >>> values[::2, 0] += 100
        >>> features = FeatureTable(ids, tuple("abcde"), values)
        >>> labels = np.array([1, 0] * 12)
        >>> target = Target("disease", ids, ("control", "case"), labels)
        >>> study = run_study({"genera": [features]}, target, models=["l1"], n_splits=2, n_repeats=1, n_jobs=1)
        >>> study.evaluations[0].scores["roc_auc"].mean > 0.9
        True
        >>> study.predictions.columns.tolist()
        ['class', 'genera.l1.control', 'genera.l1.case']
    """
    if not feature_sets or not models:
        raise InputError("a study needs a feature set and a model; give one of each.")
    evaluations = []
    groups: list[GroupImportance] = []
    for name, tables in feature_sets.items():
        blocks = [table.take(target.sample_ids, name) for table in tables]
        for model in models:
            stage = f"{name}, {model}"
            kind = transform or DEFAULT_TRANSFORMS.get(model, "none")
            held_out = HeldOutImportance(blocks, target, kind, zeros, n_splits, seed) if importance else None
            evaluations.append(
                cross_validate(
                    blocks,
                    target,
                    model,
                    name=name,
                    transform=kind,
                    zeros=zeros,
                    n_splits=n_splits,
                    n_repeats=n_repeats,
                    n_permutations=n_permutations,
                    seed=seed,
                    n_jobs=n_jobs,
                    progress=None if progress is None else partial(progress, stage),
                    inspect=held_out,
                )
            )
            if held_out is not None:
                # Folds of one repeat.
                correction = 1 / n_splits + 1 / (n_splits - 1)
                groups += held_out.ranked(partial(interval, correction=correction), name, model)
    return Study(
        target,
        tuple(evaluations),
        tuple(_comparisons(evaluations)),
        n_splits,
        n_repeats,
        n_permutations,
        seed,
        {name: public_record((sources or {}).get(name, name)) for name in feature_sets},
        inputs or {},
        importance=with_selection(groups, {one.features: one.chosen for one in evaluations if one.model == "l1"}),
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
    """Build a study from the predictions of a model that was trained and tested elsewhere.

    Args:
        target: Classes of the samples.
        splits: Training and test rows of each fold, repeat after repeat.
        probabilities: Predictions `(n_test, n_classes)` for each fold's test rows; `(n_test, 1)` of a regression.
        features: Name of the feature set.
        model: Name of the model.
        n_splits: Folds per repeat.
        n_repeats: Repeats of the cross-validation.
        seed: Seed of all random choices.
        source: Origin of the features.
    """
    total = np.zeros((len(target.labels), len(target.classes)))
    scores: dict[str, list[float]] = {}
    for (_, test), predicted in zip(splits, probabilities, strict=True):
        total[test] += predicted
        for metric, value in score_target(target.task, target.labels[test], predicted, target.classes).items():
            scores.setdefault(metric, []).append(value)
    correction = 1 / len(splits) + float(np.mean([len(test) / len(train) for train, test in splits]))
    fold_scores = {metric: np.array(values) for metric, values in scores.items()}
    evaluation = Evaluation(
        features=features,
        model=model,
        transform="",
        scores=intervals(fold_scores, correction),
        fold_scores=fold_scores,
        probabilities=total / n_repeats,
        correction=correction,
        n_repeats=n_repeats,
        n_splits=n_splits,
        n_empty=sum(map(is_constant, probabilities)),
        task=target.task,
    )
    return Study(target, (evaluation,), (), n_splits, n_repeats, 0, seed, {features: source})


def _labels_of(values: pd.Series, classes: Sequence[str], kind: Kind) -> np.ndarray:
    """Return the labels of a target from the values that `Target.values` wrote."""
    if kind == "regression":
        return values.to_numpy(np.float64)
    if kind == "multilabel":
        sets = [set(str(value).split(LABEL_SEPARATOR)) for value in values]
        return np.array([[name in labels for name in classes] for labels in sets], np.int64)
    return values.map({name: i for i, name in enumerate(classes)}).to_numpy(np.int64)


def _comparisons(evaluations: Sequence[Evaluation]) -> list[Comparison]:
    """Compare every two feature sets that were evaluated with the same model."""
    return [
        compare(first, second)
        for first, second in combinations(evaluations, 2)
        if first.model == second.model and first.features != second.features
    ]


def score_columns(scores: Mapping[str, Interval]) -> dict[str, float]:
    """Return scores as columns of a table: `METRIC`, `METRIC_low` and `METRIC_high` of each metric."""
    columns: dict[str, float] = {}
    for metric, score_interval in scores.items():
        columns |= {metric: score_interval.mean}
        columns |= {f"{metric}_low": score_interval.low, f"{metric}_high": score_interval.high}
    return columns


def _without_nan(value: Any) -> Any:
    """Return JSON values with None for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def _folds_record(evaluation: Evaluation) -> dict[str, Any]:
    """Return what a study's scores are computed from as JSON values, with None for NaN."""
    return {
        "features": evaluation.features,
        "model": evaluation.model,
        "transform": evaluation.transform,
        "correction": evaluation.correction,
        "scores": {metric: _without_nan(values.tolist()) for metric, values in evaluation.fold_scores.items()},
        "permuted": _without_nan(evaluation.permuted.tolist()),
        "chosen": evaluation.chosen,
        "n_empty": evaluation.n_empty,
        "zeros": list(evaluation.zeros),
    }


def _from_record(cls: type[Study], record: _StudyRecord, predictions: pd.DataFrame) -> Study:
    classes, kind = tuple(record["target"]["classes"]), record["target"].get("kind", "classification")
    target = Target(
        record["target"]["column"],
        tuple(map(str, predictions.index)),
        classes,
        _labels_of(predictions[VALUE_COLUMNS[kind]], classes, kind),
        group_column=record["target"]["group_column"],
        n_missing=record["target"]["n_missing"],
        missing_words=record["target"].get("missing_words", {}),
        not_in_metadata=tuple(record["target"].get("not_in_metadata", ())),
        kind=kind,
    )
    evaluations = []
    for fold in record["folds"]:
        fold_scores = {metric: np.array(values, np.float64) for metric, values in fold["scores"].items()}
        columns = [f"{fold['features']}.{fold['model']}.{name}" for name in classes]
        evaluations.append(
            Evaluation(
                features=fold["features"],
                model=fold["model"],
                transform=fold["transform"],
                scores=intervals(fold_scores, fold["correction"]),
                fold_scores=fold_scores,
                probabilities=predictions[columns].to_numpy(np.float64),
                correction=fold["correction"],
                n_repeats=record["n_repeats"],
                n_splits=record["n_splits"],
                permuted=np.array(fold["permuted"], np.float64),
                chosen=fold["chosen"],
                n_empty=fold.get("n_empty", 0),
                # Earlier versions knew one rule only.
                zeros=tuple(fold.get("zeros", ["fixed"] if fold["transform"] in ("clr", "ilr") else [])),
                task=target.task,
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
        record.get("confounding"),
        tuple(record.get("importance", ())),
    )


__all__ = ["DEFAULT_TRANSFORMS", "Study", "run_study", "score_columns", "study_of_folds"]
