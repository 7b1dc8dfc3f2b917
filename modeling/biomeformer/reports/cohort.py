"""HTML report of a cohort: figure, read statistics per sample, clusters, methods."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..metagenomes import AbundanceTable, ClusterDescriptions, find_descriptions
from ..metagenomes.distances import FAR_SHARE
from ..metagenomes.quality import table_remarks
from ..metrics.diversity import shannon_entropy
from .blocks import Cards, DataTable, Figures, Paragraph, Picture, Section
from .cluster_report import cluster_table
from .figure import cohort_colouring, heatmap_figure
from .heatmap import variable_clusters
from .ordination import ordination_scatter
from .page import write_page
from .run_details import command_text, provenance
from .style import figure_style

# Rows of a page's lists; more would make it slow to open.
MAX_LISTED_SAMPLES = 1000


def _left_out(statistics: pd.DataFrame) -> list[str]:
    """Return statistics that say nothing more of these samples, and those of far reads, shown as a share."""
    names = ["n_tokens", "n_compared", "n_far"]
    if "n_windows" in statistics and (statistics["n_windows"] == statistics["n_used"]).all():
        names.append("n_windows")
    if "n_unknown_tokens" in statistics and not statistics["n_unknown_tokens"].any():
        names.append("n_unknown_tokens")
    return names


def _sample_table(table: AbundanceTable) -> pd.DataFrame:
    rows = slice(MAX_LISTED_SAMPLES)
    counts, statistics = table.counts[rows], table.read_stats.iloc[rows]
    # Pairs, since a column of the metadata may have the name of a statistic.
    columns: list[tuple[str, Any]] = [("sample", table.sample_ids[rows])]
    columns += [(str(name), table.metadata[name].iloc[rows].to_numpy()) for name in table.metadata]
    for name in statistics.columns.difference(_left_out(statistics), sort=False):
        label = "reads" if name == "n_reads" else f"reads: {str(name).removeprefix('n_').replace('_', ' ')}"
        columns.append((label, [f"{value:,}" for value in statistics[name]]))
    if "n_compared" in statistics and statistics["n_compared"].any():
        shares = statistics["n_far"] / statistics["n_compared"]
        columns.append(("far", [f"{share:.1%}" for share in shares]))
    entropy = shannon_entropy(counts / np.maximum(counts.sum(1, keepdims=True), 1))
    columns.append(("entropy (bits)", [f"{value:.2f}" for value in entropy]))
    columns.append(("clusters detected", (counts > 0).sum(1)))
    frame = pd.DataFrame({i: values for i, (_, values) in enumerate(columns)})
    return frame.set_axis([name for name, _ in columns], axis=1)


def _first_of(n: int, where: str) -> list[Paragraph]:
    """Return a sentence on a list that was cut, or nothing for one that was not."""
    if n <= MAX_LISTED_SAMPLES:
        return []
    return [Paragraph(f"The first {MAX_LISTED_SAMPLES:,} of {n:,} are listed; {where}.")]


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


def cohort_report(
    table: AbundanceTable,
    path: str | Path,
    *,
    colour_by: str | None = None,
    title: str = "Cohort report",
    failed: dict[str, str] | None = None,
    descriptions: ClusterDescriptions | None = None,
) -> Path:
    """Write a self-contained HTML report: figures, read statistics per sample, methods, provenance.

    Args:
        table: The abundance table.
        path: HTML file to write; the command named at its end takes its folder as that of the table.
        colour_by: As for `cohort_figure`.
        title: Heading.
        failed: Reason of each sample of the cohort that failed and is not in the table.
        descriptions: What the clusters are; by default those of the shipped checkpoint that made the table, if one did.

    Returns:
        The path written.

    Raises:
        TableError: The table has no such column.
    """
    descriptions = find_descriptions(table.provenance) if descriptions is None else descriptions
    n_samples = len(table.sample_ids)
    first = _first_of(n_samples, "the abundance table has all")
    remarks = [
        Paragraph(f"{remark[0].upper()}{remark[1:]}.") for remark in table_remarks(table.counts, table.read_stats)
    ]
    sections = [
        Section("Overview", [*remarks, _figures(table, colour_by, descriptions)]),
        Section("Samples", [*first, DataTable(_sample_table(table), "samples")]),
    ]
    if descriptions is not None:
        drawn = cluster_table(descriptions, variable_clusters(table.abundance).tolist())
        blocks = [Paragraph(descriptions.summary()), DataTable(drawn, "clusters")]
        sections.append(Section("Clusters drawn", blocks))
    if failed:
        listed = pd.DataFrame(islice(failed.items(), MAX_LISTED_SAMPLES), columns=["sample", "reason"])
        why = [Paragraph("They are not in the table."), *_first_of(len(failed), "biomeformer status lists all")]
        sections.append(Section("Samples that failed", [*why, DataTable(listed, "samples")]))
    sections.append(Section("Methods", [Paragraph(methods_sentence(table.provenance, n_samples))]))
    return write_page(
        path,
        title,
        [_key_figures(table)],
        sections,
        parameters=provenance(table.provenance),
        next_command=_next_command(table, Path(path).parent, colour_by),
    )


def _key_figures(table: AbundanceTable) -> Cards:
    totals = table.read_stats.sum()
    used = int(totals["n_used"]) / max(int(totals["n_selected"]), 1)
    return Cards(
        {
            "samples": f"{len(table.sample_ids):,}",
            "reads in the files": f"{int(totals['n_reads']):,}",
            "reads selected": f"{int(totals['n_selected']):,}",
            "of these, used": f"{used:.1%}",
            **_tokens(totals),
            f"reads far from the centroids ({FAR_SHARE:.0%} expected)": _far(totals),
            "clusters": f"{table.counts.shape[1]:,}",
        }
    )


def _tokens(totals: pd.Series) -> dict[str, str]:
    """Return the shares of truncated reads and unknown tokens, and the number of windows, where there are any."""
    n_used, n_tokens = int(totals["n_used"]), int(totals.get("n_tokens", 0))
    numbers = {}
    if n_truncated := int(totals.get("n_truncated", 0)):
        numbers["truncated reads"] = f"{n_truncated / max(n_used, 1):.1%}"
    if (n_windows := int(totals.get("n_windows", n_used))) != n_used:
        numbers["windows counted"] = f"{n_windows:,}"
    if n_tokens:
        numbers["unknown tokens"] = f"{int(totals['n_unknown_tokens']) / n_tokens:.1%}"
    return numbers


def _far(totals: pd.Series) -> str:
    """Return the share of the reads compared that are far from the centroids."""
    n_compared = int(totals.get("n_compared", 0))
    if not n_compared:
        return "unknown"
    return f"{int(totals['n_far']) / n_compared:.1%}"


def _figures(table: AbundanceTable, colour_by: str | None, descriptions: ClusterDescriptions | None) -> Figures:
    with figure_style():
        colouring = cohort_colouring(table, colour_by)
        ordination = ordination_scatter(
            table.sample_ids, table.abundance, colouring, "Samples by Bray–Curtis dissimilarity"
        )
        heatmap = Picture(
            heatmap_figure(table, colouring, descriptions),
            "Cluster abundance",
            "Relative abundance of the clusters that vary most between samples. Cluster numbers are those of the "
            "model's centroids.",
            is_wide=True,
        )
    return Figures([ordination, heatmap])


def _next_command(table: AbundanceTable, folder: Path, colour_by: str | None) -> str:
    colouring = cohort_colouring(table, colour_by)
    if colouring is None:
        return command_text("export", folder, "--format", "csv")
    output = folder.with_name(f"{folder.name}-{colouring.name}") if folder.name else Path("phenotype")
    return command_text("phenotype", "evaluate", folder, "--target", colouring.name, "--output", output)


__all__ = ["cohort_report", "methods_sentence"]
