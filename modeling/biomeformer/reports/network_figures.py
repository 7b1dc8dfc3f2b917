"""Figures of gene pairs: the network of families, and the map of pairs."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .blocks import Picture, Scatter
from .colouring import Colouring, point_titles
from .labels import label_points
from .network_layout import network_layout
from .ordination import scatter_groups
from .style import COLOURS, REST_COLOUR, figure_style, is_rasterized, make_figure, outside_legend, shorten

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


def pair_map(pairs: pd.DataFrame, column: str, title: str, caption: str) -> Scatter | Picture:
    """Return the map of pairs, coloured by cluster or class (as Figure 3 of arXiv 2405.05998).

    The genes of a point are shown on hover, unless the points are too many to be drawn one by one.

    Args:
        pairs: Pairs of a `GeneInteractionNetwork`.
        column: Column to colour by, `cluster` or `class`.
        title: Heading of the figure.
        caption: Text below it.
    """
    mapped = pairs[np.isfinite(pairs["x"])]
    if is_rasterized(len(mapped)):
        return Picture(pair_map_figure(pairs, column), title, f"{caption} {len(mapped):,} points, drawn as pixels.")
    colouring = _pair_colouring(mapped[column])
    figure, _ = _draw_pairs(mapped, colouring, has_addresses=True)
    genes = zip(mapped["gene_1"], mapped["gene_2"], mapped["genome_id"], strict=True)
    names = [f"{first} and {second} of {genome}" for first, second, genome in genes]
    legend = [entry for entry, _ in colouring.sets()]
    return Scatter(figure, title, caption, point_titles(names, colouring), column, legend)


def pair_map_figure(pairs: pd.DataFrame, column: str) -> Figure:
    """Draw the map of pairs with a legend, for a file.

    Args:
        pairs: Pairs of a `GeneInteractionNetwork`.
        column: Column to colour by, `cluster` (-1: none) or `class`.
    """
    with figure_style():
        mapped = pairs[np.isfinite(pairs["x"])]
        figure, axes = _draw_pairs(mapped, _pair_colouring(mapped[column]), has_addresses=False)
        outside_legend(axes, n_columns=2)
    return figure


def _draw_pairs(mapped: pd.DataFrame, colouring: Colouring, *, has_addresses: bool) -> tuple[Figure, Any]:
    figure, axes = make_figure((5.2, 4.8))
    points = mapped[["x", "y"]].to_numpy(float)
    style: dict[str, Any] = {"s": 12, "linewidth": 0, "rasterized": is_rasterized(len(mapped))}
    scatter_groups(axes, points, colouring, has_addresses=has_addresses, **style)
    axes.set(xlabel="UMAP 1", ylabel="UMAP 2", xticks=[], yticks=[])
    axes.set_aspect("equal", adjustable="datalim")
    return figure, axes


def _pair_colouring(values: pd.Series) -> Colouring:
    """Return colours of the largest groups; pairs without a cluster, which have -1, are among the rest."""
    grouped = values[values != -1].astype(str)
    sizes = grouped.value_counts()
    groups = sorted(sizes.index, key=lambda name: (-sizes[name], name))
    numbers = {name: i for i, name in enumerate(groups)}
    labels = values.astype(str).map(numbers).fillna(len(groups)).to_numpy(int)
    is_cluster = values.name == "cluster"
    names = [f"cluster {name}" for name in groups] if is_cluster else groups
    rest = "none, or a smaller one" if is_cluster else "others"
    return Colouring(str(values.name), None, labels, (*names, "no cluster"), min(len(groups), len(COLOURS) - 1), rest)


__all__ = ["network_figure", "pair_map", "pair_map_figure"]
