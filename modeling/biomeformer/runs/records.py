"""Records of a run over items: the run itself, its parts, and its failures, each with a checksum.

Format 1, which version 0.1 wrote, has no checksums and knows input files by name and size alone. Keys keep the names of
that version, which knew samples alone: `samples` and `sample_id` are items, `reads` an item's input files in format 1,
`tallies` statistics, and `how_it_ended` is an attempt's status.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ..io.file_identity import FileIdentity
from ..io.records import DamagedFileError, RecordType, read_arrays, write_arrays

FORMAT_VERSION = 2
# The noun of records that have none.
DEFAULT_NOUN = "samples"
STATUS_ON_DISK = "how_it_ended"
PART_ADVICE = "give the command of the run again, which takes it again"
_STATS = msgspec.json.Decoder(dict[str, int])
PART_FIELDS_0_1 = frozenset({"sample_id", "fingerprint", "reads", "tallies"})


class RunRecord(msgspec.Struct):
    """Content of `run.json`.

    Attributes:
        format_version: 1 or 2.
        fingerprint: What decides the numbers.
        samples: Size of the input files by item.
        attempts: When each attempt ran, where, and how it ended.
        noun: What the items are, in the plural.
    """

    format_version: int
    fingerprint: dict[str, Any]
    samples: dict[str, int]
    attempts: list[dict[str, Any]]
    noun: str = DEFAULT_NOUN


class FailureRecord(msgspec.Struct):
    """Content of `failed/ID.json`."""

    sample_id: str
    reason: str
    when: str


_RUN_FIELDS_0_1 = frozenset({"format_version", "fingerprint", "samples", "attempts"})
RUN = RecordType(
    RunRecord,
    "delete it and give the same command again, which uses the parts that fit, or start over with --overwrite",
    [_RUN_FIELDS_0_1, _RUN_FIELDS_0_1 | {"noun"}],
)
FAILURE = RecordType(
    FailureRecord, "give the command of the run again, which tries the item again", [("sample_id", "reason", "when")]
)


@dataclass(frozen=True)
class Part:
    """The part of a finished item.

    Attributes:
        path: Its file.
        stats: Its statistics, such as reads by what became of them.
        item_id: The item.
        fingerprint: Digest of what decided its numbers.
        inputs: What its input files were, in reading order.
        has_checksum: False for a part that version 0.1 wrote.
    """

    path: Path
    stats: dict[str, int]
    item_id: str = ""
    fingerprint: str = ""
    inputs: tuple[FileIdentity, ...] = ()
    has_checksum: bool = True

    def arrays(self) -> dict[str, np.ndarray]:
        """Read its arrays from the disk.

        Raises:
            DamagedFileError: It has been damaged.
        """
        return read_arrays(self.path, advice=PART_ADVICE, fields_without_checksum=[PART_FIELDS_0_1])


def write_part(
    path: Path,
    arrays: dict[str, np.ndarray],
    *,
    item_id: str,
    fingerprint: str,
    inputs: Sequence[FileIdentity],
    stats: dict[str, int],
) -> None:
    """Write a part atomically; see `Part` for the arguments."""
    metadata = {
        "format_version": str(FORMAT_VERSION),
        "sample_id": item_id,
        "fingerprint": fingerprint,
        "inputs": json.dumps([file.record for file in inputs]),
        "tallies": json.dumps(stats),
    }
    write_arrays(path, arrays, metadata)


def read_part(path: Path) -> tuple[Part, dict[str, np.ndarray]]:
    """Read and verify a part; return it and its arrays.

    Raises:
        FileNotFoundError: There is none.
        DamagedFileError: It is damaged.
    """
    arrays = read_arrays(path, advice=PART_ADVICE, fields_without_checksum=[PART_FIELDS_0_1])
    metadata = arrays.metadata
    has_checksum = metadata.keys() != PART_FIELDS_0_1
    try:
        inputs = msgspec.json.decode(metadata["inputs" if has_checksum else "reads"])
        stats = _STATS.decode(metadata["tallies"])
        part = Part(
            path,
            stats,
            metadata["sample_id"],
            metadata["fingerprint"],
            tuple(map(FileIdentity.from_record, inputs)),
            has_checksum,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(f"{path} does not have its form, so it is damaged; {PART_ADVICE}.") from error
    return part, arrays


__all__ = ["FAILURE", "FORMAT_VERSION", "RUN", "FailureRecord", "Part", "RunRecord", "read_part", "write_part"]
