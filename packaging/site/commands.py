"""The command reference as Markdown: one page per command or group, from the same records as `--help`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer

from biomeformer.cli import app

INDEX = """# Commands

`biomeformer COMMAND --help` prints the same. `--debug`, `--quiet`, `--verbose` and the two limits are accepted
after any command.

"""


def command_pages() -> dict[str, str]:
    """Return the pages by name, `index.md` first, then one per command or group of commands."""
    root: Any = typer.main.get_command(app)
    rows = [f"| [`biomeformer {name}`]({name}.md) | {_cell(_summary(one))} |" for name, one in root.commands.items()]
    index = "\n".join([INDEX, "| command | |", "|---|---|", *rows, "", *_section(root, "biomeformer", "##")])
    pages = {"index.md": index}
    for name, command in root.commands.items():
        lines: list[str] = []
        for path, one in _walk(command, name):
            lines += _section(one, f"biomeformer {path}", "##" if " " in path else "#")
        pages[f"{name}.md"] = "\n".join(lines)
    return pages


def _walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, part in getattr(command, "commands", {}).items():
        yield from _walk(part, f"{path} {name}")


def _section(command: Any, path: str, heading: str) -> list[str]:
    """Return heading, description, usage, arguments, options and examples of one command."""
    context = typer.Context(command, info_name=path)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    lines = [f"{heading} {path}", "", command.help or "", "", "```text", usage, "```", ""]
    records = [parameter.get_help_record(context) for parameter in command.params]
    rows = [f"| `{_cell(name)}` | {_cell(text)} |" for name, text in filter(None, records)]
    if rows:
        lines += ["| argument or option | |", "|---|---|", *rows, ""]
    parts = getattr(command, "commands", {}) if heading == "#" else {}
    anchor = path.replace(" ", "-")
    lines += [f"- [`{path} {name}`](#{anchor}-{name}): {_summary(part)}" for name, part in parts.items()]
    lines.append("")
    if command.epilog:
        lines += ["", _examples(command.epilog), ""]
    return lines


def _examples(epilog: str) -> str:
    """Return an epilog with each run of indented commands in one block of code."""
    text = re.sub(r"((?:^    .*\n+)+)", lambda found: _block(found[1]), epilog.rstrip() + "\n", flags=re.MULTILINE)
    return re.sub(r"^Example: `(.*)`$", lambda found: _block(found[1]), text, flags=re.MULTILINE)


def _block(commands: str) -> str:
    lines = [line.strip() for line in commands.splitlines() if line.strip()]
    return "\n".join(["```bash", *lines, "```", ""])


def _summary(command: Any) -> str:
    return (command.help or "").split("\n\n")[0].replace("\n", " ")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
