"""Cohort tables: samples, the files of their reads, and their metadata."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from biomeformer.errors import CohortError, InputError, ReadFileError
from biomeformer.io.file_identity import find_shared, inode_of
from biomeformer.io.item_ids import check_not_empty
from biomeformer.io.tables import Table, TableFormat, read_table
from biomeformer.reads.sample import PathLike, SampleReads, local_path
from biomeformer.reads.sheets import FileCell, parse_sheet

from ..io.html_repr import count, html_table
from ..io.short_repr import short_repr

if TYPE_CHECKING:
    import pandas as pd

SAMPLE_ID = "sample_id"
_TABLE_HELP = (
    "give a CSV or TSV with the columns sample_id and fastq (or fastq_1 and fastq_2), a samplesheet of nf-core, or a "
    "manifest of QIIME 2"
)
# Semicolons separate the files of a sample.
FORMAT = TableFormat("cohort table", _TABLE_HELP, CohortError, comments=True, semicolons=False, compressed=False)


@dataclass(frozen=True)
class CohortSample:
    """One row of a cohort.

    Attributes:
        sample_id: Unique within the cohort and usable as a file name.
        reads: The sample's read files.
        metadata: The further columns, as the text that stands in the table.
    """

    sample_id: str
    reads: SampleReads
    metadata: dict[str, str]

    @property
    def item_id(self) -> str:
        """The sample's id, as an item of a run."""
        return self.sample_id

    def files(self) -> tuple[Path, ...]:
        """Return the read files, in reading order."""
        return tuple(self.reads.paths())


@dataclass(frozen=True)
class Cohort:
    """Samples in the order of the table.

    Attributes:
        path: The table, or None for a cohort made in memory.
        samples: The samples.
        columns: Names of the metadata columns, in the order of the table.
        allow_shared_files: Whether samples may have a file in common, or files that are equal.
    """

    path: Path | None
    samples: tuple[CohortSample, ...]
    columns: tuple[str, ...]
    allow_shared_files: bool = False

    __repr__ = short_repr

    def _repr_html_(self) -> str:
        source = "memory" if self.path is None else self.path.name
        return html_table(self, f"{count(len(self), 'sample')} of {source}", self.metadata())

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[CohortSample]:
        return iter(self.samples)

    @property
    def root(self) -> Path | None:
        """The folder that paths in the table are relative to."""
        return None if self.path is None else self.path.parent

    def metadata(self) -> pd.DataFrame:
        """Return the metadata columns as text, one row per sample, indexed by `sample_id`."""
        import pandas as pd

        index = pd.Index([sample.sample_id for sample in self.samples], name=SAMPLE_ID, dtype=object)
        rows = [[sample.metadata[column] for column in self.columns] for sample in self.samples]
        return pd.DataFrame(rows, index=index, columns=list(self.columns), dtype=object)


def read_cohort(path: PathLike, *, allow_shared_files: bool = False) -> Cohort:
    """Read a cohort table and check that every file it names exists.

    The table is a CSV or TSV, as `biomeformer.io.tables` reads them, with the columns `sample_id` and `fastq`, or
    `fastq_1` and `fastq_2`, which is empty for samples of single reads; several files of a sample are separated by `;`.
    Samplesheets of nf-core (`sample`, `fastq_1`, `fastq_2`; the rows of a sample are joined) and manifests of QIIME 2
    (`sample-id` and absolute file paths) are read too. Paths are relative to the table's folder. Further columns are
    phenotypes and covariates and stay text.

    Args:
        path: The table.
        allow_shared_files: Whether samples may have a file in common, or files that are equal. In a cohort that is
            divided into folds, one sample would leak into the other.

    Raises:
        CohortError: The table is malformed or names files that cannot be used; file, line and column are named.

    Examples:
        >>> from importlib.resources import files
        >>> cohort = read_cohort(files("biomeformer") / "example_cohort" / "cohort.csv")
        >>> len(cohort), cohort.columns
        (12, ('group', 'age'))
        >>> cohort.samples[0].sample_id
        'control_01'
    """
    sheet = parse_sheet(read_table(path, FORMAT))
    content = sheet.table
    table, columns = content.path, content.columns[1:]
    samples: list[CohortSample] = []
    missing: list[FileCell] = []
    for (_, row), runs in zip(content.records(), sheet.runs, strict=True):
        reads, absent = _sample_reads(table, runs)
        missing.extend(absent)
        samples.append(CohortSample(row[SAMPLE_ID], reads, {column: row[column] for column in columns}))
    check_not_empty(content, SAMPLE_ID, "samples")
    if missing:
        first = missing[0]
        others = f" (and {len(missing) - 1} more files are missing)" if len(missing) > 1 else ""
        raise CohortError(
            f"{table}, line {first.line}, column {first.column}: there is no file {table.parent / first.text}{others}; "
            "correct the path, which is relative to the table's folder"
        )
    for row_number, sample in enumerate(samples):
        try:
            sample.reads.check_files()
        except InputError as error:
            raise CohortError(f"{content.where(row_number)}: {error}") from error
    if not allow_shared_files:
        check_own_files(content, [(sample.sample_id, sample.files()) for sample in samples], "samples")
    return Cohort(table, tuple(samples), columns, allow_shared_files)


def check_own_files(table: Table, files_of: Sequence[tuple[str, Sequence[Path]]], noun: str) -> None:
    """Refuse rows that have a file in common, also through links.

    Args:
        table: The table.
        files_of: For each row its id and the files that no other row may have.
        noun: What the rows are, in the plural.

    Raises:
        CohortError: Two rows share a file; both are named.
    """
    path_of = {inode_of(path): path for _, files in files_of for path in files}
    shared = find_shared((name, map(inode_of, files)) for name, files in files_of)
    if shared is not None:
        first, second, inode = shared
        row = [name for name, _ in files_of].index(second)
        raise CohortError(
            f"{table.where(row)}: {noun} {first} and {second} have the file {path_of[inode]} in common, so that one "
            "would leak into the other; correct the table, or give --allow-shared-files if this is meant"
        )


def _sample_reads(table: Path, runs: Sequence[tuple[FileCell, ...]]) -> tuple[SampleReads, list[FileCell]]:
    """Return a sample's read files, and the cells of those that are missing."""
    files: list[tuple[Path, ...]] = []
    missing: list[FileCell] = []
    for cells in runs:
        paths = []
        for cell in cells:
            try:
                path = table.parent / local_path(cell.text)
            except ReadFileError as error:
                raise CohortError(f"{table}, line {cell.line}, column {cell.column}: {error}") from error
            paths.append(path)
            # `Path.exists` raises an error for a path that is too long.
            if not os.path.exists(path):
                missing.append(cell)
        files.append(tuple(paths))
    return SampleReads(tuple(files)), missing
