"""What all dialects of sample sheets are turned into."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from biomeformer.errors import CohortError
from biomeformer.io.item_ids import check_table_id
from biomeformer.io.tables import Table

logger = logging.getLogger(__name__)

SAMPLE_ID = "sample_id"


@dataclass(frozen=True)
class FileCell:
    """The name of a file of reads as it stands in a sheet.

    Attributes:
        line: Line number, from 1.
        column: Name of the column.
        text: The file's name.
    """

    line: int
    column: str
    text: str


@dataclass(frozen=True)
class Sheet:
    """Samples of a sheet.

    Attributes:
        table: One row per sample: `sample_id`, and then the metadata. Lines are those at which samples first appear.
        runs: For each sample its runs or lanes, each one file or two of mates.
    """

    table: Table
    runs: list[list[tuple[FileCell, ...]]]


@dataclass
class SheetBuilder:
    """Collects the samples of a sheet, joining rows of one sample.

    Args:
        table: The table.
        id_column: Name of the column of the samples' ids.
        metadata: Names of the metadata columns.
        one_row: Whether a second row of a sample is an error.
    """

    table: Table
    id_column: str
    metadata: Sequence[str]
    one_row: bool = True
    _runs: dict[str, list[tuple[FileCell, ...]]] = field(default_factory=dict)
    _lines: dict[str, int] = field(default_factory=dict)
    _values: dict[str, list[str]] = field(default_factory=dict)
    _differing: dict[str, tuple[str, int]] = field(default_factory=dict)

    def add(self, line: int, row: dict[str, str], runs: Sequence[tuple[FileCell, ...]]) -> None:
        """Add a row with its files.

        Raises:
            CohortError: The id cannot be used, or the sample has a row already.
        """
        sample_id = row[self.id_column]
        self.check_id(line, row)
        values = [row[column] for column in self.metadata]
        if sample_id not in self._runs:
            self._runs[sample_id], self._lines[sample_id], self._values[sample_id] = [], line, values
        elif self.one_row:
            raise CohortError(
                f"{self.table.path}, line {line}, column {self.id_column}: {sample_id!r} stands on line "
                f"{self._lines[sample_id]} already; give each sample one row, with several files separated by ';'"
            )
        for column, before, value in zip(self.metadata, self._values[sample_id], values, strict=True):
            if value != before:
                self._differing.setdefault(column, (sample_id, line))
        self._runs[sample_id] += runs

    def set_runs(self, runs: dict[str, list[tuple[FileCell, ...]]]) -> None:
        """Set the files of samples whose rows were added without."""
        self._runs.update(runs)

    def check_id(self, line: int, row: dict[str, str]) -> None:
        """Refuse a row whose id cannot be used."""
        check_table_id(f"{self.table.path}, line {line}", row[self.id_column], self.id_column)

    def finish(self) -> Sheet:
        """Return the sheet; columns that differ between the rows of a sample are left out with a warning."""
        if self._differing:
            sample_id, line = next(iter(self._differing.values()))
            logger.warning(
                "%s: left out as metadata, since rows of one sample differ in it (%s, line %d): %s",
                self.table.path,
                sample_id,
                line,
                ", ".join(self._differing),
            )
        kept = [i for i, column in enumerate(self.metadata) if column not in self._differing]
        table = Table(
            self.table.path,
            self.table.format,
            (SAMPLE_ID, *(self.metadata[i] for i in kept)),
            [[sample_id, *(values[i] for i in kept)] for sample_id, values in self._values.items()],
            list(self._lines.values()),
            self.table.first_blank,
        )
        return Sheet(table, list(self._runs.values()))


def split_cell(table: Table, line: int, column: str, text: str) -> list[FileCell]:
    """Return the files of a cell, which semicolons separate.

    Raises:
        CohortError: There is none, or one has no name.
    """
    parts = [part.strip() for part in text.split(";")]
    if not all(parts):
        raise CohortError(
            f"{table.path}, line {line}, column {column}: "
            f"{'empty' if len(parts) == 1 else 'an empty path between the semicolons'}; name the file of reads"
        )
    return [FileCell(line, column, part) for part in parts]


def single_runs(table: Table, line: int, column: str, text: str) -> list[tuple[FileCell, ...]]:
    """Return the files of a cell as runs of single reads.

    Raises:
        CohortError: As `split_cell`.
    """
    return [(cell,) for cell in split_cell(table, line, column, text)]


def runs_of(table: Table, line: int, row: dict[str, str], first: str, second: str) -> list[tuple[FileCell, ...]]:
    """Return the runs of a row with columns of first and second mates; reads are single where the second is empty.

    Raises:
        CohortError: Only second mates are given, or the columns have different numbers of files.
    """
    if not row.get(second):
        return single_runs(table, line, first, row[first])
    if not row[first]:
        raise CohortError(
            f"{table.path}, line {line}, column {first}: empty, and {second} is not; name the file of reads, of single "
            f"reads in {first}"
        )
    mates = split_cell(table, line, first, row[first]), split_cell(table, line, second, row[second])
    if len(mates[0]) != len(mates[1]):
        raise CohortError(
            f"{table.path}, line {line}: {len(mates[0])} files in {first} and {len(mates[1])} in {second}; "
            "give as many of each, in the same order"
        )
    return list(zip(*mates, strict=True))


__all__ = ["SAMPLE_ID", "FileCell", "Sheet", "SheetBuilder", "runs_of", "single_runs", "split_cell"]
