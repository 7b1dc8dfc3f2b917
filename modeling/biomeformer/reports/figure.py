"""Overview figure of a cohort: ordination of the samples and a heatmap of the most variable clusters."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from ..errors import InputError, TableError
from ..metagenomes import AbundanceTable, ClusterDescriptions
from ..sinks import terminal
from .ordination import bray_curtis_pcoa, drawn_rows

# The Okabe-Ito palette, which colour-blind readers can distinguish.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999", "#000000")
REST_COLOUR = "#AAAAAA"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
MAX_NAMED_SAMPLES = 24
N_HEATMAP_CLUSTERS = 30
MISSING = "(none)"


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


def default_colour_column(metadata: pd.DataFrame) -> str | None:
    """Return the first column with two to eight groups of at least two samples each; None if there is none."""
    for name in metadata.columns:
        sizes = metadata[name].fillna("").astype(str).value_counts()
        if 2 <= len(sizes) <= len(COLOURS) and sizes.min() > 1:
            return str(name)
    return None


def numeric_values(values: pd.Series) -> np.ndarray | None:
    """Return a column as numbers if it holds measurements rather than groups, otherwise None."""
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().sum() < max(3, 0.8 * len(values)) or numbers.nunique() <= len(COLOURS):
        return None
    return numbers.to_numpy(float)


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


def _groups(values: pd.Series) -> tuple[pd.Series, list[str]]:
    """Return the label of each sample, and the groups from largest to smallest."""
    labels = values.fillna("").astype(str).replace("", MISSING)
    return labels, list(labels.value_counts().index)


def _shown_groups(groups: list[str]) -> list[str]:
    """Return the groups that get their own colour."""
    return groups if len(groups) <= len(COLOURS) else groups[: len(COLOURS) - 1]


def _draw_ordination(
    axes: Any, table: AbundanceTable, colour_by: str | None, points: np.ndarray, shares: np.ndarray
) -> None:
    values = None if colour_by is None else table.metadata[colour_by]
    numbers = None if values is None else numeric_values(values)
    if values is None:
        axes.scatter(points[:, 0], points[:, 1], s=46, color=COLOURS[0], edgecolor="white", linewidth=0.7, zorder=3)
    elif numbers is not None:
        known = np.isfinite(numbers)
        drawn = axes.scatter(*points[known].T, s=46, c=numbers[known], cmap="viridis", zorder=3)
        if not known.all():
            name = f"no value (n = {(~known).sum()})"
            axes.scatter(*points[~known].T, s=46, color=REST_COLOUR, marker="X", label=name, zorder=2)
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)
        axes.figure.colorbar(drawn, ax=axes, label=shorten(str(colour_by)), shrink=0.8)
    else:
        labels, groups = _groups(values)
        shown = _shown_groups(groups)
        for i, group in enumerate(shown):
            rows = (labels == group).to_numpy()
            name = f"{shorten(group)} (n = {rows.sum()})"
            style = {"color": COLOURS[i], "marker": MARKERS[i]}
            axes.scatter(*points[rows].T, s=50, label=name, edgecolor="white", linewidth=0.7, zorder=3, **style)
        rest = ~labels.isin(shown).to_numpy()
        if rest.any():
            name = f"{len(groups) - len(shown)} other groups (n = {rest.sum()})"
            axes.scatter(*points[rest].T, s=50, label=name, color=REST_COLOUR, marker=MARKERS[-1], zorder=2)
        axes.legend(
            title=shorten(str(colour_by)), loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False
        )
    axes.set_xlabel(f"PCo 1 ({shares[0]:.0%} of variance)")
    axes.set_ylabel(f"PCo 2 ({shares[1]:.0%} of variance)")
    axes.set_title("Samples by Bray–Curtis dissimilarity", loc="left", fontsize=11)
    axes.axhline(0, color="#dddddd", linewidth=0.8, zorder=0)
    axes.axvline(0, color="#dddddd", linewidth=0.8, zorder=0)
    axes.margins(0.14)
    axes.spines[["top", "right"]].set_visible(False)


def _name_samples(axes: Any, names: tuple[str, ...], points: np.ndarray) -> None:
    """Write each sample's name at an offset where it does not overlap another name, or leave it out."""
    renderer = axes.figure.canvas.get_renderer()
    boxes: list[Any] = []
    for name, point in zip(names, points, strict=True):
        for dx, dy in ((5, 4), (5, -11), (-5, 4), (-5, -11), (5, 13), (-5, 13), (5, -20), (-5, -20)):
            label = axes.annotate(
                shorten(name, 12),
                point,
                xytext=(dx, dy),
                textcoords="offset points",
                ha="left" if dx > 0 else "right",
                fontsize=7,
                color="#555555",
            )
            box = label.get_window_extent(renderer)
            if not any(box.overlaps(other) for other in boxes):
                boxes.append(box)
                break
            label.remove()


def variable_clusters(abundance: np.ndarray) -> np.ndarray:
    """Return the numbers of the clusters that vary most between samples, which the heatmap shows, the first first."""
    return np.lexsort((-abundance.mean(0), -abundance.var(0)))[:N_HEATMAP_CLUSTERS]


def _draw_heatmap(
    axes: Any,
    table: AbundanceTable,
    colour_by: str | None,
    points: np.ndarray,
    descriptions: ClusterDescriptions | None,
) -> None:
    abundance = table.abundance
    varying = bool((abundance.var(0) > 0).any())
    clusters = variable_clusters(abundance)
    labels, groups = pd.Series([""] * len(points)), [""]
    if colour_by is not None and numeric_values(table.metadata[colour_by]) is None:
        labels, groups = _groups(table.metadata[colour_by])
    keys = pd.DataFrame({"group": [groups.index(label) for label in labels], "coordinate": points[:, 0]})
    order = keys.sort_values(["group", "coordinate"], kind="stable").index.to_numpy()
    # Order clusters by the samples in which they are most abundant, so that groups show as blocks.
    shown = abundance[np.ix_(order, clusters)]
    centre = (shown * np.arange(len(order))[:, None]).sum(0) / np.maximum(shown.sum(0), 1e-12)
    arrangement = np.argsort(centre, kind="stable")
    shown, clusters = shown[:, arrangement], clusters[arrangement]
    image = axes.imshow(100 * shown.T, aspect="auto", cmap="magma", interpolation="nearest")
    axes.figure.colorbar(image, ax=axes, label="reads in cluster (%)", shrink=0.8)
    names = [str(c) if descriptions is None else shorten(descriptions.short_label(c), 32) for c in clusters]
    axes.set_yticks(range(len(clusters)), names, fontsize=6.5)
    axes.set_ylabel(f"{len(clusters)} most {'variable' if varying else 'abundant'} of {abundance.shape[1]} clusters")
    if len(order) <= 2 * MAX_NAMED_SAMPLES:
        names = [shorten(table.sample_ids[i], 14) for i in order]
        axes.set_xticks(range(len(order)), names, rotation=90, fontsize=7)
    else:
        axes.set_xticks([])
    sorted_groups = keys["group"].to_numpy()[order]
    borders = [i for i in range(1, len(order)) if sorted_groups[i] != sorted_groups[i - 1]]
    for border in borders:
        axes.axvline(border - 0.5, color="white", linewidth=2)
    if borders:
        edges = [0, *borders, len(order)]
        for first, last in pairwise(edges):
            group = groups[sorted_groups[first]]
            named = group in _shown_groups(groups)
            colour = COLOURS[sorted_groups[first]] if named else REST_COLOUR
            axes.plot((first - 0.4, last - 0.6), (-1.0, -1.0), color=colour, linewidth=4, clip_on=False)
            width = int((last - first) / len(order) * 40)
            if named and width >= 4:
                axes.text((first + last - 1) / 2, -1.6, shorten(group, width), ha="center", va="bottom", fontsize=8.5)
    axes.set_ylim(len(clusters) - 0.5, -0.5)
    axes.set_title("Cluster abundance", loc="left", fontsize=11, pad=26 if borders else 6)


def _take(table: AbundanceTable, rows: np.ndarray) -> AbundanceTable:
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


def make_cohort_figure(
    table: AbundanceTable,
    *,
    colour_by: str | None = None,
    title: str | None = None,
    descriptions: ClusterDescriptions | None = None,
) -> Figure:
    """Return the figure that `cohort_figure` writes."""
    # Names are plain text: a $ in a name must not start a formula.
    with matplotlib.rc_context({"text.parse_math": False}):
        return _make_cohort_figure(table, colour_by, title, descriptions)


def _make_cohort_figure(
    table: AbundanceTable, colour_by: str | None, title: str | None, descriptions: ClusterDescriptions | None
) -> Figure:
    if colour_by is not None and colour_by not in table.metadata.columns:
        columns = ", ".join(map(str, table.metadata.columns)) or "none"
        raise TableError(f"The table has no metadata column {colour_by!r} to colour by; it has {columns}.")
    colour_by = default_colour_column(table.metadata) if colour_by is None else colour_by
    n_samples = len(table.sample_ids)
    table = _take(table, drawn_rows(n_samples))
    points, shares = bray_curtis_pcoa(table.abundance)
    figure = Figure(figsize=(12, 6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    _draw_ordination(left, table, colour_by, points, shares)
    _draw_heatmap(right, table, colour_by, points, descriptions)
    if len(table.sample_ids) < n_samples:
        figure.supxlabel(
            f"{len(table.sample_ids):,} of {n_samples:,} samples, drawn at random", fontsize=9, x=0.01, ha="left"
        )
    if title:
        figure.suptitle(title, fontsize=13, x=0.01, ha="left", fontweight="bold")
    if len(table.sample_ids) <= MAX_NAMED_SAMPLES:
        figure.canvas.draw()
        _name_samples(left, table.sample_ids, points)
    return figure


def cohort_figure(
    table: AbundanceTable,
    path: str | Path,
    *,
    colour_by: str | None = None,
    title: str | None = None,
    descriptions: ClusterDescriptions | None = None,
) -> Path:
    """Draw a cohort: principal coordinates next to a heatmap of the most variable clusters.

    Of more than `MAX_DRAWN_SAMPLES` samples that many are drawn, chosen at random, and the figure says so.

    Args:
        table: The abundance table.
        path: File to write; its extension selects the format (png, pdf, svg).
        colour_by: Metadata column for colours; by default the first with two to eight groups of two or more samples.
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
    make_cohort_figure(table, colour_by=colour_by, title=title, descriptions=descriptions).savefig(path, dpi=160)
    return path
