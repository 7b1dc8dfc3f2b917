"""Transfer between cohorts: train on some cohorts and test on another that had no part in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..errors import InputError
from ..io.html_repr import html_table
from ..io.short_repr import short_repr
from ..metrics.resampling import bootstrap
from ..metrics.scorers import Task
from ..metrics.targets import MAIN_METRIC, weighted_scorer
from .covariates import align_covariates
from .evaluation import INNER_SPLITS, Interval, inner_folds
from .features import FeatureTable
from .models import INNER_FOLDS, learned_nothing, make_model, predict_target
from .target import Target
from .transforms import design_matrix, is_counts

N_BOOTSTRAPS = 1000


@dataclass(frozen=True)
class LabelledCohort:
    """Features and target of one cohort.

    Attributes:
        name: Name of the cohort.
        blocks: Feature tables of the target's samples, in the target's order.
        target: Classes, numbers or labels of the samples.
    """

    name: str
    blocks: tuple[FeatureTable, ...]
    target: Target

    def take(self, rows: np.ndarray, name: str | None = None) -> LabelledCohort:
        """Return some of the samples, under the same name by default."""
        target = self.target.take(rows)
        blocks = tuple(block.take(target.sample_ids, self.name) for block in self.blocks)
        return LabelledCohort(name or self.name, blocks, target)


@dataclass(frozen=True)
class Transfer:
    """Performance on one cohort of a model trained on others.

    Attributes:
        trained_on: Names of the training cohorts.
        tested_on: Name of the test cohort.
        model: Name of the model.
        scores: Scores on the test cohort, with intervals over bootstraps of its samples: they quantify the uncertainty
            for this model and cohort, not the variation between cohorts.
        probabilities: Predictions for the test cohort, float64 `(n_samples, n_classes)`, or of numbers
            `(n_samples, 1)`.
        learned_nothing: Whether the model predicts the same for every sample, so that the scores are no result and have
            no interval.
        task: What was predicted, one of `biomeformer.metrics.TASKS`.
    """

    trained_on: tuple[str, ...]
    tested_on: str
    model: str
    scores: dict[str, Interval]
    probabilities: np.ndarray
    learned_nothing: bool = False
    task: Task = "binary"

    __repr__ = short_repr

    def _repr_html_(self) -> str:
        rows = {name: [value.mean, value.low, value.high] for name, value in self.scores.items()}
        frame = pd.DataFrame.from_dict(rows, orient="index", columns=["score", "low", "high"])
        title = f"{self.model} trained on {', '.join(self.trained_on)}, tested on {self.tested_on}; 95 % intervals"
        return html_table(self, title, frame)

    @property
    def main_metric(self) -> str:
        """Name of the metric that is shown first: ROC-AUC, or R² of a regression."""
        return MAIN_METRIC[self.task]


def transfer(
    train: Sequence[LabelledCohort],
    test: LabelledCohort,
    model: str,
    *,
    transform: str = "none",
    zeros: str = "auto",
    seed: int = 0,
    n_jobs: int | None = -1,
) -> Transfer:
    """Train on cohorts and test on another.

    Two classes are matched by position: the second class, the one to predict, is that of each cohort's own target, so
    that a model of one disease may be tested on another. More classes, and labels, are the same in all cohorts.
    Features are matched by name; features that the training cohorts lack are dropped, features that the test cohort
    lacks are 0. The strength of an L1 penalty is chosen on folds that leave whole training cohorts out, since that is
    what the model is for; with a single one, on folds of its samples that do not divide groups.

    Args:
        train: Cohorts to train on.
        test: Cohort to test on.
        model: `l1`, `forest` or `boosting`.
        transform: Transform of each block.
        zeros: Rule for zeros of log-ratios, one of `transforms.ZERO_CHOICES`; it is the same for all cohorts, so `auto`
            is `fixed` if one of them has no counts.
        seed: Seed of model and bootstraps.
        n_jobs: Number of parallel jobs, as in scikit-learn.

    Raises:
        TableError: Tables come from different checkpoints or preprocessing configs, or have no feature in common.
        InputError: The targets are of different kinds or classes, or a sample is in both a training cohort and the
            test cohort.
    """
    for cohort in (*train, test):
        _check_same_target(test, cohort)
        for block, first in zip(cohort.blocks, train[0].blocks, strict=True):
            first.check_joins(block, train[0].name, cohort.name)
        shared = set(cohort.target.sample_ids) & set(test.target.sample_ids)
        if cohort is not test and shared:
            raise InputError(
                f"sample {min(shared)!r} is in {cohort.name!r} and in {test.name!r}; a cohort is not tested on what it "
                "was trained on."
            )
    names = [_union([cohort.blocks[i].names for cohort in train]) for i in range(len(test.blocks))]
    blocks = []
    for i, kept in enumerate(names):
        tables = [cohort.blocks[i] for cohort in (*train, test)]
        counts = not tables[0].is_composition or all(is_counts(table.values) for table in tables)
        blocks.append(_stacked([aligned(table, kept) for table in tables], counts))
    labels = np.concatenate([cohort.target.labels for cohort in train])
    rows = np.arange(len(labels))
    matrix = design_matrix(blocks, transform, zeros, rows)
    inner = None
    if model in INNER_FOLDS:
        inner = tuning_folds([cohort.target for cohort in train], seed, INNER_FOLDS[model])
    task, n_classes = test.target.task, len(test.target.classes)
    fitted = make_model(model, n_classes, inner, seed, n_jobs, len(rows), task).fit(matrix[rows], labels)
    probabilities = predict_target(fitted, matrix[len(rows) :], task, n_classes)
    nothing = learned_nothing(fitted)
    scores = _scores(test.target, probabilities, seed)
    if nothing:
        scores = {name: Interval(score.mean, np.nan, np.nan) for name, score in scores.items()}
    return Transfer(
        trained_on=tuple(cohort.name for cohort in train),
        tested_on=test.name,
        model=model,
        scores=scores,
        probabilities=probabilities,
        learned_nothing=nothing,
        task=task,
    )


def _check_same_target(test: LabelledCohort, cohort: LabelledCohort) -> None:
    """Check that two cohorts have the same kind of target, and the same classes if there are more than two."""
    first, other = test.target, cohort.target
    if first.kind != other.kind:
        raise InputError(
            f"the target of {test.name!r} is for {first.kind} and that of {cohort.name!r} for {other.kind}; give "
            "--task for all."
        )
    if first.kind == "regression" or first.task == other.task == "binary":
        return
    for one, two in ((test, cohort), (cohort, test)):
        extra = [name for name in one.target.classes if name not in two.target.classes]
        if extra:
            raise InputError(
                f"{one.name!r} has {extra[0]!r} in column {one.target.column!r} and {two.name!r} has not; more than "
                "two classes, and labels, must be the same in all cohorts: leave others out, or name those to predict "
                "with --positive."
            )


def tuning_folds(targets: Sequence[Target], seed: int, most: int = INNER_SPLITS) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split the concatenated samples of training cohorts for tuning: each fold leaves one cohort out.

    With a single cohort there are `most` folds, stratified by class, which do not divide its groups.
    """
    if len(targets) == 1:
        return inner_folds(targets[0].strata(n_folds=most), targets[0].groups, seed, most)
    cohort = np.repeat(np.arange(len(targets)), [len(target.labels) for target in targets])
    return [(np.flatnonzero(cohort != i), np.flatnonzero(cohort == i)) for i in range(len(targets))]


def leave_one_out(
    cohorts: Sequence[LabelledCohort],
    model: str,
    *,
    transform: str = "none",
    zeros: str = "auto",
    seed: int = 0,
    n_jobs: int | None = -1,
) -> list[Transfer]:
    """Test each cohort with a model trained on all others.

    Raises:
        InputError: There are fewer than two cohorts.
    """
    if len(cohorts) < 2:
        raise InputError(f"leaving one out needs two cohorts, and there is {len(cohorts)}; give more.")
    return [
        transfer(
            [other for other in cohorts if other is not test],
            test,
            model,
            transform=transform,
            zeros=zeros,
            seed=seed,
            n_jobs=n_jobs,
        )
        for test in cohorts
    ]


def aligned(table: FeatureTable, names: Sequence[str]) -> FeatureTable:
    """Return a table with exactly these features, in this order: features it lacks are 0, others are dropped.

    Raises:
        InputError: A sample has none of the features.
    """
    if not table.is_composition:
        return replace(table, names=tuple(names), values=align_covariates(table, names))
    alike = table.with_features(names)
    empty = alike.values.sum(1) == 0
    if empty.any():
        sample = table.sample_ids[int(np.argmax(empty))]
        raise InputError(f"sample {sample!r} has none of the features that the model was trained on; leave it out.")
    return alike


def _stacked(tables: Sequence[FeatureTable], counts: bool) -> FeatureTable:
    """Return tables of equal features one below the other, as counts or as shares."""
    values = np.concatenate([table.values if counts else table.shares for table in tables])
    # The same sample id may stand in two training cohorts.
    ids = tuple(f"{i}:{name}" for i, table in enumerate(tables) for name in table.sample_ids)
    return FeatureTable(ids, tables[0].names, values, is_composition=tables[0].is_composition)


def _scores(target: Target, probabilities: np.ndarray, seed: int) -> dict[str, Interval]:
    """Score with 95 % intervals over bootstraps of the samples, stratified by class, or of the subjects if known."""
    intervals = bootstrap(
        weighted_scorer(target.task, target.labels, probabilities, target.classes),
        len(target.labels),
        n_draws=N_BOOTSTRAPS,
        seed=seed,
        strata=target.labels if target.groups is None and target.kind == "classification" else None,
        groups=target.groups,
    )
    return {name: Interval(value.value, value.low, value.high) for name, value in intervals.items()}


def _union(names: Sequence[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(name for block_names in names for name in block_names))


__all__ = ["LabelledCohort", "Transfer", "aligned", "leave_one_out", "transfer"]
