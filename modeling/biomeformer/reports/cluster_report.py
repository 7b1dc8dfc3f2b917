"""HTML report of the descriptions of a model's clusters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ..metagenomes.cluster_descriptions import ClusterDescriptions
from .blocks import Cards, DataTable, Paragraph, Section
from .page import write_page
from .run_details import command_text, provenance

# Rows of the table; a page with more opens slowly.
MAX_LISTED_CLUSTERS = 2000


def cluster_table(descriptions: ClusterDescriptions, clusters: list[int] | None = None) -> pd.DataFrame:
    """Return the descriptions of clusters, all by default, as a table to show."""
    frame = descriptions.frame if clusters is None else descriptions.frame.iloc[clusters]
    cells = pd.DataFrame({"cluster": frame["cluster"].astype(str), "reads": [f"{n:,}" for n in frame["n_reads"]]})
    for rank in descriptions.ranks:
        cells[rank] = frame[rank]
        cells[f"{rank}: purity"] = _percent(frame[f"{rank}_purity"])
        cells[f"of the {rank}'s reads"] = _percent(frame[f"{rank}_share"])
        cells[f"{rank}: lift"] = ["" if np.isnan(value) else f"{value:.3g}" for value in frame[f"{rank}_lift"]]
        cells[f"{rank}: entropy (bits)"] = [
            "" if np.isnan(value) else f"{value:.2f}" for value in frame[f"{rank}_entropy"]
        ]
    if "function" in frame:
        cells["coding reads"] = _percent(frame["coding_share"])
        cells["most frequent functions"] = frame["function_top"]
    return cells


def cluster_report(descriptions: ClusterDescriptions, path: str | Path) -> Path:
    """Write a self-contained HTML report with the description of each cluster, the largest first.

    Args:
        descriptions: The descriptions.
        path: HTML file to write.

    Returns:
        The path written.
    """
    record, frame = descriptions.record, descriptions.frame
    order = frame.sort_values(["n_reads", "cluster"], ascending=[False, True], kind="stable").index.tolist()
    reached = frame[frame["n_reads"] > 0]
    numbers = {
        "clusters": f"{len(frame):,}",
        "without a read": f"{len(frame) - len(reached):,}",
        "genomes": f"{record['catalog']['n_genomes']:,}",
        "simulated reads": f"{record['n_reads']:,}",
    }
    for rank in descriptions.ranks:
        weights = reached["n_reads"].to_numpy()
        numbers[f"mean purity, {rank}"] = f"{np.average(reached[f'{rank}_purity'], weights=weights):.0%}"
    listed = []
    if len(order) > MAX_LISTED_CLUSTERS:
        listed = [Paragraph(f"The largest {MAX_LISTED_CLUSTERS:,} of {len(order):,} are listed; clusters.tsv has all.")]
    text = (
        f"{descriptions.summary()} Purity: share of the cluster's reads that are of the taxon. Lift: purity over the "
        "taxon's share of all reads. Entropy: of the taxa of the cluster's reads. Mean purity: over all reads."
    )
    table = DataTable(cluster_table(descriptions, order[:MAX_LISTED_CLUSTERS]), "clusters")
    return write_page(
        path,
        f"Clusters of {record['model']}",
        [Cards(numbers), Paragraph(text)],
        [Section("Clusters", [*listed, table])],
        parameters=provenance(record),
        next_command=command_text("embed", "cohort.csv", "--model", record["model"], "--output", "results"),
    )


def _percent(values: pd.Series) -> list[str]:
    return ["" if np.isnan(value) else f"{value:.0%}" for value in values]


__all__ = ["cluster_report", "cluster_table"]
