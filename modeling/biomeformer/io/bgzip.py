"""Blocks of files written by bgzip, decompressed in several threads.

bgzip writes gzip members of 64 KiB at most, and the size of each in its header (SAM specification, section 4.1).
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import cast

from isal import igzip_lib

IGZIP_ERROR = cast("type[Exception]", igzip_lib.error)
# Compressed bytes of one thread's turn.
CHUNK_BYTES = 256 << 10
HEADER_BYTES = 18
_HEADER = b"\x1f\x8b\x08\x04"
# Decompressed, of a block; one more than bgzip writes, to see the end.
_MOST_BYTES = (64 << 10) + 1
# A single extra field, of six bytes: BC, two bytes long.
_EXTRA = b"\x06\x00BC\x02\x00"


def starts_block(data: bytes, begin: int = 0) -> bool:
    """Return whether the header of a block begins at a position."""
    return data.startswith(_HEADER, begin) and data.startswith(_EXTRA, begin + 10) and len(data) >= begin + HEADER_BYTES


def block_ends(data: bytes) -> list[int]:
    """Return where the blocks end that bytes begin with, of those that are whole."""
    ends = []
    begin = 0
    while starts_block(data, begin):
        end = begin + int.from_bytes(data[begin + 16 : begin + HEADER_BYTES], "little") + 1
        if end > len(data) or end < begin + HEADER_BYTES:
            break
        ends.append(end)
        begin = end
    return ends


class BlockDecompressor:
    """Threads that decompress blocks ahead of a reader.

    Args:
        threads: How many, at least one. They start with the first blocks.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        # Blocks, and what becomes of them; in the order of the file.
        self._pending: deque[tuple[bytes, Future[list[bytes] | None]]] = deque()
        self._outputs: deque[bytes] = deque()

    @property
    def has_room(self) -> bool:
        """Whether threads may run out of work."""
        return len(self._pending) <= self._threads

    @property
    def is_pending(self) -> bool:
        """Whether there is output to come."""
        return bool(self._outputs or self._pending)

    def submit(self, data: bytes, ends: list[int]) -> None:
        """Have blocks decompressed, which end at `ends`."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="bgzip")
        self._pending.append((data, self._pool.submit(_decompress, data, ends)))

    def next_output(self) -> bytes | None:
        """Return the next block's bytes, or None if it or one decompressed with it is damaged."""
        if not self._outputs:
            outputs = self._pending[0][1].result()
            if outputs is None:
                return None
            self._outputs.extend(outputs)
            self._pending.popleft()
        return self._outputs.popleft()

    def close(self) -> bytes:
        """Stop the threads, and return the compressed bytes whose output has not been returned."""
        rest = b"".join(data for data, _ in self._pending)
        self._pending.clear()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        return rest


def _decompress(data: bytes, ends: list[int]) -> list[bytes] | None:
    """Return the bytes of blocks, or None if one is damaged or larger than bgzip writes them."""
    outputs = []
    begin = 0
    view = memoryview(data)
    for end in ends:
        decompressor = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        try:
            outputs.append(decompressor.decompress(view[begin:end], _MOST_BYTES))
        except (IGZIP_ERROR, EOFError, MemoryError):
            return None
        if not decompressor.eof or decompressor.unused_data:
            return None
        begin = end
    return outputs


__all__ = ["CHUNK_BYTES", "HEADER_BYTES", "IGZIP_ERROR", "BlockDecompressor", "block_ends", "starts_block"]
