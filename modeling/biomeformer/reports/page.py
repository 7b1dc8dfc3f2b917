"""Building blocks of self-contained HTML pages: no network, no second file, no script."""

from __future__ import annotations

import base64
import io

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from ..sinks import html, terminal

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 0 auto; padding: 1rem; max-width: 72rem; }
h1 { font-size: 1.6rem; margin: 0.5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 0.5rem; } h3 { font-size: 1rem; margin: 1.2rem 0 0.3rem; }
p { overflow-wrap: anywhere; max-width: 60rem; }
img { width: 100%; height: auto; } img.broad { min-width: 40rem; }
.numbers { display: flex; flex-wrap: wrap; gap: 0.75rem; padding: 0; }
.numbers li { list-style: none; border: 1px solid #ddd; border-radius: 6px; padding: 0.5rem 0.9rem; }
.numbers b { display: block; font-size: 1.3rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 27rem), 1fr)); gap: 1rem 1.5rem; }
figure { margin: 0; max-width: 36rem; } figcaption { color: #555; font-size: 0.85rem; overflow-wrap: anywhere; }
figure b { display: block; margin-bottom: 0.2rem; }
.wide { overflow-x: auto; }
.note { border-left: 4px solid #E69F00; padding: 0.3rem 0.8rem; background: #fdf6e7; }
table { border-collapse: collapse; font-size: 0.85rem; }
th, td { padding: 0.25rem 0.7rem; border-bottom: 1px solid #e5e5e5; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 2px solid #888; }
dt { font-weight: 600; } dd { margin: 0 0 0.4rem 1rem; overflow-wrap: anywhere; }
code.read { display: block; font-size: 0.75rem; line-height: 1.35; overflow-wrap: anywhere; margin: 0.2rem 0 0.5rem; }
@media print {
  @page { margin: 14mm; }
  html { font-size: 10px; } body { max-width: none; font-size: 10.5px; padding: 0; } img.broad { min-width: 0; }
  .figures { grid-template-columns: 1fr 1fr; } .wide { overflow: visible; }
  th, td { padding: 0.1rem 0.4rem; } th { white-space: normal; }
  h2, h3 { break-after: avoid; } tr, figure, img, .cluster { break-inside: avoid; }
}
"""


def page(title: str, body: str) -> str:
    """Return a complete HTML document.

    Args:
        title: Plain text, escaped here.
        body: HTML of the body below the heading.
    """
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><title>{html(title)}</title><style>{STYLE}</style></head><body>
<h1>{html(title)}</h1>
{body}
</body></html>
"""


def cards(numbers: dict[str, str]) -> str:
    """Return a row of key figures, given by name."""
    items = "".join(f"<li><b>{html(value)}</b>{html(name)}</li>" for name, value in numbers.items())
    return f'<ul class="numbers">{items}</ul>'


def table(frame: pd.DataFrame) -> str:
    """Return a table that scrolls sideways if it is wide; cells are escaped."""
    shown = frame.map(lambda value: terminal(value) if isinstance(value, str) else value)
    shown.columns = [terminal(str(name)) for name in frame.columns]
    return f'<div class="wide">{shown.to_html(border=0, escape=True, index=False)}</div>'


def pairs(values: dict[str, str]) -> str:
    """Return a definition list; names and values are escaped."""
    items = "".join(f"<dt>{html(name)}</dt><dd>{html(value)}</dd>" for name, value in values.items())
    return f"<dl>{items}</dl>"


def figure(drawn: Figure, title: str, caption: str) -> str:
    """Return a figure element with an inline SVG whose text is drawn as outlines, so that it needs no fonts."""
    return (
        f"<figure><b>{html(title)}</b>"
        f'<img alt="{html(title)}" src="data:image/svg+xml;base64,{base64.b64encode(svg(drawn)).decode()}">'
        f"<figcaption>{html(caption)}</figcaption></figure>"
    )


def svg(drawn: Figure) -> bytes:
    """Return a figure as SVG; equal figures give equal bytes."""
    content = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "biomeformer", "svg.fonttype": "path"}):
        drawn.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


__all__ = ["cards", "figure", "page", "pairs", "svg", "table"]
