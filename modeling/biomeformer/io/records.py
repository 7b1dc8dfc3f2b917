"""Files that the package writes and later trusts: with a checksum, verified and validated when they are read.

A JSON record ends with the checksum of its other fields; a file of arrays has it in the metadata of its safetensors
header. Both cover names, types, shapes and values, so that no byte that has a meaning can change unnoticed. A file
without a checksum was written by version 0.1; it is accepted only if its fields are exactly those of that version,
since otherwise damage to the checksum's name would switch verification off.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np
import xxhash
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ..errors import InputError, RunError
from .atomic import atomic_write, write_json
from .strict_json import parse_json

CHECKSUM = "checksum"
# Made once, since each is made anew by `json.dumps` with options.
_SORTED = json.JSONEncoder(sort_keys=True)

Schema = TypeVar("Schema")


class DamagedFileError(InputError):
    """A file that the package wrote is damaged or was edited."""


class MissingChecksumError(DamagedFileError):
    """A file without a checksum that is not of version 0.1: its checksum is damaged, or another version wrote it."""


class CheckedArrays(dict[str, np.ndarray]):
    """Arrays by name, as read from a file.

    Attributes:
        metadata: Texts stored beside the arrays, without the checksum.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
        super().__init__(arrays)
        self.metadata = dict(metadata)


class RecordType(Generic[Schema]):
    """A kind of JSON record: its schema, and what to do about a damaged one.

    Args:
        schema: A type that msgspec validates: a Struct, dataclass, TypedDict, or a container of them.
        advice: What to do about a damaged record, to end its error message.
        fields_without_checksum: Sets of fields of records without a checksum that are accepted: those of version 0.1.
    """

    def __init__(
        self, schema: type[Schema], advice: str, fields_without_checksum: Collection[Collection[str]] = ()
    ) -> None:
        self.schema, self.advice = schema, advice
        self.fields_without_checksum = [frozenset(fields) for fields in fields_without_checksum]

    def read(self, path: Path) -> Schema:
        """Read a record.

        Raises:
            FileNotFoundError: There is no such file.
            DamagedFileError: It is not JSON, does not match its checksum, or does not fit the schema.
        """
        return self.parse(_read_bytes(path, self.advice), path)

    def parse(self, content: bytes, where: str | Path) -> Schema:
        """Parse a record that lies within another file.

        Args:
            content: What `serialize` returned.
            where: Name of the record, for errors.

        Raises:
            DamagedFileError: It is not JSON, does not match its checksum, or does not fit the schema.
        """
        try:
            record = parse_json(content.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise self._damaged(where, "is not JSON") from error
        if not isinstance(record, dict):
            raise self._damaged(where, "is not a JSON object")
        checksum = record.pop(CHECKSUM, None)
        if checksum is None:
            if frozenset(record) not in self.fields_without_checksum:
                raise self._damaged(where, "has no checksum", MissingChecksumError)
        elif checksum != checksum_of_record(record):
            raise self._damaged(where, "does not match its checksum")
        try:
            return msgspec.convert(record, self.schema, strict=True)
        except msgspec.ValidationError as error:
            raise self._damaged(where, f"does not have its form ({error})") from error

    def write(self, path: Path, record: Mapping[str, Any], *, indent: int | None = 1) -> None:
        """Write a record atomically, with its checksum.

        Args:
            path: The file.
            record: JSON values.
            indent: Blanks per level, or None for a single line.

        Raises:
            RunError: A number is NaN or infinite, which JSON lacks, so that the record could not be read again.
        """
        try:
            values = _with_checksum(record)
        except ValueError as error:
            raise RunError(f"{path} is not written: a number in it is NaN or infinite; check what gave it.") from error
        write_json(path, values, indent=indent, ensure_ascii=False)

    def serialize(self, record: Mapping[str, Any]) -> bytes:
        """Return a record with its checksum as JSON in one line, to store it within another file."""
        return json.dumps(_with_checksum(record), ensure_ascii=False).encode()

    def _damaged(
        self, where: str | Path, problem: str, kind: type[DamagedFileError] = DamagedFileError
    ) -> DamagedFileError:
        return kind(f"{where} {problem}, so it is damaged or was edited; {self.advice}.")


def _with_checksum(record: Mapping[str, Any]) -> dict[str, Any]:
    # As it will be read: tuples become lists, and integer keys text. NaN is not JSON, and would not be read again.
    values: dict[str, Any] = json.loads(json.dumps(record, allow_nan=False))
    return values | {CHECKSUM: checksum_of_record(values)}


def checksum_of_record(record: Mapping[str, Any]) -> str:
    """Return the XXH3 checksum of JSON values, whatever the order of their keys."""
    content = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
    return f"xxh3:{xxhash.xxh3_128_hexdigest(content)}"


def checksum_of_arrays(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    """Return the XXH3 checksum of arrays and the texts beside them: names, types, shapes and values."""
    hasher = xxhash.xxh3_128()
    hasher.update(_SORTED.encode(dict(metadata)).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        hasher.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        hasher.update(array.reshape(-1).view(np.uint8).data if array.size else b"")
    return f"xxh3:{hasher.hexdigest()}"


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays to a safetensors file atomically, with a checksum in its metadata.

    Args:
        path: The file.
        arrays: Arrays by name.
        metadata: Texts to store beside them.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    content = save(arrays, metadata=dict(metadata) | {CHECKSUM: checksum_of_arrays(arrays, metadata)})
    with atomic_write(path) as partial:
        # `save_file` would write beside it first, under a name of its own that a kill leaves there.
        partial.write_bytes(content)


def read_arrays(path: Path, *, advice: str, fields_without_checksum: Collection[Collection[str]] = ()) -> CheckedArrays:
    """Read arrays that `write_arrays` wrote.

    Args:
        path: The file.
        advice: What to do about a damaged file, to end its error message.
        fields_without_checksum: Sets of metadata fields of files without a checksum that are accepted: those of
            version 0.1.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedFileError: It is no safetensors file, or does not match its checksum.
    """
    content = _read_bytes(path, advice)
    try:
        arrays = load(content)
        metadata = _metadata(content)
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise DamagedFileError(f"{path} is not a safetensors file, so it is damaged; {advice}.") from error
    checksum = metadata.pop(CHECKSUM, None)
    if checksum is None:
        if frozenset(metadata) not in [frozenset(fields) for fields in fields_without_checksum]:
            raise DamagedFileError(f"{path} has no checksum, so it is damaged; {advice}.")
    elif checksum != checksum_of_arrays(arrays, metadata):
        raise DamagedFileError(f"{path} does not match its checksum, so it is damaged or was edited; {advice}.")
    return CheckedArrays(arrays, metadata)


def _metadata(content: bytes) -> dict[str, str]:
    """Return the texts in a safetensors header, which `safetensors.numpy.load` leaves out."""
    size = int.from_bytes(content[:8], "little")
    return dict(msgspec.json.decode(content[8 : 8 + size]).get("__metadata__") or {})


def _read_bytes(path: Path, advice: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedFileError(f"{path} cannot be read: {error.strerror}; {advice}.") from error


__all__ = [
    "CHECKSUM",
    "CheckedArrays",
    "DamagedFileError",
    "MissingChecksumError",
    "RecordType",
    "checksum_of_arrays",
    "checksum_of_record",
    "read_arrays",
    "write_arrays",
]
