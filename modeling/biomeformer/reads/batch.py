"""A batch of reads as three flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from biomeformer.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class ReadBatch:
    """Reads, concatenated.

    Attributes:
        sequence: uint8 `(n_bases,)`, the letters as ASCII, as in the file, but for `.`, which is N, and blanks
            at the ends of lines.
        offsets: int64 `(n_reads + 1,)`; read `j` is `sequence[offsets[j]:offsets[j + 1]]`.
        index: int64 `(n_reads,)`, the read's number within its sample, from 0, running on over several files. Both
            mates of pair `i` have number `i`.
    """

    sequence: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    index: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.index)

    def lengths(self) -> npt.NDArray[np.int64]:
        """Return the bases per read, int64 `(n_reads,)`."""
        return np.diff(self.offsets)

    def strings(self) -> list[str]:
        """Return the reads as Python strings."""
        text = self.sequence.tobytes().decode("latin-1")
        ends = self.offsets.tolist()
        return [text[start:end] for start, end in pairwise(ends)]

    def select(self, keep: npt.NDArray[np.bool_]) -> ReadBatch:
        """Return the reads where `keep`, bool `(n_reads,)`, is true, in their order."""
        lengths = self.lengths()
        return ReadBatch(
            sequence=self.sequence[np.repeat(keep, lengths)],
            offsets=_offsets(lengths[keep]),
            index=self.index[keep],
        )

    @classmethod
    def concatenate(cls, batches: Sequence[ReadBatch]) -> ReadBatch:
        """Return one batch with the reads of all `batches`, in their order."""
        if not batches:
            return cls.from_strings([])
        return cls(
            sequence=np.concatenate([batch.sequence for batch in batches]),
            offsets=_offsets(np.concatenate([batch.lengths() for batch in batches])),
            index=np.concatenate([batch.index for batch in batches]),
        )

    @classmethod
    def from_strings(cls, sequences: Sequence[str], index: npt.ArrayLike | None = None) -> ReadBatch:
        """Build a batch from strings of ASCII letters.

        Args:
            sequences: The reads.
            index: Their numbers within the sample; 0, 1, 2, … where left out.

        Raises:
            InputError: A sequence is not ASCII, or `index` has another length than `sequences`.
        """
        try:
            joined = "".join(sequences).encode("ascii")
        except UnicodeEncodeError as error:
            raise InputError(
                f"a sequence holds {error.object[error.start]!r}, which is not an ASCII letter; pass nucleotide letters"
            ) from None
        lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
        numbers = np.arange(len(sequences), dtype=np.int64) if index is None else np.asarray(index, dtype=np.int64)
        if numbers.shape != (len(sequences),):
            raise InputError(
                f"index has shape {numbers.shape} and there are {len(sequences)} sequences; give one number per "
                "sequence"
            )
        return cls(sequence=np.frombuffer(joined, dtype=np.uint8), offsets=_offsets(lengths), index=numbers)


def _offsets(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
