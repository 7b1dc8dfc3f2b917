"""Layout of a network: each connected component is laid out by forces, then the components are packed in rows."""

from __future__ import annotations

import networkx as nx
import numpy as np

SPACING = 46.0


def network_layout(graph: nx.Graph, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Return the position `(x, y)` of each node, in pixels at scale 1; deterministic for a graph and seed."""
    components = [graph.subgraph(sorted(nodes)) for nodes in nx.connected_components(graph)]
    components.sort(key=lambda component: (-len(component), min(component)))
    blocks = [_component_layout(component, seed) for component in components]
    total = sum(float(np.prod(_extent(points) + SPACING)) for points in blocks)
    row_width = max(np.sqrt(total) * 1.25, max((_extent(points)[0] for points in blocks), default=0.0))
    positions: dict[str, tuple[float, float]] = {}
    x = y = row_height = 0.0
    for component, points in zip(components, blocks, strict=True):
        width, height = _extent(points)
        if x and x + width > row_width:
            x, y, row_height = 0.0, y + row_height + SPACING, 0.0
        placed = points - points.min(0) + (x, y)
        positions |= {node: (float(a), float(b)) for node, (a, b) in zip(component, placed, strict=True)}
        x, row_height = x + width + SPACING, max(row_height, height)
    return positions


def _extent(points: np.ndarray) -> np.ndarray:
    return np.asarray(points.max(0) - points.min(0))


def _component_layout(component: nx.Graph, seed: int) -> np.ndarray:
    """Return the positions `(n_nodes, 2)` of a connected component, in the order of its nodes."""
    n = len(component)
    if n == 1:
        return np.zeros((1, 2))
    if n == 2:
        return np.array([[0.0, 0.0], [SPACING, 0.0]])
    # An iteration takes time quadratic in the number of nodes.
    iterations = int(np.clip(40_000 / n, 25, 120))
    layout = nx.spring_layout(component, seed=seed, iterations=iterations, method="force", k=1.6 / np.sqrt(n))
    points = np.array([layout[node] for node in component])
    return np.asarray(points / max(np.abs(points).max(), 1e-9) * SPACING * np.sqrt(n) * 0.75)


__all__ = ["network_layout"]
