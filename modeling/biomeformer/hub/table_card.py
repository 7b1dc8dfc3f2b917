"""Card of a dataset of abundance vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..io.markdown import grid, pairs
from ..io.tables import is_missing
from ..metagenomes import AbundanceTable
from ..metagenomes.abundance_table import table_file
from ..sinks import markdown, markdown_code
from .cards import citation, front_matter, template
from .manifest import CardEntry
from .privacy import personal_columns

USAGE = """\
import biomeformer

table = biomeformer.AbundanceTable.read("{id}")
vectors = table.abundance"""
USAGE_NOTE = """\
`vectors` is `(n_samples, n_clusters)`. `AbundanceTable.join([table, yours])` adds your own samples; it refuses tables
with other weights, preprocessing config or read fraction. `datasets.load_dataset("{id}")` gives the same rows."""
MEANINGS = {
    "sample_id": "name of the sample",
    "n_reads": "reads in the files; mates count as two",
    "n_selected": "reads that were kept at the read fraction",
    "n_used": "reads that were counted",
    "n_too_short": "selected reads that were too short",
    "n_no_tokens": "selected reads without any token",
    "n_truncated": "used reads that were truncated",
    "n_ambiguous": "used reads with a base other than A, C, G, T",
    "n_lower_case": "used reads with a lower-case base",
    "n_windows": "windows of the used reads; one per read unless the preprocessing config cuts long reads",
    "n_tokens": "tokens of the used reads, special ones not counted; 0 where they were not counted",
    "n_unknown_tokens": "tokens that the tokenizer does not know",
    "n_compared": "some of the used reads, whose distance to the centroids was compared; 0 where it was not",
    "n_far": "compared reads farther than 95 % of the reads of their length that the centroids were learned on",
    "counts": "reads, or windows of reads, nearest to each centroid",
    "abundance": "`counts` as shares of `n_used`",
}


def table_card(entry: CardEntry, folder: Path) -> str:
    """Return the card of an abundance table.

    Args:
        entry: What the table does not say.
        folder: An export for `datasets`.

    Returns:
        Markdown with the Hub's metadata as front matter.

    Raises:
        TableError: The folder holds no such table.
    """
    table = AbundanceTable.read(folder)
    schema = pq.read_schema(table_file(folder))
    metadata = {
        "license": entry.license,
        "tags": list(entry.tags),
        "task_categories": ["other"],
        "size_categories": [_size(len(table.sample_ids))],
    }
    record = table.provenance
    facts = {
        "Samples": f"{len(table.sample_ids):,}",
        "Clusters": f"{table.counts.shape[1]:,}",
        "Reads in the files": f"{int(table.read_stats['n_reads'].sum()):,}",
        "Reads counted": f"{int(table.counts.sum()):,}",
    }
    personal = personal_columns(table.metadata)
    privacy = {
        "Reads": "none",
        "Cohort columns": ", ".join(map(markdown_code, table.metadata.columns)) or "none",
        "Columns about single persons": ", ".join(
            f"{markdown_code(name)} ({markdown(why)})" for name, why in personal.items()
        )
        or "none detected",
    }
    return template("dataset_card.md").substitute(
        front_matter=front_matter(metadata),
        usage=USAGE.format(id=entry.id),
        usage_note=USAGE_NOTE.format(id=entry.id),
        facts=pairs(facts),
        columns=_columns(schema, table.metadata),
        provenance=pairs(_provenance(record)),
        privacy_facts=pairs(privacy),
        citation=citation(("2601.03295",), entry.citation),
        **entry.texts,
    )


def _columns(schema: pa.Schema, metadata: pd.DataFrame) -> str:
    rows = []
    for field in schema:
        name = field.name.removeprefix("metadata.")
        meaning = MEANINGS.get(field.name, "of the cohort")
        if name in metadata.columns and field.name not in MEANINGS:
            values = metadata[name]
            is_without = values.map(is_missing).to_numpy(bool)
            distinct = sorted(set(values[~is_without]))
            shown = ", ".join(map(markdown, distinct)) if len(distinct) <= 8 else f"{len(distinct)} values"
            missing = int(is_without.sum())
            meaning = f"of the cohort: {shown}" + (f"; missing for {missing}" if missing else "")
        rows.append([markdown_code(field.name), _type(field.type), meaning])
    return grid(["column", "type", "meaning"], rows)


def _type(dtype: pa.DataType) -> str:
    if pa.types.is_fixed_size_list(dtype):
        return f"{dtype.list_size:,} x {dtype.value_type}"
    if pa.types.is_list(dtype):
        return f"list of {dtype.value_type}"
    return "text" if pa.types.is_string(dtype) or pa.types.is_large_string(dtype) else str(dtype)


def _provenance(record: dict[str, Any]) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            rows[name] = ", ".join(f"{markdown(key)} {markdown(part)}" for key, part in value.items())
        elif isinstance(value, list):
            rows[name] = f"{len(value)} tables; `provenance.json` lists how they differ"
        else:
            rows[name] = markdown_code(value) if name.endswith("sha256") else value
            if isinstance(value, str) and not name.endswith("sha256"):
                rows[name] = markdown(value)
    return rows


def _size(n: int) -> str:
    if n < 1000:
        return "n<1K"
    if n < 10_000:
        return "1K<n<10K"
    return "10K<n<100K" if n < 100_000 else "100K<n<1M"


__all__ = ["table_card"]
