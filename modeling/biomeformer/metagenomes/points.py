"""The points of k-means: in memory, or on disk where they are too many for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open

CHUNK_BYTES = 16 << 20


@dataclass(frozen=True)
class Points:
    """A process's share of the points, which have a common order over all processes.

    Attributes:
        n_points: Points of all processes.
        first: Number of this process's first point.
        n_local: Points of this process, which follow each other.
        hidden_size: Dimensions.
        chunks: Reads this process's points again, in order: float32 arrays `(n, hidden_size)` of at most `CHUNK_BYTES`.
        on_disk: Whether `chunks` reads from the disk.
    """

    n_points: int
    first: int
    n_local: int
    hidden_size: int
    chunks: Callable[[], Iterator[np.ndarray]]
    on_disk: bool = False

    @classmethod
    def from_array(cls, array: np.ndarray, first: int = 0, n_points: int | None = None) -> Points:
        """Return points held in memory, float32 `(n_local, hidden_size)`."""
        n_rows = chunk_rows(array.shape[1])

        def chunks() -> Iterator[np.ndarray]:
            for start in range(0, len(array), n_rows):
                yield array[start : start + n_rows]

        return cls(len(array) if n_points is None else n_points, first, len(array), array.shape[1], chunks)

    @classmethod
    def from_files(
        cls, files: Sequence[tuple[Path, int]], hidden_size: int, rank: int, n_ranks: int, max_bytes: int
    ) -> Points:
        """Return an even share of the rows of files, held in memory if they take at most `max_bytes`.

        Args:
            files: safetensors files with float32 `vectors (n, hidden_size)`, and their `n`, in order.
            hidden_size: Dimensions.
            rank: Number of this process.
            n_ranks: Processes in all.
            max_bytes: What the points may take in memory; more are read from the disk whenever they are needed.
        """
        n_points = sum(n for _, n in files)
        first, last = n_points * rank // n_ranks, n_points * (rank + 1) // n_ranks

        def chunks() -> Iterator[np.ndarray]:
            yield from _rows_of_files(files, first, last, hidden_size)

        if (last - first) * hidden_size * 4 > max_bytes:
            return cls(n_points, first, last - first, hidden_size, chunks, on_disk=True)
        array = np.empty((last - first, hidden_size), np.float32)
        done = 0
        for chunk in chunks():
            array[done : done + len(chunk)] = chunk
            done += len(chunk)
        return cls.from_array(array, first, n_points)


def chunk_rows(hidden_size: int) -> int:
    """Return the points per chunk."""
    return max(CHUNK_BYTES // (4 * hidden_size), 1)


def _rows_of_files(files: Sequence[tuple[Path, int]], first: int, last: int, hidden_size: int) -> Iterator[np.ndarray]:
    """Yield rows `first` … `last` - 1 of concatenated files, in chunks that small files share."""
    n_rows, n_left = chunk_rows(hidden_size), last - first
    buffer, n_filled, start = np.empty((0, hidden_size), np.float32), 0, 0
    for path, n in files:
        begin, end = max(first - start, 0), min(last - start, n)
        start += n
        if begin >= end:
            continue
        with safe_open(path, "numpy") as file:
            vectors = file.get_slice("vectors")
            while begin < end:
                if not n_filled:
                    buffer = np.empty((min(n_rows, n_left), hidden_size), np.float32)
                until = min(end, begin + len(buffer) - n_filled)
                buffer[n_filled : n_filled + until - begin] = vectors[begin:until]
                n_filled += until - begin
                begin = until
                if n_filled == len(buffer):
                    n_left -= n_filled
                    yield buffer
                    n_filled = 0


__all__ = ["CHUNK_BYTES", "Points", "chunk_rows"]
