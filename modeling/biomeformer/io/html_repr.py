"""How results show themselves in notebooks: a title and the first rows of a table."""

from __future__ import annotations

from typing import Any

from markupsafe import escape

from ..sinks import terminal

# Rows and columns of a table that are shown; of longer ones the first and last.
MAX_ROWS, MAX_COLUMNS = 10, 12


def html_table(result: Any, title: str, frame: Any) -> str:
    """Return a result as HTML for Jupyter: its class, a title, and rows of a table.

    Text from files is escaped, and its control characters are shown.

    Args:
        result: The result, whose class is named.
        title: What it is and how large, as plain text.
        frame: A `pandas.DataFrame`.
    """
    if len(frame) > MAX_ROWS:
        # One row more than is shown of either end, so that the table says that it is cut.
        ends = MAX_ROWS // 2 + 1
        frame = frame.iloc[[*range(ends), *range(len(frame) - ends, len(frame))]]
    shown = frame.rename(index=_visible, columns=_visible).map(_visible)
    table = shown.to_html(
        max_rows=MAX_ROWS, max_cols=MAX_COLUMNS, border=0, notebook=True, float_format="{:.3g}".format
    )
    return f"<p><b>{escape(type(result).__name__)}</b>: {escape(terminal(title))}</p>\n{table}"


def count(n: int, noun: str) -> str:
    """Return a number with its noun, such as `1 sample` or `2,000 samples`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _visible(value: Any) -> Any:
    return terminal(value) if isinstance(value, str) else value


__all__ = ["count", "html_table"]
