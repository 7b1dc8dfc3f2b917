"""Figures of gene pairs: a network, and the map of pairs."""

from __future__ import annotations

from typing import Any

import matplotlib
import networkx as nx
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .figure import COLOURS, MARKERS, REST_COLOUR, shorten
from .network_layout import network_layout

MAX_NAMED = 12


def network_figure(graph: nx.Graph, seed: int = 0) -> Figure:
    """A network with its communities in colours and its busiest nodes named."""
    with matplotlib.rc_context({"text.parse_math": False}):
        figure = Figure(figsize=(9, 7), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        places = network_layout(graph, seed)
        nodes = list(graph)
        points = np.array([places[node] for node in nodes])
        data = [graph.nodes[node] for node in nodes]
        for first, second, edge in graph.edges(data=True):
            width = 0.4 + 0.5 * np.log2(edge["n_genomes"] + 1)
            axes.plot(*zip(places[first], places[second], strict=True), color="#8a94a0", alpha=0.5, lw=width, zorder=1)
        colours = [COLOURS[one["community"]] if one["community"] < len(COLOURS) else REST_COLOUR for one in data]
        sizes = [14 + 10 * one["n_genomes"] for one in data]
        axes.scatter(points[:, 0], points[:, 1], s=sizes, c=colours, edgecolor="white", linewidth=0.6, zorder=2)
        busiest = sorted(range(len(nodes)), key=lambda i: (-data[i]["degree"], nodes[i]))[:MAX_NAMED]
        _name(axes, points, {i: shorten(data[i]["annotation"] or nodes[i], 28) for i in busiest})
        axes.set_aspect("equal")
        axes.margins(0.08)
        axes.set_axis_off()
    return figure


def _name(axes: Any, points: np.ndarray, names: dict[int, str]) -> None:
    """Write names above points where they hide none that is there."""
    axes.figure.canvas.draw()
    renderer, taken = axes.figure.canvas.get_renderer(), list[Any]()
    for i, name in names.items():
        text = axes.annotate(
            name, points[i], xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8, zorder=3
        )
        box = text.get_window_extent(renderer)
        if any(box.overlaps(other) for other in taken):
            text.remove()
        else:
            taken.append(box)


def pair_map_figure(pairs: pd.DataFrame, column: str) -> Figure:
    """Pairs on their map, in the colours of their clusters or classes (the paper's Figure 3).

    Args:
        pairs: Of a `GeneInteractionNetwork`.
        column: `cluster` or `class`.
    """
    with matplotlib.rc_context({"text.parse_math": False}):
        figure = Figure(figsize=(6.4, 5.4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        there = pairs[np.isfinite(pairs["x"])]
        groups = there[column].astype(str)
        order = list(groups[there[column] != -1].value_counts(sort=True).index) if len(there) else []
        shown = sorted(order, key=lambda name: (-int((groups == name).sum()), name))[: len(COLOURS) - 1]
        rest = ~groups.isin(shown)
        if rest.any():
            name = "in no cluster, or a smaller one" if column == "cluster" else "others"
            axes.scatter(there["x"][rest], there["y"][rest], s=7, color="#cccccc", label=name, rasterized=False)
        for i, name in enumerate(shown):
            mine = there[groups == name]
            label = f"cluster {name} (n = {len(mine):,})" if column == "cluster" else f"{shorten(name)} ({len(mine):,})"
            axes.scatter(mine["x"], mine["y"], s=10, color=COLOURS[i], marker=MARKERS[i], linewidth=0, label=label)
        axes.set_xlabel("UMAP 1")
        axes.set_ylabel("UMAP 2")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2, frameon=False, markerscale=1.6)
    return figure


__all__ = ["network_figure", "pair_map_figure"]
