"""The one reader of delimited text: cohorts, catalogs, metadata, features, annotations, labelled sequences.

The separator is decided by the header alone, outside its quotes: a tab if it has one, else a comma if it has one, else
a semicolon if every row has as many of them as the header (a spreadsheet's export where the comma is the decimal mark).
A header with none of these is of one column, and the ending of the file's name decides (tab for .tsv, .tab and .txt,
else comma). Nothing is guessed from the values, and every value is text: callers convert.

Text is UTF-8, with or without a byte-order mark, with any line ends, and may be compressed. Quotes are those of RFC
4180; quoted fields may hold separators and line breaks. Values lose surrounding blanks. Rows of empty fields and empty
columns without a name, which spreadsheets add, are left out with a logged warning that counts them. Rows of another
length than the header, columns of one name, bytes that are no UTF-8, and stray quotes are refused with their line.
"""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from ..errors import InputError, ReadFileError, TableError
from .compression import StreamError, compression_of, open_bytes

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

# What stands for "no value", in any case. "None" is a value: the group without a disease is often called so.
MISSING_VALUES = frozenset({"", "na", "n/a", "#n/a", "<na>", "nan", "null", "unknown"})
# The module's own limit of 128 KiB is below a long sequence.
_LONGEST_FIELD = (1 << 31) - 1
# Rows behind the header that decide on the layout.
_N_PEEKED = 50
_TAB_ENDINGS = (".tsv", ".tab", ".txt")
_QUOTED = re.compile(r'"[^"]*"')
# Comments among the rows, however long: eggNOG-mapper's footer, and the column types of QIIME 2.
_COMMENT_ROWS = ("##", "#q2:")
_NOT_A_TABLE = (
    (b"@", "a FASTQ file"),
    (b">", "a FASTA file"),
    (b"\x1f\x8b", "gzip-compressed twice"),
    (b"PK\x03\x04", "a spreadsheet or zip archive"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet of an old Excel"),
    (b"PAR1", "a Parquet file"),
    (b"\x89HDF", "an HDF5 file"),
    (b"BAM\x01", "a BAM file"),
    (b"CRAM", "a CRAM file"),
    (b"<!", "a web page"),
    (b"<html", "a web page"),
    (b"<HTML", "a web page"),
)


@dataclass(frozen=True)
class TableFormat:
    """What a table may look like, and how its errors read.

    Attributes:
        noun: What the table is called in errors.
        advice: What to give instead of a file that is no such table.
        error: Type of the errors.
        comments: Whether lines that begin with `#` may stand above the header, and the header itself may begin with
            one: of the lines with `#` the last is the header if the row behind it has as many fields. Comments among
            the rows begin with `##`, or with `#` and are shorter than the header.
        row_names: Whether the first column may lack a name, as written by pandas, or the header may lack the first
            field, as written by R's `write.table`. The column is then called "".
        tab_quotes: Whether quotes mean anything in tables separated by tabs; biological tables often have single ones.
        semicolons: Whether semicolons may separate columns; not where they have a meaning within fields.
        compressed: Whether the file may be compressed.
        unique_columns: Whether two columns of one name are refused.
        max_bytes: Decompressed bytes above which a file is refused; no limit by default.
    """

    noun: str = "table"
    advice: str = "give a CSV or TSV in UTF-8"
    error: type[InputError] = TableError
    comments: bool = False
    row_names: bool = False
    tab_quotes: bool = True
    semicolons: bool = True
    compressed: bool = True
    unique_columns: bool = True
    max_bytes: int | None = None


@dataclass(frozen=True)
class Table:
    """A table in memory, every value as text.

    Attributes:
        path: The file.
        format: How it was read.
        columns: Names of the columns, in their order.
        rows: One list of values per row, as long as `columns`.
        lines: Line of the file on which each row begins, from 1.
        first_blank: Line of the first row of empty fields, or None.
    """

    path: Path
    format: TableFormat
    columns: tuple[str, ...]
    rows: list[list[str]] = field(repr=False)
    lines: list[int] = field(repr=False)
    first_blank: int | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, row: int) -> str:
        """Name a row in an error: the file and the line."""
        return f"{self.path}, line {self.lines[row]}"

    def column(self, name: str) -> list[str]:
        """Return the values of a column."""
        place = self.columns.index(name)
        return [row[place] for row in self.rows]

    def records(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield the line and the values by column of each row."""
        for line, row in zip(self.lines, self.rows, strict=True):
            yield line, dict(zip(self.columns, row, strict=True))

    def require(self, names: Sequence[str]) -> None:
        """Refuse a table that lacks a column.

        Raises:
            InputError: A column is missing; as `format.error`.
        """
        for name in names:
            if name not in self.columns:
                raise self.format.error(
                    f"{self.path}, header: no column {name} among {', '.join(self.columns)}; {self.format.advice}"
                )

    def require_unique(self, name: str, advice: str) -> None:
        """Refuse a table that has a value of a column twice.

        Raises:
            InputError: A value repeats; both lines are named. As `format.error`.
        """
        line_of: dict[str, int] = {}
        for line, value in zip(self.lines, self.column(name), strict=True):
            if value in line_of:
                raise self.format.error(
                    f"{self.path}, line {line}, column {name}: {value!r} stands on line {line_of[value]} already; "
                    f"{advice}"
                )
            line_of[value] = line

    def frame(self, index: str | None = None) -> pd.DataFrame:
        """Return a data frame of text, indexed by one of the columns if asked for."""
        import pandas as pd

        frame = pd.DataFrame(self.rows, columns=list(self.columns), dtype=object)
        return frame if index is None else frame.set_index(index)


class TableReader:
    """The header and, one by one, the rows of a table; use as a context manager.

    Args:
        path: The file.
        format: What it may look like.

    Attributes:
        columns: Names of the columns, in their order.
        first_blank: Line of the first row of empty fields so far, or None.

    Raises:
        InputError: As `format.error`: the file cannot be read, is no table, or its header is malformed.
    """

    def __init__(self, path: str | PathLike[str], format: TableFormat = TableFormat()) -> None:
        self.path, self.format = Path(path), format
        self.first_blank: int | None = None
        self._n_blank = 0
        csv.field_size_limit(_LONGEST_FIELD)
        self._file = self._open()
        try:
            self._read_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> TableReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the line, from 1, and the values of each row that has any.

        Raises:
            InputError: As `format.error`: a row is malformed; its line is named.
        """
        for line, values in chain(self._peeked, self._parsed):
            if not any(values):
                # A blank line is layout, but of a single column it is a row.
                if len(values) > 1 or len(self.columns) == 1:
                    self._n_blank += 1
                    self.first_blank = self.first_blank or line
                continue
            if self._is_comment(values):
                continue
            if len(values) != self._n_fields:
                raise self._error(
                    f"line {line}",
                    f"{len(values)} fields where the header has {self._n_fields}; fix the row, since every row needs "
                    "as many fields as the header",
                )
            for place in self._unnamed:
                if values[place]:
                    raise self._error(
                        f"line {line}", f"the value {values[place]!r} stands in column {place + 1}, which has no name"
                    )
            yield line, values if self._kept is None else [values[place] for place in self._kept]
        self._warn()

    def _open(self) -> BinaryIO:
        path, fmt = self.path, self.format
        try:
            compression = None if fmt.compressed else compression_of(path)
            if compression is not None:
                raise fmt.error(f"{path} is {compression}-compressed, not a text table; {fmt.advice}")
            return open_bytes(path, max_bytes=fmt.max_bytes)
        except ReadFileError as error:
            cause = error.__cause__ or error.__context__
            if isinstance(cause, FileNotFoundError):
                raise fmt.error(f"{path}: there is no such {fmt.noun}; check the path") from None
            if isinstance(cause, IsADirectoryError):
                raise fmt.error(f"{path} is a directory; {fmt.advice}") from None
            reason = getattr(cause, "strerror", None) or str(error)
            raise fmt.error(f"{path} cannot be read: {reason}; check the file") from error

    def _error(self, where: str, reason: str) -> InputError:
        return self.format.error(f"{self.path}, {where}: {reason}")

    def _lines(self) -> Iterator[tuple[int, str]]:
        """Yield the number and text of each line, whatever ends it, with its end."""
        number = 0
        try:
            for block in self._file:
                for raw in block.splitlines(keepends=True) if b"\r" in block else (block,):
                    number += 1
                    yield number, self._decode(number, raw)
        except StreamError as error:
            raise self.format.error(f"{self.path}: {error}") from error
        except OSError as error:
            raise self.format.error(f"{self.path} cannot be read: {error.strerror or error}; check the file") from error

    def _decode(self, number: int, raw: bytes) -> str:
        if number == 1:
            if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise self._error("line 1", "not UTF-8 text but UTF-16; save the table as CSV in UTF-8")
            raw = raw.removeprefix(b"\xef\xbb\xbf")
            content = foreign_content(raw)
            if content is not None:
                raise self.format.error(f"{self.path} is {content}, not a {self.format.noun}; {self.format.advice}")
        if b"\0" in raw:
            raise self._error(f"line {number}", f"a NUL byte, so the file is no text; {self.format.advice}")
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._error(
                f"line {number}",
                f"not UTF-8 text (byte {raw[error.start]:#04x}); save the table as CSV or TSV in UTF-8",
            ) from None

    def _read_header(self) -> None:
        lines = self._lines()
        comments: list[tuple[int, str]] = []
        header: tuple[int, str] | None = None
        for number, text in lines:
            if not text.strip():
                continue
            if not (self.format.comments and text.startswith("#")):
                header = number, text
                break
            if not text.startswith(_COMMENT_ROWS):
                comments.append((number, text))
        ahead = list(islice(lines, _N_PEEKED))
        if comments:
            number, text = comments[-1]
            n_fields = self._n_fields_of(text, text)
            if header is None or n_fields == self._n_fields_of(header[1], text) > 1:
                ahead = [*([] if header is None else [header]), *ahead]
                header = number, text
        if header is None:
            raise self.format.error(f"{self.path} is empty; {self.format.advice}")
        self._separator = self._separator_of(header[1], [text for _, text in ahead])
        self._parsed = self._parse(chain([header, *ahead], lines))
        _, names = next(self._parsed)
        if self.format.comments:
            names[0] = names[0].lstrip("#").strip()
        # Rows among the lines that were read ahead decide on the layout; a quoted field may reach beyond them.
        self._peeked = list(islice(self._parsed, min(len(ahead), _N_PEEKED)))
        self._take_layout(names)

    def _n_fields_of(self, text: str, header: str) -> int:
        """Number of fields of a line, if `header` is the header."""
        separator = self._separator_of(header, ())
        quoting: Any = self._quoting(separator)
        return len(next(csv.reader([text], delimiter=separator, quoting=quoting)))

    def _separator_of(self, header: str, rows: Sequence[str]) -> str:
        quoting = "\t" not in header or self.format.tab_quotes
        bare = _QUOTED.sub("", header) if quoting else header
        for separator in ("\t", ","):
            if separator in bare:
                return separator
        if ";" in bare and self.format.semicolons:
            counts = {len(row) for row in csv.reader([header, *rows], delimiter=";") if any(row)}
            if len(counts) == 1:
                return ";"
        name = self.path.name.lower()
        for ending in (".gz", ".bz2", ".xz", ".zst"):
            name = name.removesuffix(ending)
        return "\t" if name.endswith(_TAB_ENDINGS) else ","

    def _quoting(self, separator: str) -> int:
        return csv.QUOTE_MINIMAL if separator != "\t" or self.format.tab_quotes else csv.QUOTE_NONE

    def _parse(self, lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, list[str]]]:
        """Yield the first line and the fields of each row; of a blank line no fields."""
        start: int | None = None

        def texts() -> Iterator[str]:
            nonlocal start
            for number, text in lines:
                start = start or number
                yield text

        quoting: Any = self._quoting(self._separator)
        rows = csv.reader(texts(), delimiter=self._separator, quoting=quoting, strict=True)
        while True:
            start = None
            try:
                values = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                # Of a quote that is never closed, the line on which it opens is the one to look at.
                raise self._error(f"line {start}", f"{error}; fix the quotes of this row") from None
            yield start or 0, [value.strip() for value in values]

    def _take_layout(self, names: list[str]) -> None:
        """Decide on the columns from the header and the first rows."""
        self._n_fields = len(names)
        rows = [values for _, values in self._peeked if any(values) and not self._is_comment(values)]
        if rows and all(len(values) == len(names) + 1 for values in rows):
            if not any(values[-1] for values in rows):
                # Separators at the ends of rows alone.
                names = [*names, ""]
            elif self.format.row_names:
                names = ["", *names]
        self._n_fields = len(names)
        unnamed = [place for place, name in enumerate(names) if not name]
        if unnamed and unnamed[0] == 0 and self.format.row_names and any(values[0] for values in rows):
            unnamed = unnamed[1:]
        for place in unnamed:
            filled = next((values for values in rows if len(values) > place and values[place]), None)
            if not rows or filled is not None:
                raise self._error("header", f"column {place + 1} has no name; name it or remove it")
        self._unnamed = unnamed
        self._kept = [place for place in range(len(names)) if place not in unnamed] if unnamed else None
        self.columns = tuple(names if self._kept is None else (names[place] for place in self._kept))
        if self.format.unique_columns:
            seen: set[str] = set()
            for name in self.columns:
                if name in seen:
                    raise self._error("header", f"two columns are named {name!r}; rename one of them")
                seen.add(name)

    def _is_comment(self, values: list[str]) -> bool:
        """Whether a row is a comment: it begins with `##`, or with `#` and is shorter than a row."""
        if not self.format.comments:
            return False
        return values[0].startswith(_COMMENT_ROWS) or (values[0].startswith("#") and len(values) < self._n_fields)

    def _warn(self) -> None:
        """Say what was left out."""
        left_out = []
        if self._n_blank:
            left_out.append(f"{self._n_blank:,} {'row' if self._n_blank == 1 else 'rows'} of empty fields")
        if self._unnamed:
            n = len(self._unnamed)
            left_out.append(f"{n:,} empty {'column' if n == 1 else 'columns'} without a name")
        if left_out:
            logger.warning("%s: %s left out", self.path, " and ".join(left_out))


def read_table(path: str | PathLike[str], format: TableFormat = TableFormat()) -> Table:
    """Read a whole table.

    Args:
        path: The file.
        format: What it may look like.

    Raises:
        InputError: As `format.error`: it cannot be read, is no table, or is malformed; file and line are named.
    """
    lines, rows = [], []
    with TableReader(path, format) as reader:
        for line, values in reader:
            lines.append(line)
            rows.append(values)
    return Table(reader.path, format, reader.columns, rows, lines, reader.first_blank)


def foreign_content(head: bytes) -> str | None:
    """Return what a file that begins with these bytes is if it is known not to be a text table, else None."""
    return next((content for magic, content in _NOT_A_TABLE if head.startswith(magic)), None)


def is_missing(value: str) -> bool:
    """Tell whether a value stands for none: one of `MISSING_VALUES`, in any case."""
    return value.strip().lower() in MISSING_VALUES


__all__ = ["MISSING_VALUES", "Table", "TableFormat", "TableReader", "foreign_content", "is_missing", "read_table"]
