"""Cohort tables: which samples there are, where their reads lie, and what is known of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from biomeformer.errors import CohortError, InputError
from biomeformer.reads.sample import PathLike, SampleReads

if TYPE_CHECKING:
    import pandas as pd

SAMPLE_ID = "sample_id"
FASTQ_COLUMNS = ("fastq", "fastq_1", "fastq_2")
_MAX_ID_BYTES = 200
_NOT_A_TABLE = (
    (b"@", "is a FASTQ file, not a cohort table"),
    (b">", "is a FASTA file, not a cohort table"),
    (b"\x1f\x8b", "is gzip-compressed, not a text table"),
    (b"PK\x03\x04", "is a spreadsheet or zip archive, not a text table"),
    (b"PAR1", "is a Parquet file, not a text table"),
)
_TABLE_HELP = "give a CSV or TSV with the columns sample_id and fastq (or fastq_1 and fastq_2)"


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

    def files(self) -> tuple[Path, ...]:
        """The read files, in reading order."""
        return tuple(self.reads.paths())


@dataclass(frozen=True)
class Cohort:
    """Samples in the order of the table.

    Attributes:
        path: The table, or None for a cohort made in memory.
        samples: The samples.
        columns: Names of the metadata columns, in the order of the table.
    """

    path: Path | None
    samples: tuple[CohortSample, ...]
    columns: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[CohortSample]:
        return iter(self.samples)

    def metadata(self) -> pd.DataFrame:
        """The metadata columns as text, one row a sample, indexed by `sample_id`."""
        import pandas as pd

        index = pd.Index([sample.sample_id for sample in self.samples], name=SAMPLE_ID, dtype=object)
        rows = [[sample.metadata[column] for column in self.columns] for sample in self.samples]
        return pd.DataFrame(rows, index=index, columns=list(self.columns), dtype=object)


def read_cohort(path: PathLike) -> Cohort:
    """Reads a cohort table and checks that every file it names is there.

    The table is a CSV or TSV (told by the header) in UTF-8 with the columns `sample_id` and `fastq`, or `fastq_1` and
    `fastq_2`; several files of a sample are separated by `;`. Paths are relative to the table's folder. Further columns
    are phenotypes and covariates and stay text.

    Args:
        path: The table.

    Raises:
        CohortError: the table is malformed or names files that cannot be used; file, line and column are named.
    """
    table = Path(path)
    lines = table_rows(table, table_text(table))
    _, names = next(lines)
    columns = _metadata_columns(table, names)
    samples: list[CohortSample] = []
    line_of_id: dict[str, int] = {}
    missing: list[tuple[int, str, Path]] = []
    for line, values in lines:
        where = f"{table}, line {line}"
        if len(values) != len(names):
            raise CohortError(f"{where}: {len(values)} fields where the header has {len(names)}; fix the row")
        row = dict(zip(names, values, strict=True))
        sample_id = row[SAMPLE_ID]
        check_table_id(where, sample_id)
        if sample_id in line_of_id:
            raise CohortError(
                f"{where}, column sample_id: {sample_id!r} stands on line {line_of_id[sample_id]} already; "
                "give each sample one row, with several files separated by ';'"
            )
        line_of_id[sample_id] = line
        reads, absent = _sample_reads(table, line, row)
        missing.extend(absent)
        samples.append(CohortSample(sample_id, reads, {column: row[column] for column in columns}))
    if not samples:
        raise CohortError(f"{table} has a header and no samples; add one row a sample")
    if missing:
        line, column, first = missing[0]
        others = f" (and {len(missing) - 1} more files are missing)" if len(missing) > 1 else ""
        raise CohortError(
            f"{table}, line {line}, column {column}: there is no file {first}{others}; "
            "correct the path, which is relative to the table's folder"
        )
    for sample in samples:
        try:
            sample.reads.check_files()
        except InputError as error:
            raise CohortError(f"{table}, line {line_of_id[sample.sample_id]}: {error}") from error
    return Cohort(table, tuple(samples), columns)


def table_text(table: Path, advice: str = _TABLE_HELP) -> str:
    """The text of a table.

    Raises:
        CohortError: it is missing, empty, no UTF-8 text, or something other than a table; `advice` says what to give.
    """
    try:
        content = table.read_bytes()
    except FileNotFoundError:
        raise CohortError(f"{table}: there is no such cohort table; check the path") from None
    except IsADirectoryError:
        raise CohortError(f"{table} is a directory; {advice}") from None
    except OSError as error:
        raise CohortError(f"{table} cannot be read: {error.strerror or error}; check the file") from error
    for magic, complaint in _NOT_A_TABLE:
        if content.startswith(magic):
            raise CohortError(f"{table} {complaint}; {advice}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CohortError(f"{table}, line {line}: not UTF-8 text; save the table as CSV in UTF-8") from None
    if not text.strip():
        raise CohortError(f"{table} is empty; {advice}")
    return text


def table_rows(table: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yields line number and stripped fields of the header and of every row; blank lines are layout."""
    lines = list(io.StringIO(text, newline=""))
    header = next(line for line in lines if line.strip())
    reader = csv.reader(lines, delimiter="\t" if "\t" in header else ",", strict=True)
    line = 1
    while True:
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise CohortError(f"{table}, line {reader.line_num}: {error}; fix the quotes of this row") from None
        if any(values) or len(values) > 1:
            yield line, [value.strip() for value in values]
        line = reader.line_num + 1


def _metadata_columns(table: Path, names: list[str]) -> tuple[str, ...]:
    """Checks the header; returns the names of the metadata columns."""
    where = f"{table}, header"
    found = ", ".join(names)
    if SAMPLE_ID not in names:
        hint = "separate the columns by ',' or tab" if len(names) == 1 and ";" in names[0] else _TABLE_HELP
        raise CohortError(f"{where}: no column sample_id among {found}; {hint}")
    for position, name in enumerate(names, start=1):
        if not name:
            raise CohortError(f"{where}: column {position} has no name; name it or remove it")
        if names.index(name) != position - 1:
            raise CohortError(f"{where}: two columns are named {name!r}; rename one of them")
    present = [name for name in FASTQ_COLUMNS if name in names]
    if not present:
        raise CohortError(f"{where}: no column fastq, or fastq_1 and fastq_2, among {found}; add where the reads are")
    if "fastq" in present and len(present) > 1:
        raise CohortError(f"{where}: both fastq and {present[1]}; keep fastq for single reads or the two for pairs")
    if len(present) == 1 and present != ["fastq"]:
        absent = "fastq_2" if present == ["fastq_1"] else "fastq_1"
        raise CohortError(f"{where}: {present[0]} without {absent}; add it, or name the column fastq for single reads")
    return tuple(name for name in names if name != SAMPLE_ID and name not in FASTQ_COLUMNS)


def check_table_id(where: str, sample_id: str, column: str = SAMPLE_ID) -> None:
    """Refuses what cannot be a part of a file name."""
    where = f"{where}, column {column}"
    if not sample_id:
        raise CohortError(f"{where}: empty; give every sample a name")
    if sample_id.startswith("."):
        raise CohortError(f"{where}: {sample_id!r} begins with '.'; file names are made from it, begin with a letter")
    unsafe = next((letter for letter in sample_id if letter in "/\\" or not letter.isprintable()), None)
    if unsafe is not None:
        raise CohortError(
            f"{where}: {sample_id!r} holds {unsafe!r}; file names are made from it, use letters, digits, - _"
        )
    if len(sample_id.encode()) > _MAX_ID_BYTES:
        raise CohortError(f"{where}: {sample_id[:20]!r}… is longer than {_MAX_ID_BYTES} bytes; give a shorter name")


def _sample_reads(table: Path, line: int, row: dict[str, str]) -> tuple[SampleReads, list[tuple[int, str, Path]]]:
    """A row's read files, and those of them that are missing as `(line, column, path)`."""
    files: dict[str, list[Path]] = {}
    missing: list[tuple[int, str, Path]] = []
    for column in (name for name in FASTQ_COLUMNS if name in row):
        parts = [part.strip() for part in row[column].split(";")]
        if not all(parts):
            raise CohortError(
                f"{table}, line {line}, column {column}: "
                f"{'empty' if len(parts) == 1 else 'an empty path between the semicolons'}; name the file of reads"
            )
        files[column] = [table.parent / part for part in parts]
        missing.extend((line, column, path) for path in files[column] if not path.exists())
    if "fastq" in files:
        return SampleReads.single(*files["fastq"]), missing
    if len(files["fastq_1"]) != len(files["fastq_2"]):
        raise CohortError(
            f"{table}, line {line}: {len(files['fastq_1'])} files in fastq_1 and {len(files['fastq_2'])} in fastq_2; "
            "give as many of each, in the same order"
        )
    return SampleReads.paired(files["fastq_1"], files["fastq_2"]), missing
