"""Figures of gene pairs: the network of families, and the map of pairs."""

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
    """Draw a network with communities in colours and the nodes of highest degree labelled."""
    with matplotlib.rc_context({"text.parse_math": False}):
        figure = Figure(figsize=(9, 7), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        positions = network_layout(graph, seed)
        nodes = list(graph)
        points = np.array([positions[node] for node in nodes])
        data = [graph.nodes[node] for node in nodes]
        for first, second, edge in graph.edges(data=True):
            width = 0.4 + 0.5 * np.log2(edge["n_genomes"] + 1)
            axes.plot(
                *zip(positions[first], positions[second], strict=True), color="#8a94a0", alpha=0.5, lw=width, zorder=1
            )
        colours = [COLOURS[node["community"]] if node["community"] < len(COLOURS) else REST_COLOUR for node in data]
        sizes = [14 + 10 * node["n_genomes"] for node in data]
        axes.scatter(points[:, 0], points[:, 1], s=sizes, c=colours, edgecolor="white", linewidth=0.6, zorder=2)
        hubs = sorted(range(len(nodes)), key=lambda i: (-data[i]["degree"], nodes[i]))[:MAX_NAMED]
        _label(axes, points, {i: shorten(data[i]["annotation"] or nodes[i], 28) for i in hubs})
        axes.set_aspect("equal")
        axes.margins(0.08)
        axes.set_axis_off()
    return figure


def _label(axes: Any, points: np.ndarray, names: dict[int, str]) -> None:
    """Write names above points, leaving out those that would overlap an earlier one."""
    axes.figure.canvas.draw()
    renderer, boxes = axes.figure.canvas.get_renderer(), list[Any]()
    for i, name in names.items():
        text = axes.annotate(
            name, points[i], xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8, zorder=3
        )
        box = text.get_window_extent(renderer)
        if any(box.overlaps(other) for other in boxes):
            text.remove()
        else:
            boxes.append(box)


def pair_map_figure(pairs: pd.DataFrame, column: str) -> Figure:
    """Draw the map of pairs, coloured by cluster or class (as Figure 3 of arXiv 2405.05998).

    Args:
        pairs: Pairs of a `GeneInteractionNetwork`.
        column: Column to colour by, `cluster` or `class`.
    """
    with matplotlib.rc_context({"text.parse_math": False}):
        figure = Figure(figsize=(6.4, 5.4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        mapped = pairs[np.isfinite(pairs["x"])]
        groups = mapped[column].astype(str)
        order = list(groups[mapped[column] != -1].value_counts(sort=True).index) if len(mapped) else []
        shown = sorted(order, key=lambda name: (-int((groups == name).sum()), name))[: len(COLOURS) - 1]
        rest = ~groups.isin(shown)
        if rest.any():
            name = "no cluster, or a smaller one" if column == "cluster" else "others"
            axes.scatter(mapped["x"][rest], mapped["y"][rest], s=7, color="#cccccc", label=name, rasterized=False)
        for i, name in enumerate(shown):
            members = mapped[groups == name]
            label = (
                f"cluster {name} (n = {len(members):,})"
                if column == "cluster"
                else f"{shorten(name)} ({len(members):,})"
            )
            axes.scatter(
                members["x"], members["y"], s=10, color=COLOURS[i], marker=MARKERS[i], linewidth=0, label=label
            )
        axes.set_xlabel("UMAP 1")
        axes.set_ylabel("UMAP 2")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2, frameon=False, markerscale=1.6)
    return figure


__all__ = ["network_figure", "pair_map_figure"]
