"""Interruption by a signal, at a point where the work can stop."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from ..errors import RunInterrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Record of SIGINT (Ctrl-C) and SIGTERM in place of their ending the process; a second one ends it.

    Use as a context manager around work that calls `check` between its steps. Outside the main thread, where Python
    delivers no signals, it does nothing.

    Attributes:
        signal_number: The first signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None:
            raise KeyboardInterrupt
        self.signal_number = number

    def check(self) -> None:
        """Raise `RunInterrupted` if a signal came."""
        if self.signal_number is not None:
            raise RunInterrupted(f"interrupted by {signal.Signals(self.signal_number).name}", self.signal_number)


__all__ = ["Interruption"]
