"""The `evaluate` metrics among this package's public names; a stub of lazy names may only name its own modules."""

from ..metrics.evaluate_metrics import BalancedAccuracy, BrierScore, CalibrationError, PrAuc, RocAuc

__all__ = ["BalancedAccuracy", "BrierScore", "CalibrationError", "PrAuc", "RocAuc"]
