"""Figures of gene pairs: the network of families, and the map of pairs."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .labels import label_points
from .network_layout import network_layout
from .style import COLOURS, REST_COLOUR, figure_style, group_style, is_rasterized, make_figure, outside_legend, shorten

MAX_NAMED = 12


def network_figure(graph: nx.Graph, seed: int = 0) -> Figure:
    """Draw a network with communities in colours and the nodes of highest degree labelled."""
    with figure_style():
        figure, axes = make_figure((9, 7))
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
        axes.set_aspect("equal")
        axes.margins(0.08)
        axes.set_axis_off()
        names = [shorten(data[i]["annotation"] or nodes[i], 28) for i in hubs]
        label_points(axes, points[hubs], names, avoid=points)
    return figure


def pair_map_figure(pairs: pd.DataFrame, column: str) -> Figure:
    """Draw the map of pairs, coloured by cluster or class (as Figure 3 of arXiv 2405.05998).

    Args:
        pairs: Pairs of a `GeneInteractionNetwork`.
        column: Column to colour by, `cluster` or `class`.
    """
    with figure_style():
        figure, axes = make_figure((5.2, 4.8))
        mapped = pairs[np.isfinite(pairs["x"])]
        groups, rasterized = mapped[column].astype(str), is_rasterized(len(mapped))
        order = list(groups[mapped[column] != -1].value_counts(sort=True).index) if len(mapped) else []
        shown = sorted(order, key=lambda name: (-int((groups == name).sum()), name))[: len(COLOURS) - 1]
        rest = ~groups.isin(shown)
        if rest.any():
            name = "none, or a smaller one" if column == "cluster" else "others"
            axes.scatter(mapped["x"][rest], mapped["y"][rest], s=7, color="#cccccc", label=name, rasterized=rasterized)
        for i, name in enumerate(shown):
            members = mapped[groups == name]
            label = (
                f"cluster {name} (n = {len(members):,})"
                if column == "cluster"
                else f"{shorten(name)} ({len(members):,})"
            )
            axes.scatter(
                members["x"], members["y"], s=10, linewidth=0, label=label, rasterized=rasterized, **group_style(i)
            )
        axes.set_xlabel("UMAP 1")
        axes.set_ylabel("UMAP 2")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_aspect("equal", adjustable="datalim")
        outside_legend(axes, n_columns=2)
    return figure


__all__ = ["network_figure", "pair_map_figure"]
