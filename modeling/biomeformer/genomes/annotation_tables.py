"""Read tables of annotations by gene, and join them to genes."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from ..errors import GenomeError
from ..io.tables import TableFormat, TableReader
from .genome import Gene

NO_ANNOTATION = ("", "-")
ADVICE = "give a TSV whose first column names genes"
# Values that are no names of columns: numbers, E-values, MD5 sums and dates.
VALUE = re.compile(r"[-+]?\d+(?:\.\d*)?(?:e[-+]?\d+)?|[0-9a-f]{32}|\d\d?-\w+-\d{4}", re.I)
FORMAT = TableFormat(
    "table of annotations",
    ADVICE,
    GenomeError,
    comments=True,
    row_names=True,
    tab_quotes=False,
    # Checked below, behind the question whether there is a header.
    unique_columns=False,
)


def read_annotations(path: Path, gene_names: Collection[str] = ()) -> dict[str, dict[str, str]]:
    """Read annotations by gene and kind from a table of eggNOG-mapper, or any table whose first column names genes.

    If a gene has several rows, as in tables of InterProScan and dbCAN, its different values are joined by `; `.

    Args:
        path: Path of the table.
        gene_names: Names of the genome's genes, which are no names of columns.

    Raises:
        GenomeError: The table cannot be read, has no header, or has a single column.
    """
    values: dict[str, dict[str, list[str]]] = {}
    with TableReader(path, FORMAT) as table:
        columns = table.columns
        value = next((name for name in columns if name in gene_names or VALUE.fullmatch(name)), None)
        if value is not None:
            raise GenomeError(
                f"{path} has no header: its first line has the value {value!r}; write the names of the columns into a "
                "line above it, such as gene, md5, length, … (InterProScan and BLAST write none)."
            )
        if len(columns) < 2:
            raise GenomeError(f"{path}: the header has one column ({columns[0][:40]!r}); {ADVICE}, with a header.")
        twice = next((name for i, name in enumerate(columns) if name in columns[:i]), None)
        if twice is not None:
            raise GenomeError(f"{path}, header: two columns are named {twice!r}; rename one of them.")
        for _, (gene, *row) in table:
            gene_values = values.setdefault(gene, {})
            for name, cell in zip(columns[1:], row, strict=True):
                if cell not in NO_ANNOTATION and cell not in gene_values.setdefault(name, []):
                    gene_values[name].append(cell)
    return {
        gene: {name: "; ".join(column_values) for name, column_values in gene_values.items() if column_values}
        for gene, gene_values in values.items()
    }


def annotate(path: Path, genes: list[Gene]) -> tuple[list[Gene], str | None]:
    """Add the annotations of a table to genes; they take precedence over those of the genome's own file.

    A row is that of the gene with its name, or else of the genes with this name among their aliases, such as all
    paralogues with one protein_id.

    Args:
        path: The table.
        genes: Genes of one genome.

    Returns:
        The genes, and a remark if the table has others too.

    Raises:
        GenomeError: The table cannot be read, or has none of the genes, so it is of another genome.
    """
    names = {name for gene in genes for name in (gene.gene_id, *gene.aliases)}
    table = read_annotations(path, names)
    if genes and table and names.isdisjoint(table):
        raise GenomeError(
            f"{path} names none of the genome's {len(genes)} genes (it has {next(iter(table))!r}, the genome "
            f"{genes[0].gene_id!r}); give the table of this genome."
        )
    n_others = len(table.keys() - names)
    note = f"{n_others:,} of the {len(table):,} genes in {path.name} are not among the genome's" if n_others else None
    return [_annotated(gene, table) for gene in genes], note


def _annotated(gene: Gene, table: Mapping[str, Mapping[str, str]]) -> Gene:
    name = next((name for name in (gene.gene_id, *gene.aliases) if name in table), None)
    return gene if name is None else replace(gene, annotations={**gene.annotations, **table[name]})


__all__ = ["annotate", "read_annotations"]
