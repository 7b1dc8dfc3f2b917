"""Tracebacks on request: the option `--debug` of commands and recipes."""

from __future__ import annotations

import logging
import sys

PACKAGE = "biomeformer"


class StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """A handler that writes to what `sys.stderr` is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        self.stream = sys.stderr
        super().emit(record)


_handler = StderrHandler()


def show_tracebacks() -> None:
    """Print the tracebacks of failed items, and what else the package logs, on stderr."""
    package = logging.getLogger(PACKAGE)
    package.addHandler(_handler)
    package.setLevel(logging.DEBUG)


def hide_tracebacks() -> None:
    """Undo `show_tracebacks`."""
    package = logging.getLogger(PACKAGE)
    package.removeHandler(_handler)
    package.setLevel(logging.NOTSET)


def shows_tracebacks() -> bool:
    """Return whether `show_tracebacks` was called, or logging is set up so otherwise."""
    return logging.getLogger(PACKAGE).isEnabledFor(logging.DEBUG)


__all__ = ["StderrHandler", "hide_tracebacks", "show_tracebacks", "shows_tracebacks"]
