"""When, by which command, and with which versions and parameters a report was made."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..checkpoints import is_machine_path, public_name
from ..runs.command_line import current_command
from ..version import versions

LIBRARIES = ("python", "numpy", "pandas", "scipy", "scikit-learn", "matplotlib", "torch", "transformers")


def run_details(parameters: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return date, command, versions and parameters by name, without paths of this machine.

    The date is that of now, or of the environment variable `SOURCE_DATE_EPOCH`, by which builds are reproduced.

    Args:
        parameters: Further values; a mapping among them becomes one line of text.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    date = datetime.now(UTC) if epoch is None else datetime.fromtimestamp(int(epoch), UTC)
    details = {"date": f"{date:%Y-%m-%d %H:%M} UTC"}
    if current_command():
        details["command"] = shlex.join(map(public_text, current_command()))
    details["versions"] = ", ".join(f"{name} {number}" for name, number in versions(*LIBRARIES).items())
    parameters = parameters or {}
    return details | {str(name).replace("_", " "): _text(value) for name, value in parameters.items()}


def provenance(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of how a file was made as parameters, under names for people."""
    names = {"contract": "preprocessing", "versions": "made with", "format_version": None}
    shown = {names.get(name, name): value for name, value in record.items()}
    return {name: value for name, value in shown.items() if name is not None}


def command_text(*words: str | Path) -> str:
    """Return a command to run next, quoted for a shell, without paths of this machine."""
    return shlex.join(["biomeformer", *(public_text(str(word)) for word in words)])


def public_text(text: str) -> str:
    """Return a text; of an absolute path of this machine, also one after `=`, the name alone, since others read it."""
    option, separator, value = text.rpartition("=")
    return f"{option}{separator}{public_name(value)}" if is_machine_path(value) else text


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{str(name).replace('_', ' ')} {_text(item)}" for name, item in value.items()) or "none"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_text, value)) or "none"
    return public_text(str(value))


__all__ = ["command_text", "provenance", "public_text", "run_details"]
