"""The one reader of delimited text: cohorts, catalogs, metadata, features, annotations, labelled sequences.

The separator is determined by the header outside its quotes: a tab if it has one, else a comma if it has one, else
a semicolon if all rows have as many as the header (as exported by spreadsheets where the comma is the decimal mark).
A header of quoted names between single blanks is that of R's `write.table`, whose columns are separated by blanks. A
header with none of these is a single column, and the suffix of the file's name decides (tab for .tsv, .tab and .txt,
else comma). Nothing is guessed from the values, and all values are text: callers convert.

Text is UTF-8, with or without a byte-order mark, with any line ends, and may be compressed. Quoting follows RFC 4180;
quoted fields may hold separators and line breaks. Blanks around values are stripped. Rows of empty fields and empty
columns without a name, which spreadsheets add, are left out with a logged warning that counts them. Rows that differ
in length from the header, duplicate column names, bytes that are not UTF-8, and stray quotes are refused with their
line. An apostrophe before a leading `=`, `+`, `-` or `@`, by which the package's own tables keep spreadsheets from
computing text as a formula, is removed.
"""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from ..errors import InputError, ReadFileError, TableError
from ..sinks import from_spreadsheet, terminal
from .compression import StreamError, compression_of, open_bytes, remove_compression_suffix

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

# Words for a missing value in metadata and labels, in any case: those of R, pandas, databases and spreadsheets, and the
# terms of INSDC for missing values. "None" is a value: it is a common name of the group without a disease.
MISSING_VALUES = frozenset(
    {"", "na", "n/a", "#n/a", "<na>", "nan", "null", "unknown", "missing"}
    | {"not available", "not collected", "not provided", "not applicable", "restricted access"}
    | {"#value!", "#ref!", "#div/0!", "#name?", "#null!", "#num!"}
)
# csv's default limit of 128 KiB is too low for long sequences.
_LONGEST_FIELD = (1 << 31) - 1
# Rows after the header that determine the layout.
_N_PEEKED = 50
_TAB_ENDINGS = (".tsv", ".tab", ".txt")
_QUOTED = re.compile(r'"[^"]*"')
# The header that R's `write.table` writes by default.
_QUOTED_NAMES = re.compile(r'"(?:[^"]|"")*"(?: "(?:[^"]|"")*")+\s*')
# A comma is the decimal mark in some countries, and stands between thousands in others.
_WITH_COMMAS = re.compile(r"[+-]?[0-9]+(,[0-9]+)+([.][0-9]+)?([eE][+-]?[0-9]+)?")
# Comments among the rows, however long: eggNOG-mapper's footer, and the column types of QIIME 2.
_COMMENT_ROWS = ("##", "#q2:")
_NOT_A_TABLE = (
    *((tag, "a profile in the format of CAMI") for tag in (b"@SampleID:", b"@Version:", b"@@TAXID")),
    (b"@", "a FASTQ file"),
    (b">", "a FASTA file"),
    (b"[Header]", "the sample sheet of an Illumina sequencer (it names no files of reads)"),
    (b"\x1f\x8b", "gzip-compressed twice"),
    (b"PK\x03\x04", "a spreadsheet or zip archive (a QIIME 2 artifact? `qiime tools export` unpacks it)"),
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
    """Permitted features of a table, and the wording of its errors.

    Attributes:
        noun: Name of the table in errors.
        advice: Advice on which file to give instead.
        error: Type of the errors.
        comments: Whether lines that begin with `#` may precede the header, and the header itself may begin with `#`:
            the last such line is the header if the row after it has as many fields. Comments between rows begin with
            `##`, or begin with `#` and have fewer fields than the header.
        row_names: Whether the first column may lack a name, as written by pandas, or the header may lack the first
            field, as written by R's `write.table`. The column is then named "".
        tab_quotes: Whether quotes are special in tab-separated tables; biological tables often have unpaired ones.
        semicolons: Whether semicolons may separate columns; not if they are meaningful within fields.
        compressed: Whether the file may be compressed.
        unique_columns: Whether duplicate column names are refused.
        max_bytes: Maximum number of decompressed bytes of a file; no limit by default.
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
    """A table in memory, with all values as text.

    Attributes:
        path: The file.
        format: Format it was read with.
        columns: Names of the columns, in their order.
        rows: One list of values per row, as long as `columns`.
        lines: Line number at which each row begins, from 1.
        first_blank: Line number of the first row of empty fields, or None.
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
        """Return file and line of a row, for error messages."""
        return f"{self.path}, line {self.lines[row]}"

    def column(self, name: str) -> list[str]:
        """Return the values of a column."""
        index = self.columns.index(name)
        return [row[index] for row in self.rows]

    def records(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield the line number and the values by column of each row."""
        for line, row in zip(self.lines, self.rows, strict=True):
            yield line, dict(zip(self.columns, row, strict=True))

    def require(self, names: Sequence[str]) -> None:
        """Check that the table has the given columns.

        Raises:
            InputError: A column is missing (raised as `format.error`).
        """
        for name in names:
            if name not in self.columns:
                raise self.format.error(
                    f"{self.path}, header: no column {name} among {', '.join(self.columns)}; {self.format.advice}"
                )

    def require_unique(self, name: str, advice: str) -> None:
        """Check that the values of a column are unique.

        Raises:
            InputError: A value occurs twice; the message names both lines (raised as `format.error`).
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
        """Return a data frame of text, indexed by the column `index` if given."""
        import pandas as pd

        frame = pd.DataFrame(self.rows, columns=list(self.columns), dtype=object)
        return frame if index is None else frame.set_index(index)


class TableReader:
    """Reads the header and then the rows of a table one at a time; use as a context manager.

    Args:
        path: The file.
        format: Permitted features of the table.

    Attributes:
        columns: Names of the columns, in order.
        first_blank: Line number of the first row of empty fields so far, or None.

    Raises:
        InputError: The file cannot be read, is not a table, or its header is malformed (raised as `format.error`).
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
        """Yield the line number, from 1, and the values of each row that is not empty.

        Raises:
            InputError: A row is malformed; the message names its line (raised as `format.error`).
        """
        for line, values in chain(self._peeked, self._parsed):
            if not any(values):
                # A blank line is ignored, but in a table of one column it is an empty row.
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
            for i in self._unnamed:
                if values[i]:
                    raise self._error(
                        f"line {line}", f"the value {values[i]!r} is in column {i + 1}, which has no name"
                    )
            yield line, values if self._kept is None else [values[i] for i in self._kept]
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
        """Yield the number and text of each line, including its line end of any kind."""
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
        # The rows read ahead determine the layout; a quoted field may extend beyond them.
        self._peeked = list(islice(self._parsed, min(len(ahead), _N_PEEKED)))
        self._take_layout(names)

    def _n_fields_of(self, text: str, header: str) -> int:
        """Count the fields of a line, assuming that `header` is the header."""
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
        if self.format.row_names and _QUOTED_NAMES.fullmatch(header):
            return " "
        name = remove_compression_suffix(self.path.name).lower()
        return "\t" if name.endswith(_TAB_ENDINGS) else ","

    def _quoting(self, separator: str) -> int:
        return csv.QUOTE_MINIMAL if separator != "\t" or self.format.tab_quotes else csv.QUOTE_NONE

    def _parse(self, lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, list[str]]]:
        """Yield the first line number and the fields of each row; none for a blank line."""
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
                # For a quote that is never closed, report the line on which it opens.
                raise self._error(f"line {start}", f"{error}; fix the quotes of this row") from None
            yield start or 0, [from_spreadsheet(value.strip()) for value in values]

    def _take_layout(self, names: list[str]) -> None:
        """Determine the columns from the header and the first rows."""
        self._n_fields = len(names)
        rows = [values for _, values in self._peeked if any(values) and not self._is_comment(values)]
        if rows and all(len(values) == len(names) + 1 for values in rows):
            if not any(values[-1] for values in rows):
                # Rows end with a separator, the header does not.
                names = [*names, ""]
            elif self.format.row_names:
                names = ["", *names]
        self._n_fields = len(names)
        unnamed = [i for i, name in enumerate(names) if not name]
        if unnamed and unnamed[0] == 0 and self.format.row_names and any(values[0] for values in rows):
            unnamed = unnamed[1:]
        for i in unnamed:
            is_empty = not any(len(values) > i and values[i] for values in rows)
            if not rows or not is_empty:
                raise self._error("header", f"column {i + 1} has no name; name it or remove it")
        self._unnamed = unnamed
        self._kept = [i for i in range(len(names)) if i not in unnamed] if unnamed else None
        self.columns = tuple(names if self._kept is None else (names[i] for i in self._kept))
        if self.format.unique_columns:
            seen: set[str] = set()
            for name in self.columns:
                if name in seen:
                    raise self._error("header", f"two columns are named {name!r}; rename one of them")
                seen.add(name)

    def _is_comment(self, values: list[str]) -> bool:
        """Return whether a row is a comment: it begins with `##`, or with `#` and is shorter than the header."""
        if not self.format.comments:
            return False
        return values[0].startswith(_COMMENT_ROWS) or (values[0].startswith("#") and len(values) < self._n_fields)

    def _warn(self) -> None:
        """Log what was left out."""
        left_out = []
        if self._n_blank:
            left_out.append(f"{self._n_blank:,} {'row' if self._n_blank == 1 else 'rows'} of empty fields")
        if self._unnamed:
            n = len(self._unnamed)
            left_out.append(f"{n:,} empty {'column' if n == 1 else 'columns'} without a name")
        if left_out:
            logger.warning("%s: %s left out", terminal(str(self.path)), " and ".join(left_out))


def read_table(path: str | PathLike[str], format: TableFormat = TableFormat()) -> Table:
    """Read a whole table.

    Args:
        path: The file.
        format: Permitted features of the table.

    Raises:
        InputError: The file cannot be read, is not a table, or is malformed; the message names file and line (raised
            as `format.error`).
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


def missing_words(also: Collection[str] = (), except_for: Collection[str] = ()) -> frozenset[str]:
    """Return the words that mark a missing value: `MISSING_VALUES` with changes.

    Args:
        also: Further words, such as "None".
        except_for: Words that are values here, such as "NA".

    Raises:
        InputError: A word is in both, or the empty word is to be a value.
    """
    added, removed = ({word.strip().lower() for word in words} for words in (also, except_for))
    if "" in removed:
        raise InputError("an empty field is always a missing value; name a word.")
    for word in sorted(added & removed):
        raise InputError(f"{word!r} is given both as a missing value and as a value; decide for one.")
    return (MISSING_VALUES | added) - removed


def is_missing(value: str, words: Collection[str] = MISSING_VALUES) -> bool:
    """Return whether a value is one of the words, in any case, or an INSDC term such as "missing: control sample"."""
    word = value.strip().lower()
    return word in words or (word.startswith("missing:") and "missing" in words)


def is_number(value: object) -> bool:
    """Return whether a value is a number, or text that Python reads as one, such as `1e-5` and `nan`.

    Underscores between digits, which Python accepts, are no part of a number in a table.
    """
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return not (isinstance(value, str) and "_" in value)


def why_no_number(value: str) -> str:
    """Return the end of an error about text that should be a number: the text, and how to write it if that is clear."""
    text = value.strip()
    if not text:
        return "empty"
    advice = ""
    if _WITH_COMMAS.fullmatch(text):
        advice = " (write a point as the decimal mark, and nothing between thousands)"
    elif text.endswith("%") and is_number(text[:-1]):
        advice = " (leave the percent sign out)"
    return f"{value!r}, which is no number{advice}"


__all__ = [
    "MISSING_VALUES",
    "Table",
    "TableFormat",
    "TableReader",
    "foreign_content",
    "is_missing",
    "is_number",
    "missing_words",
    "read_table",
    "why_no_number",
]
