"""Sequences on the disk, and in memory what decides which are kept: a digest, a label and a group each."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from ..errors import InputError
from .batch import Batch
from .labels import NO_LABEL, LabelCodes, Labels
from .nucleotides import bad_letter, digests, fold
from .settings import PreparationSettings

EMPTY, TOO_SHORT, TOO_MANY_N = "empty", "too_short", "too_many_n"
SCHEMA = pa.schema([("id", pa.string()), ("sequence", pa.string()), ("source", pa.string())])


class SequenceStore:
    """Takes batches, drops what cannot be used, and keeps the rest in a temporary file.

    Args:
        path: The file to make.
        settings: What decides which sequences are used.

    Attributes:
        n_read: Records so far.
        dropped: Of them those not kept, by reason.
        group_names: Groups or contigs, in the order in which they came.
    """

    def __init__(self, path: Path, settings: PreparationSettings) -> None:
        self.path, self.settings = path, settings
        self.n_read = 0
        self.dropped: Counter[str] = Counter()
        self.group_names: dict[str, int] = {}
        self._codes = LabelCodes(settings.task, settings.positive)
        self._labels, self._groups = array("d"), array("i")
        self._digests = bytearray()
        self._writer = pa.ipc.new_file(str(path), SCHEMA, options=pa.ipc.IpcWriteOptions(compression="lz4"))

    def __len__(self) -> int:
        return len(self._labels)

    def close(self) -> None:
        """End the file; `batches` can be read from then on."""
        self._writer.close()

    def add(self, batch: Batch) -> None:
        """Take a batch.

        Raises:
            InputError: A sequence holds a letter that is no nucleotide, or a label is no number where it must be.
        """
        self.n_read += len(batch.ids) + batch.dropped.total()
        self.dropped.update(batch.dropped)
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
        self._writer.write_batch(pa.record_batch([*columns, [batch.sources[i] for i in kept]], schema=SCHEMA))

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
        """uint64 `(n_sequences, 2)`."""
        return np.frombuffer(self._digests, "<u8").reshape(-1, 2)

    @property
    def groups(self) -> np.ndarray:
        """int32 `(n_sequences,)`, places in `group_names`; empty where the split needs none."""
        return np.frombuffer(self._groups, np.int32)

    def labels(self) -> Labels:
        """The label of each sequence.

        Raises:
            InputError: There are too few classes.
        """
        return self._codes.finish(self._labels)

    def batches(self) -> Iterator[tuple[slice, pa.RecordBatch]]:
        """Rows of each batch, and its ids, sequences and sources."""
        first = 0
        with pa.OSFile(str(self.path), "rb") as file:
            reader = pa.ipc.open_file(file)
            for i in range(reader.num_record_batches):
                batch = reader.get_batch(i)
                yield slice(first, first + len(batch)), batch
                first += len(batch)


def _check_letters(batch: Batch, sequences: list[bytes]) -> None:
    if bad_letter(b"".join(sequences)) is None:
        return
    i, letter = next((i, letter) for i, one in enumerate(sequences) if (letter := bad_letter(one)) is not None)
    raise InputError(
        f"{batch.where(i)} ({batch.ids[i]}): {letter!r} is no IUPAC nucleotide letter; give unaligned DNA or RNA."
    )


__all__ = ["SCHEMA", "SequenceStore"]
