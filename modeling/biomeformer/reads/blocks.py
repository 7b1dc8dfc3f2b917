"""FASTQ records by the block, for compiled functions: positions in the text instead of an object per record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from biomeformer.io.compression import DecompressedStream

# Few enough that text and copies stay in the processor's cache.
_BLOCK_BYTES = 1 << 18
_LINES = 4
_NEWLINE = ord("\n")


class RecordKernels(Protocol):
    """Compiled functions; see `biomeformer.inference.kernel_records`."""

    # Bytes beyond a text that the functions may look at.
    PADDING: int
    find_records: Callable[..., int]
    copy_sequences: Callable[..., bool]
    first_other_name: Callable[..., int]


# Returns the functions once they are loaded, and None before.
KernelSource: TypeAlias = Callable[[], "RecordKernels | None"]


@dataclass(frozen=True)
class RecordBlock:
    """Consecutive records of four lines each, valid until the next block is read.

    Attributes:
        text: uint8, the lines, and further bytes.
        line_ends: int64 `(n_records, 4)`, positions of the line feeds in `text`.
        start: Position of the first record.
    """

    text: npt.NDArray[np.uint8]
    line_ends: npt.NDArray[np.int64]
    start: int = 0

    def __len__(self) -> int:
        return len(self.line_ends)

    def lengths(self) -> npt.NDArray[np.int64]:
        """Return the bases per record, int64 `(n_records,)`."""
        lengths: npt.NDArray[np.int64] = self.line_ends[:, 1] - self.line_ends[:, 0] - 1
        return lengths

    def name(self, record: int) -> str:
        """Return the first line of a record without its `@`."""
        start = int(self.line_ends[record - 1, 3]) + 1 if record else self.start
        return self.text[start + 1 : int(self.line_ends[record, 0])].tobytes().decode("ascii")

    def split(self, n: int) -> tuple[RecordBlock, RecordBlock]:
        """Return the first `n` records, at least one, and the others."""
        rest = RecordBlock(self.text, self.line_ends[n:], int(self.line_ends[n - 1, 3]) + 1)
        return RecordBlock(self.text, self.line_ends[:n], self.start), rest


NO_RECORDS = RecordBlock(np.zeros(0, np.uint8), np.zeros((0, _LINES), np.int64))


class BlockReader:
    """Takes records off a FASTQ file by the block, up to the first one that is laid out otherwise than most.

    A record is taken if it has four lines, without carriage returns, the third is a `+` alone, and sequence and
    qualities are as long as each other. The rest of the file goes back to the stream and is left to other parsers.

    Args:
        stream: The file, at the `@` of a record.
        kernels: Compiled functions.
    """

    def __init__(self, stream: DecompressedStream, kernels: RecordKernels) -> None:
        self._stream, self._kernels = stream, kernels
        self._padding = kernels.PADDING
        self._buffer = np.empty(_BLOCK_BYTES + self._padding, np.uint8)
        self._line_ends = np.empty((_BLOCK_BYTES // 64, _LINES), np.int64)
        self._ready = NO_RECORDS
        # What the buffer holds after the records that are ready: position and end.
        self._rest = (0, 0)
        self.is_finished = False

    def ready(self) -> RecordBlock:
        """Return the next records, which stay until they are taken; none from the first on that is laid out otherwise.

        Raises:
            StreamError: The file breaks before the next record's end.
        """
        if not len(self._ready) and not self.is_finished:
            self._ready = self._next_block()
        return self._ready

    def take(self, n: int) -> RecordBlock:
        """Return the first `n` of the records that are ready, at least one, and go on to those after them."""
        taken, self._ready = self._ready.split(n)
        return taken

    def finish(self) -> None:
        """Give back to the stream what has not been taken."""
        start, end = self._rest
        if len(self._ready):
            start = self._ready.start
        if end > start:
            self._stream.unread(self._buffer[start:end].tobytes())
        self.is_finished, self._ready, self._rest = True, NO_RECORDS, (0, 0)

    def _next_block(self) -> RecordBlock:
        n_searched = -1
        while True:
            start, end = self._rest
            block = self._find(end)
            has_ended = end == n_searched
            if has_ended and end > start and self._buffer[end - 1] != _NEWLINE:
                # The last line of a file need not end.
                self._buffer[end] = _NEWLINE
                block = self._find(end + 1)
            if len(block):
                self._rest = (min(int(block.line_ends[-1, 3]) + 1, end), end)
                return block
            # Unless the record ends beyond the text.
            if has_ended or np.count_nonzero(self._buffer[start:end] == _NEWLINE) >= _LINES:
                self.finish()
                return NO_RECORDS
            self._move_to_front()
            n_searched = self._rest[1]
            self._fill()

    def _find(self, end: int) -> RecordBlock:
        """Return the records from the rest of the buffer on to `end`, but none from the first irregular one on."""
        start = self._rest[0]
        n_found = self._kernels.find_records(self._buffer[start:], end - start, self._line_ends)
        return RecordBlock(self._buffer, self._line_ends[:n_found] + start, start) if n_found else NO_RECORDS

    def _move_to_front(self) -> None:
        """Move the rest to the front of the buffer, which is doubled where there is no room for more."""
        start, end = self._rest
        n_bytes = end - start
        room = len(self._buffer) - self._padding
        if 2 * n_bytes > room:
            larger = np.empty(2 * room + self._padding, np.uint8)
            larger[:n_bytes] = self._buffer[start:end]
            self._buffer = larger
        else:
            self._buffer[:n_bytes] = self._buffer[start:end].copy()
        self._rest = (0, n_bytes)

    def _fill(self) -> None:
        """Read on until the buffer is full, or up to the end or a break of the stream.

        Raises:
            StreamError: The file breaks here.
        """
        _, end = self._rest
        target = self._buffer.data
        for block in self._stream.iter_blocks(len(target) - self._padding - end):
            target[end : end + len(block)] = block
            end += len(block)
        self._rest = (0, end)


class BatchInProgress:
    """Reads of a batch, copied out of blocks of records.

    Args:
        kernels: Compiled functions.
        n_bases: Bases for which there is room at first.

    Attributes:
        n_reads: How many there are.
        n_bases: Their bases.
        are_bases: Whether all letters so far are A, C, G, T or N in either case.
    """

    def __init__(self, kernels: RecordKernels, n_bases: int) -> None:
        self._kernels = kernels
        # Memory that is not written to is not taken.
        self._letters = np.empty(n_bases + kernels.PADDING, np.uint8)
        self._offsets = [np.zeros(1, np.int64)]
        self.n_reads = self.n_bases = 0
        self.are_bases = True

    def add(
        self,
        blocks: Sequence[RecordBlock],
        lengths: npt.NDArray[np.int64],
        kept: npt.NDArray[np.bool_],
    ) -> None:
        """Add records, one of each block in turn.

        Args:
            blocks: Records of one file, or of two with mates.
            lengths: int64 `(n, n_blocks)`, their bases.
            kept: bool `(n,)`, which of them to add.
        """
        ends = self.n_bases + np.cumsum(lengths[kept].ravel())
        if not len(ends):
            return
        offsets = np.concatenate([[self.n_bases], ends])
        if offsets[-1] + self._kernels.PADDING > len(self._letters):
            larger = np.empty(2 * int(offsets[-1]) + self._kernels.PADDING, np.uint8)
            larger[: self.n_bases] = self._letters[: self.n_bases]
            self._letters = larger
        for mate, block in enumerate(blocks):
            are_bases = self._kernels.copy_sequences(
                block.text, block.line_ends, kept, self._letters, mate, len(blocks), offsets
            )
            self.are_bases &= bool(are_bases)
        self._offsets.append(ends)
        self.n_reads += len(ends)
        self.n_bases = int(offsets[-1])

    def sequence(self) -> npt.NDArray[np.uint8]:
        """Return the letters, uint8 `(n_bases,)`."""
        return self._letters[: self.n_bases]

    def offsets(self) -> npt.NDArray[np.int64]:
        """Return where reads begin and the last one ends, int64 `(n_reads + 1,)`."""
        return np.concatenate(self._offsets)


__all__ = ["NO_RECORDS", "BatchInProgress", "BlockReader", "KernelSource", "RecordBlock", "RecordKernels"]
