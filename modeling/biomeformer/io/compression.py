"""Transparent decompression: the format is detected from the first bytes of a file, never from its name."""

from __future__ import annotations

import bz2
import io
import lzma
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from isal import igzip_lib

from biomeformer.errors import ReadFileError
from biomeformer.io.bgzip import CHUNK_BYTES, HEADER_BYTES, IGZIP_ERROR, BlockDecompressor, block_ends, starts_block
from biomeformer.io.file_identity import ReadDigest
from biomeformer.io.limits import EXPANDED_BYTES, MAX_RATIO, RATIO_FLOOR, expands_too_far, record_too_long

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# Suffixes of names of compressed files. They never decide how a file is read, only what its name says of its content.
SUFFIXES = (".gz", ".bgz", ".bz2", ".xz", ".zst")
_INPUT_BYTES = 64 << 10
_OUTPUT_BYTES = 256 << 10
# Enough to tell a tar archive.
_PEEKED_BYTES = 512
_SKIPPABLE_ZSTD = tuple(bytes([first]) + b"\x2a\x4d\x18" for first in range(0x50, 0x60))
_DECOMPRESSION_ERRORS: tuple[type[Exception], ...] = (
    IGZIP_ERROR,
    zstd.ZstdError,
    lzma.LZMAError,
    OSError,
    EOFError,
    MemoryError,
)


class _Decompressor(Protocol):
    """Common interface of the standard library's incremental decompressors."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


@dataclass(frozen=True)
class _Compression:
    name: str
    magic: tuple[bytes, ...]
    decompressor: Callable[[], _Decompressor]


_COMPRESSIONS = (
    _Compression("gzip", (b"\x1f\x8b",), lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)),
    _Compression("zstd", (b"\x28\xb5\x2f\xfd", *_SKIPPABLE_ZSTD), lambda: zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)),
    _Compression("bzip2", (b"BZh",), lambda: bz2.BZ2Decompressor()),
    _Compression("xz", (b"\xfd7zXZ\x00",), lambda: lzma.LZMADecompressor(format=lzma.FORMAT_XZ)),
)
# `zstd --long=31` writes windows of 2 GiB; memory is allocated as a frame fills its window.
_ZSTD_OPTIONS: dict[int, int] = {
    zstd.DecompressionParameter.window_log_max: zstd.DecompressionParameter.window_log_max.bounds()[1]
}
_LONGEST_MAGIC = max(len(magic) for compression in _COMPRESSIONS for magic in compression.magic)


class StreamError(Exception):
    """A compressed stream is broken; the message is only the reason, to which readers add file and record."""


class DecompressedStream(io.RawIOBase):
    """A file's decompressed bytes: plain, gzip (with any number of members, as in bgzip), zstd, bzip2 or xz.

    Unlike with `gzip`, `bz2` and `lzma`, all bytes before a break are delivered before the error is raised, and data
    other than zero bytes after the end of a stream is an error.

    Args:
        path: The file.
        max_bytes: Maximum number of decompressed bytes, after which the stream breaks; no limit by default.
        limit_expansion: Whether a compressed stream breaks where it expands too far to be held in memory.
        threads: Number of threads that decompress the blocks of a file written by bgzip.

    Raises:
        ReadFileError: The file cannot be opened.
    """

    def __init__(
        self, path: Path, *, max_bytes: int | None = None, limit_expansion: bool = False, threads: int = 0
    ) -> None:
        super().__init__()
        self._blocks = BlockDecompressor(threads) if threads else None
        self._max_expanded = EXPANDED_BYTES.get() if limit_expansion else None
        self._file = open_file(path)
        self._digest = ReadDigest(self._file)
        self._max_bytes, self._produced = max_bytes, 0
        self._max_line: int | None = None
        # Bytes since the last line break.
        self._line_bytes = 0
        self._consumed = 0
        self._input = b""
        self._output = memoryview(b"")
        self._ascii_only = False
        self._break: StreamError | None = None
        self._decompressor: _Decompressor | None = None
        self._compression: _Compression | None = None
        try:
            self._fill_input(_LONGEST_MAGIC)
        except OSError as error:
            self._file.close()
            raise ReadFileError(f"cannot read {path}: {error.strerror or error}") from error
        self._compression = _compression_of(self._input)

    @property
    def bytes_consumed(self) -> int:
        """Number of (compressed) bytes read from the file so far."""
        return self._consumed

    def readable(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Close the underlying file."""
        if not self.closed:
            if self._blocks is not None:
                self._blocks.close()
            self._file.close()
        super().close()

    def peek(self) -> bytes:
        """Return the next decompressed bytes without consuming them: at least one, unless the stream has ended.

        Raises:
            StreamError: The stream is broken at this position.
        """
        if not self._output:
            self._output = memoryview(self._next_output())
        return bytes(self._output[:_PEEKED_BYTES])

    def unread(self, data: bytes) -> None:
        """Put bytes back, to be read next."""
        self._output = memoryview(data + bytes(self._output))

    def skip_blanks(self) -> int:
        """Skip blanks and line ends, and return how many lines ended there.

        Raises:
            StreamError: The stream is broken at this position.
        """
        n_lines = 0
        while self.peek():
            output = bytes(self._output)
            rest = output.lstrip()
            n_lines += output[: len(output) - len(rest)].count(b"\n")
            self._output = memoryview(rest)
            if rest:
                break
        return n_lines

    def require_ascii(self) -> None:
        """Treat any byte above 127 as a break of the stream from now on."""
        self._ascii_only = True
        self._output = memoryview(self._ascii_part(bytes(self._output)))

    def limit_lines(self, max_bytes: int) -> None:
        """Treat a line that is longer as a break of the stream from now on."""
        self._max_line = max_bytes
        self._output = memoryview(self._lines_within_limit(bytes(self._output)))

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read into `buffer` and return the number of bytes, 0 at the end.

        Raises:
            StreamError: The stream is broken at this position.
        """
        target = memoryview(buffer)
        block = self.read_block(len(target))
        target[: len(block)] = block
        return len(block)

    def read_block(self, n_bytes: int) -> memoryview:
        """Return the next bytes, at most `n_bytes`, without copying them; none at the end.

        Raises:
            StreamError: The stream is broken at this position.
        """
        if not self._output:
            self._output = memoryview(self._next_output())
        block, self._output = self._output[:n_bytes], self._output[n_bytes:]
        return block

    def iter_blocks(self, n_bytes: int) -> Iterator[memoryview]:
        """Yield the next `n_bytes` without copying them, or fewer: up to the end or a break of the stream.

        Raises:
            StreamError: The stream is broken at this position. A break after some bytes is raised by the next read.
        """
        n_left = n_bytes
        while n_left:
            try:
                block = self.read_block(n_left)
            except StreamError:
                if n_left == n_bytes:
                    raise
                return
            if not block:
                return
            n_left -= len(block)
            yield block

    def _fill_input(self, n_bytes: int) -> None:
        """Read until at least `n_bytes` of input are buffered or the file has ended."""
        while len(self._input) < n_bytes:
            data = self._file.read(_INPUT_BYTES)
            self._digest.update(data)
            if not data:
                return
            self._consumed += len(data)
            self._input += data

    def _next_output(self) -> bytes:
        """Return the next non-empty block of decompressed bytes, or b"" at the end."""
        if self._break is not None:
            raise self._break
        try:
            if self._compression is None:
                self._fill_input(1)
                output, self._input = self._input, b""
            else:
                output = self._decompress(self._compression)
        except StreamError as error:
            self._break = error
            raise
        except _DECOMPRESSION_ERRORS as error:
            self._break = StreamError(_reason(error, self._compression))
            raise self._break from error
        self._produced += len(output)
        if self._max_bytes is not None and self._produced > self._max_bytes:
            self._break = StreamError(
                f"it holds more than {self._max_bytes / 1e6:,.0f} MB once decompressed, which is not read; give a "
                "smaller file"
            )
            raise self._break
        if self._max_expanded is not None and self._compression is not None:
            self._check_expansion(self._max_expanded)
        output = self._ascii_part(output) if self._ascii_only else output
        return output if self._max_line is None else self._lines_within_limit(output)

    def _check_expansion(self, limit: int) -> None:
        ratio_limit = max(RATIO_FLOOR, MAX_RATIO * self._consumed)
        # A limit that the user raised holds for the ratio too.
        if self._produced > limit or (limit <= EXPANDED_BYTES.default and self._produced > ratio_limit):
            self._break = StreamError(expands_too_far(self._produced, limit))
            raise self._break

    def _lines_within_limit(self, output: bytes) -> bytes:
        """Return the bytes before the first line that is longer than the limit; that line then breaks the stream."""
        limit = self._max_line
        assert limit is not None
        first = output.find(b"\n")
        n_good = len(output)
        if self._line_bytes + (first if first >= 0 else len(output)) > limit:
            n_good = 0
        elif len(output) > limit:
            # No line within a block of bytes exceeds a limit that is larger than the block.
            start = first + 1
            while (end := output.find(b"\n", start)) >= 0 and end - start <= limit:
                start = end + 1
            if (end if end >= 0 else len(output)) - start > limit:
                n_good = start
        if n_good < len(output):
            self._break = StreamError(record_too_long(limit))
            if n_good == 0:
                raise self._break
        self._line_bytes = len(output) - output.rfind(b"\n") - 1 if first >= 0 else self._line_bytes + len(output)
        return output[:n_good]

    def _ascii_part(self, output: bytes) -> bytes:
        """Return the bytes before the first byte above 127; that byte then breaks the stream."""
        if output.isascii():
            return output
        position = next(position for position, byte in enumerate(output) if byte > 127)
        self._break = StreamError(f"the byte {output[position]:#x} is not ASCII; the file is damaged or not a FASTQ")
        if position == 0:
            raise self._break
        return output[:position]

    def _decompress(self, compression: _Compression) -> bytes:
        if self._blocks is not None and self._decompressor is None:
            output = self._decompress_blocks(self._blocks)
            if output:
                return output
        while (decompressor := self._decompressor or self._next_member(compression)) is not None:
            data = b""
            if decompressor.needs_input:
                self._fill_input(1)
                if not self._input:
                    raise StreamError(
                        f"the {compression.name} stream is cut short; copy the file again, its end is missing"
                    )
                data, self._input = self._input, b""
            output = decompressor.decompress(data, _OUTPUT_BYTES)
            self._decompressor = decompressor
            if decompressor.eof:
                self._input = decompressor.unused_data + self._input
                self._decompressor = None
            # Data after a member is examined only after its last block has been delivered.
            if output:
                return output
        return b""

    def _decompress_blocks(self, blocks: BlockDecompressor) -> bytes:
        """Return the next bytes of blocks of bgzip; none before anything else, and before damaged blocks."""
        while True:
            while blocks.has_room:
                self._fill_input(HEADER_BYTES)
                if not starts_block(self._input):
                    break
                self._fill_input(CHUNK_BYTES)
                ends = block_ends(self._input)
                if not ends:
                    break
                blocks.submit(self._input[: ends[-1]], ends)
                self._input = self._input[ends[-1] :]
            if not blocks.is_pending:
                return b""
            output = blocks.next_output()
            if output is None:
                # Decompressed again one after the other, up to where the damage is.
                self._input = blocks.close() + self._input
                self._blocks = None
                return b""
            if output:
                return output

    def _next_member(self, compression: _Compression) -> _Decompressor | None:
        """Return a decompressor for the next member, or None at the end; zero bytes after members are padding."""
        while True:
            self._fill_input(_LONGEST_MAGIC)
            stripped = self._input.lstrip(b"\0")
            if stripped == self._input:
                break
            self._input = stripped
        if not self._input:
            return None
        if not self._input.startswith(compression.magic):
            raise StreamError(
                f"bytes that are not {compression.name} follow the end of the {compression.name} stream "
                f"({self._input[:8]!r}); copy the file again, or cut them off"
            )
        return compression.decompressor()


def remove_compression_suffix(name: str) -> str:
    """Return a file's name without the suffix of a compression format, in any case: `a.fna.GZ` becomes `a.fna`."""
    stem, dot, suffix = name.rpartition(".")
    return stem if stem and f"{dot}{suffix}".lower() in SUFFIXES else name


def open_file(path: Path) -> io.FileIO:
    """Open a file unbuffered for reading.

    Raises:
        ReadFileError: The file is missing, is a directory, or is not readable.
    """
    try:
        return io.FileIO(os.fspath(path), "rb")
    except FileNotFoundError:
        raise ReadFileError(f"{path}: there is no such file; check the path") from None
    except IsADirectoryError:
        raise ReadFileError(f"{path} is a directory; give a file") from None
    except PermissionError:
        raise ReadFileError(f"{path}: you may not read this file; ask its owner or change its permissions") from None
    except OSError as error:
        raise ReadFileError(f"{path} cannot be opened: {error.strerror or error}") from error


def open_bytes(path: Path, *, max_bytes: int | None = None) -> io.BufferedReader:
    """Open a file for reading its decompressed bytes, of which a compressed file may hold `EXPANDED_BYTES`.

    Args:
        path: The file: plain, gzip, zstd, bzip2 or xz.
        max_bytes: Maximum number of decompressed bytes, after which reading raises `StreamError`; no limit by default.

    Raises:
        ReadFileError: The file cannot be opened.
    """
    return io.BufferedReader(DecompressedStream(path, max_bytes=max_bytes, limit_expansion=True), _OUTPUT_BYTES)


def open_text(path: Path, *, newline: str | None = None, max_bytes: int | None = None) -> io.TextIOWrapper:
    """Open a file for reading its decompressed text in UTF-8, with or without a byte-order mark.

    Args:
        path: As for `open_bytes`.
        newline: As for `open`: None translates all line ends, an empty string keeps them.
        max_bytes: As for `open_bytes`.

    Raises:
        ReadFileError: The file cannot be opened.
    """
    return io.TextIOWrapper(open_bytes(path, max_bytes=max_bytes), encoding="utf-8-sig", newline=newline)


def compression_of(path: Path) -> str | None:
    """Return the compression of a file (`gzip`, `zstd`, `bzip2` or `xz`), detected from its first bytes, or None.

    Raises:
        ReadFileError: The file cannot be opened.
    """
    with DecompressedStream(path) as stream:
        return None if stream._compression is None else stream._compression.name


def _compression_of(head: bytes) -> _Compression | None:
    for compression in _COMPRESSIONS:
        if head.startswith(compression.magic):
            return compression
    return None


def _reason(error: Exception, compression: _Compression | None) -> str:
    detail = str(error) or type(error).__name__
    if compression is None:
        return f"reading failed ({detail})"
    if isinstance(error, MemoryError) or "memory" in detail.lower():
        return (
            f"the {compression.name} stream needs more memory to be decompressed than can be had ({detail}); compress "
            "it again with a smaller window, e.g. without zstd's --long"
        )
    if "dictionary mismatch" in detail.lower():
        return (
            f"the {compression.name} stream was compressed with a dictionary; decompress it with that dictionary "
            "first (zstd -d -D DICTIONARY)"
        )
    return f"the {compression.name} stream is damaged ({detail}); copy the file again from its source"
