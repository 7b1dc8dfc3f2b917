"""Mechanisms of long runs: run folders, the scheduler over items, process groups, control, progress and signals."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
