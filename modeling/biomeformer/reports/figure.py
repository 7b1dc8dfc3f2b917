"""Overview figure of a cohort: ordination of the samples and a heat map of the most variable clusters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..errors import InputError, TableError
from ..metagenomes import AbundanceTable, ClusterDescriptions
from .colouring import Colouring, default_colour_column
from .heatmap import draw_heatmap
from .ordination import bray_curtis_pcoa, draw_ordination, drawn_rows, name_samples
from .style import figure_style, make_figure


def cohort_colouring(table: AbundanceTable, colour_by: str | None) -> Colouring | None:
    """Return the colours of samples by a metadata column, or by default by the one that looks like a target.

    Raises:
        TableError: The table has no such column.
    """
    if colour_by is not None and colour_by not in table.metadata.columns:
        columns = ", ".join(map(str, table.metadata.columns)) or "none"
        raise TableError(f"The table has no metadata column {colour_by!r} to colour by; it has {columns}.")
    name = default_colour_column(table.metadata) if colour_by is None else colour_by
    return None if name is None else Colouring.of_column(name, table.metadata[name])


def take_samples(table: AbundanceTable, rows: np.ndarray) -> AbundanceTable:
    """Return some samples of a table."""
    if len(rows) == len(table.sample_ids):
        return table
    return replace(
        table,
        sample_ids=tuple(table.sample_ids[row] for row in rows),
        counts=table.counts[rows],
        read_stats=table.read_stats.iloc[rows],
        metadata=table.metadata.iloc[rows],
    )


def heatmap_figure(
    table: AbundanceTable, colouring: Colouring | None, descriptions: ClusterDescriptions | None
) -> Figure:
    """Draw the heat map alone, of many samples some."""
    rows = drawn_rows(len(table.sample_ids))
    table, colouring = take_samples(table, rows), None if colouring is None else colouring.take(rows)
    figure, axes = make_figure((8.2, 6.2))
    draw_heatmap(axes, table, colouring, bray_curtis_pcoa(table.abundance)[0][:, 0], descriptions)
    return figure


def make_cohort_figure(
    table: AbundanceTable,
    *,
    colour_by: str | None = None,
    title: str | None = None,
    descriptions: ClusterDescriptions | None = None,
) -> Figure:
    """Return the figure that `cohort_figure` writes."""
    with figure_style():
        colouring = cohort_colouring(table, colour_by)
        n_samples = len(table.sample_ids)
        rows = drawn_rows(n_samples)
        table, colouring = take_samples(table, rows), None if colouring is None else colouring.take(rows)
        points, shares = bray_curtis_pcoa(table.abundance)
        figure = Figure(figsize=(12, 6), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
        left.spines[["top", "right"]].set_visible(False)
        draw_ordination(left, points, shares, colouring)
        left.set_title("Samples by Bray–Curtis dissimilarity", loc="left", fontsize=11)
        draw_heatmap(right, table, colouring, points[:, 0], descriptions)
        has_groups = colouring is not None and len(np.unique(colouring.labels)) > 1
        right.set_title("Cluster abundance", loc="left", fontsize=11, pad=26 if has_groups else 6)
        if len(rows) < n_samples:
            note = f"{len(rows):,} of {n_samples:,} samples, drawn at random"
            figure.supxlabel(note, fontsize=9, x=0.01, ha="left")
        if title:
            figure.suptitle(title, fontsize=13, x=0.01, ha="left", fontweight="bold")
        name_samples(left, points, table.sample_ids)
    return figure


def cohort_figure(
    table: AbundanceTable,
    path: str | Path,
    *,
    colour_by: str | None = None,
    title: str | None = None,
    descriptions: ClusterDescriptions | None = None,
) -> Path:
    """Draw a cohort: principal coordinates next to a heat map of the most variable clusters.

    Of more than `MAX_DRAWN_SAMPLES` samples that many are drawn, chosen at random, and the figure says so.

    Args:
        table: The abundance table.
        path: File to write; its extension selects the format (png, pdf, svg).
        colour_by: Metadata column for colours; by default, of the columns with two to eight groups of two or more
            samples, the one named as a target (such as `disease`), else the first.
        title: Title above the figure.
        descriptions: What the clusters are; they are named by it.

    Returns:
        The path written.

    Raises:
        TableError: The table has no such column.
        InputError: The extension is not an image format.
    """
    path = Path(path)
    formats = FigureCanvasAgg.get_supported_filetypes()
    if path.suffix[1:].lower() not in formats:
        raise InputError(f"{path}: figures are not written as {path.suffix!r}; end the name in .png, .pdf or .svg.")
    figure = make_cohort_figure(table, colour_by=colour_by, title=title, descriptions=descriptions)
    with figure_style():
        figure.savefig(path, dpi=160)
    return path


__all__ = ["cohort_colouring", "cohort_figure", "heatmap_figure", "make_cohort_figure", "take_samples"]
