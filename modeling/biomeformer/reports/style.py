"""One look for all figures: palette, markers, type, and text that is never parsed as formulas."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from ..sinks import terminal

# The Okabe-Ito palette, which colour-blind readers can distinguish.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999", "#000000")
REST_COLOUR = "#AAAAAA"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
SEQUENTIAL = "viridis"
SIZE = (5.2, 4.0)
DOTTED: dict[str, Any] = {"color": "#888888", "linewidth": 0.9, "linestyle": ":", "zorder": 0}
# More points than this are drawn as pixels: as vectors they would make a page slow.
MAX_VECTOR_POINTS = 2000


def figure_style() -> AbstractContextManager[None]:
    """Return the context in which figures are drawn and saved: names are plain text, a $ starts no formula."""
    return matplotlib.rc_context(
        {
            "text.parse_math": False,
            "font.size": 10,
            "axes.edgecolor": "#666666",
            "axes.linewidth": 0.8,
            "xtick.color": "#444444",
            "ytick.color": "#444444",
            "savefig.dpi": 150,
        }
    )


def make_figure(size: tuple[float, float] = SIZE) -> tuple[Figure, Any]:
    """Return a figure with one pair of axes, without upper and right spines."""
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def group_style(i: int) -> dict[str, Any]:
    """Return colour and marker of the i-th class or group; 64 combinations differ."""
    return {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[(i + i // len(COLOURS)) % len(MARKERS)]}


def outside_legend(axes: Any, side: str = "lower", n_columns: int = 1) -> None:
    """Draw the legend outside the axes, in fewer columns if names are long."""
    handles, labels = axes.get_legend_handles_labels()
    if not labels:
        return
    n_columns = min(n_columns, max(1, 58 // (max(map(len, labels)) + 4)))
    axes.figure.legend(handles, labels, loc=f"outside {side} center", ncols=n_columns, frameon=False)


def class_ticks(axes: Any, positions: range, classes: Sequence[str]) -> None:
    """Label the x axis with class names, slanted if they would not fit beside each other."""
    names = [shorten(name, 16) for name in classes]
    if len(names) <= 3:
        axes.set_xticks(positions, names)
    else:
        axes.set_xticks(positions, names, rotation=40, ha="right")


def is_rasterized(n_points: int) -> bool:
    """Return whether so many points are drawn as pixels rather than as vectors."""
    return n_points > MAX_VECTOR_POINTS


class PlainLogFormatter(LogFormatter):
    """Labels of a logarithmic axis as plain numbers.

    matplotlib's own are formulas, which show as TeX source where `text.parse_math` is off, as in all reports.
    """

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the label of a tick; empty for minor ticks that would crowd the axis."""
        return f"{x:g}" if super().__call__(x, pos) else ""


def use_plain_numbers(axis: Any) -> None:
    """Label an x or y axis with a logarithmic scale by plain numbers."""
    axis.set_major_formatter(PlainLogFormatter())
    axis.set_minor_formatter(PlainLogFormatter(labelOnlyBase=False))


def shorten(text: str, longest: int = 24) -> str:
    """Return the text with its middle elided if it is long: sample names tend to differ at their ends.

    Control characters are escaped. A leading underscore, by which matplotlib leaves a line out of the legend, gets a
    blank before it.
    """
    text = terminal(text)
    text = f" {text}" if text.startswith("_") else text
    if len(text) <= longest:
        return text
    head = longest // 2
    return f"{text[:head]}…{text[len(text) - (longest - head - 1) :]}"


__all__ = [
    "COLOURS",
    "DOTTED",
    "MARKERS",
    "MAX_VECTOR_POINTS",
    "REST_COLOUR",
    "SEQUENTIAL",
    "SIZE",
    "PlainLogFormatter",
    "class_ticks",
    "figure_style",
    "group_style",
    "is_rasterized",
    "make_figure",
    "outside_legend",
    "shorten",
    "use_plain_numbers",
]
