"""Readers of labelled sequences: FASTA, CSV, TSV and Parquet."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import InputError, reason_of
from ..io.compression import StreamError, open_bytes, open_text
from ..io.tables import TableFormat, TableReader, foreign_content, is_missing, missing_words
from ..reads.records import RecordFile, usual_letters
from .batch import Batch
from .interval_formats import foreign_format, is_comment, is_intervals
from .labels import NO_LABEL
from .settings import PreparationSettings

CONTIG_COLUMN = "contig"
HEAD_BYTES = 64 << 10
PARQUET_ROWS = 1024

_BINARY_INTERVALS = (
    (b"\xeb\xf2\x89\x87", "a bigBed file; convert it with bigBedToBed"),
    (b"\x87\x89\xf2\xeb", "a bigBed file; convert it with bigBedToBed"),
    (b"\x26\xfc\x8f\x88", "a bigWig file of a signal; give BED of intervals, e.g. peaks called on it"),
)
ADVICE = "give FASTA, CSV, TSV, Parquet, or BED intervals"
# Names of columns that are not read may repeat.
FORMAT = TableFormat("table of sequences", ADVICE, InputError, unique_columns=False)


@dataclass(frozen=True)
class LabelledFile:
    """An input file with its label and kind.

    Attributes:
        path: The file.
        label: Label of all its sequences, or None if a column holds the labels.
        kind: `fasta`, `table`, `parquet` or `intervals`, detected from the content.
    """

    path: Path
    label: str | None
    kind: str


def open_input(text: str | Path) -> LabelledFile:
    """Parse an input argument, a path or LABEL=PATH, and detect the kind of its file.

    Raises:
        InputError: The file does not exist, is of an unsupported kind, or lacks a label.
    """
    label, path = None, Path(text)
    if "=" in str(text) and not path.exists():
        before, _, after = str(text).partition("=")
        label, path = before.strip(), Path(after)
        if not label:
            raise InputError(f"{text}: the label in front of '=' is empty; give LABEL=PATH.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; {ADVICE}.")
    if not path.exists():
        raise InputError(f"{path}: there is no such file; check the path.")
    kind = _kind(path)
    if label is None and kind in ("fasta", "intervals"):
        description = "a FASTA file" if kind == "fasta" else "a file of intervals"
        raise InputError(f"{path} is {description} and has no labels of its own; give LABEL={path}.")
    return LabelledFile(path, label, kind)


def _kind(path: Path) -> str:
    with reading(path), open_bytes(path) as stream:
        head = stream.read(HEAD_BYTES)
    if not head.strip():
        raise InputError(f"{path} is empty; {ADVICE}.")
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.lstrip().startswith(b">"):
        return "fasta"
    if head.startswith((b"@HD\t", b"@SQ\t")):
        raise InputError(
            f"{path} is a SAM file, or an interval_list of Picard, whose positions count from 1; convert that with "
            f"picard IntervalListToBed, or {ADVICE}."
        )
    if head.startswith(b"@"):
        raise InputError(f"{path} is a FASTQ file, and reads have no labels; {ADVICE}.")
    for magic, binary_content in _BINARY_INTERVALS:
        if head.startswith(magic):
            raise InputError(f"{path} is {binary_content}.")
    content = foreign_content(head)
    if content is not None:
        raise InputError(f"{path} is {content}; {ADVICE}.")
    if b"\0" in head:
        raise InputError(f"{path} is not a text file; {ADVICE}.")
    text = head.decode("utf-8", "replace").removeprefix("\ufeff")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    content = foreign_format(lines)
    if content is not None:
        raise InputError(f"{path} is {content}.")
    return "intervals" if is_intervals([line for line in lines if not is_comment(line)]) else "table"


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an error while a file is read into one that names the file.

    Raises:
        InputError: The file is damaged, or not UTF-8 text.
    """
    try:
        yield
    except StreamError as error:
        raise InputError(f"{path}: {error}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text (byte {error.object[error.start]:#04x}); save it as such.") from None


@contextmanager
def text_of(path: Path) -> Iterator[TextIO]:
    """Open a file as text, decompressing it on the fly and keeping its line ends."""
    with reading(path), open_text(path, newline="") as stream:
        yield stream


def read_labelled(file: LabelledFile, settings: PreparationSettings) -> Iterator[Batch]:
    """Yield batches of a file of sequences.

    Raises:
        InputError: The file is malformed or lacks what the settings need; file and record are named.
    """
    read = {"fasta": _fasta, "table": _table, "parquet": _parquet}[file.kind]
    batch: Batch | None = None
    for batch in read(file, settings):
        yield batch
    if batch is None:
        raise InputError(f"{file.path} holds no sequences; is it complete?")


def _fasta(file: LabelledFile, settings: PreparationSettings) -> Iterator[Batch]:
    if settings.split in ("chromosome", "group"):
        raise InputError(
            f"{file.path} is FASTA and names no {'contigs' if settings.split == 'chromosome' else 'groups'}, which "
            f"split {settings.split!r} needs; give a table or intervals, or another split."
        )
    batch = Batch(file.path, "record")
    with RecordFile(file.path) as records:
        for number, record in enumerate(records, 1):
            name = record.name.split(maxsplit=1)[0] if record.name.strip() else f"{file.path.name}:{number}"
            batch.add(number, name, usual_letters(record.sequence).encode("ascii"), file.label, None)
            if batch.is_full:
                yield batch
                batch = Batch(file.path, "record")
    if batch.ids:
        yield batch


def _columns(file: LabelledFile, settings: PreparationSettings, names: list[str]) -> dict[str, str]:
    """Return the name of the column of each field that is read: sequence, label, id and group."""
    columns = {"sequence": settings.sequence_column}
    if file.label is None:
        columns["label"] = settings.label_column
    if settings.id_column is not None:
        columns["id"] = settings.id_column
    if settings.split == "group":
        columns["group"] = str(settings.group_column)
    elif settings.split == "chromosome":
        columns["group"] = CONTIG_COLUMN
    for field, column in columns.items():
        if names.count(column) != 1:
            count = "two columns" if column in names else "no column"
            option = "split 'chromosome' needs it" if column == CONTIG_COLUMN else f"name it by --{field}-column"
            raise InputError(f"{file.path}: {count} {column!r} among {', '.join(names)}; {option}.")
    return columns


def _table(file: LabelledFile, settings: PreparationSettings) -> Iterator[Batch]:
    missing = missing_words(settings.missing, settings.not_missing)
    with TableReader(file.path, FORMAT) as rows:
        columns = _columns(file, settings, list(rows.columns))
        indices = {field: rows.columns.index(name) for field, name in columns.items()}
        batch = Batch(file.path, "line")
        for line, row in rows:
            _add_row(batch, file, line, {field: row[i] for field, i in indices.items()}, missing)
            if batch.is_full:
                yield batch
                batch = Batch(file.path, "line")
    if batch.ids or batch.dropped:
        yield batch


def _parquet(file: LabelledFile, settings: PreparationSettings) -> Iterator[Batch]:
    number = 0
    missing = missing_words(settings.missing, settings.not_missing)
    try:
        parquet = pq.ParquetFile(file.path)
        columns = _columns(file, settings, parquet.schema_arrow.names)
        for part in parquet.iter_batches(PARQUET_ROWS, columns=list(dict.fromkeys(columns.values()))):
            batch = Batch(file.path, "row")
            for values in part.to_pylist():
                number += 1
                _add_row(batch, file, number, {field: values[name] for field, name in columns.items()}, missing)
            if batch.ids or batch.dropped:
                yield batch
    except (pa.ArrowException, OSError) as error:
        reason = reason_of(error, 120)
        raise InputError(f"{file.path} is a damaged Parquet file ({reason}); copy it again.") from error


def _add_row(batch: Batch, file: LabelledFile, number: int, row: dict[str, Any], missing: Collection[str]) -> None:
    """Add a row to the batch, or count it if its label marks a missing value."""
    sequence, group = row["sequence"], row.get("group")
    label = row.get("label") if file.label is None else file.label
    # An empty label is handled where labels are encoded: of a multi-label task it is a sequence of no class.
    if file.label is None and isinstance(label, str) and label.strip() and is_missing(label, missing):
        batch.dropped[NO_LABEL] += 1
        batch.missing_words[label.strip()] += 1
        return
    if not isinstance(sequence, str | None):
        raise InputError(f"{file.path}, {batch.unit} {number}: the sequence is no text but {sequence!r}.")
    if "group" in row and group in (None, ""):
        raise InputError(f"{file.path}, {batch.unit} {number}: the group or contig is empty, which the split needs.")
    name = row.get("id")
    batch.add(
        number,
        f"{file.path.name}:{number}" if name in (None, "") else str(name),
        (sequence or "").encode(),
        label,
        None if group is None else str(group),
    )


__all__ = ["LabelledFile", "open_input", "read_labelled"]
