"""The figures of arXiv 2405.05998 as files: the map of pairs (its Figure 3) and the network (its Figure 4)."""

from __future__ import annotations

from pathlib import Path

from ..attribution import GeneInteractionNetwork
from ..io.atomic import atomic_write
from .network_figures import network_figure, pair_map_figure
from .svg import svg

PAIRS_BY_CLUSTER, PAIRS_BY_CLASS, NETWORK = "pairs_by_cluster.svg", "pairs_by_class.svg", "network.svg"
FIGURES = (PAIRS_BY_CLUSTER, PAIRS_BY_CLASS, NETWORK)


def write_attribution_figures(network: GeneInteractionNetwork, folder: Path) -> dict[str, Path]:
    """Write the figures as SVG, and return their paths.

    Args:
        network: Pairs of many genomes.
        folder: Folder that exists.
    """
    figures = {
        PAIRS_BY_CLUSTER: pair_map_figure(network.pairs, "cluster"),
        PAIRS_BY_CLASS: pair_map_figure(network.pairs, "class"),
        NETWORK: network_figure(network.to_networkx()),
    }
    for name, figure in figures.items():
        with atomic_write(folder / name) as partial:
            partial.write_bytes(svg(figure))
    return {name: folder / name for name in figures}


__all__ = ["FIGURES", "NETWORK", "PAIRS_BY_CLASS", "PAIRS_BY_CLUSTER", "write_attribution_figures"]
