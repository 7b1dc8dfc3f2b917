"""A sample's read files, and the reader that turns them into batches."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, compress, count, islice, zip_longest
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from dnaio import SequenceRecord

from biomeformer.errors import InputError, ReadFileError
from biomeformer.reads.batch import ReadBatch
from biomeformer.reads.blocks import BatchInProgress, KernelSource, RecordBlock, RecordKernels
from biomeformer.reads.mates import are_mates
from biomeformer.reads.records import RecordFile, bad_letter_reason, first_bad_letter, record_error, usual_letters
from biomeformer.reads.subsampling import check_read_fraction, keep_reads

PathLike: TypeAlias = "str | os.PathLike[str]"

_CHUNK_READS = 64
_FLAGS_PER_BLOCK = 4096
_SCANNED_READS_PER_BATCH = 1 << 20
# ENA's tables of files leave the scheme out.
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://|ftp\.[\w.-]+/")
_DOWNLOADERS = {"s3": "aws s3 cp", "gs": "gcloud storage cp", "az": "azcopy copy"}
_OR_UNPAIRED = (
    ", or the two files unpaired: as 'FILE;FILE' in the column fastq (or in fastq_1 with fastq_2 empty) of the sample "
    "sheet, in Python as SampleReads.single(FILE, FILE)"
)


@dataclass(frozen=True)
class SampleReads:
    """The files of one sample, in reading order.

    Attributes:
        files: One entry per run or lane: `(single,)` or `(r1, r2)`.
    """

    files: tuple[tuple[Path, ...], ...]

    def __post_init__(self) -> None:
        if not self.files or not all(len(mates) in (1, 2) for mates in self.files):
            raise InputError("a sample needs at least one read file, or pairs of them; give FASTQ or FASTA paths")

    @classmethod
    def single(cls, *paths: PathLike) -> SampleReads:
        """Return a sample of single reads (or of mates to be treated as such) in one or several files."""
        return cls(tuple((local_path(path),) for path in paths))

    @classmethod
    def paired(cls, r1: PathLike | Sequence[PathLike], r2: PathLike | Sequence[PathLike]) -> SampleReads:
        """Return a sample of read pairs; lists of equal length where it has several runs.

        Raises:
            InputError: The lists differ in length.
        """
        first, second = _as_paths(r1), _as_paths(r2)
        if len(first) != len(second):
            raise InputError(
                f"{len(first)} files of first mates and {len(second)} of second mates; give as many of each"
            )
        return cls(tuple(zip(first, second, strict=True)))

    def paths(self) -> list[Path]:
        """Return every file, in reading order."""
        return list(chain.from_iterable(self.files))

    def check_files(self) -> int:
        """Check every file without reading it.

        Returns:
            Size of all files together on disk, in bytes.

        Raises:
            ReadFileError: A file is missing, is a directory, or is given twice (also through links).
        """
        n_bytes = 0
        seen: dict[tuple[int, int], Path] = {}
        for path in self.paths():
            try:
                status = path.stat()
            except FileNotFoundError:
                raise ReadFileError(f"{path}: there is no such file; check the path") from None
            except OSError as error:
                raise ReadFileError(f"{path} cannot be opened: {error.strerror or error}; check the path") from None
            if path.is_dir():
                raise ReadFileError(f"{path} is a directory; give the FASTQ or FASTA files themselves")
            identity = (status.st_dev, status.st_ino)
            if identity in seen:
                same = "twice" if seen[identity] == path else f"also as {seen[identity]}"
                raise ReadFileError(f"{path} is given {same} for one sample; give each file once")
            seen[identity] = path
            n_bytes += status.st_size
        return n_bytes


class SampleReader:
    """Reader of one sample, which yields `ReadBatch` after `ReadBatch` once.

    Mates come one after the other (r1, r2, r1, r2, …) and are never separated. A batch ends with `batch_reads` reads,
    at the read that brings it to `batch_bases` bases (a few dozen reads later where reads suddenly get longer), at the
    end of a file, and where its records are laid out otherwise than before. Reads outside the fraction are parsed and
    counted; their letters are not looked at. Errors may come after many good batches: commit results when the iteration
    has ended.

    Args:
        reads: The files.
        read_fraction: Share of the reads to keep, above 0 and at most 1 (see `keep_reads`).
        seed: The subsample's seed.
        batch_reads: Most reads in a batch; at least two, so that a pair fits.
        batch_bases: Bases that close a batch; one read may be longer.
        max_record_bases: Longest read that is read; `RECORD_BASES` of `biomeformer.io.limits` by default.
        kernels: Returns compiled functions once they are loaded; the reads are the same without them.

    Attributes:
        n_reads: Reads seen in the files so far; mates count as two.
        n_selected: Reads kept by the subsampling so far.
        bytes_total: Bytes of all files, compressed as on disk.

    Raises:
        ReadFileError: A file is missing, a directory or given twice; while iterating, a file is damaged, empty, not
            FASTQ or FASTA, or its mates do not fit. File, record and reason are named.
        InputError: An argument is out of range.
    """

    def __init__(
        self,
        reads: SampleReads,
        *,
        read_fraction: float = 1.0,
        seed: int = 0,
        batch_reads: int = 8192,
        batch_bases: int = 4 << 20,
        max_record_bases: int | None = None,
        kernels: KernelSource = lambda: None,
    ) -> None:
        check_read_fraction(read_fraction)
        if batch_reads < 2 or batch_bases < 1:
            raise InputError(
                f"batch_reads is {batch_reads} and batch_bases {batch_bases}; give at least 2 reads and 1 base"
            )
        self.n_reads = 0
        self.n_selected = 0
        self.bytes_total = reads.check_files()
        self._reads = reads
        self._read_fraction = read_fraction
        self._seed = seed
        self._batch_reads = batch_reads
        self._batch_bases = batch_bases
        self._max_record_bases = max_record_bases
        self._kernels = kernels
        self._started = False
        self._bytes_finished = 0
        self._open_files: list[RecordFile] = []

    @property
    def bytes_done(self) -> int:
        """Bytes taken from the files so far, compressed as on disk."""
        return self._bytes_finished + sum(file.bytes_consumed for file in self._open_files)

    def __iter__(self) -> Iterator[ReadBatch]:
        if self._started:
            raise RuntimeError("a SampleReader reads its sample once; make another one")
        self._started = True
        first_number = 0
        for paths in self._reads.files:
            n_before = self.n_reads
            with ExitStack() as stack:
                self._open_files = [
                    stack.enter_context(RecordFile(path, max_record_bases=self._max_record_bases)) for path in paths
                ]
                yield from self._read_files(first_number)
                self._bytes_finished = self.bytes_done
                self._open_files = []
            first_number += (self.n_reads - n_before) // len(paths)

    def _read_files(self, first_number: int) -> Iterator[ReadBatch]:
        """Yield batches of one file or one pair of files, whose first read has number `first_number`."""
        n_taken = 0
        while True:
            kernels = self._kernels()
            if kernels is not None and self._have_blocks():
                n_taken = yield from self._read_blocks(kernels, first_number, n_taken)
            n_taken, have_ended = yield from self._read_records(first_number, n_taken)
            if have_ended:
                break

    def _have_blocks(self) -> bool:
        return all(file.has_blocks for file in self._open_files)

    def _read_blocks(self, kernels: RecordKernels, first_number: int, start: int) -> Generator[ReadBatch, None, int]:
        """Yield batches for as long as all open files have records to take by the block.

        Args:
            kernels: Compiled functions.
            first_number: Number of the files' first read.
            start: How many reads have been taken from them, mates counted.

        Returns:
            How many reads have been taken then.
        """
        files = self._open_files
        n_mates = len(files)
        n_before = self.n_reads - start
        pairs_per_batch = self._batch_reads // n_mates
        end = start
        batch = BatchInProgress(kernels, self._batch_bases)
        while True:
            ready = [file.ready(kernels) for file in files]
            n = min(*map(len, ready), pairs_per_batch - batch.n_reads // n_mates)
            if not n:
                break
            first = end // n_mates + first_number
            kept = keep_reads(np.arange(first, first + n), self._read_fraction, self._seed)
            lengths = np.stack([block.lengths()[:n] for block in ready], axis=1)
            n_bases = batch.n_bases + np.cumsum(lengths.sum(1) * kept)
            n = min(n, int(np.searchsorted(n_bases, self._batch_bases)) + 1)
            blocks = [file.take(n) for file in files]
            if n_mates == 2:
                _check_mates(kernels, files, blocks)
            batch.add(blocks, lengths[:n], kept[:n])
            end += n * n_mates
            is_full = batch.n_reads // n_mates == pairs_per_batch or batch.n_bases >= self._batch_bases
            if is_full or end - start >= _SCANNED_READS_PER_BATCH:
                self.n_reads = n_before + end
                if batch.n_reads:
                    yield self._checked(batch, start, end, first_number)
                batch, start = BatchInProgress(kernels, self._batch_bases), end
        self.n_reads = n_before + end
        if batch.n_reads:
            yield self._checked(batch, start, end, first_number)
        return end

    def _checked(self, batch: BatchInProgress, start: int, end: int, first_number: int) -> ReadBatch:
        """Return a batch whose letters are all nucleotide codes; positions as in `_batch`."""
        packed = ReadBatch(batch.sequence(), batch.offsets(), self._index(start, end, first_number))
        if not batch.are_bases and first_bad_letter(packed.sequence.tobytes(), packed.sequence) is not None:
            return self._batch(packed.strings(), start, end, first_number)
        self.n_selected += len(packed)
        return packed

    def _read_records(self, first_number: int, start: int) -> Generator[ReadBatch, None, tuple[int, bool]]:
        """Yield batches until the files end or records can be taken by the block.

        Args:
            first_number: Number of the files' first read.
            start: How many reads have been taken from them, mates counted.

        Returns:
            How many reads have been taken then, and whether the files have ended.
        """
        files = self._open_files
        n_mates = len(files)
        records = iter(files[0]) if n_mates == 1 else _paired_records(files[0], files[1])
        keep_flags = self._keep_flags(first_number + start // n_mates, n_mates) if self._read_fraction < 1 else None
        n_before = self.n_reads - start
        batch_reads = self._batch_reads - self._batch_reads % n_mates
        sequences: list[str] = []
        end = start
        n_bases = longest = 0
        # Records are taken by the chunk, for speed; no chunk of reads as long as those seen passes the batch's end.
        while True:
            fitting = (self._batch_bases - n_bases) // longest if longest else 0
            size = min(_CHUNK_READS, batch_reads - len(sequences), fitting)
            chunk = [record.sequence for record in islice(records, max(size - size % n_mates, n_mates))]
            if not chunk:
                break
            end += len(chunk)
            lengths = list(map(len, chunk))
            longest = max(longest, max(lengths))
            if keep_flags is not None:
                kept = list(islice(keep_flags, len(chunk)))
                chunk, lengths = list(compress(chunk, kept)), list(compress(lengths, kept))
            sequences += chunk
            n_bases += sum(lengths)
            full = len(sequences) >= batch_reads or n_bases >= self._batch_bases
            if full or end - start >= _SCANNED_READS_PER_BATCH:
                self.n_reads = n_before + end
                if sequences:
                    yield self._batch(sequences, start, end, first_number)
                sequences, start, n_bases = [], end, 0
                if self._kernels() is not None and self._have_blocks():
                    return end, False
        self.n_reads = n_before + end
        if sequences:
            yield self._batch(sequences, start, end, first_number)
        return end, True

    def _keep_flags(self, first_number: int, n_mates: int) -> Iterator[bool]:
        """Yield whether each read, mate by mate, is kept."""
        blocks = (
            np.repeat(
                keep_reads(np.arange(start, start + _FLAGS_PER_BLOCK), self._read_fraction, self._seed), n_mates
            ).tolist()
            for start in count(first_number, _FLAGS_PER_BLOCK)
        )
        return chain.from_iterable(blocks)

    def _batch(self, sequences: list[str], start: int, end: int, first_number: int) -> ReadBatch:
        """Pack the kept reads among those at positions `start` … `end` - 1 of the open files, mates counted."""
        n_mates = len(self._open_files)
        index = self._index(start, end, first_number)
        batch, position = _packed(sequences, index)
        if position is not None:
            # Few files have other letters, so that reads are looked at one by one only here.
            batch, position = _packed([usual_letters(sequence) for sequence in sequences], index)
        if position is not None:
            row = int(np.searchsorted(batch.offsets, position, side="right")) - 1
            raise record_error(
                self._open_files[row % n_mates].path,
                int(batch.index[row]) - first_number + 1,
                bad_letter_reason(chr(batch.sequence[position])),
            )
        self.n_selected += len(batch)
        return batch

    def _index(self, start: int, end: int, first_number: int) -> npt.NDArray[np.int64]:
        """Return the numbers of the kept reads among those at positions `start` … `end` - 1, mates counted."""
        numbers = np.arange(start, end, dtype=np.int64) // len(self._open_files) + first_number
        return numbers[keep_reads(numbers, self._read_fraction, self._seed)]


def iter_records(reads: SampleReads) -> Iterator[SequenceRecord]:
    """Yield the records of a sample with names and qualities, in the order of `SampleReader`; letters are not checked.

    Raises:
        ReadFileError: A file is damaged, empty, not FASTQ or FASTA, or its mates do not fit.
    """
    for paths in reads.files:
        with ExitStack() as stack:
            files = [stack.enter_context(RecordFile(path)) for path in paths]
            yield from files[0] if len(files) == 1 else _paired_records(files[0], files[1])


def _packed(sequences: list[str], index: npt.NDArray[np.int64]) -> tuple[ReadBatch, int | None]:
    """Return sequences as a batch, and the position of its first letter that is no nucleotide code, or None."""
    joined = "".join(sequences).encode("ascii")
    offsets = np.zeros(len(sequences) + 1, dtype=np.int64)
    np.cumsum(np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences)), out=offsets[1:])
    batch = ReadBatch(sequence=np.frombuffer(joined, dtype=np.uint8), offsets=offsets, index=index)
    return batch, first_bad_letter(joined, batch.sequence)


def _as_paths(paths: PathLike | Sequence[PathLike]) -> list[Path]:
    if isinstance(paths, str | os.PathLike):
        return [local_path(paths)]
    return [local_path(path) for path in paths]


def local_path(path: PathLike) -> Path:
    """Return a path to a file on disk.

    Raises:
        ReadFileError: It is a URL.
    """
    text = os.fspath(path)
    url = _URL.match(text)
    if url is not None and not os.path.lexists(text):
        scheme = (url["scheme"] or "ftp").lower()
        if scheme == "file":
            raise ReadFileError(f"{text} is a URL; give the path without 'file://'")
        tool = _DOWNLOADERS.get(scheme, "curl -O")
        raise ReadFileError(
            f"{text} is a URL, and reads are read from files on disk alone; download it first, e.g. with {tool}, and "
            "give the path of the file"
        )
    return Path(path)


def _check_mates(kernels: RecordKernels, files: Sequence[RecordFile], blocks: Sequence[RecordBlock]) -> None:
    """Compare the names of pairs that were taken from two files.

    Raises:
        ReadFileError: The names of two mates differ.
    """
    first, second = blocks
    pair = -1
    while True:
        pair = kernels.first_other_name(
            first.text, first.start, first.line_ends, second.text, second.start, second.line_ends, pair + 1
        )
        if pair == len(first):
            return
        mates = SequenceRecord(first.name(pair), ""), SequenceRecord(second.name(pair), "")
        if not are_mates(*mates):
            raise _mates_differ(files, files[0].n_records - len(first) + pair + 1, *mates)


def _mates_differ(
    files: Sequence[RecordFile], record: int, mate_1: SequenceRecord, mate_2: SequenceRecord
) -> ReadFileError:
    return record_error(
        files[0].path,
        record,
        f"the read's name is {mate_1.id!r}, but its mate in {files[1].path} is {mate_2.id!r}; "
        f"give two files with the same pairs in the same order{_OR_UNPAIRED}",
    )


def _paired_records(first: RecordFile, second: RecordFile) -> Iterator[SequenceRecord]:
    """Yield mates in turn.

    Raises:
        ReadFileError: The names of two mates differ, or one file ends before the other.
    """
    for mate_1, mate_2 in zip_longest(first, second):
        if mate_1 is None or mate_2 is None:
            short, long = (first, second) if mate_1 is None else (second, first)
            raise record_error(
                short.path,
                short.n_records + 1,
                f"the file ends after {short.n_records} records while its mate {long.path} goes on; "
                f"give two files with the same pairs{_OR_UNPAIRED}",
            )
        if not are_mates(mate_1, mate_2):
            raise _mates_differ((first, second), first.n_records, mate_1, mate_2)
        yield mate_1
        yield mate_2
