"""Manifests of QIIME 2.

`sample-id` with `absolute-filepath`, or with `forward-absolute-filepath` and `reverse-absolute-filepath`, has one row
per sample. The older `sample-id,absolute-filepath,direction` has one row per file. Lines that begin with `#` are
comments, and environment variables in paths, such as `$PWD`, are expanded, as QIIME 2 does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from biomeformer.errors import CohortError
from biomeformer.io.tables import Table
from biomeformer.reads.sheets.sheet import FileCell, Sheet, SheetBuilder, runs_of, split_cell

SINGLE, FORWARD, REVERSE = "absolute-filepath", "forward-absolute-filepath", "reverse-absolute-filepath"
DIRECTION = "direction"
DIRECTIONS = ("forward", "reverse")
# QIIME 2's names of the column of ids, in lower case.
_ID_NAMES = ("sample-id", "sampleid", "sample id", "sample_id", "sample_name", "sample-name", "id")


def is_manifest(columns: Sequence[str]) -> bool:
    """Return whether these are the columns of a manifest."""
    return any(name in columns for name in (SINGLE, FORWARD, REVERSE))


def parse(table: Table) -> Sheet:
    """Return the samples of a table.

    Raises:
        CohortError: The table is malformed; file, line and column are named.
    """
    id_column = _check_header(table)
    is_per_file = DIRECTION in table.columns and SINGLE in table.columns
    files = (SINGLE, DIRECTION) if is_per_file else (SINGLE, FORWARD, REVERSE)
    metadata = [name for name in table.columns if name not in (id_column, *files)]
    rows = [(line, row) for line, row in table.records() if not row[id_column].startswith("#")]
    for _, row in rows:
        row.update({name: os.path.expandvars(row[name]) for name in (SINGLE, FORWARD, REVERSE) if name in row})
    builder = SheetBuilder(table, id_column, metadata, one_row=not is_per_file)
    if is_per_file:
        _add_files(table, rows, builder, id_column)
    else:
        first, second = (SINGLE, "") if SINGLE in table.columns else (FORWARD, REVERSE)
        for line, row in rows:
            builder.check_id(line, row)
            builder.add(line, row, runs_of(table, line, row, first, second))
    return builder.finish()


def _check_header(table: Table) -> str:
    """Check the names of the columns and return that of the ids."""
    where = f"{table.path}, header"
    present = [name for name in (SINGLE, FORWARD, REVERSE) if name in table.columns]
    if present not in ([SINGLE], [FORWARD, REVERSE]):
        raise CohortError(
            f"{where}: {' and '.join(present)}; a manifest of QIIME 2 has {SINGLE}, or {FORWARD} and {REVERSE}"
        )
    ids = [name for name in table.columns if name.lower() in _ID_NAMES]
    if len(ids) != 1:
        count = "no column" if not ids else "several columns"
        raise CohortError(f"{where}: {count} of ids among {', '.join(table.columns)}; name one sample-id")
    return ids[0]


def _add_files(table: Table, rows: Sequence[tuple[int, dict[str, str]]], builder: SheetBuilder, id_column: str) -> None:
    """Add rows of one file each; the two directions of a sample are mates."""
    cells: dict[str, dict[str, FileCell]] = {}
    for line, row in rows:
        builder.check_id(line, row)
        direction = row[DIRECTION].lower()
        where = f"{table.path}, line {line}, column {DIRECTION}"
        if direction not in DIRECTIONS:
            raise CohortError(f"{where}: {row[DIRECTION]!r}; it must be forward or reverse")
        if direction in cells.setdefault(row[id_column], {}):
            raise CohortError(
                f"{where}: {row[id_column]!r} has a {direction} file on line {cells[row[id_column]][direction].line} "
                "already; give several runs of a sample as rows of sample, fastq_1, fastq_2"
            )
        files = split_cell(table, line, SINGLE, row[SINGLE])
        if len(files) > 1:
            raise CohortError(f"{table.path}, line {line}, column {SINGLE}: {len(files)} files; give one per row")
        cells[row[id_column]][direction] = files[0]
        builder.add(line, row, [])
    builder.set_runs(
        {
            sample_id: [tuple(files[direction] for direction in DIRECTIONS if direction in files)]
            for sample_id, files in cells.items()
        }
    )


__all__ = ["is_manifest", "parse"]
