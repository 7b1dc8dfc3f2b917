"""Abundance tables: Parquet with counts, tallies, phenotypes and provenance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import TableError
from ..files import written_whole
from .sample import TALLIES, SampleEmbedding

METADATA_KEY = b"biomeformer"
FORMAT_VERSION = 1
TABLE_NAME = "abundance.parquet"


@dataclass(frozen=True)
class AbundanceTable:
    """Cluster counts of a cohort.

    Attributes:
        sample_ids: One a row.
        counts: int64 `(n_samples, n_clusters)`.
        tallies: Reads found, selected and used, and why others were not; one row a sample.
        metadata: Phenotypes and covariates of the cohort table, as text; one row a sample.
        provenance: Model, weights' hash, contract, read fraction, seed and versions.
    """

    sample_ids: tuple[str, ...]
    counts: np.ndarray
    tallies: pd.DataFrame
    metadata: pd.DataFrame
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def abundance(self) -> np.ndarray:
        """Abundance vectors: float64 `(n_samples, n_clusters)`, rows sum to one."""
        return self.counts / np.maximum(self.counts.sum(1, keepdims=True), 1)

    @classmethod
    def from_samples(
        cls, samples: Sequence[SampleEmbedding], metadata: pd.DataFrame, provenance: dict[str, Any]
    ) -> AbundanceTable:
        """Gather samples, in the order given, with the rows of `metadata` that bear their ids."""
        ids = tuple(str(sample.sample_id) for sample in samples)
        return cls(
            ids,
            np.stack([sample.counts for sample in samples]),
            pd.DataFrame([sample.tallies for sample in samples], index=pd.Index(ids, name="sample_id")),
            metadata.loc[list(ids)],
            provenance,
        )

    def to_pandas(self) -> pd.DataFrame:
        """Tallies, metadata and abundance columns `cluster_0` … in one frame, indexed by sample."""
        names = [f"cluster_{i}" for i in range(self.counts.shape[1])]
        abundance = pd.DataFrame(self.abundance, index=self.tallies.index, columns=names)
        return pd.concat([self.tallies, self.metadata, abundance], axis=1)

    def write(self, path: str | Path) -> Path:
        """Write Parquet, atomically: the file is there whole or not at all."""
        path = Path(path)
        columns: dict[str, pa.Array] = {"sample_id": pa.array(self.sample_ids, pa.string())}
        for name in self.tallies.columns:
            columns[name] = pa.array(self.tallies[name].to_numpy(np.int64), pa.int64())
        columns["counts"] = pa.array(list(self.counts), pa.list_(pa.int64()))
        for name in self.metadata.columns:
            columns[f"metadata.{name}" if name in columns else name] = pa.array(
                self.metadata[name].astype(str).tolist()
            )
        record = {
            "format_version": FORMAT_VERSION,
            "tally_columns": list(self.tallies.columns),
            "metadata_columns": list(self.metadata.columns),
            "provenance": self.provenance,
        }
        table = pa.table(columns).replace_schema_metadata({METADATA_KEY: json.dumps(record, sort_keys=True).encode()})
        with written_whole(path) as partial:
            pq.write_table(table, partial)
        return path

    @classmethod
    def read(cls, path: str | Path) -> AbundanceTable:
        """Read a table that `write` wrote, from the file or from the folder of the run it lies in.

        Raises:
            TableError: The file is missing, is not Parquet, or is no abundance table.
        """
        path = Path(path)
        if path.is_dir():
            path = path / TABLE_NAME
        try:
            table = pq.read_table(path)
        except FileNotFoundError as error:
            raise TableError(
                f"{path}: no such file; give the abundance.parquet that `biomeformer embed` wrote."
            ) from error
        except (pa.ArrowInvalid, OSError) as error:
            raise TableError(f"{path}: cannot be read as Parquet ({str(error).splitlines()[0]}).") from error
        raw = (table.schema.metadata or {}).get(METADATA_KEY)
        if raw is None:
            raise TableError(
                f"{path}: has no biomeformer record; give an abundance.parquet that `biomeformer embed` wrote."
            )
        record = json.loads(raw)
        if record["format_version"] != FORMAT_VERSION:
            raise TableError(
                f"{path}: is an abundance table of format {record['format_version']}, and this version reads "
                f"{FORMAT_VERSION}; use the version that wrote it."
            )
        ids = tuple(table["sample_id"].to_pylist())
        index = pd.Index(ids, name="sample_id")
        tallies = pd.DataFrame({c: table[c].to_numpy() for c in record["tally_columns"]}, index=index)
        names = {c: f"metadata.{c}" if f"metadata.{c}" in table.column_names else c for c in record["metadata_columns"]}
        metadata = pd.DataFrame({c: table[name].to_pylist() for c, name in names.items()}, index=index)
        counts = np.array(table["counts"].to_pylist(), np.int64).reshape(len(ids), -1)
        return cls(ids, counts, tallies, metadata, record["provenance"])


__all__ = ["TALLIES", "AbundanceTable"]
