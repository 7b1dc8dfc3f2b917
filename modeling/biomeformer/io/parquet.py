"""Parquet files with checksums of their content, by column and row group, verified as they are read.

Pages have the checksums of the format too, but these do not cover what the pages mean: names, types, numbers of rows
and the metadata in the file's footer. Files of version 0.1 have no checksums; they are read as they are.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from ..errors import reason_of
from .atomic import atomic_write
from .records import DamagedFileError, RecordType

KEY = b"biomeformer.checksums"
# What files without checksums may have: a key that is neither is the damaged key of the checksums.
KEYS_WITHOUT_CHECKSUMS = {b"ARROW:schema", b"pandas"}
# What pyarrow raises for damaged files, beside its own exceptions.
DAMAGE = (pa.ArrowException, OSError, ValueError, LookupError, TypeError, OverflowError, MemoryError, AttributeError)


class _Checksums(msgspec.Struct):
    """Checksums of each row group by column, 8 bytes each in base64, and of what the schema says for pandas."""

    columns: dict[str, str]
    pandas: str


def column_checksum(column: pa.ChunkedArray | pa.Array) -> int:
    """Return the XXH3 checksum of a column's values, however they are chunked or laid out in memory."""
    hashers: dict[str, xxhash.xxh3_64] = {}
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        _feed(hashers, "", chunk)
    summary: list[Any] = [_type_name(column.type), len(column)]
    summary += [[path, hasher.hexdigest()] for path, hasher in sorted(hashers.items())]
    return int(xxhash.xxh3_64_intdigest(json.dumps(summary).encode()))


def _type_name(kind: pa.DataType) -> str:
    """Name a type; names of fields within lists and widths of offsets vary with who wrote the file."""
    if isinstance(kind, pa.ExtensionType):
        kind = kind.storage_type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if _is_list(kind):
        return f"list of {_type_name(kind.value_type)}"
    return str(kind).removeprefix("large_")


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _feed(hashers: dict[str, xxhash.xxh3_64], path: str, array: pa.Array) -> None:
    """Feed validity, lengths and values to a hasher each, so that the borders of chunks leave no trace."""

    def feed(kind: str, values: Any) -> None:
        hashers.setdefault(f"{path}{kind}", xxhash.xxh3_64()).update(values)

    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    feed("valid", array.is_valid().to_numpy(zero_copy_only=False).view(np.uint8).data)
    kind = array.type
    if pa.types.is_null(kind):
        return
    if pa.types.is_struct(kind):
        for field, part in zip(kind, array.flatten(), strict=True):
            _feed(hashers, f"{path}.{field.name}", part)
        return
    if _is_list(kind):
        feed("lengths", pc.list_value_length(array).fill_null(0).to_numpy().astype(np.int64).data)
        _feed(hashers, f"{path}[]", array.flatten())
        return
    values = array.drop_null()
    if pa.types.is_fixed_size_binary(kind):
        values = values.cast(pa.binary())
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        values = values.cast(pa.binary() if pa.types.is_string(values.type) else pa.large_binary())
    if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
        feed("lengths", pc.binary_length(values).to_numpy().astype(np.int64).data)
        _, offsets, content = values.buffers()
        if len(values) and content is not None:
            width = np.int32 if pa.types.is_binary(values.type) else np.int64
            bounds = np.frombuffer(offsets, width)[values.offset : values.offset + len(values) + 1]
            feed("values", memoryview(content)[int(bounds[0]) : int(bounds[-1])])
        return
    if pa.types.is_boolean(kind):
        values = values.cast(pa.uint8())
    numbers = np.ascontiguousarray(values.to_numpy(zero_copy_only=False))
    feed("values", numbers.view(np.uint8).data if numbers.dtype != object else repr(numbers.tolist()).encode())


class CheckedParquetWriter:
    """Writes a Parquet file atomically, each table given as one row group; a context manager.

    Args:
        path: The file.
        schema: Its columns.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.schema = schema
        self._checksums: dict[str, list[int]] = {name: [] for name in schema.names}
        self._atomic = atomic_write(path)

    def __enter__(self) -> CheckedParquetWriter:
        self._writer = pq.ParquetWriter(self._atomic.__enter__(), self.schema, write_page_checksum=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._writer.add_key_value_metadata({KEY: _CHECKSUMS.serialize(self.checksums)})
        self._writer.close()
        self._atomic.__exit__(kind, error, trace)

    def write(self, table: pa.Table) -> None:
        """Write a row group, which may be empty."""
        self._writer.write_table(table, row_group_size=max(len(table), 1))
        for name in self.schema.names:
            self._checksums[name].append(column_checksum(table[name]))

    @property
    def checksums(self) -> dict[str, Any]:
        """Checksums of what has been written, as JSON values."""
        return {
            "columns": {
                name: base64.b64encode(np.array(values, "<u8").tobytes()).decode()
                for name, values in self._checksums.items()
            },
            "pandas": _of_pandas(self.schema),
        }


_CHECKSUMS = RecordType(_Checksums, "write the file again")


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a table atomically as Parquet with checksums, as one row group."""
    with CheckedParquetWriter(path, table.schema) as writer:
        writer.write(table)


class CheckedParquet:
    """A Parquet file whose columns are verified as they are read.

    Args:
        path: The file.
        advice: What to do about a damaged file, to end error messages.
        required: Columns it must have.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedFileError: It is no Parquet file, its checksums are damaged, or a column is missing.
    """

    def __init__(self, path: Path, advice: str, required: Sequence[str] = ()) -> None:
        self.path, self.advice = path, advice
        if not path.exists():
            raise FileNotFoundError(2, "no such file", str(path))
        with self._damage():
            self._file = pq.ParquetFile(path, page_checksum_verification=True)
            self.schema: pa.Schema = self._file.schema_arrow
            self.n_groups: int = self._file.num_row_groups
            metadata: Mapping[bytes, bytes] = self._file.metadata.metadata or {}
            names = self.schema.names
        self.n_rows: int = self._file.metadata.num_rows
        self._checksums: dict[str, np.ndarray] | None = None
        if KEY in metadata:
            record = RecordType(_Checksums, advice).parse(metadata[KEY], path)
            with self._damage():
                self._checksums = {
                    name: np.frombuffer(base64.b64decode(text, validate=True), "<u8")
                    for name, text in record.columns.items()
                }
            lengths = {len(values) for values in self._checksums.values()}
            if list(self._checksums) != names or lengths - {self.n_groups} or record.pandas != _of_pandas(self.schema):
                raise self._mismatch()
        elif set(metadata) - KEYS_WITHOUT_CHECKSUMS or b"ARROW:schema" not in metadata:
            raise DamagedFileError(f"{path} has no checksums, so it is damaged or was edited; {advice}.")
        missing = [name for name in required if name not in names]
        if missing:
            raise DamagedFileError(f"{path} has no column {missing[0]!r}, so it is another file; {advice}.")

    @property
    def checksum(self) -> str | None:
        """The checksum of its checksums, by which a record beside it identifies it; None if it has none."""
        if self._checksums is None:
            return None
        return _combined({name: values.tobytes() for name, values in self._checksums.items()})

    def read_group(self, index: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a row group.

        Args:
            index: Its number.
            columns: Names of columns; all by default.

        Raises:
            DamagedFileError: A value differs from what was written.
        """
        if not 0 <= index < self.n_groups:
            raise DamagedFileError(
                f"{self.path} has {self.n_groups} row groups and lacks the one asked for; {self.advice}."
            )
        with self._damage():
            table = self._file.read_row_group(index, columns=None if columns is None else list(columns))
            for name in table.schema.names if self._checksums is not None else ():
                if column_checksum(table[name]) != int(self._checksums[name][index]):  # type: ignore[index]
                    raise self._mismatch()
        # The file has its metadata twice, and this copy is the one that was verified.
        return table.replace_schema_metadata(self.schema.metadata)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read the whole table; see `read_group`."""
        if not self.n_groups:
            with self._damage():
                return self._file.read(columns=None if columns is None else list(columns))
        tables = [self.read_group(i, columns) for i in range(self.n_groups)]
        with self._damage():
            return pa.concat_tables(tables)

    def read_frame(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read the whole table as a pandas frame; see `read_group`."""
        table = self.read(columns)
        with self._damage():
            return table.to_pandas()

    @contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except DamagedFileError:
            raise
        except DAMAGE as error:
            reason = reason_of(error)
            raise DamagedFileError(
                f"{self.path} cannot be read as Parquet ({reason}), so it is damaged; {self.advice}."
            ) from error

    def _mismatch(self) -> DamagedFileError:
        return DamagedFileError(
            f"{self.path} does not match its checksums, so it is damaged or was edited; {self.advice}."
        )


def _of_pandas(schema: pa.Schema) -> str:
    return str(xxhash.xxh3_64_hexdigest((schema.metadata or {}).get(b"pandas", b"")))


def _combined(checksums: Mapping[str, bytes]) -> str:
    hasher = xxhash.xxh3_128()
    for name, values in checksums.items():
        hasher.update(json.dumps([name, len(values)]).encode())
        hasher.update(values)
    return f"xxh3:{hasher.hexdigest()}"


__all__ = ["CheckedParquet", "CheckedParquetWriter", "column_checksum", "write_parquet"]
