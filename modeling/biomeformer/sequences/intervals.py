"""Labelled intervals of a genome: BED and narrowPeak, with their summits."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import TextIO

import numpy as np

from ..errors import InputError
from .interval_formats import (
    N_EXAMINED,
    NARROW_PEAK_COLUMNS,
    STRANDS,
    LayoutError,
    fields_of,
    is_comment,
    is_header,
    is_position,
    is_whole,
    layout_of,
)
from .labelled import LabelledFile, text_of

logger = logging.getLogger(__name__)

NO_NAME = ("", ".")


@dataclass(frozen=True)
class Intervals:
    """Intervals of a file, as summits.

    Attributes:
        file: The input file.
        contigs: Names of the contigs, in order of first appearance in the file.
        contig: int32 `(n_intervals,)`, indices into `contigs`.
        summit: int64 `(n_intervals,)`, 0-based.
        strand: int8 `(n_intervals,)`, 1 or -1.
        line: int64 `(n_intervals,)`, line numbers in the file, from 1.
        names: Values of the fourth column, concatenated, in UTF-8.
        name_ends: int64 `(n_intervals,)`, end offset of each name in `names`.
    """

    file: LabelledFile
    contigs: tuple[str, ...]
    contig: np.ndarray
    summit: np.ndarray
    strand: np.ndarray
    line: np.ndarray
    names: bytes
    name_ends: np.ndarray

    def __len__(self) -> int:
        return len(self.summit)

    def name(self, i: int) -> str:
        """Return the fourth column of interval `i`, or an empty string if it has none."""
        return self.names[self.name_ends[i - 1] if i else 0 : self.name_ends[i]].decode()


def read_intervals(file: LabelledFile) -> Intervals:
    """Read BED (three columns or more) or narrowPeak, which `layout_of` tells apart by the contents of the columns.

    Starts count from 0, and ends are not included. The summit is the start plus column 10 of narrowPeak; if that is -1,
    and for BED, it is the midpoint, rounded down. A header that names contig, start and end is skipped, and anything
    unusual is logged as a warning. Only the numbers and the name of each line are kept in memory.

    Raises:
        InputError: A line is malformed; file, line and reason are named.
    """
    contig_numbers: dict[str, int] = {}
    contig, strand = array("i"), array("b")
    summit, line, name_ends = array("q"), array("q"), array("q")
    names = bytearray()
    with text_of(file.path) as handle:
        rows = _rows(file, handle)
        examined = list(islice(rows, N_EXAMINED))
        try:
            layout = layout_of(examined)
        except LayoutError as error:
            raise InputError(f"{file.path}, {error}.") from error
        if layout.notes:
            logger.warning("%s: %s", file.path, "; ".join(layout.notes))
        for number, fields in chain(examined, rows):
            fields = fields[: layout.n_columns]
            where = f"{file.path}, line {number}"
            start, end = _bounds(where, fields)
            summit.append(start + _offset(where, fields, end - start) if layout.has_summits else (start + end) // 2)
            contig.append(contig_numbers.setdefault(fields[0], len(contig_numbers)))
            strand.append(_strand(where, fields))
            line.append(number)
            if len(fields) > 3 and fields[3] not in NO_NAME:
                names += fields[3].encode()
            name_ends.append(len(names))
    return Intervals(
        file,
        tuple(contig_numbers),
        np.frombuffer(contig, np.int32),
        np.frombuffer(summit, np.int64),
        np.frombuffer(strand, np.int8),
        np.frombuffer(line, np.int64),
        bytes(names),
        np.frombuffer(name_ends, np.int64),
    )


def _rows(file: LabelledFile, handle: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the fields of each interval."""
    is_first = True
    for number, text in enumerate(handle, 1):
        text = text.strip()
        if not text or is_comment(text):
            continue
        fields = fields_of(text)
        if is_first and is_header(fields):
            logger.warning(
                "%s: line %d names the columns (%s); positions are read as those of BED: starts count from 0, ends "
                "are not included",
                file.path,
                number,
                ", ".join(fields[:3]),
            )
        else:
            yield number, fields
        is_first = False


def _bounds(where: str, fields: list[str]) -> tuple[int, int]:
    if len(fields) < 3:
        raise InputError(f"{where}: {len(fields)} columns, and BED has contig, start and end; fix the line.")
    start, end = fields[1], fields[2]
    if not (is_position(start) and is_position(end)):
        bad = end if is_position(start) else start
        raise InputError(f"{where}: {bad[:40]!r} is no position; start and end are whole numbers from 0.")
    if int(end) < int(start):
        raise InputError(f"{where}: the interval ends at {end}, before its start {start}; fix the line.")
    return int(start), int(end)


def _offset(where: str, fields: list[str], length: int) -> int:
    """Return the bases from the start to the summit of a narrowPeak line."""
    text = fields[9] if len(fields) >= NARROW_PEAK_COLUMNS else ""
    offset = int(text) if is_whole(text) else None
    if offset is None or not -1 <= offset < max(length, 1):
        raise InputError(
            f"{where}: column 10 of narrowPeak is {text[:40]!r}, and must be the summit's distance from the start "
            f"(below {length} here) or -1; fix the line, or give BED of the first six columns, e.g. from cut -f 1-6."
        )
    return length // 2 if offset == -1 else offset


def _strand(where: str, fields: list[str]) -> int:
    text = fields[5] if len(fields) > 5 else "."
    if text not in STRANDS:
        raise InputError(f"{where}: the strand is {text!r}; it must be +, - or '.'.")
    return STRANDS[text]


__all__ = ["Intervals", "read_intervals"]
