"""The command that this process runs, for records and reports."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextvars import ContextVar

_command: ContextVar[str | None] = ContextVar("command", default=None)


def set_command(words: Sequence[str]) -> None:
    """Remember the words of the command line, which is then quoted for a shell."""
    _command.set(shlex.join(words))


def current_command() -> str | None:
    """Return the command line that `set_command` got; None in a program that uses the package from Python."""
    return _command.get()


__all__ = ["current_command", "set_command"]
