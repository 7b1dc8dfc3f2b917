"""Parquet files of a split, written as its sequences come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SHARD_ROWS = 500_000
GROUP_ROWS, GROUP_BYTES = 8192, 32 << 20


class SplitFiles:
    """Writes `SPLIT-00000-of-0000N.parquet`, at most 500,000 sequences each, in row groups of bounded size.

    Args:
        folder: Where to.
        split: Its name.
        n_rows: Sequences it will have.
        schema: Columns, with the metadata that `datasets` reads.

    Attributes:
        n_bytes: In memory, so far.
    """

    def __init__(self, folder: Path, split: str, n_rows: int, schema: pa.Schema) -> None:
        self.schema = schema
        self.n_bytes = 0
        n_shards = -(-n_rows // SHARD_ROWS)
        self._paths = [folder / f"{split}-{i:05d}-of-{n_shards:05d}.parquet" for i in range(n_shards)]
        self._n_written = self._n_waiting = 0
        self._waiting: list[pa.RecordBatch] = []
        self._writer: Any = None

    def add(self, batch: pa.RecordBatch) -> None:
        """Take sequences."""
        self._waiting.append(batch)
        self._n_waiting += batch.nbytes
        if self._n_waiting >= GROUP_BYTES or sum(map(len, self._waiting)) >= GROUP_ROWS:
            self._write()

    def close(self) -> None:
        """Write what waits."""
        self._write()
        if self._writer is not None:
            self._writer.close()

    def _write(self) -> None:
        table = pa.Table.from_batches(self._waiting, self.schema)
        self.n_bytes += table.nbytes
        self._waiting, self._n_waiting = [], 0
        while len(table):
            shard, place = divmod(self._n_written, SHARD_ROWS)
            if place == 0:
                if self._writer is not None:
                    self._writer.close()
                self._writer = pq.ParquetWriter(self._paths[shard], self.schema, compression="zstd")
            part = table.slice(0, SHARD_ROWS - place)
            self._writer.write_table(part)
            self._n_written += len(part)
            table = table.slice(len(part))


__all__ = ["SplitFiles"]
