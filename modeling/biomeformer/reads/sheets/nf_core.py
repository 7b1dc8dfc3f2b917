"""Samplesheets of nf-core: `sample`, `fastq_1` and `fastq_2`, empty for single reads; one row per run or lane.

taxprofiler has a column `fasta` for rows without FASTQ; mag calls its columns `short_reads_1` and `short_reads_2`.
"""

from __future__ import annotations

from collections.abc import Sequence

from biomeformer.errors import CohortError
from biomeformer.io.tables import Table
from biomeformer.reads.sheets.sheet import SAMPLE_ID, FileCell, Sheet, SheetBuilder, runs_of, single_runs

SAMPLE = "sample"
_MATES = (("fastq_1", "fastq_2"), ("short_reads_1", "short_reads_2"))
# Columns that may name further files, which are read only in rows without others.
_OTHER_FILES = ("fasta", "long_reads")


def is_samplesheet(columns: Sequence[str]) -> bool:
    """Return whether these are the columns of a samplesheet of nf-core."""
    return SAMPLE in columns and SAMPLE_ID not in columns and any(first in columns for first, _ in _MATES)


def parse(table: Table) -> Sheet:
    """Return the samples of a table.

    Raises:
        CohortError: The table is malformed; file, line and column are named.
    """
    first, second = next(names for names in _MATES if names[0] in table.columns)
    metadata = [name for name in table.columns if name not in (SAMPLE, first, second, *_OTHER_FILES)]
    builder = SheetBuilder(table, SAMPLE, metadata, one_row=False)
    for line, row in table.records():
        builder.check_id(line, row)
        builder.add(line, row, _runs(table, line, row, first, second))
    return builder.finish()


def _runs(table: Table, line: int, row: dict[str, str], first: str, second: str) -> list[tuple[FileCell, ...]]:
    others = [name for name in _OTHER_FILES if row.get(name)]
    if not others:
        return runs_of(table, line, row, first, second)
    if row[first] or row.get(second) or len(others) > 1:
        raise CohortError(
            f"{table.path}, line {line}, column {others[-1]}: {row[others[-1]]!r} is given beside other files of this "
            "row, and reads of two kinds are not joined; leave one of them empty"
        )
    return single_runs(table, line, others[0], row[others[0]])


__all__ = ["is_samplesheet", "parse"]
