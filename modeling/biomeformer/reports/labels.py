"""Names beside points that cover neither points nor each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from adjustText import adjust_text

# A number of steps rather than a time, so that equal figures are equal on every machine.
N_STEPS = 60
# Of a marker, in typographic points.
RADIUS = 4.0


def label_points(
    axes: Any, points: np.ndarray, names: Sequence[str], *, avoid: np.ndarray | None = None, **style: Any
) -> None:
    """Write names beside points where they cover neither points nor other names; leave out those for which none fits.

    Args:
        axes: Axes whose scale is final, of a figure to which nothing that takes space is added later.
        points: Positions in data coordinates, `(n_names, 2)`.
        names: One per point.
        avoid: All points of the figure, `(n_points, 2)`; by default the named ones.
        **style: Of the text.
    """
    if not len(names):
        return
    figure = axes.figure
    # The layout changes while a figure is drawn for the first time. It is kept from then on, since names do not take
    # part in it, and computing it is most of the time of drawing.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    style = {"fontsize": 8, "color": "#444444", "zorder": 4} | style
    texts = [axes.text(*point, name, **style) for point, name in zip(points, names, strict=True)]
    for text in texts:
        text.set_in_layout(False)
    x, y = _outlines(axes, points if avoid is None else avoid).T
    line = {"arrowstyle": "-", "color": "#999999", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2}
    options: dict[str, Any] = {"expand": (1.08, 1.2), "min_arrow_len": 8, "arrowprops": line}
    targets = {"target_x": points[:, 0], "target_y": points[:, 1]}
    _, arrows = adjust_text(texts, x=x, y=y, ax=axes, iter_lim=N_STEPS, **targets, **options)
    renderer = figure.canvas.get_renderer()
    boxes: list[Any] = []
    for text in texts:
        box = text.get_window_extent(renderer)
        if any(box.overlaps(other) for other in boxes):
            # An arrow is drawn up to the edge of its text.
            for arrow in [arrow for arrow in arrows if arrow.patchA is text]:
                arrow.remove()
            text.remove()
        else:
            boxes.append(box)


def _outlines(axes: Any, points: np.ndarray) -> np.ndarray:
    """Return points on the outlines of markers, in data coordinates, since names avoid points rather than markers."""
    pixels = RADIUS * axes.figure.dpi / 72
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    circle = pixels * np.stack([np.cos(angles), np.sin(angles)], 1)
    centres = axes.transData.transform(points)
    return np.asarray(axes.transData.inverted().transform((centres[:, None] + circle).reshape(-1, 2)))


__all__ = ["label_points"]
