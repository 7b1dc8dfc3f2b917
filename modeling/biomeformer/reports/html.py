"""A cohort as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import io
import json
from html import escape
from pathlib import Path

import pandas as pd

from ..diversity import shannon_entropy
from ..embedding import AbundanceTable
from .figure import make_cohort_figure

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 0 auto; padding: 1rem; max-width: 72rem; }
h1 { font-size: 1.6rem; margin: 0.5rem 0; } h2 { font-size: 1.15rem; margin-top: 2rem; }
img { width: 100%; min-width: 40rem; height: auto; } p { overflow-wrap: anywhere; }
.numbers { display: flex; flex-wrap: wrap; gap: 0.75rem; padding: 0; }
.numbers li { list-style: none; border: 1px solid #ddd; border-radius: 6px; padding: 0.5rem 0.9rem; }
.numbers b { display: block; font-size: 1.3rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; }
th, td { padding: 0.25rem 0.7rem; border-bottom: 1px solid #e5e5e5; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 2px solid #888; }
dt { font-weight: 600; } dd { margin: 0 0 0.4rem 1rem; overflow-wrap: anywhere; }
@media print {
  body { max-width: none; font-size: 11px; } img { min-width: 0; } h2 { break-after: avoid; }
  tr, img { break-inside: avoid; }
}
"""


def _sample_table(table: AbundanceTable) -> pd.DataFrame:
    frame = pd.concat([table.metadata, table.tallies], axis=1)
    frame["entropy (bits)"] = shannon_entropy(table.abundance).round(2)
    frame["clusters found"] = (table.counts > 0).sum(1)
    return frame.reset_index()


def methods_sentence(table: AbundanceTable) -> str:
    """How the table was made, for a methods section."""
    record, contract = table.provenance, table.provenance["contract"]
    fraction = record["read_fraction"]
    part = (
        "All reads" if fraction == 1 else f"A fraction {fraction} of the reads (chosen by hash, seed {record['seed']})"
    )
    longest = contract["max_length"]
    limit = "no length limit" if longest is None else f"at most {longest} tokens"
    return (
        f"{part} of {len(table.sample_ids)} samples were embedded with {record['model']} (weights SHA-256 "
        f"{record['weights_sha256'][:12]}…, {record['dtype']}, {contract['pooling']} pooling, reads of at least "
        f"{contract['min_read_length']} bases, {limit}) and assigned to the nearest of {record['n_clusters']} "
        f"centroids; a sample's abundance vector is the share of its reads in each cluster (MetagenBERT-Glob, "
        f"arXiv:2601.03295; biomeformer {record['versions']['biomeformer']})."
    )


def cohort_report(
    table: AbundanceTable,
    path: str | Path,
    *,
    colour_by: str | None = None,
    title: str = "Cohort report",
    failed: dict[str, str] | None = None,
) -> Path:
    """Write a self-contained HTML report: figure, reads and tallies of each sample, methods, provenance.

    Args:
        table: The abundance table.
        path: HTML file to write.
        colour_by: As for `cohort_figure`.
        title: Heading.
        failed: Samples of the cohort that are not in the table, and why.

    Returns:
        The path written.
    """
    image = io.BytesIO()
    make_cohort_figure(table, colour_by=colour_by).savefig(image, format="png", dpi=130)
    picture = base64.b64encode(image.getvalue()).decode()
    tallies = table.tallies
    n_reads, n_used = int(tallies["n_reads"].sum()), int(tallies["n_used"].sum())
    n_selected = int(tallies["n_selected"].sum())
    numbers = {
        "samples": f"{len(table.sample_ids):,}",
        "reads in the files": f"{n_reads:,}",
        "reads selected": f"{n_selected:,}",
        "of these used": f"{n_used / max(n_selected, 1):.1%}",
        "clusters": f"{table.counts.shape[1]:,}",
    }
    cards = "".join(f"<li><b>{escape(value)}</b>{escape(name)}</li>" for name, value in numbers.items())
    record = table.provenance
    provenance = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value if isinstance(value, str) else json.dumps(value))}</dd>"
        for name, value in record.items()
    )
    missing = "".join(f"<dt>{escape(name)}</dt><dd>{escape(why)}</dd>" for name, why in (failed or {}).items())
    if missing:
        missing = f"<h2>Samples that failed</h2><p>They are not in the table.</p><dl>{missing}</dl>"
    rows = _sample_table(table).to_html(border=0, escape=True, index=False)
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><title>{escape(title)}</title><style>{STYLE}</style></head><body>
<h1>{escape(title)}</h1>
<ul class="numbers">{cards}</ul>
<div class="wide"><img alt="Principal coordinates of the samples and a heatmap of the most variable clusters"
 src="data:image/png;base64,{picture}"></div>
<p>Left: principal coordinates of Bray–Curtis dissimilarities between abundance vectors; close samples are alike. Right:
share of reads in the clusters that vary most between samples. Clusters are numbered as the model's centroids.</p>
<h2>Samples</h2><div class="wide">{rows}</div>
{missing}
<h2>Methods</h2><p>{escape(methods_sentence(table))}</p>
<h2>Provenance</h2><dl>{provenance}</dl>
</body></html>
"""
    path = Path(path)
    path.write_text(page, encoding="utf-8")
    return path
