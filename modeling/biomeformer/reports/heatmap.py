"""Heat map of the clusters of a cohort, on a scale that a few large values do not stretch."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.colors import PowerNorm

from ..metagenomes import AbundanceTable, ClusterDescriptions
from .colouring import Colouring
from .ordination import MAX_NAMED_SAMPLES
from .style import REST_COLOUR, group_style, shorten

N_HEATMAP_CLUSTERS = 30
# Colours end at this percentile of the values drawn.
LAST_PERCENTILE = 99
COLOUR_MAP = "YlGnBu"


def variable_clusters(abundance: np.ndarray) -> np.ndarray:
    """Return the numbers of the clusters that vary most between samples, which the heat map shows, the first first."""
    return np.lexsort((-abundance.mean(0), -abundance.var(0)))[:N_HEATMAP_CLUSTERS]


def draw_heatmap(
    axes: Any,
    table: AbundanceTable,
    colouring: Colouring | None,
    coordinate: np.ndarray,
    descriptions: ClusterDescriptions | None,
) -> None:
    """Draw the abundance of the most variable clusters, samples by group and then by their first coordinate.

    Args:
        axes: Where to draw.
        table: The samples drawn.
        colouring: Colours of the samples; groups are set apart.
        coordinate: First principal coordinate of each sample.
        descriptions: What the clusters are.
    """
    abundance = table.abundance
    varying = bool((abundance.var(0) > 0).any())
    clusters = variable_clusters(abundance)
    by_group = colouring is not None and colouring.numbers is None
    labels = colouring.labels if colouring is not None and by_group else np.zeros(len(coordinate), int)
    order = np.lexsort((coordinate, labels))
    # Order clusters by the samples in which they are most abundant, so that groups show as blocks.
    shown = abundance[np.ix_(order, clusters)]
    centre = (shown * np.arange(len(order))[:, None]).sum(0) / np.maximum(shown.sum(0), 1e-12)
    arrangement = np.argsort(centre, kind="stable")
    shown, clusters = 100 * shown[:, arrangement], clusters[arrangement]
    last, largest = robust_maximum(shown), float(shown.max(initial=0))
    norm = PowerNorm(0.5, vmin=0, vmax=last, clip=True)
    image = axes.imshow(shown.T, aspect="auto", cmap=COLOUR_MAP, norm=norm, interpolation="nearest")
    label = "reads in cluster (%), square-root scale"
    if largest > last:
        label += f"\nends at the {LAST_PERCENTILE}th percentile; largest: {largest:.3g} %"
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.8, extend="max" if largest > last else "neither")
    bar.set_label(label, fontsize=8.5)
    names = [str(c) if descriptions is None else shorten(descriptions.short_label(c), 32) for c in clusters]
    axes.set_yticks(range(len(clusters)), names, fontsize=7.5)
    axes.set_ylabel(f"{len(clusters)} most {'variable' if varying else 'abundant'} of {abundance.shape[1]} clusters")
    if len(order) <= 2 * MAX_NAMED_SAMPLES:
        axes.set_xticks(range(len(order)), [shorten(table.sample_ids[i], 14) for i in order], rotation=90, fontsize=7.5)
    else:
        axes.set_xticks([])
        axes.set_xlabel(f"{len(order):,} samples")
    if by_group and colouring is not None:
        _draw_groups(axes, colouring, labels[order])
    axes.set_ylim(len(clusters) - 0.5, -0.5)


def robust_maximum(values: np.ndarray) -> float:
    """Return the value at which colours end: a high percentile, unless it is zero or nearly the largest value."""
    largest = float(values.max(initial=0))
    last = float(np.percentile(values, LAST_PERCENTILE)) if values.size else 0.0
    return last if 0 < last < 0.9 * largest else largest or 1.0


def _draw_groups(axes: Any, colouring: Colouring, labels: np.ndarray) -> None:
    """Set groups apart by lines, and name them above."""
    n = len(labels)
    borders = np.flatnonzero(np.diff(labels)) + 1
    for border in borders:
        axes.axvline(border - 0.5, color="white", linewidth=3)
        axes.axvline(border - 0.5, color="#222222", linewidth=0.8)
    if not len(borders):
        return
    for first, last in pairwise([0, *borders, n]):
        group = labels[first]
        is_shown = group < colouring.n_shown
        colour = group_style(group)["color"] if is_shown else REST_COLOUR
        axes.plot((first - 0.4, last - 0.6), (-1.0, -1.0), color=colour, linewidth=4, clip_on=False)
        width = int((last - first) / n * 40)
        if is_shown and width >= 4:
            name = shorten(colouring.groups[group], width)
            axes.text((first + last - 1) / 2, -1.6, name, ha="center", va="bottom", fontsize=8.5)


__all__ = ["draw_heatmap", "robust_maximum", "variable_clusters"]
