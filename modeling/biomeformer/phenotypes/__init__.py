"""Predict phenotypes from abundance vectors, and quantify how certain the predictions are."""

import lazy_loader

from ..moved import package_getattr

_getattr, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
_MOVED = dict.fromkeys(("BalancedAccuracy", "BrierScore", "CalibrationError", "PrAuc", "RocAuc"), "biomeformer.metrics")
__getattr__ = package_getattr(__name__, _MOVED, _getattr)
