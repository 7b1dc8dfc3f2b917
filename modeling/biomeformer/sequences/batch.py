"""Batches of labelled sequences read from a file."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BATCH_RECORDS = 4096
BATCH_BASES = 8 << 20


@dataclass
class Batch:
    """Consecutive records of a file.

    Attributes:
        path: The file that holds the sequences.
        unit: What `numbers` count: `record`, `line` or `row`.
        numbers: Position of each record in the file, from 1.
        ids: Names.
        sequences: Bases, as written in the file.
        labels: As written in the file; None for a record without a label.
        sources: Origin of each record, such as file and line.
        groups: Group or contig of each record, if the split needs it.
        dropped: Number of records that gave no sequence, by reason.
        missing_words: Number of records dropped for a label that marks a missing value, by the word.
    """

    path: Path
    unit: str
    numbers: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    sequences: list[bytes] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    missing_words: Counter[str] = field(default_factory=Counter)
    n_bases: int = 0

    def add(
        self, number: int, name: str, sequence: bytes, label: Any, group: str | None, source: str | None = None
    ) -> None:
        """Append one record."""
        self.numbers.append(number)
        self.ids.append(name)
        self.sequences.append(sequence)
        self.labels.append(label)
        self.sources.append(f"{self.path.name}:{number}" if source is None else source)
        if group is not None:
            self.groups.append(group)
        self.n_bases += len(sequence)

    @property
    def is_full(self) -> bool:
        """Whether the batch has reached the size at which it is processed."""
        return len(self.ids) >= BATCH_RECORDS or self.n_bases >= BATCH_BASES

    def where(self, i: int) -> str:
        """Return the file and position of record `i`, for error messages."""
        return f"{self.path}, {self.unit} {self.numbers[i]}"


__all__ = ["Batch"]
