"""Where the nodes of a network go: each connected part laid out by forces, the parts packed beside each other."""

from __future__ import annotations

import networkx as nx
import numpy as np

SPACING = 46.0


def network_layout(graph: nx.Graph, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Places of nodes, in units of about a pixel; the same for the same graph."""
    parts = [graph.subgraph(sorted(nodes)) for nodes in nx.connected_components(graph)]
    parts.sort(key=lambda part: (-len(part), min(part)))
    blocks = [_part(part, seed) for part in parts]
    total = sum(float(np.prod(_extent(points) + SPACING)) for points in blocks)
    row_width = max(np.sqrt(total) * 1.25, max((_extent(points)[0] for points in blocks), default=0.0))
    found: dict[str, tuple[float, float]] = {}
    x = y = height = 0.0
    for part, points in zip(parts, blocks, strict=True):
        width, tall = _extent(points)
        if x and x + width > row_width:
            x, y, height = 0.0, y + height + SPACING, 0.0
        placed = points - points.min(0) + (x, y)
        found |= {node: (float(a), float(b)) for node, (a, b) in zip(part, placed, strict=True)}
        x, height = x + width + SPACING, max(height, tall)
    return found


def _extent(points: np.ndarray) -> np.ndarray:
    return np.asarray(points.max(0) - points.min(0))


def _part(part: nx.Graph, seed: int) -> np.ndarray:
    """A connected part, its nodes in the order they come."""
    n = len(part)
    if n == 1:
        return np.zeros((1, 2))
    if n == 2:
        return np.array([[0.0, 0.0], [SPACING, 0.0]])
    # Each round looks at all pairs of nodes.
    rounds = int(np.clip(40_000 / n, 25, 120))
    found = nx.spring_layout(part, seed=seed, iterations=rounds, method="force", k=1.6 / np.sqrt(n))
    points = np.array([found[node] for node in part])
    return np.asarray(points / max(np.abs(points).max(), 1e-9) * SPACING * np.sqrt(n) * 0.75)


__all__ = ["network_layout"]
