"""Sample sheets of this package, of nf-core and of QIIME 2, told by their columns; one module per dialect."""

from __future__ import annotations

from biomeformer.io.tables import Table
from biomeformer.reads.sheets import nf_core, plain, qiime2
from biomeformer.reads.sheets.sheet import FileCell, Sheet


def parse_sheet(table: Table) -> Sheet:
    """Return the samples of a table and the cells that name their files.

    Raises:
        CohortError: The table is malformed; file, line and column are named.
    """
    if qiime2.is_manifest(table.columns):
        return qiime2.parse(table)
    if nf_core.is_samplesheet(table.columns):
        return nf_core.parse(table)
    return plain.parse(table)


__all__ = ["FileCell", "Sheet", "parse_sheet"]
