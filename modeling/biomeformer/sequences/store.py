"""A store of sequences on disk; digest, label and group of each sequence are kept in memory."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from ..errors import InputError, RunError
from ..io.nucleotides import bad_letter, digests, fold
from ..io.parquet import DAMAGE, column_checksum
from .batch import Batch
from .labels import NO_LABEL, LabelCodes, Labels
from .settings import PreparationSettings

EMPTY, TOO_SHORT, TOO_MANY_N = "empty", "too_short", "too_many_n"
SCHEMA = pa.schema([("id", pa.string()), ("sequence", pa.string()), ("source", pa.string())])


class SequenceStore:
    """Collects batches in a temporary file, dropping sequences that cannot be used.

    Args:
        path: The file to create.
        settings: Settings that determine which sequences are used.

    Attributes:
        n_read: Number of records read so far.
        dropped: Number of records dropped so far, by reason.
        missing_words: Number of those dropped for a label that marks a missing value, by the word.
        group_names: Number of each group or contig, in order of first appearance.
    """

    def __init__(self, path: Path, settings: PreparationSettings) -> None:
        self.path, self.settings = path, settings
        self.n_read = 0
        self.dropped: Counter[str] = Counter()
        self.missing_words: Counter[str] = Counter()
        self.group_names: dict[str, int] = {}
        self._codes = LabelCodes(settings.task, settings.positive)
        self._labels, self._groups = array("d"), array("i")
        self._digests = bytearray()
        self._checksums: list[list[int]] = []
        self._writer = pa.ipc.new_file(str(path), SCHEMA, options=pa.ipc.IpcWriteOptions(compression="lz4"))

    def __len__(self) -> int:
        return len(self._labels)

    def close(self) -> None:
        """Finish the file, after which `batches` can be called."""
        self._writer.close()

    def add(self, batch: Batch) -> None:
        """Add a batch.

        Raises:
            InputError: A sequence has a letter that is not a nucleotide, or a label of a regression is not a number.
        """
        self.n_read += len(batch.ids) + batch.dropped.total()
        self.dropped.update(batch.dropped)
        self.missing_words.update(batch.missing_words)
        sequences = [fold(sequence) for sequence in batch.sequences]
        _check_letters(batch, sequences)
        kept = [i for i, sequence in enumerate(sequences) if self._is_usable(batch, i, sequence)]
        if not kept:
            return
        used = [sequences[i] for i in kept]
        self._digests += digests(used, both_strands=self.settings.reverse_complement).tobytes()
        if batch.groups:
            names = self.group_names
            self._groups.extend(names.setdefault(batch.groups[i], len(names)) for i in kept)
        columns = [[batch.ids[i] for i in kept], pa.array(used, pa.binary()).cast(pa.string())]
        stored = pa.record_batch([*columns, [batch.sources[i] for i in kept]], schema=SCHEMA)
        self._checksums.append([column_checksum(column) for column in stored.columns])
        self._writer.write_batch(stored)

    def _is_usable(self, batch: Batch, i: int, sequence: bytes) -> bool:
        reason = None
        if not sequence:
            reason = EMPTY
        elif len(sequence) < self.settings.min_length:
            reason = TOO_SHORT
        elif sequence.count(b"N") > self.settings.max_n * len(sequence):
            reason = TOO_MANY_N
        else:
            label = self._codes.code(batch, i)
            if label is not None:
                self._labels.append(label)
                return True
            reason = NO_LABEL
        self.dropped[reason] += 1
        return False

    @property
    def digests(self) -> np.ndarray:
        """Digests of the sequences, uint64 `(n_sequences, 2)`."""
        return np.frombuffer(self._digests, "<u8").reshape(-1, 2)

    @property
    def groups(self) -> np.ndarray:
        """Group number of each sequence, int32 `(n_sequences,)`; empty if the split needs no groups."""
        return np.frombuffer(self._groups, np.int32)

    def labels(self) -> Labels:
        """Return the labels of all sequences.

        Raises:
            InputError: There are too few classes.
        """
        return self._codes.finish(self._labels)

    def batches(self) -> Iterator[tuple[slice, pa.RecordBatch]]:
        """Yield the rows of each stored batch, and the batch with columns `id`, `sequence` and `source`.

        Raises:
            RunError: The file does not give what was written to it.
        """
        first = 0
        for batch in self._stored():
            yield slice(first, first + len(batch)), batch
            first += len(batch)

    def _stored(self) -> Iterator[pa.RecordBatch]:
        damaged = f"{self.path} does not give what was written to it; check the disk, and give the same command again."
        try:
            with pa.OSFile(str(self.path), "rb") as file:
                reader = pa.ipc.open_file(file)
                batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
                for expected in self._checksums:
                    batch = next(batches)
                    if [column_checksum(column) for column in batch.columns] != expected:
                        raise RunError(damaged)
                    yield batch
        except (*DAMAGE, StopIteration) as error:
            raise RunError(damaged) from error


def _check_letters(batch: Batch, sequences: list[bytes]) -> None:
    if bad_letter(b"".join(sequences)) is None:
        return
    letters = map(bad_letter, sequences)
    i, letter = next((i, letter) for i, letter in enumerate(letters) if letter is not None)
    raise InputError(
        f"{batch.where(i)} ({batch.ids[i]}): {letter!r} is not an IUPAC nucleotide letter; give unaligned DNA or RNA."
    )


__all__ = ["SCHEMA", "SequenceStore"]
