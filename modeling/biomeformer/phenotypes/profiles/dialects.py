"""Text tables of known tools: which column names the features, and which columns hold abundances."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ...errors import TableError
from ...io.tables import Table, TableFormat, is_number, read_table
from .lineages import is_taxon

# Columns may be samples or features, so duplicates are checked after the table has been oriented.
FORMAT = TableFormat(advice="give a CSV, TSV or BIOM table", comments=True, row_names=True, unique_columns=False)
# Columns that describe taxa, beside the one with their names.
ANNOTATIONS = frozenset({"ncbi_tax_id", "clade_taxid", "taxonomy", "tax_id", "additional_species"})
# The same in tables of taxpasta.
_TAXPASTA = frozenset({"taxonomy_id", "name", "rank", "lineage", "id_lineage", "rank_lineage"})
# Names of the first column by which tools say that rows are features.
_FEATURES_IN_ROWS = frozenset(
    {"consensus_taxonomy", "clade_name", "classification", "otu id", "otu_id", "feature id", "feature-id", "feature_id"}
    | {"asv", "asv_id", "gene family", "pathway", "lineage", "genome", "contig", "taxon", "species", "genus"}
)
_KRAKEN_RANK = re.compile(r"[URDKPCOFGS]\d*|-")
_MERGE = (
    "this is {tool} of one sample; give the folder with one such file per sample, named after it, or the table that "
    "{merge} makes of them"
)
# Columns of tables with a row per sample and taxon, or of one sample in a layout that is not read: what they are, and
# the command that makes a table of samples and taxa of them.
_OTHER_LAYOUTS = (
    ({"file", "percent", "reads", "taxon_name"}, "a table of kaiju2table", "`taxpasta merge --profiler kaiju --wide`"),
    (
        {"name", "taxid", "taxrank", "genomesize", "numreads", "numuniquereads"},
        "a report of Centrifuge",
        "`taxpasta merge --profiler centrifuge --wide`",
    ),
    (
        {"sample", "coverage", "taxonomy"},
        "a taxonomic profile of SingleM",
        "`singlem summarise --output-species-by-site-relative-abundance-prefix`",
    ),
    (
        {"intersect_bp", "f_unique_weighted"},
        "the output of sourmash gather",
        "`sourmash tax metagenome --output-format lineage_summary --rank species`",
    ),
    ({"query_name", "rank", "fraction", "lineage"}, "a summary of sourmash tax", "`--output-format lineage_summary`"),
    ({"sample", "taxonomy_id", "count"}, "a long table of taxpasta", "`taxpasta merge --wide`"),
)


@dataclass(frozen=True)
class Profile:
    """Abundances before they are converted to numbers.

    Attributes:
        frame: Values as text or numbers, with names of rows and columns.
        samples_in_columns: Whether columns are samples; None if the table does not tell.
        likely_in_columns: Whether they are, judged by the name of the first column, if nothing else tells.
        notes: How the table was read and what was left out.
        warnings: What is uncertain.
    """

    frame: pd.DataFrame
    samples_in_columns: bool | None = None
    likely_in_columns: bool = False
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read_text(path: Path) -> Profile:
    """Read a table of text, by its header: of Bracken, taxpasta, or any with names in the first column.

    Raises:
        TableError: The file is no table, the profile of a single sample, or has a row per sample and taxon.
    """
    table = read_table(path, FORMAT)
    _refuse_other_layouts(table)
    if not table.rows:
        raise TableError(f"{path} holds no table: it has fewer than two lines.")
    if len(table.columns) < 2:
        raise TableError(f"{path}, line 1: no tab or comma separates columns; give a CSV, TSV or BIOM table.")
    header = [name.lower() for name in table.columns]
    if header[0] == "name" and "taxonomy_lvl" in header:
        return _bracken(table)
    if header[0] == "taxonomy_id":
        return _taxpasta(table, header)
    if (is_taxon(table.columns[0]) or "|" in table.columns[0]) and all(map(is_number, table.columns[1:])):
        raise TableError(
            f"{path}, line 1: the row of {table.columns[0]!r} stands where the names of the samples belong; give the "
            "table with its header."
        )
    key = "sample_id" if table.columns.count("sample_id") == 1 else table.columns[0]
    if table.columns.count(key) > 1:
        raise TableError(f"{path}, header: two columns are named {key!r}; rename one of them.")
    frame = table.frame(key)
    annotations = [str(name).lower() in ANNOTATIONS for name in frame.columns]
    # Such a column stands beside names of taxa, so that the others are samples.
    return Profile(
        frame.loc[:, [not value for value in annotations]],
        likely_in_columns=header[0] in _FEATURES_IN_ROWS or any(annotations),
    )


def is_kraken_report(fields: Sequence[str]) -> bool:
    """Return whether a line is one of a Kraken report: percentage, two counts, perhaps two more, rank, taxon, name."""
    return (
        len(fields) in (6, 8)
        and fields[1].strip().isdecimal()
        and bool(re.fullmatch(r"\d+(\.\d+)?", fields[0].strip()))
        and bool(_KRAKEN_RANK.fullmatch(fields[-3].strip()))
        and fields[-2].strip().isdecimal()
    )


def _refuse_other_layouts(table: Table) -> None:
    header = {name.lower() for name in table.columns}
    tool = ""
    if is_kraken_report(table.columns):
        tool, merge = "a Kraken report", "`kreport2mpa.py` and `combine_mpa.py`"
    elif {"name", "taxonomy_lvl", "new_est_reads"} <= header:
        tool, merge = "the output of Bracken", "`combine_bracken_outputs.py`"
    elif {"clade_name", "relative_abundance"} <= header:
        tool, merge = "the profile of MetaPhlAn", "`merge_metaphlan_tables.py`"
    elif header == {"taxonomy_id", "count"}:
        tool, merge = "a profile of taxpasta", "`taxpasta merge --wide`"
    elif {"%", "taxreads", "kmers", "taxname"} <= header:
        tool, merge = "a report of KrakenUniq", "`taxpasta merge --profiler krakenuniq --wide`"
    if tool:
        raise TableError(f"{table.path}: {_MERGE.format(tool=tool, merge=merge)}.")
    for columns, layout, command in _OTHER_LAYOUTS:
        if columns <= header:
            raise TableError(f"{table.path}: this is {layout}; give the table that {command} makes.")


def _bracken(table: Table) -> Profile:
    """Read the table of `combine_bracken_outputs.py`, which has `_num` and `_frac` of each sample."""
    levels = Counter(table.column(next(name for name in table.columns if name.lower() == "taxonomy_lvl")))
    if len(levels) > 1:
        listed = ", ".join(f"{n} of {level}" for level, n in levels.most_common(4))
        raise TableError(f"{table.path}: ranks are mixed in column taxonomy_lvl ({listed}); give the rows of one rank.")
    endings = {"_num": "estimated reads", "_frac": "fractions"}
    ending = next((ending for ending in endings if any(name.endswith(ending) for name in table.columns)), None)
    if ending is None:
        raise TableError(
            f"{table.path}: the header is that of combine_bracken_outputs.py, but no column ends with _num or _frac; "
            "keep those with _num."
        )
    samples = [name for name in table.columns if name.endswith(ending)]
    frame = pd.DataFrame({name: table.column(name) for name in samples}, index=_unique_names(table), dtype=object)
    frame.columns = [name.removesuffix(ending) for name in samples]
    note = f"table of combine_bracken_outputs.py: {endings[ending]} of {len(samples)} samples (columns with {ending})"
    return Profile(frame, samples_in_columns=True, notes=(note,))


def _taxpasta(table: Table, header: list[str]) -> Profile:
    """Read a wide table of taxpasta: counts assigned to each taxon itself, with 0 for what is unclassified."""
    samples = [i for i, name in enumerate(header) if name not in _TAXPASTA]
    names = _unique_names(table) if "name" in header else table.column(table.columns[0])
    names = ["unclassified" if row[0] == "0" else name or row[0] for name, row in zip(names, table.rows, strict=True)]
    rows = [[row[i] for i in samples] for row in table.rows]
    frame = pd.DataFrame(rows, index=names, columns=[table.columns[i] for i in samples], dtype=object)
    return Profile(frame, samples_in_columns=True, notes=(f"table of taxpasta: {len(samples)} samples",))


def _unique_names(table: Table) -> list[str]:
    """Return the names of taxa, with their numbers where several taxa have one name."""
    columns = [name.lower() for name in table.columns]
    names = table.column(table.columns[columns.index("name")])
    counts = Counter(names)
    numbers = table.column(table.columns[columns.index("taxonomy_id")]) if "taxonomy_id" in columns else names
    return [
        f"{name} ({number})" if name and counts[name] > 1 else name for name, number in zip(names, numbers, strict=True)
    ]


__all__ = ["ANNOTATIONS", "FORMAT", "Profile", "is_kraken_report", "read_text"]
