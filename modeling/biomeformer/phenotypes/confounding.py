"""Confounders: metadata columns that predict the target, or explain the features, as well as the features do."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ..errors import InputError
from ..io.tables import MISSING_VALUES
from ..metrics.group_tests import marginal_permanova
from ..metrics.p_values import benjamini_hochberg
from ..metrics.scorers import Task
from ..metrics.targets import CHANCE, MAIN_METRIC, METRIC_NAMES, score_target
from .evaluation import Interval, folds, intervals
from .features import FeatureTable
from .metadata_columns import MetadataColumn, metadata_column
from .models import predict_target
from .statistics import distance_matrix
from .target import Target

# More columns are tested only if they are named.
MOST_COLUMNS = 60
# Mean score from which a column alone stands for the target.
ALMOST_PERFECT = 0.95
# Scores that differ by less are taken as equal.
EQUAL_SCORES = 0.005
# Below this expected number the p value of a table of counts is from random tables, not from the distribution.
LEAST_EXPECTED = 5
N_RANDOM_TABLES = 9999
LEAST_SAMPLES = 4
ASSOCIATIONS = {
    "cramers_v": "Cramér's V (chi-squared test)",
    "point_biserial": "point-biserial correlation",
    "epsilon_squared": "epsilon squared (Kruskal-Wallis test)",
    "spearman": "Spearman's rho",
}
ALL_COLUMNS = "all columns together"


@dataclass(frozen=True)
class Confounder:
    """Association of one metadata column with the target and with the features; None where undefined.

    Attributes:
        column: Name of the column, or `ALL_COLUMNS`, of which only the score is known.
        kind: `number` or `category`; empty for `ALL_COLUMNS`.
        n_values: Number of different values.
        n_missing: Number of samples without a value.
        measure: Measure of association with the target, a key of `ASSOCIATIONS`.
        association: Its value.
        p: Its p value.
        q: p adjusted over all columns (Benjamini and Hochberg).
        r2: Share of the variance of the features that the column explains (PERMANOVA, Bray-Curtis).
        r2_p: Its permutation p value.
        r2_q: That p adjusted over all columns.
        score: Cross-validated ROC-AUC, or R² of numbers, of a model of this column alone, on the folds of the study.
        score_low: Lower end of its 95 % interval.
        score_high: Upper end.
    """

    column: str
    kind: str = ""
    n_values: int = 0
    n_missing: int = 0
    measure: str = ""
    association: float | None = None
    p: float | None = None
    q: float | None = None
    r2: float | None = None
    r2_p: float | None = None
    r2_q: float | None = None
    score: float | None = None
    score_low: float | None = None
    score_high: float | None = None

    @property
    def interval(self) -> Interval:
        """The score with its interval."""
        return Interval(*(np.nan if end is None else end for end in (self.score, self.score_low, self.score_high)))

    def predicts(self, chance: float) -> bool:
        """Whether the column alone predicts better than chance: by its interval or, without one, almost perfectly."""
        if self.score is None:
            return False
        return self.score >= ALMOST_PERFECT if self.score_low is None else self.score_low > chance


@dataclass(frozen=True)
class Confounding:
    """Confounders of a study.

    Attributes:
        features: Name of the feature set that they are compared with.
        columns: One per metadata column, and one of all together.
        left_out: Why other columns were not tested, by name.
        n_permutations: Permutations of the PERMANOVA.
        metric: Name of the score, `roc_auc` or `r2`.
    """

    features: str
    columns: tuple[Confounder, ...] = ()
    left_out: dict[str, str] | None = None
    n_permutations: int = 999
    metric: str = "roc_auc"

    @property
    def table(self) -> pd.DataFrame:
        """One row per column, the best predictors of the target first."""
        frame = pd.DataFrame([asdict(column) for column in self.columns], columns=list(Confounder.__annotations__))
        return frame.sort_values("score", ascending=False, kind="stable", na_position="last", ignore_index=True)

    def warnings(self, target_column: str, best_score: float) -> list[str]:
        """Say which columns the target is confounded with, and which predict it as well as the features.

        Args:
            target_column: Name of the target.
            best_score: Highest mean score of the feature set over its models.
        """
        strong = [one for one in self.columns if one.predicts(CHANCE[self.metric])]
        strong.sort(key=lambda one: -(one.score or 0))
        confounded = [one for one in strong if one.column != ALL_COLUMNS and (one.score or 0) >= ALMOST_PERFECT]
        warnings = []
        for one in confounded:
            share = "" if one.r2 is None else f" and explains {one.r2:.0%} of the variance of {self.features}"
            warnings.append(
                f"the labels are confounded with {one.column}: it alone predicts {target_column} with "
                f"{METRIC_NAMES[self.metric]} {one.interval}{share}, so that what {self.features} tell of "
                f"{target_column} may be {one.column}. If it is another name of {target_column}, leave it out of "
                "--confounders; else test within it (robustness --strata) and across it (transfer --leave-out-column)."
            )
        better = [one for one in strong if one not in confounded and not (one.score or 0) < best_score - EQUAL_SCORES]
        if confounded:
            better = [one for one in better if one.column != ALL_COLUMNS]
        if better:
            names = ", ".join(f"{one.column} {one.interval}" for one in better[:3])
            more = f" and {len(better) - 3} more" if len(better) > 3 else ""
            warnings.append(
                f"metadata alone predict {target_column} at least as well as {self.features} "
                f"({METRIC_NAMES[self.metric]} {best_score:.3f}): {names}{more}; {self.features} may tell no more than "
                "these columns."
            )
        return warnings


def find_confounders(
    metadata: pd.DataFrame,
    target: Target,
    features: FeatureTable,
    *,
    name: str = "features",
    columns: Sequence[str] | None = None,
    where: str = "the metadata",
    missing: Collection[str] = MISSING_VALUES,
    n_splits: int = 10,
    n_repeats: int = 5,
    n_permutations: int = 999,
    seed: int = 0,
) -> Confounding:
    """Test which metadata columns predict the target or explain the features.

    A column alone, and all columns together, predict the target by logistic regression, numbers by linear regression,
    on the folds of a study with the same numbers and seed.

    Args:
        metadata: Metadata as text, indexed by sample.
        target: Classes, labels or numbers of the samples.
        features: Features of the target's samples, in any order.
        name: Name of the features.
        columns: Columns to test; all but those of target and groups by default.
        where: Name of the metadata in errors.
        missing: Words that mark a missing value, in lower case.
        n_splits: Folds per repeat.
        n_repeats: Repeats of the cross-validation.
        n_permutations: Permutations of the PERMANOVA.
        seed: Seed of folds and permutations.

    Raises:
        InputError: A column does not exist, or is the target's; or as for `folds`.
    """
    own = {target.column, target.group_column}
    if columns is not None and target.column in columns:
        raise InputError(f"column {target.column!r} is the target; leave it out of the confounders.")
    names = [str(column) for column in metadata.columns if column not in own] if columns is None else list(columns)
    if columns is None and len(names) > MOST_COLUMNS:
        reason = f"{len(names)} columns are more than {MOST_COLUMNS}: name those to test"
        return Confounding(name, left_out={"all columns": reason}, n_permutations=n_permutations)
    tested, left_out = [], {}
    for column_name in dict.fromkeys(names):
        column = metadata_column(metadata, column_name, target.sample_ids, where=where, missing=missing)
        reason = _why_left_out(column)
        if reason:
            left_out[column_name] = reason
        else:
            tested.append(column)
    metric = MAIN_METRIC[target.task]
    if not tested:
        return Confounding(name, left_out=left_out, n_permutations=n_permutations, metric=metric)
    splits = list(folds(target, n_splits, n_repeats, seed))
    distances = distance_matrix(features.take(target.sample_ids, name).values, "bray_curtis")
    found = [_test_column(column, target, distances, splits, n_permutations, seed) for column in tested]
    q, r2_q = (benjamini_hochberg([_float(getattr(one, field)) for one in found]) for field in ("p", "r2_p"))
    found = [replace(one, q=_known(q[i]), r2_q=_known(r2_q[i])) for i, one in enumerate(found)]
    if len(tested) > 1:
        together = np.hstack([column.design() for column in tested])
        found.append(_scored(Confounder(ALL_COLUMNS), together, target, splits))
    return Confounding(name, tuple(found), left_out, n_permutations, metric)


def _why_left_out(column: MetadataColumn) -> str:
    """Return why a column cannot be a confounder; empty if it can."""
    known = column.values[column.is_known]
    if len(known) < LEAST_SAMPLES:
        return f"{len(known)} samples have a value"
    n_values = len(np.unique(known))
    if n_values < 2:
        return "it has a single value"
    if column.kind == "category" and n_values > len(known) / 2:
        return f"it names samples: {n_values} values in {len(known)} samples"
    return ""


def _test_column(
    column: MetadataColumn,
    target: Target,
    distances: np.ndarray,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    n_permutations: int,
    seed: int,
) -> Confounder:
    rows = np.flatnonzero(column.is_known)
    known = column.take(rows)
    measure, association, p = associate(known, target.labels[rows], seed)
    explained = marginal_permanova(
        distances[np.ix_(rows, rows)], {column.name: known.design()}, n_permutations=n_permutations, seed=seed
    )[column.name]
    tested = Confounder(
        column=column.name,
        kind=column.kind,
        n_values=len(np.unique(known.values)),
        n_missing=len(column.values) - len(rows),
        measure=measure,
        association=_known(association),
        p=_known(p),
        r2=_known(explained.r2),
        r2_p=_known(explained.p),
    )
    return _scored(tested, column.design(), target, splits)


def associate(column: MetadataColumn, labels: np.ndarray, seed: int = 0) -> tuple[str, float, float]:
    """Measure the association of a column without missing values with a target.

    Args:
        column: The column.
        labels: Class numbers, int `(n_samples,)`; 0 or 1 of several labels, whose combinations are classes then, int
            `(n_samples, n_labels)`; or numbers, float `(n_samples,)`.
        seed: Seed of random tables.

    Returns:
        A key of `ASSOCIATIONS`, its value and its p value; both NaN if column or labels do not vary.
    """
    from scipy import stats

    if labels.ndim == 2:
        labels = np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)
    is_number, is_regression = column.kind == "number", np.issubdtype(labels.dtype, np.floating)
    if is_number and is_regression:
        measure = "spearman"
    elif not is_number and not is_regression:
        measure = "cramers_v"
    else:
        measure = "point_biserial" if is_number and len(np.unique(labels)) <= 2 else "epsilon_squared"
    if np.ptp(labels) == 0 or np.ptp(column.values) == 0:
        return measure, float("nan"), float("nan")
    if measure == "cramers_v":
        table = stats.contingency.crosstab(column.values, labels).count
        value = float(stats.contingency.association(table, method="cramer"))
        method: Any = None
        if stats.contingency.expected_freq(table).min() < LEAST_EXPECTED:
            method = stats.MonteCarloMethod(n_resamples=N_RANDOM_TABLES, rng=np.random.default_rng(seed))
        return measure, value, float(stats.chi2_contingency(table, correction=False, method=method).pvalue)
    if measure == "spearman":
        result = stats.spearmanr(column.values, labels)
        return measure, float(result.statistic), float(result.pvalue)
    if measure == "point_biserial":
        result = stats.pointbiserialr(labels == labels.max(), column.values)
        return measure, float(result.statistic), float(result.pvalue)
    values, groups = (column.values, labels) if is_number else (labels, column.values)
    h, p = map(float, stats.kruskal(*(values[groups == group] for group in np.unique(groups))))
    return measure, h / (len(labels) - 1), p


def _scored(
    confounder: Confounder, matrix: np.ndarray, target: Target, splits: Sequence[tuple[np.ndarray, np.ndarray]]
) -> Confounder:
    """Add the cross-validated score of a model of these columns alone."""
    metric = MAIN_METRIC[target.task]
    scores, ratios = [], []
    for train, test in splits:
        model = _model(target.task).fit(matrix[train], target.labels[train])
        predicted = predict_target(model, matrix[test], target.task, len(target.classes))
        scores.append(score_target(target.task, target.labels[test], predicted)[metric])
        ratios.append(len(test) / len(train))
    span = intervals({metric: np.array(scores)}, 1 / len(ratios) + float(np.mean(ratios)))[metric]
    return replace(confounder, score=_known(span.mean), score_low=_known(span.low), score_high=_known(span.high))


def _model(task: Task) -> Any:
    """Return an untrained model of a few columns."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if task == "regression":
        return make_pipeline(StandardScaler(), Ridge())
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return OneVsRestClassifier(classifier) if task == "multi_label" else classifier


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _float(value: float | None) -> float:
    return float("nan") if value is None else value


__all__ = ["ASSOCIATIONS", "Confounder", "Confounding", "associate", "find_confounders"]
