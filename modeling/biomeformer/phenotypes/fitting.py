"""Fit an estimator on all samples, and cross-validate the same procedure to estimate its performance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..checkpoints.source import public_record
from ..errors import InputError
from ..training.calibration import calibrate
from .evaluation import folds, inner_folds
from .features import FeatureTable
from .fitted_blocks import FittedBlock, fitted_design
from .models import INNER_FOLDS, learned_nothing, make_model
from .predictor import PhenotypePredictor
from .study import DEFAULT_TRANSFORMS, Study, run_study
from .target import Target
from .transforms import block_rules

# What says that a fit on all samples learned nothing, by estimator.
EMPTY = dict.fromkeys(INNER_FOLDS, "no coefficient that differs from zero")


def fit_and_evaluate(
    blocks: Mapping[str, FeatureTable],
    target: Target,
    estimator: str,
    *,
    transform: str,
    zeros: str = "auto",
    impute: bool = False,
    n_splits: int = 10,
    seed: int = 0,
    n_jobs: int | None = -1,
    force: bool = False,
    sources: dict[str, str] | None = None,
    inputs: dict[str, Any] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[Any, list[FittedBlock], Study]:
    """Fit an estimator on all samples, and cross-validate it.

    Args:
        blocks: Feature tables by name, to be concatenated by column.
        target: Classes, numbers or labels of the samples.
        estimator: `l1`, `lasso`, `forest` or `boosting`.
        transform: Transform of compositions: `none`, `clr` or `ilr`.
        zeros: Rule for zeros of log-ratios, one of `transforms.ZERO_CHOICES`.
        impute: Whether covariates may be missing.
        n_splits: Folds of the cross-validation.
        seed: Seed of folds and estimator.
        n_jobs: Number of parallel jobs, as in scikit-learn.
        force: Whether to return an estimator that learned nothing.
        sources: Origin of the feature set, by its name, which is those of the blocks joined by ` + `.
        inputs: JSON values stored in the study's record.
        progress: Called after each fold with what is evaluated, the number of folds done and their total number.

    Returns:
        The fitted estimator, the blocks as fitted, and the study.

    Raises:
        InputError: There are too few samples for the folds, a name is unknown, or the fit learned nothing and `force`
            is not set.
        TableError: A table lacks a sample.
    """
    tables = {name: table.take(target.sample_ids, name) for name, table in blocks.items()}
    study = run_study(
        {" + ".join(tables): list(tables.values())},
        target,
        models=[estimator],
        transform=transform,
        zeros=zeros,
        n_splits=n_splits,
        n_repeats=1,
        seed=seed,
        n_jobs=n_jobs,
        sources=sources,
        inputs=inputs,
        progress=progress,
    )
    rules = block_rules(list(tables.values()), transform, zeros)
    fitted_blocks, matrix = fitted_design(tables, transform, rules, impute)
    inner = None
    if estimator in INNER_FOLDS:
        n_inner = INNER_FOLDS[estimator]
        inner = inner_folds(target.strata(n_folds=n_inner), target.groups, seed, n_inner)
    model = make_model(estimator, len(target.classes), inner, seed, n_jobs, len(matrix), target.task)
    fitted = model.fit(matrix, target.labels)
    nothing = study.fit_warnings[0] if study.evaluations[0].learned_nothing else ""
    if learned_nothing(fitted):
        nothing = f"Fitted on all samples, the model has {EMPTY.get(estimator, 'no tree with a split')}."
    if nothing and not force:
        raise InputError(
            f"{nothing} No checkpoint was made; give more samples or another target, or force it (--force)."
        )
    return fitted, fitted_blocks, study


def train_predictor(
    blocks: Mapping[str, FeatureTable],
    target: Target,
    estimator: str = "l1",
    *,
    transform: str | None = None,
    base_model: Mapping[str, Any] | None = None,
    **options: Any,
) -> tuple[PhenotypePredictor, Study]:
    """Fit a predictor on all samples of a combination of feature tables, and cross-validate it.

    Args:
        blocks: Feature tables by name: `vectors` of `biomeformer embed` or `features` of any other table, `species`,
            and `covariates` of `make_covariates`.
        target: Classes, numbers or labels of the samples.
        estimator: `l1`, `lasso`, `forest` or `boosting`.
        transform: Transform of compositions; by default `none` for trees, else `clr`.
        base_model: Checkpoint of the clusters, as of `model_source`; by default what their table says.
        **options: As for `fit_and_evaluate`.

    Returns:
        The predictor, and the cross-validation of the same procedure.

    Raises:
        InputError: As for `fit_and_evaluate`.
        TableError: A table lacks a sample.
    """
    kind = transform or DEFAULT_TRANSFORMS.get(estimator, "none")
    fitted, fitted_blocks, study = fit_and_evaluate(blocks, target, estimator, transform=kind, **options)
    clusters = next((block.provenance for block in fitted_blocks if block.provenance), None)
    if clusters is not None and base_model is None:
        base_model = {
            "id": clusters.get("model", ""),
            "revision": clusters.get("revision"),
            "weights_sha256": clusters.get("weights_sha256"),
        }
    predictor = PhenotypePredictor(
        target.kind,
        target.column,
        target.classes,
        estimator,
        fitted,
        tuple(fitted_blocks),
        _temperature(target, study),
        _error_95(target, study),
        None if base_model is None else public_record(dict(base_model)),
    )
    return predictor, study


def _temperature(target: Target, study: Study) -> float | None:
    """Return the temperature that suits the held-out folds of a study of classes; else None."""
    if target.kind != "classification":
        return None
    held_out = study.evaluations[0].probabilities
    tests = (test for _, test in folds(target, study.n_splits, 1, study.seed))
    return calibrate([(held_out[test], target.labels[test]) for test in tests])["temperature"]


def _error_95(target: Target, study: Study) -> float | None:
    """Return the absolute error that 95 % of held-out samples do not exceed, of a regression; else None.

    Of n samples it is the one of rank (n + 1) 0.95, as in conformal prediction.
    """
    if target.kind != "regression":
        return None
    errors = np.sort(np.abs(study.evaluations[0].probabilities[:, 0] - target.labels))
    return float(errors[min(int(np.ceil(0.95 * (len(errors) + 1))), len(errors)) - 1])


__all__ = ["fit_and_evaluate", "train_predictor"]
