"""The command that this process runs, for records and reports."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar

_command: ContextVar[tuple[str, ...]] = ContextVar("command", default=())


def set_command(words: Sequence[str]) -> None:
    """Remember the words of the command line."""
    _command.set(tuple(words))


def current_command() -> tuple[str, ...]:
    """Return what `set_command` got; empty in a program that uses the package from Python."""
    return _command.get()


__all__ = ["current_command", "set_command"]
