"""Pausing Python's search for garbage while modules are imported."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collection() -> Iterator[None]:
    """Pause the search for garbage in reference cycles.

    Modules and machine code make hundreds of thousands of objects that all stay: looking for garbage among them again
    and again takes a sixth of the time of importing torch and transformers, and half of that of loading kernels.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


__all__ = ["paused_collection"]
