"""Records of one FASTQ or FASTA file, with errors that name file, record and reason."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np
import numpy.typing as npt
from dnaio import FastqReader, FileFormatError, SequenceRecord

from biomeformer.errors import ReadFileError
from biomeformer.io.compression import DecompressedStream, StreamError
from biomeformer.io.fasta import FastaError, iter_fasta
from biomeformer.io.limits import RECORD_BASES

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# Lines of this length are read however low the limit on bases is.
LONGEST_NAME = 1000
NUCLEOTIDE_LETTERS = b"ACGTUNRYSWKMBDHVacgtunryswkmbdhv"
_IS_NUCLEOTIDE = np.zeros(256, dtype=np.bool_)
_IS_NUCLEOTIDE[list(NUCLEOTIDE_LETTERS)] = True
_KNOWN_CONTENT = (
    (b"BAM\x01", "a BAM file; convert it with samtools fastq"),
    (b"CRAM", "a CRAM file; convert it with samtools fastq"),
    (b"NCBI.sra", "an SRA archive; convert it with fasterq-dump"),
    (b"PK\x03\x04", "a zip archive; unpack it first"),
    (b"\x1f\x8b", "compressed twice; decompress it once first"),
    (b"\xef\xbb\xbf", "text with a byte-order mark; save it as plain ASCII text"),
    (b"\xff\xfe", "UTF-16 text; save it as plain ASCII text"),
    (b"<", "a web page or XML; download the reads themselves"),
)


class _FullReads(io.RawIOBase):
    """A stream whose reads fill the buffer, up to its end or a break.

    dnaio parses an unfinished record from its start after each read, so that reads of a few kilobytes would make the
    time for a long record quadratic.

    Args:
        stream: The stream; a break is raised at the read after the one it cuts short.
    """

    def __init__(self, stream: DecompressedStream) -> None:
        super().__init__()
        self._stream = stream
        self._break: StreamError | None = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read into `buffer` and return the number of bytes, 0 at the end."""
        if self._break is not None:
            raise self._break
        target = memoryview(buffer).cast("B")
        n_bytes = 0
        while n_bytes < len(target):
            try:
                n_read = self._stream.readinto(target[n_bytes:])
            except StreamError as error:
                if not n_bytes:
                    raise
                self._break = error
                break
            if not n_read:
                break
            n_bytes += n_read
        return n_bytes


class RecordFile:
    """One open FASTQ or FASTA file, distinguished by its first decompressed byte.

    Args:
        path: The file.
        max_record_bases: Longest record that is read, at least 1,000; `RECORD_BASES` of `biomeformer.io.limits` by
            default.

    Raises:
        ReadFileError: The file cannot be opened.
    """

    def __init__(self, path: Path, *, max_record_bases: int | None = None) -> None:
        self.path = path
        limit = RECORD_BASES.get() if max_record_bases is None else max_record_bases
        # Names are lines as well.
        self._max_record_bases = max(limit, LONGEST_NAME)
        self._stream = DecompressedStream(path)
        self._fastq: FastqReader | None = None
        self._n_fasta = 0

    def __enter__(self) -> RecordFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stream.close()

    @property
    def bytes_consumed(self) -> int:
        """Compressed bytes taken from the file so far."""
        return self._stream.bytes_consumed

    @property
    def n_records(self) -> int:
        """Records delivered so far."""
        return self._n_fasta if self._fastq is None else int(self._fastq.number_of_records)

    def __iter__(self) -> Iterator[SequenceRecord]:
        """Yield the records.

        Raises:
            ReadFileError: The file holds no reads, is neither FASTQ nor FASTA, or breaks; the record is named.
        """
        try:
            yield from self._open_records()
        except StreamError as error:
            raise self._error(str(error)) from error
        except FastaError as error:
            raise self._error(error.reason) from None
        except FileFormatError as error:
            line = "" if error.line is None else f"line {error.line + 1}: "
            raise self._error(f"{line}{_one_sentence(error.message)}; the file is cut or was edited") from error
        if self.n_records == 0:
            raise ReadFileError(f"{self.path} holds no reads; remove it from the sample or copy it again")

    def _open_records(self) -> Iterator[SequenceRecord]:
        head = self._stream.peek()
        if not head:
            return iter(())
        if head.startswith(b"@"):
            self._stream.require_ascii()
            self._stream.limit_lines(self._max_record_bases)
            self._fastq = FastqReader(cast(BinaryIO, _FullReads(self._stream)))
            return iter(self._fastq)
        if head.startswith(b">"):
            return self._fasta_records()
        for magic, content in _KNOWN_CONTENT:
            if head.startswith(magic):
                raise ReadFileError(f"{self.path} is {content}")
        raise self._error(
            f"neither FASTQ nor FASTA, it starts with {head[:20]!r} where '@' or '>' should be; give a file of reads"
        )

    def _fasta_records(self) -> Iterator[SequenceRecord]:
        self._stream.limit_lines(self._max_record_bases)
        lines = io.BufferedReader(self._stream, 256 << 10)
        for _, header, sequence in iter_fasta(lines, self._max_record_bases):
            if b"\r" in header:
                raise self._error("the lines end in carriage returns alone; convert the line ends, e.g. with mac2unix")
            if not sequence.isascii():
                raise self._error(bad_letter_reason(next(chr(letter) for letter in sequence if letter > 127)))
            self._n_fasta += 1
            yield SequenceRecord(header.decode("ascii", "replace").replace("\ufffd", "?"), sequence.decode("ascii"))

    def _error(self, reason: str) -> ReadFileError:
        return record_error(self.path, self.n_records + 1, reason)


def record_error(path: Path, record: int, reason: str) -> ReadFileError:
    """Return an error that names file, record (from 1) and reason."""
    return ReadFileError(f"{path}, record {record}: {reason}")


def bad_letter_reason(letter: str) -> str:
    """Return why a read with `letter` in it is refused."""
    return f"the sequence holds {letter!r}, which is not an IUPAC nucleotide letter; give unaligned DNA or RNA reads"


def first_bad_letter(joined: bytes, sequence: npt.NDArray[np.uint8]) -> int | None:
    """Return the position of the first letter that is no IUPAC nucleotide code in either case, or None.

    Args:
        joined: The sequences end to end.
        sequence: The same bytes as an array `(n_bases,)`.
    """
    if not joined.translate(None, NUCLEOTIDE_LETTERS):
        return None
    return int(np.argmin(_IS_NUCLEOTIDE[sequence]))


def _one_sentence(message: str) -> str:
    """Return a parser's message as the middle of a sentence, without the text of the record it quotes."""
    message = " ".join(message.split()).partition(". ")[0].rstrip(".")
    return message[:1].lower() + message[1:]
