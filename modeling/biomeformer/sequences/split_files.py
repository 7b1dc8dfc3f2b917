"""Write the Parquet files of a split incrementally."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..io.dataset_files import name_by_content, shard_path

SHARD_ROWS = 500_000
GROUP_ROWS, GROUP_BYTES = 8192, 32 << 20


class SplitFiles:
    """Writes `SPLIT-00000-of-0000N-DIGEST.parquet`, at most 500,000 sequences each, in row groups of bounded size.

    Args:
        folder: Folder of the files.
        split: Name of the split.
        n_rows: Total number of sequences that will be added.
        schema: Columns, with the metadata that `datasets` reads.

    Attributes:
        n_bytes: Bytes in memory of the sequences written so far.
    """

    def __init__(self, folder: Path, split: str, n_rows: int, schema: pa.Schema) -> None:
        self.schema = schema
        self.n_bytes = 0
        n_shards = -(-n_rows // SHARD_ROWS)
        self._paths = [shard_path(folder, split, i, n_shards) for i in range(n_shards)]
        self._n_written = self._n_pending = 0
        self._pending: list[pa.RecordBatch] = []
        self._writer: Any = None

    def add(self, batch: pa.RecordBatch) -> None:
        """Add a batch of sequences."""
        self._pending.append(batch)
        self._n_pending += batch.nbytes
        if self._n_pending >= GROUP_BYTES or sum(map(len, self._pending)) >= GROUP_ROWS:
            self._write()

    def close(self) -> None:
        """Write pending sequences, close the last file, and give all files their final names."""
        self._write()
        if self._writer is not None:
            self._writer.close()
        for path in self._paths:
            name_by_content(path)

    def _write(self) -> None:
        table = pa.Table.from_batches(self._pending, self.schema)
        self.n_bytes += table.nbytes
        self._pending, self._n_pending = [], 0
        while len(table):
            shard, row = divmod(self._n_written, SHARD_ROWS)
            if row == 0:
                if self._writer is not None:
                    self._writer.close()
                self._writer = pq.ParquetWriter(
                    self._paths[shard], self.schema, compression="zstd", write_page_checksum=True
                )
            part = table.slice(0, SHARD_ROWS - row)
            self._writer.write_table(part)
            self._n_written += len(part)
            table = table.slice(len(part))


__all__ = ["SplitFiles"]
