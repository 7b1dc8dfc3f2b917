"""The figures of arXiv 2405.05998 as files: the map of pairs (its Figure 3) and the network (its Figure 4)."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..attribution import GeneInteractionNetwork
from ..io.atomic import atomic_write
from .network_figures import network_figure

PAIRS_BY_CLUSTER, PAIRS_BY_CLASS, NETWORK = "pairs_by_cluster.svg", "pairs_by_class.svg", "network.svg"
FIGURES = (PAIRS_BY_CLUSTER, PAIRS_BY_CLASS, NETWORK)
# Groups with a colour of their own.
N_COLOURED = 6


def write_attribution_figures(network: GeneInteractionNetwork, folder: Path) -> dict[str, Path]:
    """Write the figures as SVG, and return their paths.

    Args:
        network: Pairs of many genomes.
        folder: Folder that exists.
    """
    figures = {
        PAIRS_BY_CLUSTER: pair_map(network.pairs, "cluster"),
        PAIRS_BY_CLASS: pair_map(network.pairs, "class"),
        NETWORK: network_figure(network.to_networkx()),
    }
    for name, figure in figures.items():
        with (
            atomic_write(folder / name) as partial,
            matplotlib.rc_context({"svg.hashsalt": "biomeformer", "text.parse_math": False}),
        ):
            figure.savefig(partial, format="svg", metadata={"Date": None})
    return {name: folder / name for name in figures}


def pair_map(pairs: pd.DataFrame, column: str) -> Figure:
    """Draw pairs at their coordinates on the map, the largest groups in colours.

    Args:
        pairs: Pairs of a `GeneInteractionNetwork`.
        column: Column to colour by, `cluster` (-1: none) or `class`.
    """
    with matplotlib.style.context("seaborn-v0_8-colorblind"), matplotlib.rc_context({"text.parse_math": False}):
        figure = Figure(figsize=(6.4, 5.4), layout="constrained")
        axes = figure.subplots()
        mapped = pairs[np.isfinite(pairs["x"])]
        sizes = mapped.loc[mapped[column] != -1, column].value_counts()
        shown = sizes.index[:N_COLOURED]
        rest = mapped[~mapped[column].isin(shown)]
        if len(rest):
            axes.scatter(rest["x"], rest["y"], s=7, color="#cccccc", label=f"others (n = {len(rest):,})")
        for name in shown:
            members = mapped[mapped[column] == name]
            axes.scatter(members["x"], members["y"], s=9, label=f"{column} {name} (n = {len(members):,})")
        axes.set(xlabel="UMAP 1", ylabel="UMAP 2", xticks=[], yticks=[], aspect="equal")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2, frameon=False, markerscale=1.6)
    return figure


__all__ = ["FIGURES", "NETWORK", "PAIRS_BY_CLASS", "PAIRS_BY_CLUSTER", "pair_map", "write_attribution_figures"]
