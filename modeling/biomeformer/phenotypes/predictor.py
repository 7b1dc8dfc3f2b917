"""Predictors of phenotypes: any estimator on any combination of clusters, profiles and covariates, as a checkpoint.

A folder of `config.json`, which names the tables that the predictor needs and how they are transformed, and of
`estimator.skops`. The L1 model of clusters alone is a head of their MetagenBERT instead: see `checkpoint`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegressionCV

from ..checkpoints.estimators import ESTIMATOR, estimators_in, load_estimator, write_estimator
from ..checkpoints.source import CONFIG, CheckpointSource, open_checkpoint
from ..errors import CheckpointError, InputError
from ..io.digests import FileDigest, check_files, digest_files
from ..io.html_repr import count, html_table
from ..io.records import DamagedFileError, RecordType
from ..io.short_repr import short_repr
from ..metrics.scorers import Task
from ..training.calibration import scale
from ..version import versions
from .features import FeatureTable
from .fitted_blocks import BlockRecord, FittedBlock
from .lasso import without_choice
from .models import ESTIMATORS, predict_target
from .multi_label import OneVsRest
from .target import KINDS, Kind, task_of

MODEL_TYPE, CLASS_NAME = "phenotype_predictor", "PhenotypePredictor"
FORMAT_VERSION = 1
ADVICE = "fetch the checkpoint again"
TRUSTED = ("biomeformer.phenotypes.multinomial.L1Multinomial",)
# Classes in the file of an estimator, by its name and whether it is a regression, the one that predicts first.
CLASSES: dict[tuple[str, bool], list[tuple[str, ...]]] = {
    ("l1", False): [("LogisticRegression", "StandardScaler"), ("L1Multinomial", "StandardScaler")],
    ("l1", True): [("Lasso", "StandardScaler")],
    ("lasso", False): [("LogisticRegression", "StandardScaler")],
    ("forest", False): [("RandomForestClassifier", "DecisionTreeClassifier")],
    ("forest", True): [("RandomForestRegressor", "DecisionTreeRegressor")],
    ("boosting", False): [("HistGradientBoostingClassifier",)],
    ("boosting", True): [("HistGradientBoostingRegressor",)],
}
N_PROBES, PROBE_TOLERANCE = 8, 1e-9


class _Config(TypedDict):
    model_type: str
    architectures: list[str]
    format_version: int
    kind: Kind
    target: str
    classes: list[str]
    estimator: str
    blocks: list[BlockRecord]
    base_model: dict[str, Any] | None
    temperature: float | None
    error_95: float | None
    probes: list[list[float]]
    versions: dict[str, str]
    files: dict[str, FileDigest]
    # Of the Hub's client and transformers, which may add fields of their own.
    transformers_version: NotRequired[str]


RECORD = RecordType(_Config, ADVICE)


@dataclass(frozen=True)
class Predictions:
    """What was predicted.

    Attributes:
        frame: One row per sample that could be used, one column per class or label with its probability; or one column
            with the number.
        intervals: Of a regression, `low` and `high` of each sample: the prediction plus and minus the error that 95 %
            of the training samples did not exceed in the cross-validation; else None.
        failed: Why the others could not be used, by sample.
        notes: How tables were matched with the model.
        warnings: What may change the predictions.
    """

    frame: pd.DataFrame
    intervals: pd.DataFrame | None = None
    failed: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    __repr__ = short_repr

    def _repr_html_(self) -> str:
        frame = self.frame if self.intervals is None else pd.concat([self.frame, self.intervals], axis=1)
        failed = f", {len(self.failed)} could not be used" if self.failed else ""
        return html_table(self, f"{count(len(self.frame), 'sample')}{failed}", frame)


@dataclass(frozen=True)
class PhenotypePredictor:
    """A fitted estimator with the blocks of features that it takes.

    Attributes:
        kind: `classification`, `regression` or `multilabel`.
        target: Name of the column it was fitted on.
        classes: Names of the classes or labels; of a regression, the column's.
        estimator_name: `l1`, `lasso`, `forest` or `boosting`.
        estimator: The fitted estimator, of scikit-learn or a `OneVsRest` of several.
        blocks: Blocks of features, in the order of their columns.
        temperature: Of classes, what calibrates their probabilities on the held-out folds (see
            `training.calibration`); else None.
        error_95: Of a regression, the absolute error that 95 % of the training samples did not exceed in the
            cross-validation; else None.
        base_model: Of clusters, `id`, `revision` and `weights_sha256` of the checkpoint that makes them; else None.
        name: Name or folder that it was loaded from; empty for a new one.
        revision: Commit of a Hub id; else None.
    """

    kind: Kind
    target: str
    classes: tuple[str, ...]
    estimator_name: str
    estimator: Any
    blocks: tuple[FittedBlock, ...]
    temperature: float | None = None
    error_95: float | None = None
    base_model: dict[str, Any] | None = None
    name: str = ""
    revision: str | None = None

    @property
    def task(self) -> Task:
        """The task of `biomeformer.metrics`."""
        return task_of(self.kind, len(self.classes))

    @property
    def n_columns(self) -> int:
        """Number of columns of the design matrix."""
        return sum(block.n_columns for block in self.blocks)

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the packages that fit and store it, as they are now."""
        return versions("scikit-learn", "skops")

    def block(self, kind: str) -> FittedBlock | None:
        """Return the first block of a kind (`clusters`, `profile`, `covariates`); None if there is none."""
        return next((block for block in self.blocks if block.kind == kind), None)

    @property
    def needs(self) -> str:
        """The tables that it needs, for messages: "vectors, species and covariates (age, sex)"."""
        parts = []
        for block in self.blocks:
            columns = ", ".join(covariate.column for covariate in block.covariates)
            parts.append(f"{block.name} ({columns})" if columns else block.name)
        return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)

    def check_tables(self, given: Sequence[str]) -> None:
        """Check that exactly the tables that the predictor needs are given, by the names of its blocks.

        Raises:
            InputError: One is missing, or is not one of the predictor's.
        """
        names = [block.name for block in self.blocks]
        missing = [name for name in names if name not in given]
        extra = [name for name in given if name not in names]
        if missing or extra:
            what = f"{missing[0]} is missing" if missing else f"{extra[0]} is none of them"
            raise InputError(
                f"{self.name or 'the predictor'} was fitted on {self.needs}, and {what}; give these and no others."
            )

    def predict(
        self,
        tables: Mapping[str, FeatureTable],
        metadata: pd.DataFrame | None = None,
        *,
        where: Mapping[str, str] | None = None,
        missing: Collection[str] = (),
        calibrated: bool = False,
    ) -> Predictions:
        """Predict samples.

        Args:
            tables: Table of each block but the covariates, by its name: `vectors`, `features` or `species`. The first
                one has the samples to predict.
            metadata: Covariates as text, indexed by sample.
            where: Names of the tables, and of the metadata as `covariates`, for messages.
            missing: Words that mark a missing covariate, in lower case.
            calibrated: Whether to return the probabilities of classes at the temperature that suits the held-out folds,
                instead of the estimator's own.

        Returns:
            The predictions. A sample that one of the tables lacks, or whose values cannot be used, has none.

        Raises:
            InputError: A table is missing, of another kind, or does not fit the model; the metadata lacks a column; or
                there is no temperature.
            TableError: Clusters are those of another checkpoint.
        """
        if calibrated and self.temperature is None:
            raise InputError(
                f"{self.name or 'the predictor'} predicts {'a number' if self.kind == 'regression' else 'labels'}, and "
                "only probabilities of classes are calibrated; leave it out."
            )
        self.check_tables([*tables, *(["covariates"] if metadata is not None else [])])
        where = {name: name for name in (*tables, "covariates")} | dict(where or {})
        sample_ids = next(iter(tables.values())).sample_ids if tables else tuple(map(str, metadata.index))  # type: ignore[union-attr]
        notes: list[str] = []
        warnings: list[str] = []
        failed: dict[str, str] = {}
        selected: list[FeatureTable] = []
        for block in self.blocks:
            name = block.name
            if block.kind == "covariates":
                assert metadata is not None
                table = block.encode(metadata, sample_ids, where[name], missing)
            else:
                table, some_notes, some_warnings = block.select(tables[name], where[name])
                notes += [f"{where[name]}: {text}" for text in some_notes]
                warnings += [f"{where[name]}: {text}" for text in some_warnings]
            present = set(table.sample_ids)
            for sample in sample_ids:
                if sample not in present:
                    failed.setdefault(sample, f"{where[name]} has no sample {sample!r}; add it, or leave it out.")
                elif sample in table.unusable:
                    failed.setdefault(sample, table.unusable[sample])
            selected.append(table)
        usable = [sample for sample in sample_ids if sample not in failed]
        values = np.zeros((0, len(self.classes)))
        if usable:
            pairs = zip(self.blocks, selected, strict=True)
            values = self.predict_columns(np.concatenate([block.columns(t.take(usable)) for block, t in pairs], axis=1))
        if calibrated and self.temperature is not None:
            values = scale(values, self.temperature)
        frame = pd.DataFrame(values, index=pd.Index(usable, name="sample_id", dtype=object), columns=list(self.classes))
        intervals = None
        if self.error_95 is not None:
            number = frame[self.classes[0]]
            intervals = pd.DataFrame({"low": number - self.error_95, "high": number + self.error_95})
        return Predictions(frame, intervals, failed, tuple(notes), tuple(warnings))

    def predict_columns(self, matrix: np.ndarray) -> np.ndarray:
        """Predict from a design matrix, float64 `(n_samples, n_columns)`.

        Returns:
            float64: probabilities `(n_samples, n_classes)`, or numbers `(n_samples, 1)`.
        """
        return predict_target(self.estimator, matrix, self.task, len(self.classes))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json` and `estimator.skops` to a folder, which is made if need be."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_estimator(folder, _stored(self.estimator))
        RECORD.write(
            folder / CONFIG,
            {
                "model_type": MODEL_TYPE,
                "architectures": [CLASS_NAME],
                "format_version": FORMAT_VERSION,
                "kind": self.kind,
                "target": self.target,
                "classes": list(self.classes),
                "estimator": self.estimator_name,
                "blocks": [block.record for block in self.blocks],
                "base_model": self.base_model,
                "temperature": self.temperature,
                "error_95": self.error_95,
                "probes": self.predict_columns(_probes(self.n_columns)).tolist(),
                "versions": self.versions,
                "files": digest_files(folder, [ESTIMATOR]),
            },
        )

    @classmethod
    def from_pretrained(cls, name: str | Path, *, revision: str | None = None, **options: Any) -> PhenotypePredictor:
        """Load a predictor.

        Args:
            name: A folder or a Hub id.
            revision: Branch, tag or commit of a Hub id.
            **options: `cache_dir`, `local_files_only`, `token` and `subfolder`.

        Raises:
            CheckpointNotFoundError: The predictor or one of its files is missing.
            CheckpointError: It is damaged or of another model type, holds types that are not trusted, or predicts
                otherwise than when it was saved.
        """
        return cls.from_source(open_checkpoint(name, revision=revision, **options))

    @classmethod
    def from_source(cls, source: CheckpointSource) -> PhenotypePredictor:
        """Load a predictor from a checkpoint that has been opened.

        Raises:
            CheckpointError: As for `from_pretrained`.
        """
        if source.model_type != MODEL_TYPE:
            raise CheckpointError(
                f"{source.name} is a checkpoint of model_type {source.model_type!r}, not {MODEL_TYPE!r}; give a "
                "predictor that `biomeformer phenotype train` wrote."
            )
        file = source.file(CONFIG, required=True)
        if source.config.get("format_version") != FORMAT_VERSION or file is None:
            raise CheckpointError(
                f"{source.name} is a predictor of format {source.config.get('format_version')!r}, and this version "
                f"reads {FORMAT_VERSION}; use the version that wrote it."
            )
        try:
            config = RECORD.read(file)
            blocks = tuple(FittedBlock.from_record(record) for record in config["blocks"])
            # Of the Hub's cache, files lie in the folder of their names.
            estimator_file = source.file(ESTIMATOR, required=True)
            if estimator_file is not None:
                check_files(estimator_file.parent, config["files"], ADVICE)
        except DamagedFileError as error:
            raise CheckpointError(str(error)) from error
        except (KeyError, ValueError) as error:
            raise CheckpointError(
                f"{source.name}: {CONFIG} does not have the fields of its blocks ({error}); {ADVICE}."
            ) from error
        stored = load_estimator(source, TRUSTED)
        predictor = cls(
            config["kind"],
            config["target"],
            tuple(config["classes"]),
            config["estimator"],
            _restored(stored),
            blocks,
            config["temperature"],
            config["error_95"],
            config["base_model"],
            source.name,
            None if source.folder is not None else source.options.get("revision"),
        )
        problem = predictor._problem(config["probes"])
        if problem:
            raise CheckpointError(f"{source.name}: {problem}; {ADVICE}.")
        return predictor

    def _problem(self, probes: list[list[float]]) -> str:
        """Return what of the estimator does not fit the config; empty if it fits."""
        if self.kind not in KINDS or self.estimator_name not in ESTIMATORS or not self.blocks or not self.classes:
            return f"its {CONFIG} is of no predictor"
        if (self.temperature is not None and self.temperature <= 0) or (
            self.error_95 is not None and self.error_95 < 0
        ):
            return f"its {CONFIG} has a temperature or an error below 0"
        expected = CLASSES.get((self.estimator_name, self.kind == "regression"), [])
        models: list[Any] = self.estimator.models if isinstance(self.estimator, OneVsRest) else [self.estimator]
        if isinstance(self.estimator, OneVsRest) != (self.kind == "multilabel") or len(models) != (
            len(self.classes) if self.kind == "multilabel" else 1
        ):
            return f"its {ESTIMATOR} has another number of models than its {CONFIG} has labels"
        for model in models:
            if model is None and self.kind == "multilabel":
                continue
            first = type(model.steps[-1][1] if hasattr(model, "steps") else model).__name__
            names = [first, *sorted({type(one).__name__ for one in estimators_in(model)} - {first})]
            if tuple(names) not in expected:
                return f"its {ESTIMATOR} holds a {' with a '.join(names)}, and its {CONFIG} says {self.estimator_name}"
            # Of each tree too, whose compiled code does not look how many columns there are.
            widths = {one.n_features_in_ for one in estimators_in(model) if hasattr(one, "n_features_in_")}
            if widths != {self.n_columns}:
                return (
                    f"its {ESTIMATOR} takes {' and '.join(map(str, sorted(widths)))} columns, and the blocks of its "
                    f"{CONFIG} have {self.n_columns}"
                )
        try:
            predicted = self.predict_columns(_probes(self.n_columns))
            is_equal = predicted.shape == np.shape(probes) and np.allclose(
                predicted, probes, rtol=PROBE_TOLERANCE, atol=PROBE_TOLERANCE
            )
        # An estimator of another version of scikit-learn, or one that was tampered with, may raise anything.
        except Exception as error:
            return f"its {ESTIMATOR} cannot predict with scikit-learn {version('scikit-learn')} ({error})"
        if not is_equal:
            return (
                f"its {ESTIMATOR} predicts otherwise with scikit-learn {version('scikit-learn')} than when it was saved"
            )
        return ""


def _probes(n_columns: int) -> np.ndarray:
    """Return made-up rows of many sizes, the same on every machine, on which a loaded estimator is tried."""
    numbers = np.arange(N_PROBES * n_columns, dtype=np.int64)
    values = (numbers * 2_654_435_761 % 2**32) / 2**31 - 1
    return (values / np.array([1, 10, 100, 1000, 10_000])[numbers % 5]).reshape(N_PROBES, n_columns)


def _stored(fitted: Any) -> Any:
    """Return what is written of a fitted model: estimators of scikit-learn, without what chose their penalty."""
    if isinstance(fitted, OneVsRest):
        models = [None if model is None else _stored(model) for model in fitted.models]
        return {"models": models, "frequencies": np.asarray(fitted.frequencies)}
    fitted = getattr(fitted, "best_estimator_", fitted)
    if hasattr(fitted, "steps") and isinstance(fitted[-1], LogisticRegressionCV):
        fitted = without_choice(fitted)
    for estimator in estimators_in(fitted):
        if "n_jobs" in estimator.get_params(deep=False):
            # What the machine had is nothing of the model.
            estimator.set_params(n_jobs=None)
    return fitted


def _restored(stored: Any) -> Any:
    """Return the fitted model of what `_stored` returned."""
    if isinstance(stored, dict) and set(stored) == {"models", "frequencies"}:
        return OneVsRest.of_fitted(list(stored["models"]), np.asarray(stored["frequencies"], np.float64))
    return stored


__all__ = ["CLASS_NAME", "MODEL_TYPE", "PhenotypePredictor", "Predictions"]
