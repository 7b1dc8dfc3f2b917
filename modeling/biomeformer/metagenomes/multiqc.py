"""Custom content of MultiQC (https://docs.seqera.io/multiqc/custom_content) of abundance tables.

Each file is a TSV whose comment lines are its configuration in YAML. TSV, because MultiQC shortens the sample names of
YAML and JSON files (`s1_counts` becomes `s1`), and rows that then have one name would be merged.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from ..errors import TableError
from ..metrics.diversity import shannon_entropy
from ..sinks import multiqc
from .abundance_table import AbundanceTable
from .cluster_descriptions import ClusterDescriptions

READS_FILE = "biomeformer_reads_mqc.tsv"
FATES_FILE = "biomeformer_read_fates_mqc.tsv"
CLUSTERS_FILE = "biomeformer_clusters_mqc.tsv"
VERSIONS_FILE = "biomeformer_mqc_versions.yml"
# Of the bars of clusters (matplotlib's tab20), and of the other clusters together: MultiQC's own repeat after ten.
COLOURS = (
    "#1f77b4", "#aec7e8", "#ff7f0e", "#ffbb78", "#2ca02c", "#98df8a", "#d62728", "#ff9896", "#9467bd", "#c5b0d5",
    "#8c564b", "#c49c94", "#e377c2", "#f7b6d2", "#7f7f7f", "#c7c7c7", "#bcbd22", "#dbdb8d", "#17becf", "#9edae5",
)  # fmt: skip
OTHERS_COLOUR = "#e8e8e8"
N_BARS = len(COLOURS)
# Files of one parent are sections of one module of the report.
PARENT = {
    "parent_id": "biomeformer",
    "parent_name": "biomeformer",
    "parent_description": "embeds the reads of metagenomes and counts them per cluster.",
}


def write_multiqc(table: AbundanceTable, folder: Path, descriptions: ClusterDescriptions | None = None) -> None:
    """Write what MultiQC shows of a table.

    Columns of the general statistics (reads, shares of the reads that were used or not, clusters, entropy), bars of
    what became of the reads, bars of the clusters with the most reads, and the version of this package.

    Args:
        table: The table.
        folder: An existing folder.
        descriptions: What the clusters are.

    Raises:
        TableError: Two sample ids look the same in the report.
    """
    names = [multiqc(name) for name in table.sample_ids]
    if len(set(names)) < len(names):
        first = next(i for i, name in enumerate(names) if name in names[:i])
        other = table.sample_ids[names.index(names[first])]
        raise TableError(
            f"sample ids {other!r} and {table.sample_ids[first]!r} look the same in a MultiQC report, which would "
            "merge them; rename one in the cohort and embed it again."
        )
    index = pd.Index(names, name="Sample")
    statistics, headers = _general_statistics(table)
    _write(
        statistics.set_axis(index),
        folder / READS_FILE,
        # The headers of its columns are the `pconfig` of general statistics.
        {"id": "biomeformer_reads", "namespace": "biomeformer", "plot_type": "generalstats", "pconfig": headers},
    )
    fates = _section("Reads", "What became of the reads of each sample.", "reads", "Reads")
    _write(_fates(table).set_axis(index), folder / FATES_FILE, fates)
    clusters, categories, description = _largest_clusters(table, descriptions)
    section = _section("Clusters", description, "clusters", "Reads") | {"categories": categories}
    _write(clusters.set_axis(index), folder / CLUSTERS_FILE, section)
    version = str(table.provenance.get("versions", {}).get("biomeformer", "unknown"))
    (folder / VERSIONS_FILE).write_text(yaml.safe_dump({"biomeformer": version}), encoding="utf-8")


def _section(name: str, description: str, key: str, unit: str) -> dict[str, Any]:
    """Return the configuration of a section with a bar graph."""
    return {
        **PARENT,
        "id": f"biomeformer_{key}_section",
        "section_name": name,
        "description": description,
        "plot_type": "bargraph",
        "pconfig": {"id": f"biomeformer_{key}_plot", "title": f"biomeformer: {name}", "ylab": unit},
    }


def _write(frame: pd.DataFrame, path: Path, configuration: dict[str, Any]) -> None:
    """Write configuration and table; names must have gone through the sink, since MultiQC knows no quotes."""
    header = yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True, width=10_000)
    lines = [f"# {line}" for line in header.splitlines()]
    lines.append("\t".join([str(frame.index.name), *map(str, frame.columns)]))
    for name, row in zip(frame.index, frame.astype(object).itertuples(index=False), strict=True):
        lines.append("\t".join([name, *("" if pd.isna(value) else f"{value:.12g}" for value in row)]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _general_statistics(table: AbundanceTable) -> tuple[pd.DataFrame, list[dict[str, dict[str, Any]]]]:
    """Return one row per sample, and the headers of the columns."""
    reads = table.read_stats
    selected, used = reads["n_selected"], reads["n_used"]
    columns: dict[str, tuple[str, str, np.ndarray | pd.Series, dict[str, Any]]] = {
        "reads": ("Reads", "Reads in the files; mates count as two", reads["n_reads"], _NUMBER),
        "reads_used": ("Used", "Reads that were counted in a cluster", used, _NUMBER),
        "percent_used": ("% used", "Share of the selected reads that was used", _percent(used, selected), _PERCENT),
        "percent_too_short": (
            "% too short",
            "Share of the selected reads that was dropped because it is shorter than the model's minimum",
            _percent(reads["n_too_short"], selected),
            _PERCENT_DROPPED,
        ),
        "percent_no_tokens": (
            "% no tokens",
            "Share of the selected reads that was dropped because the tokenizer made no token of it",
            _percent(reads["n_no_tokens"], selected),
            _PERCENT_DROPPED,
        ),
        "percent_truncated": (
            "% truncated",
            "Share of the used reads that was longer than the model's maximum and was truncated",
            _percent(reads["n_truncated"], used),
            _PERCENT_HIDDEN,
        ),
        "percent_ambiguous": (
            "% ambiguous",
            "Share of the used reads with a base other than A, C, G or T",
            _percent(reads["n_ambiguous"], used),
            _PERCENT_HIDDEN,
        ),
    }
    if {"n_tokens", "n_unknown_tokens"} <= set(reads.columns):
        columns["percent_unknown_tokens"] = (
            "% unknown tokens",
            "Share of the tokens of the used reads that the tokenizer does not know",
            _percent(reads["n_unknown_tokens"], reads["n_tokens"]),
            _PERCENT_DROPPED,
        )
    columns["clusters"] = (
        "Clusters",
        f"Clusters with a read, of {table.counts.shape[1]:,}",
        (table.counts > 0).sum(axis=1),
        _WHOLE,
    )
    columns["entropy"] = (
        "Entropy",
        "Shannon entropy of the abundance vector, in bits",
        shannon_entropy(table.abundance),
        {"format": "{:,.2f}", "scale": "Purples", "min": 0},
    )
    frame = pd.DataFrame({key: np.asarray(values) for key, (_, _, values, _) in columns.items()}, index=reads.index)
    headers = [
        {key: {"title": title, "description": description, "namespace": "biomeformer", **options}}
        for key, (title, description, _, options) in columns.items()
    ]
    return frame, headers


_WHOLE = {"format": "{:,.0f}", "scale": "Greens", "min": 0}
_NUMBER = _WHOLE | {"scale": "Blues", "shared_key": "biomeformer_reads"}
_PERCENT = {"format": "{:,.2f}", "suffix": "%", "scale": "RdYlGn", "min": 0, "max": 100}
_PERCENT_DROPPED = _PERCENT | {"scale": "Reds"}
_PERCENT_HIDDEN = _PERCENT_DROPPED | {"hidden": True}


def _percent(part: pd.Series, whole: pd.Series) -> pd.Series:
    """Return shares in percent, missing where there is nothing to share."""
    return 100 * part / whole.where(whole > 0)


def _fates(table: AbundanceTable) -> pd.DataFrame:
    """Return what became of the reads: columns that add up to the reads of the files."""
    reads = table.read_stats
    return pd.DataFrame(
        {
            "Used": reads["n_used"],
            "Too short": reads["n_too_short"],
            "No tokens": reads["n_no_tokens"],
            "Not selected": reads["n_reads"] - reads["n_selected"],
        }
    )


def _largest_clusters(
    table: AbundanceTable, descriptions: ClusterDescriptions | None
) -> tuple[pd.DataFrame, dict[str, dict[str, str]], str]:
    """Return the counts of the clusters with the largest mean abundance and of the others together.

    Returns:
        The counts, one row per sample; names and colours of the columns; and a sentence on them.
    """
    n_clusters = table.counts.shape[1]
    # Stable, so that ties are in the order of the clusters.
    largest = np.argsort(-table.abundance.mean(axis=0), kind="stable")[:N_BARS]
    columns: dict[str, np.ndarray] = {}
    categories: dict[str, dict[str, str]] = {}
    for i, colour in zip(map(int, largest), COLOURS, strict=False):
        columns[f"cluster_{i}"] = table.counts[:, i]
        name = f"cluster {i}" if descriptions is None else descriptions.label(i)
        categories[f"cluster_{i}"] = {"name": multiqc(name), "color": colour}
    if n_clusters > len(largest):
        columns["others"] = table.counts.sum(axis=1) - table.counts[:, largest].sum(axis=1)
        categories["others"] = {"name": "other clusters", "color": OTHERS_COLOUR}
    share = table.abundance[:, largest].sum(axis=1).mean()
    sentence = (
        f"Reads of the {len(largest)} clusters with the largest mean abundance, of {n_clusters:,}; "
        f"they hold {share:.1%} of the reads on average."
    )
    if descriptions is not None:
        sentence += " Names are those of reference genomes whose reads the cluster receives."
    return pd.DataFrame(columns), categories, sentence


__all__ = ["CLUSTERS_FILE", "FATES_FILE", "READS_FILE", "VERSIONS_FILE", "write_multiqc"]
