"""What a report is made of: sections of blocks, each of which has a template that draws it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .style import shorten
from .svg import interactive_svg, marker_path, svg

UNDEFINED = ("", "undefined", "not defined")
_NUMBER = re.compile(r"([<>≤≥]\s*)?[-+]?[\d,]*\.?\d+(e[-+]?\d+)?(\s*%|\s*\(.*\)|\s+of\s.*)?", re.I)


@dataclass(frozen=True)
class Block:
    """A part of a page, drawn by a template that gets it as `block`."""

    template: ClassVar[str]


@dataclass(frozen=True)
class Section:
    """A heading and its blocks."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Paragraph(Block):
    """A paragraph of text."""

    template: ClassVar[str] = "paragraph.html.j2"
    text: str


@dataclass(frozen=True)
class Note(Block):
    """A remark that must not be missed; a warning is marked as one."""

    template: ClassVar[str] = "note.html.j2"
    text: str
    is_warning: bool = False


@dataclass(frozen=True)
class Heading(Block):
    """A heading within a section."""

    template: ClassVar[str] = "heading.html.j2"
    text: str


@dataclass(frozen=True)
class Items(Block):
    """A list of sentences."""

    template: ClassVar[str] = "items.html.j2"
    items: Sequence[str]


@dataclass(frozen=True)
class Cards(Block):
    """A row of key figures, by name."""

    template: ClassVar[str] = "cards.html.j2"
    values: Mapping[str, str]


@dataclass(frozen=True)
class Details(Block):
    """A small table of names and values."""

    template: ClassVar[str] = "pairs.html.j2"
    values: Mapping[str, str]


@dataclass(frozen=True)
class DataTable(Block):
    """A table that scrolls within the page, and with the page's script can be sorted and filtered.

    Attributes:
        frame: The rows; missing values are shown as empty cells.
        label: What its rows are, for screen readers and the filter's line.
    """

    template: ClassVar[str] = "table.html.j2"
    frame: pd.DataFrame
    label: str = "rows"

    @property
    def columns(self) -> list[tuple[str, str]]:
        """Name of each column, and whether it is sorted as `number` or `text`."""
        cells = zip(*self.rows, strict=True) if self.rows else ((),) * self.frame.shape[1]
        return [
            (str(name), "number" if _are_numbers(column) else "text")
            for name, column in zip(self.frame.columns, cells, strict=True)
        ]

    @cached_property
    def rows(self) -> list[list[str]]:
        """Cells as text, by row."""
        return [[_cell(value) for value in row] for row in self.frame.itertuples(index=False, name=None)]


@dataclass(frozen=True)
class Picture(Block):
    """A figure as a picture.

    Attributes:
        figure: What is drawn.
        title: Heading above it.
        caption: Text below it.
        is_wide: Whether it takes the whole width of the page, and scrolls on a narrow one.
    """

    template: ClassVar[str] = "picture.html.j2"
    figure: Figure
    title: str
    caption: str
    is_wide: bool = False

    def source(self) -> str:
        """Return the address of the picture, which contains all of it."""
        return f"data:image/svg+xml;base64,{base64.b64encode(svg(self.figure)).decode()}"


@dataclass(frozen=True)
class LegendEntry:
    """A group of points: its name and size, and how its points look."""

    name: str
    n: int
    colour: str
    marker: str

    @property
    def label(self) -> str:
        """Name and size for a figure's own legend."""
        return f"{shorten(self.name)} (n = {self.n:,})"

    @property
    def path(self) -> str:
        """Outline of the marker as the `d` of an SVG path in a square of 10."""
        return marker_path(self.marker)


@dataclass(frozen=True)
class Scatter(Block):
    """A figure whose points show their titles on hover, with a legend whose groups can be selected.

    Attributes:
        figure: Figure whose points have addresses: see `svg.point_addresses`.
        title: Heading above it.
        caption: Text below it.
        point_titles: Title of each point.
        legend_title: What the groups are.
        legend: The groups in the order of their numbers; empty for none.
    """

    template: ClassVar[str] = "scatter.html.j2"
    figure: Figure
    title: str
    caption: str
    point_titles: Sequence[str]
    legend_title: str = ""
    legend: Sequence[LegendEntry] = ()

    def drawing(self) -> str:
        """Return the figure as an SVG element."""
        return interactive_svg(self.figure, self.point_titles, self.title)


@dataclass(frozen=True)
class Figures(Block):
    """Figures beside each other where the page is wide enough."""

    template: ClassVar[str] = "figures.html.j2"
    figures: Sequence[Picture | Scatter]


def _are_numbers(cells: Sequence[str]) -> bool:
    """Return whether a column is sorted by its numbers: each cell has one first, or is undefined."""
    defined = [cell for cell in cells if cell not in UNDEFINED]
    return bool(defined) and all(_NUMBER.fullmatch(cell) for cell in defined)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or value is pd.NA or (isinstance(value, float | np.floating) and np.isnan(value)):
        return ""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)


__all__ = [
    "Block",
    "Cards",
    "DataTable",
    "Details",
    "Figures",
    "Heading",
    "Items",
    "LegendEntry",
    "Note",
    "Paragraph",
    "Picture",
    "Scatter",
    "Section",
]
