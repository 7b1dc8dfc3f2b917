"""Sheets of this package: `sample_id`, and `fastq`, or `fastq_1` and `fastq_2`; one row per sample."""

from __future__ import annotations

from biomeformer.errors import CohortError
from biomeformer.io.tables import Table
from biomeformer.reads.sheets.sheet import SAMPLE_ID, Sheet, SheetBuilder, runs_of, single_runs

FASTQ_COLUMNS = ("fastq", "fastq_1", "fastq_2")


def parse(table: Table) -> Sheet:
    """Return the samples of a table.

    Raises:
        CohortError: The table is malformed; file, line and column are named.
    """
    _check_header(table)
    metadata = [name for name in table.columns if name != SAMPLE_ID and name not in FASTQ_COLUMNS]
    builder = SheetBuilder(table, SAMPLE_ID, metadata)
    for line, row in table.records():
        builder.check_id(line, row)
        if "fastq" in row:
            runs = single_runs(table, line, "fastq", row["fastq"])
        else:
            runs = runs_of(table, line, row, "fastq_1", "fastq_2")
        builder.add(line, row, runs)
    return builder.finish()


def _check_header(table: Table) -> None:
    names = table.columns
    where = f"{table.path}, header"
    given = ", ".join(names)
    if SAMPLE_ID not in names:
        hint = "separate the columns by ',' or tab" if len(names) == 1 and ";" in names[0] else table.format.advice
        raise CohortError(f"{where}: no column sample_id among {given}; {hint}")
    present = [name for name in FASTQ_COLUMNS if name in names]
    if not present:
        raise CohortError(f"{where}: no column fastq, or fastq_1 and fastq_2, among {given}; add where the reads are")
    if "fastq" in present and len(present) > 1:
        raise CohortError(
            f"{where}: both fastq and {present[1]}; keep fastq for single reads, or fastq_1 and fastq_2, where fastq_2 "
            "is empty for samples of single reads"
        )
    if len(present) == 1 and present != ["fastq"]:
        absent = "fastq_2" if present == ["fastq_1"] else "fastq_1"
        raise CohortError(f"{where}: {present[0]} without {absent}; add it, or name the column fastq for single reads")


__all__ = ["parse"]
