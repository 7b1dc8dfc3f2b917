"""Tracebacks on request: the option `--debug` of commands and recipes."""

from __future__ import annotations

import logging

PACKAGE = "biomeformer"


def show_tracebacks() -> None:
    """Print the tracebacks of failed items, and what else the package logs, on stderr."""
    package = logging.getLogger(PACKAGE)
    if not package.handlers:
        package.addHandler(logging.StreamHandler())
    package.setLevel(logging.DEBUG)


def shows_tracebacks() -> bool:
    """Return whether `show_tracebacks` was called, or logging is set up so otherwise."""
    return logging.getLogger(PACKAGE).isEnabledFor(logging.DEBUG)


__all__ = ["show_tracebacks", "shows_tracebacks"]
