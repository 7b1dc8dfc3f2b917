"""How the text of a figure lies: legible where no text covers another or leaves the figure."""

from __future__ import annotations

from itertools import combinations

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text


def check_texts(figure: Figure) -> None:
    """Fail if a text of the figure covers another, leaves the figure, or shows TeX source."""
    FigureCanvasAgg(figure).draw()
    renderer = figure.canvas.get_renderer()
    # Ticks beyond the axis are not drawn.
    hidden = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        for label in (tick.label1, tick.label2)
        if not min(axis.get_view_interval()) - 1e-9 <= tick.get_loc() <= max(axis.get_view_interval()) + 1e-9
    }
    shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    boxes = {text: text.get_window_extent(renderer).padded(-0.5) for text in shown if text not in hidden}
    assert len(boxes) > 3
    assert not [text.get_text() for text in shown if "\\math" in text.get_text() or "$\\" in text.get_text()]
    for a, b in combinations(boxes, 2):
        # Slanted labels: their boxes overlap, their text does not.
        if not a.get_rotation() == b.get_rotation() == 40:
            assert not boxes[a].overlaps(boxes[b]), (a.get_text(), b.get_text())
    width, height = figure.canvas.get_width_height()
    for text, box in boxes.items():
        inside = box.x0 > -1 and box.y0 > -1 and box.x1 < width + 1 and box.y1 < height + 1
        assert inside, (text.get_text(), box)
