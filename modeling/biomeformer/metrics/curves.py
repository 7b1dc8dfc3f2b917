"""Curves over a decision threshold, with bootstrap bands: ROC, precision and recall, F1; and calibration.

Counts at each threshold are scikit-learn's. A curve of many samples has at most `MAX_POINTS` points, spread evenly over
the samples; its band is a bootstrap over the numbers of positives and negatives between neighbouring points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..moved import renamed
from .resampling import LEVEL

CurveKind = Literal["roc", "precision_recall"]

MAX_POINTS = 2000
N_BAND_DRAWS = 400
GRID = np.linspace(0, 1, 201)


@dataclass(frozen=True)
class Curve:
    """A curve with a 95 % band.

    Attributes:
        x: False positive rates, or recalls, `(n_points,)`.
        y: True positive rates, or precisions.
        low: Lower end of the band.
        high: Upper end of the band.
    """

    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class ThresholdCurve:
    """Scores over the threshold at and above which a sample is predicted positive, from the highest down.

    Attributes:
        thresholds: `(n_points,)`.
        precision: `(n_points,)`.
        recall: `(n_points,)`.
        f1: `(n_points,)`.
        best_f1: Highest F1 over all thresholds, including points left out of the curve.
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    best_f1: float


@dataclass(frozen=True)
class CalibrationCurve:
    """Observed frequencies against predicted probabilities in bins; empty bins are left out.

    Attributes:
        predicted: Mean predicted probability of each bin, `(n_bins,)`.
        observed: Fraction of positives in each bin.
        low: Lower end of its 95 % Wilson interval (Wilson 1927, doi:10.1080/01621459.1927.10502953).
        high: Upper end of that interval.
        n: Number of samples in each bin.
        bins: Index of each bin, from 0.
    """

    predicted: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: np.ndarray
    bins: np.ndarray

    places = renamed("places", "bins")


def ranked_counts(truth: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count true and false positives at each threshold.

    Args:
        truth: bool `(n,)`.
        probability: `(n,)`.

    Returns:
        Distinct probabilities from the highest down, `(n_thresholds,)`, and how many positives and negatives are at
        least as probable.
    """
    from sklearn.metrics import confusion_matrix_at_thresholds

    _, false, _, true, thresholds = confusion_matrix_at_thresholds(
        np.asarray(truth, bool), np.asarray(probability, np.float64), pos_label=True
    )
    return thresholds, true, false


def best_f1_threshold(truth: np.ndarray, probability: np.ndarray) -> tuple[float, float]:
    """Find the threshold with the highest F1; samples at or above the threshold are predicted positive.

    It is midway between neighbouring distinct probabilities, or between the lowest one and 0. Of equally good
    thresholds it is the one nearest to 0.5, and the higher of two equally near.

    Args:
        truth: bool `(n,)`.
        probability: `(n,)`.

    Returns:
        Threshold and F1; 0.5 and NaN if no sample is positive.
    """
    truth = np.asarray(truth, bool)
    if not truth.any():
        return 0.5, float("nan")
    values, true, false = ranked_counts(truth, probability)
    f1 = 2 * true / (true + false + true[-1])
    below = np.append(values[1:], 0.0)
    middle = (values + below) / 2
    # The midpoint of two adjacent floats is one of them.
    middle = np.where(middle > below, middle, values)
    best = np.flatnonzero(f1 == f1.max())
    chosen = best[np.abs(middle[best] - 0.5).argmin()]
    return float(middle[chosen]), float(f1[chosen])


def curve_with_band(kind: CurveKind, truth: np.ndarray, probability: np.ndarray, *, seed: int = 0) -> Curve:
    """Compute a curve on `GRID` with its band over bootstraps that keep the numbers of positives and negatives.

    Args:
        kind: `roc`, or `precision_recall`: at each recall the precision of the highest threshold that reaches it, as in
            average precision.
        truth: bool `(n,)`, with at least one sample of either class.
        probability: `(n,)`.
        seed: Seed of the bootstrap.
    """
    _, true, false = ranked_counts(truth, probability)
    points = _thinned(true, false)
    rng = np.random.default_rng(seed)
    counts = [_with_resamples(positives[points], rng) for positives in (true, false)]
    drawn = _CURVES[kind](*counts)
    low, high = np.quantile(drawn[1:], LEVEL, axis=0)
    return Curve(GRID, drawn[0], low, high)


def threshold_curve(truth: np.ndarray, probability: np.ndarray) -> ThresholdCurve:
    """Compute precision, recall and F1 over the threshold.

    Args:
        truth: bool `(n,)`, at least one of them true.
        probability: `(n,)`.
    """
    values, true, false = ranked_counts(truth, probability)
    f1 = 2 * true / (true + false + true[-1])
    points = _thinned(true, false)
    hits, predicted = true[points], (true + false)[points]
    return ThresholdCurve(values[points], hits / predicted, hits / true[-1], f1[points], float(f1.max()))


def calibration_curve(
    happened: np.ndarray, probability: np.ndarray, *, n_bins: int = 10, equal_sizes: bool = False
) -> CalibrationCurve:
    """Compare predicted probabilities with observed frequencies, in bins.

    Args:
        happened: Observed outcomes, bool `(n,)`.
        probability: Predicted probabilities `(n,)`, from 0 to 1.
        n_bins: Maximum number of bins.
        equal_sizes: Whether bins have equally many samples, at least 10 if possible, rather than equal width.
    """
    from scipy.stats import binomtest

    if equal_sizes:
        n_bins = min(n_bins, max(len(probability) // 10, 1))
        bins = np.empty(len(probability), np.int64)
        for i, rows in enumerate(np.array_split(np.argsort(probability, kind="stable"), n_bins)):
            bins[rows] = i
    else:
        bins = np.minimum((probability * n_bins).astype(int), n_bins - 1)
    n = np.bincount(bins, minlength=n_bins)
    filled = np.flatnonzero(n)
    true = np.bincount(bins, happened, n_bins)[filled]
    spans = [
        binomtest(int(k), int(size)).proportion_ci(method="wilson") for k, size in zip(true, n[filled], strict=True)
    ]
    return CalibrationCurve(
        predicted=np.bincount(bins, probability, n_bins)[filled] / n[filled],
        observed=true / n[filled],
        low=np.array([span.low for span in spans]),
        high=np.array([span.high for span in spans]),
        n=n[filled],
        bins=filled,
    )


def _thinned(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    """Select at most `MAX_POINTS` points of a curve, evenly over positives and over negatives, and the last one."""
    if len(true) <= MAX_POINTS:
        return np.arange(len(true))
    fractions = np.linspace(0, 1, MAX_POINTS // 2)
    points = [np.searchsorted(counts, fractions * counts[-1]) for counts in (true, false)]
    return np.unique(np.append(np.concatenate(points), len(true) - 1))


def _with_resamples(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return cumulative counts `(1 + N_BAND_DRAWS, n_points + 1)`, from 0: as observed, then as resampled."""
    steps = np.diff(counts, prepend=0)
    total = int(counts[-1])
    drawn = np.vstack([steps, rng.multinomial(total, steps / total, N_BAND_DRAWS)])
    return np.pad(np.cumsum(drawn, axis=1), ((0, 0), (1, 0))).astype(float)


def _roc(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    """Interpolate true positive rates at false positive rates on `GRID`."""
    return np.stack([np.interp(GRID, f / f[-1], t / t[-1]) for t, f in zip(true, false, strict=True)])


def _precision_recall(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    """Return precisions at recalls on `GRID`."""
    precision = true / np.maximum(true + false, 1)
    # At recall 0, the precision at the first positive.
    recalls = np.maximum(GRID, 1e-9)
    return np.stack([p[np.searchsorted(t / t[-1], recalls)] for t, p in zip(true, precision, strict=True)])


_CURVES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "roc": _roc,
    "precision_recall": _precision_recall,
}


__all__ = [
    "GRID",
    "CalibrationCurve",
    "Curve",
    "CurveKind",
    "ThresholdCurve",
    "best_f1_threshold",
    "calibration_curve",
    "curve_with_band",
    "ranked_counts",
    "threshold_curve",
]
