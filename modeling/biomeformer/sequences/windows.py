"""Windows of a reference genome around summits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..io.nucleotides import reverse_complement
from .batch import Batch
from .intervals import Intervals
from .reference import stream_contigs
from .settings import PreparationSettings

PAST_END, SHORT_CONTIG = "past_contig_end", "contig_shorter_than_window"
OTHER_CONTIG = "other_contig"
# The assembled chromosomes of an animal's genome, the mitochondrial one too, as UCSC or Ensembl call them.
CANONICAL = re.compile(r"(chr)?([1-9][0-9]?|[XYZW]|MT?)")
N_SHOWN = 3


def window(summit: int, length: int, n_bases: int, edges: str) -> tuple[int, int] | str:
    """Compute start and end of a window around a summit, 0-based and half-open, in forward coordinates.

    The window begins `length // 2` bases before the summit.

    Args:
        summit: Position of the summit, 0-based.
        length: Length of the window in bases.
        n_bases: Length of the contig in bases.
        edges: How to treat a window that crosses an end of the contig: `drop`, `shift`, `clip` or `pad`.

    Returns:
        Start and end, or the reason why the window is dropped: `past_contig_end` or `contig_shorter_than_window`. With
        `pad` they are those of the part within the contig, which `pad_window` extends.
    """
    start = summit - length // 2
    end = start + length
    if start >= 0 and end <= n_bases:
        return start, end
    if edges == "drop":
        return PAST_END
    if edges in ("clip", "pad"):
        return max(start, 0), min(end, n_bases)
    if length > n_bases:
        return SHORT_CONTIG
    start = min(max(start, 0), n_bases - length)
    return start, start + length


def pad_window(bases: bytes, length: int) -> bytes:
    """Extend a window to its length with N on both sides alike (on the right one more, if their number is odd).

    The rule of arXiv 2509.25274: symmetric padding with ambiguous bases to a fixed length.
    """
    missing = length - len(bases)
    return b"N" * (missing // 2) + bases + b"N" * (missing - missing // 2)


def read_windows(files: Sequence[Intervals], genome: Path, settings: PreparationSettings) -> Iterator[Batch]:
    """Yield batches of windows, in the order of the reference's contigs and then of the files.

    Raises:
        InputError: A contig is not in the reference, or ends before a summit; the message names file and line.
    """
    orders = [np.argsort(file.contig, kind="stable") for file in files]
    borders = [
        np.searchsorted(file.contig[order], np.arange(len(file.contigs) + 1))
        for file, order in zip(files, orders, strict=True)
    ]
    contig_numbers = [{name: number for number, name in enumerate(file.contigs)} for file in files]
    # A dict rather than a set, to keep the order of the reference.
    seen: dict[str, None] = {}
    for contig, sequence in stream_contigs(genome, {name for numbers in contig_numbers for name in numbers}):
        seen[contig] = None
        if sequence is None:
            continue
        for file, order, border, numbers in zip(files, orders, borders, contig_numbers, strict=True):
            number = numbers.get(contig)
            if number is not None:
                rows = order[border[number] : border[number + 1]]
                yield from _windows_of_contig(file, rows, contig, sequence, settings)
    _check_contigs_seen(files, genome, seen)


def _windows_of_contig(
    file: Intervals, rows: np.ndarray, contig: str, sequence: bytearray, settings: PreparationSettings
) -> Iterator[Batch]:
    group = contig if settings.split == "chromosome" else None
    batch = Batch(file.file.path, "line")
    if settings.canonical_contigs and CANONICAL.fullmatch(contig) is None:
        batch.dropped[OTHER_CONTIG] += len(rows)
        rows = rows[:0]
    for i in rows.tolist():
        summit, line = int(file.summit[i]), int(file.line[i])
        if summit >= len(sequence):
            raise InputError(
                f"{file.file.path}, line {line}: the summit {summit} lies past the end of contig {contig!r} "
                f"({len(sequence)} bases); give the reference that the intervals are of."
            )
        bounds = window(summit, settings.length, len(sequence), settings.edges)
        if isinstance(bounds, str):
            batch.dropped[bounds] += 1
            continue
        start, end = bounds
        bases, strand = bytes(sequence[start:end]), "+"
        if settings.edges == "pad":
            bases = pad_window(bases, settings.length)
        if file.strand[i] < 0:
            bases, strand = reverse_complement(bases), "-"
        source = f"{contig}:{start}-{end}:{strand}"
        batch.add(line, file.name(i) or source, bases, file.file.label, group, source)
        if batch.is_full:
            yield batch
            batch = Batch(file.file.path, "line")
    if batch.ids or batch.dropped:
        yield batch


def _check_contigs_seen(files: Sequence[Intervals], genome: Path, seen: dict[str, None]) -> None:
    for file in files:
        missing = [number for number, name in enumerate(file.contigs) if name not in seen]
        if missing:
            name = file.contigs[missing[0]]
            line = int(file.line[np.argmax(file.contig == missing[0])])
            other = name.removeprefix("chr") if name.startswith("chr") else f"chr{name}"
            hint = f"it calls this one {other!r}" if other in seen else f"it has {', '.join(islice(seen, N_SHOWN))}, …"
            raise InputError(
                f"{file.file.path}, line {line}: contig {name!r} is not in {genome} ({hint}); give the reference that "
                "the intervals are of."
            )


__all__ = ["pad_window", "read_windows", "window"]
