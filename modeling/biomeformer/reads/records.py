"""Records of one FASTQ or FASTA file, with errors that name file, record and reason."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from dnaio import FileFormatError, SequenceRecord

from biomeformer.errors import ReadFileError
from biomeformer.io.compression import DecompressedStream, StreamError
from biomeformer.io.fasta import FastaError, iter_fasta
from biomeformer.io.limits import RECORD_BASES
from biomeformer.reads.fastq import NUCLEOTIDE_LETTERS, FastqError, FastqRecords

# Lines of this length are read however low the limit on bases is.
LONGEST_NAME = 1000
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
        self._stream = DecompressedStream(path)
        self._fastq: FastqRecords | None = None
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
        return self._n_fasta if self._fastq is None else self._fastq.n_records

    def __iter__(self) -> Iterator[SequenceRecord]:
        """Yield the records.

        Raises:
            ReadFileError: The file holds no reads, is neither FASTQ nor FASTA, or breaks; the record is named.
        """
        try:
            records = self._open_records()
            try:
                yield from records if self._fastq is None else self._fastq.regular()
            except FileFormatError:
                if self._fastq is None:
                    raise
                yield from self._fastq.irregular()
        except StreamError as error:
            raise self._error(str(error)) from error
        except FastaError as error:
            raise self._error(error.reason) from None
        except FastqError as error:
            raise self._error(str(error)) from error
        if self.n_records == 0:
            raise ReadFileError(f"{self.path} holds no reads; remove it from the sample or copy it again")

    def _open_records(self) -> Iterator[SequenceRecord]:
        n_blank = self._stream.skip_blanks()
        head = self._stream.peek()
        if not head:
            return iter(())
        content = known_content(head)
        if content is not None:
            raise ReadFileError(f"{self.path} is {content}")
        if head.startswith(b"@"):
            self._stream.require_ascii()
            self._stream.limit_lines(self._max_record_bases)
            self._fastq = FastqRecords(self._stream, n_blank + 1, max_bases=self._max_record_bases)
            return iter(())
        if head.startswith(b">"):
            return self._fasta_records()
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
