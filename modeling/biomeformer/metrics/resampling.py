"""The bootstrap: percentile intervals of any scores that can be computed from sample weights.

A resample is the number of times each sample is drawn. Scores over such weights, `(n_draws, n)`, are computed for many
resamples at once, with one sort of the predictions; weights of one give the scores themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import InputError

Scorer = Callable[[np.ndarray], dict[str, np.ndarray]]

LEVEL = (0.025, 0.975)
# Number of weights per chunk: few enough to fit a core's cache.
DRAWN_AT_ONCE = 200_000


@dataclass(frozen=True)
class BootstrapInterval:
    """A score with its 95 % percentile interval.

    Attributes:
        value: Score of the samples themselves.
        low: Lower end; NaN if the score or all its resamples are undefined.
        high: Upper end.
        n_undefined: Number of resamples whose score is undefined, such as a ROC-AUC of one class; the interval is over
            the others.
    """

    value: float
    low: float
    high: float
    n_undefined: int = 0

    @classmethod
    def of_draws(cls, value: float, draws: np.ndarray) -> BootstrapInterval:
        """Compute the interval from the scores of resamples `(n_draws,)`, NaN where undefined.

        It is widened to include the value, since resampling is biased for some scores, such as the calibration error.
        """
        known = draws[~np.isnan(draws)]
        n_undefined = len(draws) - len(known)
        if np.isnan(value) or not len(known):
            return cls(value, float("nan"), float("nan"), n_undefined)
        low, high = np.quantile(known, LEVEL)
        return cls(value, min(float(low), value), max(float(high), value), n_undefined)


def resample(
    rng: np.random.Generator,
    n: int,
    n_draws: int,
    *,
    strata: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Draw samples with replacement.

    Args:
        rng: Source of the draws.
        n: Number of samples.
        n_draws: Number of resamples.
        strata: `(n,)`, such as the classes: each keeps its number of samples; one stratum by default.
        groups: `(n,)`, such as subjects: their samples are drawn together; each sample by itself by default.

    Returns:
        Number of times each sample is drawn, float64 `(n_draws, n)`.

    Raises:
        InputError: A group is in two strata.
    """
    if groups is not None:
        _, first, unit = np.unique(groups, return_index=True, return_inverse=True)
        if strata is not None and (strata != strata[first][unit]).any():
            raise InputError("a group has samples of two strata, so that groups cannot keep the sizes of strata.")
        drawn = resample(rng, len(first), n_draws, strata=None if strata is None else strata[first])
        return drawn[:, unit]
    weights = np.empty((n_draws, n))
    members = [np.arange(n)] if strata is None else [np.flatnonzero(strata == value) for value in np.unique(strata)]
    for rows in members:
        picked = rng.integers(0, len(rows), (n_draws, len(rows)), dtype=np.int32)
        # Indexing by a slice is many times faster than by an array.
        is_slice = rows[-1] - rows[0] == len(rows) - 1
        columns = slice(rows[0], rows[-1] + 1) if is_slice else rows
        for row, indices in zip(weights, picked, strict=True):
            row[columns] = np.bincount(indices, minlength=len(rows))
    return weights


def bootstrap(
    scorer: Scorer,
    n: int,
    *,
    n_draws: int = 1000,
    seed: int = 0,
    strata: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> dict[str, BootstrapInterval]:
    """Score samples with 95 % percentile intervals.

    All scores use the same resamples, so differences of scores may be among them.

    Args:
        scorer: Maps weights `(n_draws, n)` to scores `(n_draws,)` by name, NaN where undefined.
        n: Number of samples.
        n_draws: Number of resamples.
        seed: Seed of the resamples.
        strata: As for `resample`.
        groups: As for `resample`.

    Returns:
        Intervals by name.

    Raises:
        InputError: A group is in two strata.

    Examples:
        >>> values = np.arange(100.0)
        >>> interval = bootstrap(lambda weights: {"mean": weights @ values / weights.sum(1)}, 100)["mean"]
        >>> bool(interval.low < values.mean() < interval.high)
        True
    """
    values = scorer(np.ones((1, n)))
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in values}
    at_once = max(1, DRAWN_AT_ONCE // n)
    for done in range(0, n_draws, at_once):
        weights = resample(rng, n, min(at_once, n_draws - done), strata=strata, groups=groups)
        for name, scores in scorer(weights).items():
            drawn[name].append(scores)
    return {
        name: BootstrapInterval.of_draws(float(value[0]), np.concatenate(drawn[name])) for name, value in values.items()
    }


__all__ = ["BootstrapInterval", "Scorer", "bootstrap", "resample"]
