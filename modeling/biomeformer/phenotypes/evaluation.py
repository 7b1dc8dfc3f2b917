"""Nested, repeated, stratified cross-validation, by group if groups are known.

A score is the mean over all test folds. Folds share training samples, so its interval is that of the corrected
resampled t-test (Nadeau and Bengio 2003, doi:10.1023/A:1024068626366): the variance over folds times (1/n_folds +
test/training samples). Two feature sets are compared on the same folds by the same test on their differences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np

from ..errors import InputError
from ..io.short_repr import short_repr
from ..metrics.p_values import permutation_p
from ..metrics.scorers import Task
from ..metrics.targets import MAIN_METRIC, metric_range, score_target
from .features import FeatureTable
from .fold_fits import FoldJob, fit_folds
from .models import INNER_FOLDS, make_model
from .target import Target
from .transforms import block_rules, design_matrix, needs_training_rows

INNER_SPLITS = INNER_FOLDS["l1"]
# Smallest test fold of a regression: R² of fewer samples says next to nothing.
LEAST_TESTED = 5
# Scores that differ by less differ by rounding only.
EQUAL_SCORES = 1e-12


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval.

    Attributes:
        mean: Mean over test folds.
        low: Lower end; NaN if the interval is undefined.
        high: Upper end.
    """

    mean: float
    low: float
    high: float

    def clipped(self, least: float = 0.0, largest: float = 1.0) -> Interval:
        """Return the interval with its ends clipped to the range of a score."""
        # NaN stays NaN: it is the first argument, which neither comparison replaces.
        return Interval(self.mean, max(self.low, least), min(self.high, largest))

    def __str__(self) -> str:
        if np.isnan(self.mean):
            return "undefined"
        # Errors of a regression have any unit: large ones have no three decimals.
        mean, low, high = (f"{value:.3f}" if abs(value) < 100 else f"{value:,.4g}" for value in self._ends)
        if np.isnan(self.low) or np.isnan(self.high):
            return f"{mean} (no interval)"
        between = "-" if self.low >= 0 else " to "
        return f"{mean} ({low}{between}{high})"

    @property
    def _ends(self) -> tuple[float, float, float]:
        return self.mean, self.low, self.high


@dataclass(frozen=True)
class Evaluation:
    """Cross-validated performance of one model on one feature set.

    Attributes:
        features: Name of the feature set.
        model: Name of the model.
        transform: Transform of the features.
        scores: Mean and interval, by metric.
        fold_scores: Score of each fold, float64 `(n_folds,)`, by metric; NaN where a test fold has only one class.
        probabilities: Out-of-fold predictions, float64 `(n_samples, n_classes)`, averaged over repeats; of a regression
            the predicted numbers, `(n_samples, 1)`.
        correction: 1/n_folds + test/training samples.
        n_repeats: Repeats of the cross-validation.
        n_splits: Folds per repeat.
        permuted: Mean of the main metric with permuted labels, one per permutation.
        chosen: For `l1`, the fraction of folds in which a feature has a nonzero weight, by name; zeros are left out.
        n_empty: Number of folds whose model learned nothing: it predicts the same for every sample.
        zeros: Rules by which zeros were replaced for log-ratios, names of `transforms.ZERO_RULES`.
        task: What was predicted, one of `biomeformer.metrics.TASKS`.
    """

    features: str
    model: str
    transform: str
    scores: dict[str, Interval]
    fold_scores: dict[str, np.ndarray]
    probabilities: np.ndarray
    correction: float
    n_repeats: int
    n_splits: int
    permuted: np.ndarray = field(default_factory=lambda: np.empty(0))
    chosen: dict[str, float] = field(default_factory=dict)
    n_empty: int = 0
    zeros: tuple[str, ...] = ()
    task: Task = "binary"

    __repr__ = short_repr

    @property
    def main_metric(self) -> str:
        """Name of the metric that is compared and tested: ROC-AUC, or R² of a regression."""
        return MAIN_METRIC[self.task]

    @property
    def permutation_p(self) -> float | None:
        """Fraction of permutations, counting the identity, with at least this main metric; None without permutations.

        It is NaN if the metric is undefined or the model learned nothing.
        """
        if not len(self.permuted):
            return None
        return (
            float("nan") if self.learned_nothing else permutation_p(self.scores[self.main_metric].mean, self.permuted)
        )

    @property
    def n_folds(self) -> int:
        """Number of folds over all repeats."""
        return self.n_splits * self.n_repeats

    @property
    def learned_nothing(self) -> bool:
        """Whether the model learned nothing in any fold, so that its scores are no result."""
        return self.n_empty >= self.n_folds

    @property
    def warning(self) -> str:
        """One sentence if the model learned nothing in some or all folds; else empty."""
        if not self.n_empty:
            return ""
        what = {
            "l1": "no coefficient differs from zero",
            "lasso": "no coefficient differs from zero",
            "forest": "no tree has a split",
            "boosting": "no tree has a split",
        }.get(self.model, "all samples are predicted the same")
        if self.learned_nothing:
            return (
                f"{self.features}, {self.model}: the model learned nothing in any of {self.n_folds} folds ({what}); "
                "its scores are no result."
            )
        return (
            f"{self.features}, {self.model}: the model learned nothing in {self.n_empty} of {self.n_folds} folds "
            f"({what})."
        )


@dataclass(frozen=True)
class Comparison:
    """Comparison of two feature sets on the same folds.

    Attributes:
        first: Name of the first feature set.
        second: Name of the second feature set.
        model: Name of the model, the same for both.
        metric: Name of the metric compared.
        difference: First minus second.
        p: Two-sided p value of the corrected resampled t-test; NaN if the differences do not vary over the folds.
    """

    first: str
    second: str
    model: str
    metric: str
    difference: Interval
    p: float


def folds(target: Target, n_splits: int, n_repeats: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the training and test rows of each fold, repeat after repeat.

    Raises:
        InputError: A class has fewer samples, or groups, than there are folds; or the test folds of a regression are
            too small.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    strata = target.strata(n_folds=n_splits)
    _check_folds(target, n_splits)
    for repeat in range(n_repeats):
        kind = StratifiedKFold if target.groups is None else StratifiedGroupKFold
        splitter = kind(n_splits, shuffle=True, random_state=seed + repeat)
        yield from splitter.split(np.zeros(len(strata)), strata, target.groups)


def _check_folds(target: Target, n_splits: int) -> None:
    """Check that there are enough samples and groups for the folds."""
    n_samples = len(target.labels)
    if target.kind == "regression" and n_samples < LEAST_TESTED * n_splits:
        most = n_samples // LEAST_TESTED
        raise InputError(
            f"{n_splits} folds of {n_samples} samples test {n_samples // n_splits} at a time, and R² needs "
            f"{LEAST_TESTED}; ask for at most {most} folds."
        )
    if target.kind != "classification":
        n_units = n_samples if target.groups is None else len(np.unique(target.groups))
        if n_units < n_splits:
            noun = "samples" if target.groups is None else f"groups of column {target.group_column!r}"
            raise InputError(f"{n_splits} folds were asked for and there are {n_units} {noun}; ask for fewer folds.")
        return
    rarest = int(np.bincount(target.labels).min())
    if target.groups is None and rarest < n_splits:
        raise InputError(
            f"{n_splits} folds were asked for and the rarest class has {rarest} samples; ask for at most {rarest}."
        )
    if target.groups is not None:
        per_class = [len(np.unique(target.groups[target.labels == label])) for label in np.unique(target.labels)]
        least = min(per_class)
        if least < n_splits:
            advice = f"ask for at most {least} folds" if least > 1 else "with such groups nothing can be tested"
            raise InputError(
                f"{n_splits} folds were asked for and one class is in {least} group{'s' * (least > 1)} of column "
                f"{target.group_column!r} only; {advice}."
            )


def inner_folds(
    labels: np.ndarray, groups: np.ndarray | None, seed: int, most: int = INNER_SPLITS
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split training samples for tuning, stratified by class (see `Target.strata`) and without dividing groups.

    There are `most` folds, or fewer if a class has fewer samples.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    n_splits = max(2, min(most, int(np.bincount(labels).min())))
    return list(kind(n_splits, shuffle=True, random_state=seed).split(np.zeros(len(labels)), labels, groups))


def interval(values: np.ndarray, correction: float) -> Interval:
    """Compute mean and 95 % interval over folds, ignoring NaN; the ends may lie outside the range of the score.

    Folds that are all equal say nothing of the uncertainty: the interval is then undefined, not of width zero.
    """
    from scipy import stats

    values = values[~np.isnan(values)]
    if len(values) < 2 or np.ptp(values) <= EQUAL_SCORES:
        mean = float(values.mean()) if len(values) else float("nan")
        return Interval(mean, float("nan"), float("nan"))
    error = float(np.sqrt(correction * values.var(ddof=1)))
    half = float(stats.t.ppf(0.975, len(values) - 1)) * error
    return Interval(float(values.mean()), float(values.mean()) - half, float(values.mean()) + half)


def intervals(fold_scores: Mapping[str, np.ndarray], correction: float) -> dict[str, Interval]:
    """Compute mean and 95 % interval of each metric, within the metric's range."""
    return {
        metric: interval(values, correction).clipped(*metric_range(metric)) for metric, values in fold_scores.items()
    }


def compare(first: Evaluation, second: Evaluation, metric: str | None = None) -> Comparison:
    """Test whether one feature set performs better than another, by the corrected resampled t-test.

    The metric is the evaluations' main metric by default.

    Raises:
        InputError: The evaluations are not on the same folds.
    """
    from scipy import stats

    metric = metric or first.main_metric
    a, b = first.fold_scores[metric], second.fold_scores[metric]
    if a.shape != b.shape or first.correction != second.correction:
        raise InputError("two evaluations on different folds cannot be compared; evaluate both in one run.")
    difference = a - b
    span = interval(difference, first.correction)
    known = difference[~np.isnan(difference)]
    if np.isnan(span.low) or first.learned_nothing or second.learned_nothing:
        return Comparison(first.features, second.features, first.model, metric, span, float("nan"))
    error = float(np.sqrt(first.correction * known.var(ddof=1)))
    p = float(2 * stats.t.sf(abs(float(known.mean())) / error, len(known) - 1))
    return Comparison(first.features, second.features, first.model, metric, span, p)


def cross_validate(
    blocks: Sequence[FeatureTable],
    target: Target,
    model: str,
    *,
    name: str = "features",
    transform: str = "none",
    zeros: str = "auto",
    n_splits: int = 10,
    n_repeats: int = 5,
    n_permutations: int = 0,
    seed: int = 0,
    n_jobs: int | None = -1,
    progress: Callable[[int, int], None] | None = None,
    inspect: Callable[[Any, np.ndarray, np.ndarray], None] | None = None,
) -> Evaluation:
    """Predict each sample with a model that has seen neither the sample nor its group.

    Args:
        blocks: Feature tables of the target's samples, in the target's order, to be concatenated by column.
        target: Classes, numbers or labels of the samples.
        model: One of `models.ESTIMATORS`.
        name: Name of the feature set.
        transform: Transform of each block: `none`, `clr` or `ilr`.
        zeros: Rule for zeros of log-ratios, one of `transforms.ZERO_CHOICES`.
        n_splits: Folds per repeat.
        n_repeats: Repeats of the cross-validation, each with other folds.
        n_permutations: Number of cross-validations, of one repeat each, with permuted labels.
        seed: Seed of folds, models and permutations.
        n_jobs: Number of processes that fit folds side by side, as in scikit-learn; results do not depend on it.
        progress: Called after each fold with the number of folds done and their total number.
        inspect: Called after each fold of the labels themselves with the fitted model, the features of the test samples
            and their rows.

    Returns:
        Scores with intervals, and the out-of-fold predictions.

    Raises:
        InputError: The blocks do not match the target, there are too few samples for the folds, or a name is unknown.
    """
    if any(block.sample_ids != target.sample_ids for block in blocks):
        raise InputError("a feature table has other samples than the target, or another order; use FeatureTable.take.")
    if n_splits < 2 or n_repeats < 1:
        raise InputError(f"n_splits is {n_splits} and n_repeats {n_repeats}; give at least 2 and 1.")
    rules = block_rules(blocks, transform, zeros)
    is_shared = not needs_training_rows(blocks, rules)
    matrix = design_matrix(blocks, transform, zeros) if is_shared else np.empty((0, 0))

    def rows_of(job: FoldJob) -> np.ndarray:
        # The prior of the rule gbm, and medians of covariates, are from the training samples only.
        return matrix if is_shared else design_matrix(blocks, transform, zeros, job.train)

    rng = np.random.default_rng(seed)
    n_total = n_splits * (n_repeats + n_permutations)
    n_done = 0

    task, n_classes = target.task, len(target.classes)
    n_chosen: np.ndarray | float = 0.0
    n_empty = 0

    def labelings() -> Iterator[tuple[np.ndarray, int, int]]:
        yield target.labels, n_repeats, seed
        for i in range(n_permutations):
            yield permute(target, rng), 1, seed + i

    def jobs() -> Iterator[FoldJob]:
        for labels, repeats, first_seed in labelings():
            keep = labels is target.labels and inspect is not None
            for i, (train, test) in enumerate(folds(replace(target, labels=labels), n_splits, repeats, first_seed)):
                groups = None if target.groups is None else target.groups[train]
                inner = None
                if model in INNER_FOLDS:
                    n_inner = INNER_FOLDS[model]
                    inner = inner_folds(target.strata(labels[train], n_inner), groups, first_seed + i, n_inner)
                untrained = make_model(model, n_classes, inner, first_seed + i, 1, len(train), task)
                yield FoldJob(untrained, labels, train, test, task, n_classes, keep)

    fits = fit_folds(jobs(), n_total, rows_of, rows_are_shared=is_shared, n_jobs=n_jobs)

    def run(repeats: int) -> tuple[dict[str, list[float]], np.ndarray, float]:
        nonlocal n_done, n_chosen, n_empty
        scores: dict[str, list[float]] = {}
        total = np.zeros((len(target.labels), n_classes))
        ratios = []
        for job, fit in islice(fits, n_splits * repeats):
            total[job.test] += fit.predicted
            if job.labels is target.labels:
                n_empty += fit.is_empty
                if inspect is not None:
                    inspect(fit.model, rows_of(job)[job.test], job.test)
                n_chosen = n_chosen if fit.selected is None else n_chosen + fit.selected
            for metric, value in score_target(task, job.labels[job.test], fit.predicted, target.classes).items():
                scores.setdefault(metric, []).append(value)
            ratios.append(len(job.test) / len(job.train))
            n_done += 1
            if progress is not None:
                progress(n_done, n_total)
        return scores, total / repeats, 1 / len(ratios) + float(np.mean(ratios))

    scores, probabilities, correction = run(n_repeats)
    permuted_scores = []
    for _ in range(n_permutations):
        shuffled, _, _ = run(1)
        known = [value for value in shuffled[MAIN_METRIC[task]] if not np.isnan(value)]
        permuted_scores.append(float(np.mean(known)) if known else float("nan"))
    fold_scores = {metric: np.array(values) for metric, values in scores.items()}
    return Evaluation(
        features=name,
        model=model,
        transform=transform,
        scores=intervals(fold_scores, correction),
        fold_scores=fold_scores,
        probabilities=probabilities,
        correction=correction,
        n_repeats=n_repeats,
        n_splits=n_splits,
        permuted=np.array(permuted_scores),
        # Features that are fitted again in each fold have no identity across folds.
        chosen=_named(blocks, n_chosen / (n_splits * n_repeats))
        if transform != "ilr" and all(block.refit is None for block in blocks)
        else {},
        n_empty=n_empty,
        zeros=tuple(dict.fromkeys(filter(None, rules))),
        task=task,
    )


def _named(blocks: Sequence[FeatureTable], shares: np.ndarray | float) -> dict[str, float]:
    """Return the fractions above 0 by column name of the concatenated blocks; a single 0 stands for all columns."""
    if not np.ndim(shares):
        return {}
    names = [name for block in blocks for name in block.names]
    return {name: float(share) for name, share in zip(names, np.asarray(shares), strict=True) if share > 0}


def permute(target: Target, rng: np.random.Generator) -> np.ndarray:
    """Permute the labels: over samples, or over whole groups if each group has a single label, else within groups."""
    if target.groups is None:
        return rng.permutation(target.labels)
    names, first, group = np.unique(target.groups, return_index=True, return_inverse=True)
    label_of_group = target.labels[first]
    if (label_of_group[group] == target.labels).all():
        return rng.permutation(label_of_group)[group]
    labels = target.labels.copy()
    for i in range(len(names)):
        members = np.flatnonzero(group == i)
        labels[members] = rng.permutation(labels[members])
    return labels


__all__ = [
    "Comparison",
    "Evaluation",
    "Interval",
    "compare",
    "cross_validate",
    "folds",
    "inner_folds",
    "interval",
    "intervals",
    "permute",
]
