"""The tree of commands, and command lines in text compared with it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from functools import cache
from typing import Any

import typer

from biomeformer.cli import app
from biomeformer.io.limits import LIMITS

# Accepted after any command; the number is that of their values.
GLOBAL = {"--debug": 0, "--quiet": 0, "--verbose": 0, "--json": 0, "--log-file": 1} | {
    limit.option: 1 for limit in LIMITS
}


@cache
def root() -> Any:
    return typer.main.get_command(app)


@cache
def verbs() -> dict[str, Any]:
    """Each command that does something, by its name, such as `phenotype evaluate`."""

    def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        if hasattr(command, "commands"):
            for name, each in command.commands.items():
                yield from walk(each, (*path, name))
        else:
            yield " ".join(path), command

    return dict(walk(root(), ()))


def fault(line: str) -> str | None:
    """What is wrong with a command line `biomeformer ...`: a command or option that does not exist, or None.

    Words in capitals stand for something; a line may name a group, or end within the arguments.
    """
    words = shlex.split(line.replace("…", "..."))
    assert words[0] == "biomeformer"
    command, path = root(), "biomeformer"
    words = words[1:]
    while words and hasattr(command, "commands"):
        if words[0].startswith("-"):
            break
        if words[0] not in command.commands:
            return f"{path} has no command {words[0]}"
        path, command = f"{path} {words[0]}", command.commands[words[0]]
        words = words[1:]
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    options |= {*GLOBAL, "--help", "-h"}
    if path == "biomeformer recipes run":
        # A recipe has options of its own.
        return None
    for word in words:
        name = word.partition("=")[0]
        if name.startswith("-") and not name.lstrip("-").replace(".", "").isdigit() and name not in options:
            return f"{path} has no option {name}"
    return None
