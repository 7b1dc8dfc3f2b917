"""Scores of predictions, curves, and one bootstrap for all of them."""

from .bootstrap import Interval, bootstrap, resample
from .curves import CalibrationCurve, Curve, ThresholdCurve, calibration_curve, curve_with_band, threshold_curve
from .probabilities import LOWER_IS_BETTER, METRICS, score
from .tasks import TASKS, Task, choose_thresholds, per_class, score_predictions

__all__ = [
    "LOWER_IS_BETTER",
    "METRICS",
    "TASKS",
    "CalibrationCurve",
    "Curve",
    "Interval",
    "Task",
    "ThresholdCurve",
    "bootstrap",
    "calibration_curve",
    "choose_thresholds",
    "curve_with_band",
    "per_class",
    "resample",
    "score",
    "score_predictions",
    "threshold_curve",
]
