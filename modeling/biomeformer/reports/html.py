"""Self-contained HTML report of a cohort."""

from __future__ import annotations

import base64
import io
import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..metagenomes import AbundanceTable, ClusterDescriptions, find_descriptions
from ..metrics.diversity import shannon_entropy
from ..sinks import html
from . import page
from .cluster_report import cluster_table
from .figure import make_cohort_figure, variable_clusters
from .ordination import drawn_rows

# Rows of a page's lists; more would make it slow to open.
MAX_LISTED_SAMPLES = 1000


def _sample_table(table: AbundanceTable) -> pd.DataFrame:
    rows = slice(MAX_LISTED_SAMPLES)
    frame = pd.concat([table.metadata.iloc[rows], table.read_stats.iloc[rows]], axis=1)
    counts = table.counts[rows]
    frame["entropy (bits)"] = shannon_entropy(counts / np.maximum(counts.sum(1, keepdims=True), 1)).round(2)
    frame["clusters detected"] = (counts > 0).sum(1)
    return frame.reset_index()


def _first_of(n: int, where: str) -> str:
    """Return a sentence on a list that was cut, or nothing for one that was not."""
    return f" The first {MAX_LISTED_SAMPLES:,} of {n:,} are listed; {where}." if n > MAX_LISTED_SAMPLES else ""


def methods_sentence(record: dict[str, Any], n_samples: int) -> str:
    """Return a sentence for a methods section on how a table was made.

    Args:
        record: Provenance of the table.
        n_samples: Number of samples.
    """
    preprocessing = record["contract"]
    fraction = record["read_fraction"]
    reads = "All reads"
    if fraction != 1:
        reads = f"A fraction {fraction} of the reads (selected by hash, seed {record['seed']})"
    max_length = preprocessing["max_length"]
    limit = "no length limit" if max_length is None else f"at most {max_length} tokens"
    return (
        f"{reads} of {n_samples} samples were embedded with {record['model']} (weights SHA-256 "
        f"{record['weights_sha256'][:12]}…, {record['dtype']}, {preprocessing['pooling']} pooling, reads of at least "
        f"{preprocessing['min_read_length']} bases, {limit}) and assigned to the nearest of {record['n_clusters']} "
        f"centroids; a sample's abundance vector is the share of its reads in each cluster (MetagenBERT-Glob, "
        f"arXiv:2601.03295; biomeformer {record['versions']['biomeformer']})."
    )


def _tokens(read_stats: pd.DataFrame) -> dict[str, str]:
    """Return the shares of truncated reads and unknown tokens, and the number of windows, where there are any."""
    totals = read_stats.sum()
    n_used, n_tokens = int(totals["n_used"]), int(totals.get("n_tokens", 0))
    numbers = {}
    if n_truncated := int(totals.get("n_truncated", 0)):
        numbers["truncated reads"] = f"{n_truncated / max(n_used, 1):.1%}"
    if (n_windows := int(totals.get("n_windows", n_used))) != n_used:
        numbers["windows counted"] = f"{n_windows:,}"
    if n_tokens:
        numbers["unknown tokens"] = f"{int(totals['n_unknown_tokens']) / n_tokens:.1%}"
    return numbers


def cohort_report(
    table: AbundanceTable,
    path: str | Path,
    *,
    colour_by: str | None = None,
    title: str = "Cohort report",
    failed: dict[str, str] | None = None,
    descriptions: ClusterDescriptions | None = None,
) -> Path:
    """Write a self-contained HTML report: figure, read statistics per sample, methods, provenance.

    Args:
        table: The abundance table.
        path: HTML file to write.
        colour_by: As for `cohort_figure`.
        title: Heading.
        failed: Reason of each sample of the cohort that failed and is not in the table.
        descriptions: What the clusters are; by default those of the shipped checkpoint that made the table, if one did.

    Returns:
        The path written.
    """
    image = io.BytesIO()
    descriptions = find_descriptions(table.provenance) if descriptions is None else descriptions
    make_cohort_figure(table, colour_by=colour_by, descriptions=descriptions).savefig(image, format="png", dpi=130)
    picture = base64.b64encode(image.getvalue()).decode()
    read_stats = table.read_stats
    n_reads, n_used = int(read_stats["n_reads"].sum()), int(read_stats["n_used"].sum())
    n_selected = int(read_stats["n_selected"].sum())
    numbers = {
        "samples": f"{len(table.sample_ids):,}",
        "reads in the files": f"{n_reads:,}",
        "reads selected": f"{n_selected:,}",
        "of these, used": f"{n_used / max(n_selected, 1):.1%}",
        **_tokens(read_stats),
        "clusters": f"{table.counts.shape[1]:,}",
    }
    record = {name: value if isinstance(value, str) else json.dumps(value) for name, value in table.provenance.items()}
    n_samples = len(table.sample_ids)
    drawn = len(drawn_rows(n_samples))
    sampled = f" {drawn:,} of the {n_samples:,} samples are drawn, chosen at random." if drawn < n_samples else ""
    missing = ""
    if failed:
        listed = dict(islice(failed.items(), MAX_LISTED_SAMPLES))
        first = _first_of(len(failed), "biomeformer status lists all")
        missing = f"<h2>Samples that failed</h2><p>They are not in the table.{first}</p>{page.pairs(listed)}"
    first = _first_of(n_samples, "the abundance table has all")
    clusters = ""
    if descriptions is not None:
        drawn_clusters = variable_clusters(table.abundance).tolist()
        clusters = (
            f"<h2>Clusters drawn</h2><p>{html(descriptions.summary())}</p>"
            f"{page.table(cluster_table(descriptions, drawn_clusters))}"
        )
    body = f"""{page.cards(numbers)}
<div class="wide"><img class="broad" src="data:image/png;base64,{picture}"
 alt="Principal coordinates of the samples and a heatmap of the most variable clusters"></div>
<p>Left: principal coordinates of Bray–Curtis dissimilarities between abundance vectors; close samples are similar.
Right: relative abundance of the clusters that vary most between samples. Cluster numbers are those of the model's
centroids.{sampled}</p>
<h2>Samples</h2>{f"<p>{first.strip()}</p>" if first else ""}{page.table(_sample_table(table))}
{clusters}
{missing}
<h2>Methods</h2><p>{html(methods_sentence(table.provenance, len(table.sample_ids)))}</p>
<h2>Provenance</h2>{page.pairs(record)}"""
    path = Path(path)
    path.write_text(page.page(title, body), encoding="utf-8")
    return path
