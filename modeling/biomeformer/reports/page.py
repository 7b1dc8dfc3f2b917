"""Self-contained HTML pages: one file without network, with and without a script, on screen and on paper."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ..io.atomic import atomic_write
from ..sinks import terminal
from .blocks import Block, Section
from .run_details import run_details
from .style import figure_style

# With more sections a page starts with links to them.
MIN_LINKED = 4


def write_page(
    path: str | Path,
    title: str,
    lead: Sequence[Block],
    sections: Sequence[Section],
    *,
    parameters: Mapping[str, Any] | None = None,
    next_command: str | None = None,
) -> Path:
    """Write a report atomically; every text in it is escaped, and control and bidirectional characters are shown.

    Args:
        path: HTML file to write.
        title: Heading.
        lead: Blocks before the first section.
        sections: The sections; those without blocks are left out.
        parameters: Values for the table at the foot, which has date, command and versions.
        next_command: Command to name as the next step.

    Returns:
        The path written.
    """
    path = Path(path)
    shown = [section for section in sections if section.blocks]
    with figure_style():
        template = environment().get_template("page.html.j2")
        text = template.render(
            title=title,
            lead=lead,
            sections=shown,
            has_links=len(shown) >= MIN_LINKED,
            details=run_details(parameters),
            next_command=next_command,
        )
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


@cache
def environment() -> Environment:
    """Return the templates' environment: each expression is neutralised as for a terminal, then escaped."""
    made = Environment(
        loader=PackageLoader("biomeformer.reports"),
        autoescape=True,
        finalize=lambda value: value if isinstance(value, Markup) else terminal(str(value)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    made.globals |= {"file": _file, "digest": _digest}
    return made


def _file(name: str) -> Markup:
    """Return the text of a style sheet or script of the package, which is put into the page as it is."""
    source, _, _ = PackageLoader("biomeformer.reports").get_source(Environment(), name)
    return Markup(source)


def _digest(text: str) -> str:
    """Return the digest by which a content security policy permits a script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


__all__ = ["environment", "write_page"]
