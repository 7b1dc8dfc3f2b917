"""Ordination of samples, and its drawing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.spatial.distance import pdist, squareform

from ..metrics.ordination import principal_coordinates
from .blocks import Scatter
from .colouring import Colouring, point_titles
from .labels import label_points
from .style import COLOURS, REST_COLOUR, SEQUENTIAL, make_figure, shorten
from .svg import point_addresses

# The time of an ordination grows with the third power of the samples, and its memory with the second.
MAX_DRAWN_SAMPLES = 1000
MAX_NAMED_SAMPLES = 24
POINT: dict[str, Any] = {"s": 42, "edgecolor": "white", "linewidth": 0.6, "zorder": 3}


def bray_curtis_pcoa(abundance: np.ndarray, n_axes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Return the first principal coordinates of Bray-Curtis dissimilarities (Gower 1966).

    Args:
        abundance: float64 `(n_samples, n_clusters)`.
        n_axes: Number of axes; axes beyond the rank are zero.

    Returns:
        Coordinates `(n_samples, n_axes)`, and the share of variance per axis `(n_axes,)`: of the total sum of squares,
        imaginary axes included, as in the R² of PERMANOVA.

    Examples:
        >>> points, shares = bray_curtis_pcoa(np.array([[0.5, 0.5], [0.4, 0.6], [0.1, 0.9]]))
        >>> points.shape, float(shares[0].round(2))
        ((3, 2), 1.0)
    """
    n_samples = len(abundance)
    coordinates, shares = np.zeros((n_samples, n_axes)), np.zeros(n_axes)
    if n_samples < 2:
        return coordinates, shares
    points = principal_coordinates(squareform(pdist(abundance, "braycurtis")))
    n_real = min(n_axes, points.real.shape[1])
    coordinates[:, :n_real] = points.real[:, :n_real]
    shares[:n_real] = points.shares[:n_real]
    return coordinates, shares


def drawn_rows(n_samples: int) -> np.ndarray:
    """Return the rows of the samples that are drawn: all, or `MAX_DRAWN_SAMPLES` of them at random, in order."""
    if n_samples <= MAX_DRAWN_SAMPLES:
        return np.arange(n_samples)
    return np.sort(np.random.default_rng(0).choice(n_samples, MAX_DRAWN_SAMPLES, replace=False))


def draw_ordination(
    axes: Any,
    points: np.ndarray,
    shares: np.ndarray,
    colouring: Colouring | None,
    *,
    has_legend: bool = True,
    has_addresses: bool = False,
) -> None:
    """Draw samples in principal coordinates, both on the same scale, so that distances on paper are comparable.

    Args:
        axes: Where to draw.
        points: Coordinates, `(n_samples, 2)`.
        shares: Share of variance of each axis.
        colouring: Colours of the samples.
        has_legend: Whether to name groups below the axes.
        has_addresses: Whether points get addresses for `svg.interactive_svg`.
    """
    if colouring is None:
        _scatter(axes, points, np.arange(len(points)), 0 if has_addresses else None, color=COLOURS[0])
    elif colouring.numbers is not None:
        known = np.isfinite(colouring.numbers)
        style: dict[str, Any] = {"c": colouring.numbers[known], "cmap": SEQUENTIAL}
        drawn = _scatter(axes, points, np.flatnonzero(known), 0 if has_addresses else None, **style)
        if not known.all():
            style = {"color": REST_COLOUR, "marker": "X", "label": f"no value (n = {(~known).sum()})", "zorder": 2}
            _scatter(axes, points, np.flatnonzero(~known), 1 if has_addresses else None, **style)
        axes.figure.colorbar(drawn, ax=axes, label=shorten(colouring.name), shrink=0.8)
    else:
        scatter_groups(axes, points, colouring, has_addresses=has_addresses)
    if has_legend and axes.get_legend_handles_labels()[1]:
        title = shorten(colouring.name) if colouring is not None and colouring.numbers is None else None
        axes.legend(title=title, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False)
    axes.set_xlabel(f"PCo 1 ({shares[0]:.0%} of variance)")
    axes.set_ylabel(f"PCo 2 ({shares[1]:.0%} of variance)")
    axes.axhline(0, color="#dddddd", linewidth=0.8, zorder=0)
    axes.axvline(0, color="#dddddd", linewidth=0.8, zorder=0)
    # Names of samples need room at the sides.
    axes.margins(x=0.2 if len(points) <= MAX_NAMED_SAMPLES else 0.06, y=0.1)
    axes.set_aspect("equal", adjustable="datalim")
    axes.locator_params(nbins=6)


def scatter_groups(
    axes: Any, points: np.ndarray, colouring: Colouring, *, has_addresses: bool = False, **style: Any
) -> None:
    """Draw points by group, those of groups without a colour of their own below the others.

    Args:
        axes: Where to draw.
        points: Coordinates, `(n_points, 2)`.
        colouring: Groups of the points.
        has_addresses: Whether points get addresses for `svg.interactive_svg`.
        **style: Of all points.
    """
    for group, (entry, rows) in enumerate(colouring.sets()):
        own: dict[str, Any] = {"color": entry.colour, "marker": entry.marker, "label": entry.label}
        own["zorder"] = 3 if group < colouring.n_shown else 2
        _scatter(axes, points, rows, group if has_addresses else None, **(own | style))


def _scatter(axes: Any, points: np.ndarray, rows: np.ndarray, group: int | None, **style: Any) -> Any:
    drawn = axes.scatter(*points[rows].T, **(POINT | style))
    if group is not None:
        drawn.set_urls(point_addresses(group, rows.tolist()))
    return drawn


def name_samples(axes: Any, points: np.ndarray, names: Sequence[str]) -> None:
    """Write the samples' names beside their points if there are few."""
    if 1 < len(names) <= MAX_NAMED_SAMPLES:
        label_points(axes, points, [shorten(name, 14) for name in names])


def ordination_scatter(names: Sequence[str], abundance: np.ndarray, colouring: Colouring | None, title: str) -> Scatter:
    """Return an ordination of samples for a page; of many samples some are drawn, and the caption says so.

    Args:
        names: One per sample.
        abundance: Shares, `(n_samples, n_features)`.
        colouring: Colours of the samples.
        title: Heading of the figure.
    """
    rows = drawn_rows(len(names))
    colouring = None if colouring is None else colouring.take(rows)
    names, n_samples = [names[row] for row in rows], len(names)
    points, shares = bray_curtis_pcoa(abundance[rows])
    figure, axes = make_figure((5.2, 4.6))
    draw_ordination(axes, points, shares, colouring, has_legend=False, has_addresses=True)
    name_samples(axes, points, names)
    caption = "Principal coordinates of Bray-Curtis dissimilarities; close samples are similar."
    if len(rows) < n_samples:
        caption += f" {len(rows):,} of the {n_samples:,} samples are drawn, chosen at random."
    legend = [] if colouring is None else [entry for entry, _ in colouring.sets()]
    legend_title = "" if colouring is None else colouring.name
    return Scatter(figure, title, caption, point_titles(names, colouring), legend_title, legend)


__all__ = ["bray_curtis_pcoa", "draw_ordination", "drawn_rows", "name_samples", "ordination_scatter", "scatter_groups"]
