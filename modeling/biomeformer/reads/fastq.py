"""FASTQ records: dnaio's parser, and a more permissive one from the first record that is laid out otherwise."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np
from dnaio import FastqReader, SequenceRecord

from biomeformer.io.compression import DecompressedStream
from biomeformer.io.limits import RECORD_BASES, record_too_long
from biomeformer.reads.blocks import NO_RECORDS, BlockReader, RecordBlock, RecordKernels

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

NUCLEOTIDE_LETTERS = b"ACGTUNRYSWKMBDHVacgtunryswkmbdhv"
# Letters of a wrapped sequence's lines: unaligned or not, so that the error is about the letter and not the line.
_SEQUENCE_LETTERS = NUCLEOTIDE_LETTERS + b".-*"
_NEWLINE = ord("\n")


class FastqError(ValueError):
    """A record breaks the format; the message has the line and the reason, to which readers add file and record."""

    @classmethod
    def damaged(cls, number: int, reason: str) -> FastqError:
        """Return the error of a file that cannot have been written like this.

        Args:
            number: Line number, from 1.
            reason: What is wrong with the line.
        """
        return cls(f"line {number}: {reason}; the file is cut or was edited")


class FastqRecords:
    """Records of a FASTQ file, read once.

    Most files have four lines per record, with an empty third line but for its `+`, and are parsed by dnaio, or taken
    by the block (`BlockReader`) by whoever needs no object per record. From the first record that dnaio refuses, the
    rest of the file is parsed in Python, which also accepts any text on the `+` line, blank lines around records,
    blanks at the ends of lines, and sequences and qualities on several lines.

    Args:
        stream: The file, at the `@` of its first record.
        first_line: Line number of that record, from 1.
        max_bases: Longest record that is read.

    Attributes:
        n_records: Records delivered so far.
    """

    def __init__(
        self, stream: DecompressedStream, first_line: int = 1, *, max_bases: int = RECORD_BASES.default
    ) -> None:
        self._stream, self._first_line, self._max_bases = stream, first_line, max_bases
        self._blocks: BlockReader | None = None
        self._recent = _RecentBytes(stream)
        self._n_in_blocks = self._n_irregular = 0
        self._is_irregular = False

    @property
    def n_records(self) -> int:
        """Records delivered so far."""
        return self._n_in_blocks + self._recent.n_records + self._n_irregular

    @property
    def has_blocks(self) -> bool:
        """Whether the next records can be taken by the block, as far as is known."""
        return not self._is_irregular and (self._blocks is None or not self._blocks.is_finished)

    def ready(self, kernels: RecordKernels) -> RecordBlock:
        """Return the next records to take by the block; none if what follows is left to `regular`.

        Raises:
            StreamError: The file breaks.
        """
        if not self.has_blocks:
            return NO_RECORDS
        if self._blocks is None:
            self._n_in_blocks = self._recent.n_records
            self._stream.unread(self._recent.undelivered())
            self._recent = _RecentBytes(self._stream)
            self._blocks = BlockReader(self._stream, kernels)
        return self._blocks.ready()

    def take(self, n: int) -> RecordBlock:
        """Return the first `n` of the records that are ready, at least one."""
        assert self._blocks is not None, "records are ready"
        self._n_in_blocks += n
        return self._blocks.take(n)

    def regular(self) -> Iterator[SequenceRecord]:
        """Return dnaio's own iterator over the records, since one of Python's in between takes time for each.

        Raises:
            FileFormatError: A record is laid out otherwise, or breaks the format; `irregular` goes on with it. Also
                raised while iterating.
            StreamError: The file breaks; also raised while iterating.
        """
        if self._blocks is not None:
            self._blocks.finish()
        self._recent.reader = FastqReader(cast(BinaryIO, self._recent))
        return iter(self._recent.reader)

    def irregular(self) -> Iterator[SequenceRecord]:
        """Yield the records from the one at which `regular` stopped.

        Raises:
            FastqError: A record breaks the format.
            StreamError: The file breaks.
        """
        self._is_irregular = True
        self._stream.unread(self._recent.undelivered())
        line = self._first_line + 4 * self.n_records
        for record in read_irregular(io.BufferedReader(self._stream, 256 << 10), line, self._max_bases):
            self._n_irregular += 1
            yield record


class _RecentBytes(io.RawIOBase):
    """Passes a stream on to dnaio's reader and keeps the bytes of which no record has been delivered.

    Attributes:
        reader: The reader, as soon as there is one.
    """

    def __init__(self, stream: DecompressedStream) -> None:
        super().__init__()
        self._stream = stream
        self.reader: FastqReader | None = None
        self._blocks: list[tuple[memoryview, int]] = []
        self._n_lines_dropped = 0
        self._is_newline = np.empty(0, np.bool_)

    @property
    def n_records(self) -> int:
        """Records delivered by the reader so far."""
        return 0 if self.reader is None else int(self.reader.number_of_records)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill `buffer`, up to the end or a break of the stream, and return the number of bytes, 0 at the end.

        The reader parses an unfinished record from its start after each read, so reads of a few kilobytes would make
        the time for a long record quadratic.
        """
        # The reader asks for more when it has delivered every whole record of what it has.
        n_delivered = 4 * self.n_records
        while self._blocks and self._n_lines_dropped + self._blocks[0][1] < n_delivered:
            self._n_lines_dropped += self._blocks.pop(0)[1]
        target = memoryview(buffer)
        n_bytes = 0
        for block in self._stream.iter_blocks(len(target)):
            target[n_bytes : n_bytes + len(block)] = block
            n_bytes += len(block)
            self._blocks.append((block, self._n_lines(block)))
        return n_bytes

    def _n_lines(self, block: memoryview) -> int:
        if len(block) > len(self._is_newline):
            self._is_newline = np.empty(len(block), np.bool_)
        is_newline = self._is_newline[: len(block)]
        # An array of this size that is allocated anew costs more than the comparison.
        np.equal(np.frombuffer(block, np.uint8), _NEWLINE, out=is_newline)
        return int(np.count_nonzero(is_newline))

    def undelivered(self) -> bytes:
        """Return the bytes read so far, from the beginning of the record that would have been delivered next."""
        recent = b"".join(block for block, _ in self._blocks)
        start = 0
        for _ in range(4 * self.n_records - self._n_lines_dropped):
            start = recent.index(b"\n", start) + 1
        return recent[start:]


def read_irregular(
    lines: Iterator[bytes], first_line: int = 1, max_bases: int = RECORD_BASES.default
) -> Iterator[SequenceRecord]:
    """Yield the records of a FASTQ file, however it is laid out.

    Blanks at the ends of lines, blank lines around records and the text after `+` are ignored. Sequence and qualities
    may be wrapped; their lengths tell where a record ends, since a line of qualities may begin with `@` or `+`.

    Args:
        lines: Lines of the file.
        first_line: Number of the first.
        max_bases: Longest record that is read.

    Raises:
        FastqError: A record breaks the format, or is too long.
    """
    numbered = enumerate(map(bytes.strip, lines), first_line)
    for number, header in numbered:
        if not header:
            continue
        if not header.startswith(b"@"):
            raise FastqError.damaged(number, f"line expected to start with '@', but it starts with {_shown(header)}")
        if b"\r" in header:
            raise FastqError("the lines end in carriage returns alone; convert the line ends, e.g. with mac2unix")
        number, sequence = _read_sequence(number, numbered, max_bases)
        qualities = _read_qualities(number, len(sequence), numbered)
        yield SequenceRecord(header[1:].decode("ascii"), sequence.decode("ascii"), qualities.decode("ascii"))


def _read_sequence(number: int, numbered: Iterator[tuple[int, bytes]], max_bases: int) -> tuple[int, bytes]:
    """Read the lines of a sequence and the `+` line, and return the number of that line and the sequence.

    Args:
        number: Number of the line before.
        numbered: Lines with their numbers.
        max_bases: Longest sequence that is read.
    """
    parts: list[bytes] = []
    n_bases = 0
    for number, line in numbered:
        if line.startswith(b"+"):
            return number, b"".join(parts)
        # A first line that is no sequence ends a record of one line, so that the error is about the line after it.
        if not parts or (
            line and parts[0] and not (parts[0].strip(_SEQUENCE_LETTERS) or line.strip(_SEQUENCE_LETTERS))
        ):
            parts.append(line)
            n_bases += len(line)
            if n_bases > max_bases:
                raise FastqError(record_too_long(max_bases))
        else:
            raise FastqError.damaged(number, f"line expected to start with '+', but it starts with {_shown(line)}")
    raise FastqError.damaged(number, "premature end of file")


def _read_qualities(number: int, length: int, numbered: Iterator[tuple[int, bytes]]) -> bytes:
    """Read lines until there is one quality per base.

    Args:
        number: Number of the line before.
        length: Bases of the sequence.
        numbered: Lines with their numbers.
    """
    qualities: bytes | None = None
    for _, line in numbered:
        qualities = (qualities or b"") + line
        if len(qualities) == length:
            return qualities
        if len(qualities) > length or not line:
            break
    if qualities is None:
        raise FastqError.damaged(number, "premature end of file")
    raise FastqError.damaged(number + 1, "length of sequence and qualities differ")


def _shown(line: bytes) -> str:
    return repr(line[:1].decode("latin-1")) if line else "a blank line"


__all__ = ["NUCLEOTIDE_LETTERS", "FastqError", "FastqRecords", "read_irregular"]
