"""Records of one FASTQ or FASTA file, with errors that name file, record and reason."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from dnaio import FileFormatError, SequenceRecord

from biomeformer.errors import ReadFileError
from biomeformer.io.compression import DecompressedStream, StreamError
from biomeformer.io.fasta import FastaError, iter_fasta
from biomeformer.io.limits import RECORD_BASES
from biomeformer.reads.blocks import NO_RECORDS, RecordBlock, RecordKernels
from biomeformer.reads.fastq import NUCLEOTIDE_LETTERS, FastqError, FastqRecords

# Lines of this length are read however low the limit on bases is.
LONGEST_NAME = 1000
# None on a small machine, where embedding takes all cores; and no more than a parser keeps up with.
_DECOMPRESSING_THREADS = min((os.cpu_count() or 1) // 4, 4)
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
    *((f"@{tag}\t".encode(), "a SAM file; convert it with samtools fastq") for tag in ("HD", "SQ", "RG", "PG", "CO")),
    (b".sff", "a 454 file (SFF); convert it with sff2fastq"),
    (b"\x89HDF", "an HDF5 file, such as FAST5; basecall it first, e.g. with dorado"),
    (b"\x8bPOD", "a POD5 file; basecall it first, e.g. with dorado"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"\x1f\x9d", "compressed with compress (.Z); decompress it first, or compress it with gzip"),
    (b"\x04\x22\x4d\x18", "compressed with lz4; decompress it first, or compress it with gzip"),
    (b"LZIP", "compressed with lzip; decompress it first, or compress it with gzip"),
    (b"LOCUS ", "a GenBank file; give reads or FASTA"),
)
_TAR_POSITION = 257


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
        self._stream = DecompressedStream(path, threads=_DECOMPRESSING_THREADS)
        self._fastq: FastqRecords | None = None
        self._fasta: Iterator[SequenceRecord] = iter(())
        self._n_fasta = 0
        self._is_open = False

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
        return self._n_fasta if self._fastq is None else self._fastq.n_records

    @property
    def has_blocks(self) -> bool:
        """Whether the next records can be taken by the block, as far as is known."""
        return not self._is_open or (self._fastq is not None and self._fastq.has_blocks)

    def ready(self, kernels: RecordKernels) -> RecordBlock:
        """Return the next records to take by the block; none if what follows must be iterated over.

        Raises:
            ReadFileError: The file is neither FASTQ nor FASTA, or breaks; the record is named.
        """
        with self._named_errors():
            self._open_records()
            return NO_RECORDS if self._fastq is None else self._fastq.ready(kernels)

    def take(self, n: int) -> RecordBlock:
        """Return the first `n` of the records that are ready, at least one."""
        assert self._fastq is not None, "records are ready"
        return self._fastq.take(n)

    def __iter__(self) -> Iterator[SequenceRecord]:
        """Yield the records that have not been taken.

        Raises:
            ReadFileError: The file holds no reads, is neither FASTQ nor FASTA, or breaks; the record is named.
        """
        with self._named_errors():
            self._open_records()
            if self._fastq is None:
                yield from self._fasta
            else:
                try:
                    yield from self._fastq.regular()
                except FileFormatError:
                    yield from self._fastq.irregular()
        if self.n_records == 0:
            raise ReadFileError(f"{self.path} holds no reads; remove it from the sample or copy it again")

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Add file and record to the errors of the parsers."""
        try:
            yield
        except StreamError as error:
            raise self._error(str(error)) from error
        except FastaError as error:
            raise self._error(error.reason) from None
        except FastqError as error:
            raise self._error(str(error)) from error

    def _open_records(self) -> None:
        """Tell the format by the first bytes, once."""
        if self._is_open:
            return
        n_blank = self._stream.skip_blanks()
        head = self._stream.peek()
        content = known_content(head) if head else None
        if content is not None:
            raise ReadFileError(f"{self.path} is {content}")
        if head.startswith(b"@"):
            self._stream.require_ascii()
            self._stream.limit_lines(self._max_record_bases)
            self._fastq = FastqRecords(self._stream, n_blank + 1, max_bases=self._max_record_bases)
        elif head.startswith(b">"):
            self._fasta = self._fasta_records()
        elif head:
            raise self._error(
                f"neither FASTQ nor FASTA, it starts with {head[:20]!r} where '@' or '>' should be; give a file of "
                "reads"
            )
        self._is_open = True

    def _fasta_records(self) -> Iterator[SequenceRecord]:
        self._stream.limit_lines(self._max_record_bases)
        lines = io.BufferedReader(self._stream, 256 << 10)
        for _, header, sequence in iter_fasta(lines, self._max_record_bases):
            if b"\r" in header:
                raise self._error("the lines end in carriage returns alone; convert the line ends, e.g. with mac2unix")
            if not sequence.isascii():
                raise self._error(bad_letter_reason(next(chr(letter) for letter in sequence if letter > 127)))
            self._n_fasta += 1
            yield SequenceRecord(header.decode("ascii", "backslashreplace"), sequence.decode("ascii"))

    def _error(self, reason: str) -> ReadFileError:
        return record_error(self.path, self.n_records + 1, reason)


def record_error(path: Path, record: int, reason: str) -> ReadFileError:
    """Return an error that names file, record (from 1) and reason."""
    return ReadFileError(f"{path}, record {record}: {reason}")


def known_content(head: bytes) -> str | None:
    """Return what a file that begins with these bytes is and how to get reads from it, or None."""
    if head[_TAR_POSITION:].startswith(b"ustar"):
        return "a tar archive; unpack it first"
    return next((content for magic, content in _KNOWN_CONTENT if head.startswith(magic)), None)


def usual_letters(sequence: str) -> str:
    """Return a sequence without blanks at its ends and with N for `.`, as old Illumina pipelines write N."""
    return sequence.strip().replace(".", "N")


def bad_letter_reason(letter: str) -> str:
    """Return why a read with `letter` in it is refused."""
    if letter in "-*":
        return (
            f"the sequence holds {letter!r}, a gap of an alignment; give unaligned DNA or RNA reads, or remove the "
            "gaps, e.g. with seqkit seq --remove-gaps --gap-letters '-*'"
        )
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
