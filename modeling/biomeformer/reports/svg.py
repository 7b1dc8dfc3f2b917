"""Figures as SVG: self-contained pictures, and drawings within a page whose points can be hovered and selected."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path as MarkerPath
from matplotlib.transforms import Affine2D

from ..sinks import terminal
from .style import figure_style

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
_POINT = re.compile(r"point:(\d+):(\d+)")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_LETTERS = {MarkerPath.MOVETO: "M", MarkerPath.LINETO: "L", MarkerPath.CURVE3: "Q", MarkerPath.CURVE4: "C"}


def svg(drawn: Figure) -> bytes:
    """Return a figure as SVG with its text as outlines, so that it needs no fonts; equal figures give equal bytes."""
    content = io.BytesIO()
    with figure_style(), matplotlib.rc_context({"svg.hashsalt": "biomeformer", "svg.fonttype": "path"}):
        drawn.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


def point_addresses(group: int, rows: Sequence[int]) -> list[str]:
    """Return what to pass to `set_urls` of a collection, so that `interactive_svg` recognises its points.

    Args:
        group: Number of the points' group.
        rows: Number of each point.
    """
    return [f"point:{group}:{row}" for row in rows]


def interactive_svg(drawn: Figure, titles: Sequence[str], label: str) -> str:
    """Return a figure as an SVG element for a page.

    Each point is a `<g class="point">` with its group in `data-group` and its title in `<title>`, which browsers show
    on hover without a script.

    Args:
        drawn: Figure whose collections have `point_addresses`.
        titles: Title of each point, by its number.
        label: Name of the figure for screen readers.
    """
    source = svg(drawn)
    root = ElementTree.fromstring(source)
    # Identifiers are those of the page.
    prefix = f"f{hashlib.sha256(source).hexdigest()[:8]}-"
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    # matplotlib's style sheet would hold for the whole page; the drawing inherits the same from its root.
    for parent in [*root.iter()]:
        for sheet in parent.findall(f"{{{SVG}}}style"):
            parent.remove(sheet)
    for element in root.iter():
        _rename(element, prefix)
        match = _POINT.fullmatch(element.get(f"{{{XLINK}}}href", "")) if element.tag == f"{{{SVG}}}a" else None
        if match is None:
            continue
        element.tag, title = f"{{{SVG}}}g", ElementTree.Element(f"{{{SVG}}}title")
        element.attrib = {"class": "point", "data-group": match[1]}
        title.text = terminal(titles[int(match[2])])
        element.insert(0, title)
    width, height = (float(root.attrib.pop(name).removesuffix("pt")) for name in ("width", "height"))
    root.attrib |= {"role": "img", "aria-label": terminal(label), "class": "drawing"}
    root.set("style", f"aspect-ratio: {width:g} / {height:g}; stroke-linejoin: round; stroke-linecap: butt")
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    return ElementTree.tostring(root, encoding="unicode")


def marker_path(marker: str, size: float = 10.0) -> str:
    """Return the outline of a marker as the `d` of an SVG path, centred in a square of this size."""
    style = MarkerStyle(marker)
    outline = style.get_path().transformed(style.get_transform())
    extent = outline.get_extents()
    scale = 0.8 * size / max(extent.width, extent.height)
    outline = outline.transformed(Affine2D().scale(scale, -scale).translate(size / 2, size / 2))
    parts = []
    for points, code in outline.iter_segments(curves=True, simplify=False):
        if code == MarkerPath.CLOSEPOLY:
            parts.append("Z")
        else:
            parts.append(_LETTERS[code] + " ".join(f"{value:.2f}" for value in points))
    return "".join(parts)


def _rename(element: ElementTree.Element, prefix: str) -> None:
    """Give an element's identifier, and its references to others, a prefix."""
    for name, value in element.attrib.items():
        if name == "id":
            element.set(name, prefix + value)
        elif name == f"{{{XLINK}}}href" and value.startswith("#"):
            element.set(name, f"#{prefix}{value[1:]}")
        elif "url(#" in value:
            element.set(name, _REFERENCE.sub(rf"url(#{prefix}\1)", value))


__all__ = ["interactive_svg", "marker_path", "point_addresses", "svg"]
