"""Embedded genomes from a `datasets` dataset, on disk or from the Hub."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import TableError
from .catalog import GENOME_ID
from .embedding import RESULTS, EmbeddedGenomes

OWN_COLUMNS = (GENOME_ID, "n_genes", "protein_encoder", "contig_ids", "vectors")
WIDE = ("contig_ids", "vectors")


class _Genomes:
    """What every kind of dataset of embedded genomes knows beside the vectors.

    Attributes:
        name: Where it came from.
        preprocessing: Name and preprocessing config of the protein encoder.
    """

    def __init__(self, table: pd.DataFrame, name: str) -> None:
        self.name = name
        self._table = table.set_index(GENOME_ID)
        twice = self._table.index[self._table.index.duplicated()]
        encoders = self._table["protein_encoder"].unique()
        if len(twice) or len(encoders) != 1:
            what = f"the genome {twice[0]!r} twice" if len(twice) else f"vectors of {len(encoders)} protein encoders"
            raise TableError(f"{name} holds {what}; give a dataset of one run.")
        self.preprocessing: dict[str, Any] = json.loads(encoders[0])

    def __len__(self) -> int:
        return len(self._table)

    @property
    def metadata(self) -> pd.DataFrame:
        """The catalog's columns, one row a genome."""
        return self._table.drop(columns=["n_genes", "protein_encoder"])

    @property
    def n_genes(self) -> pd.Series:
        """Genes of each genome."""
        return self._table["n_genes"]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {str(name): i for i, name in enumerate(self._table.index)}


class DatasetGenomes(_Genomes):
    """Genomes of a dataset that `EmbeddedGenomes.to_dataset` made: memory-mapped, a row read when it is asked for.

    Args:
        dataset: The dataset.
        name: Where it came from.

    Raises:
        TableError: It lacks a column, holds a genome twice, or vectors of several encoders.
    """

    def __init__(self, dataset: Any, name: str) -> None:
        _check_columns(dataset.column_names, name)
        super().__init__(dataset.remove_columns(list(WIDE)).to_pandas(), name)
        self._vectors = dataset.select_columns(list(WIDE)).with_format("numpy")

    def vectors(self, genome_id: str, rows: np.ndarray | None = None) -> np.ndarray:
        """Vectors of a genome's proteins, float16 `(n_genes, hidden_size)`; of some genes where rows are given."""
        found = np.asarray(self._vectors[self._places[genome_id]]["vectors"], np.float16)
        return found if rows is None else found[rows]

    def contig_ids(self, genome_id: str) -> np.ndarray:
        """Number of each gene's contig, int64 `(n_genes,)`."""
        return np.asarray(self._vectors[self._places[genome_id]]["contig_ids"], np.int64)


class StreamedGenomes(_Genomes):
    """The same dataset as Parquet files that stay where they are, such as on the Hub: no copy is made of them.

    The columns beside the vectors are read at once. Of the vectors a row group is fetched when one of its genomes is
    asked for, and one is kept: write a genome a row group (`to_parquet(file, batch_size=1)`), since with more of them
    more is fetched than is used.

    Args:
        files: Their names, in order.
        opened: Opens one for reading, such as `huggingface_hub.HfFileSystem().open`.
        name: Where they came from.

    Raises:
        TableError: They lack a column, hold a genome twice, or vectors of several encoders.
    """

    def __init__(self, files: Sequence[str], opened: Callable[[str], Any], name: str) -> None:
        if not files:
            raise TableError(f"{name} holds no Parquet files, so it cannot be streamed; load it whole.")
        self._opened = opened
        self._files = list[tuple[str, Any]]()
        tables, self._groups = [], list[tuple[int, int, int]]()
        for i, file in enumerate(files):
            with opened(file) as handle:
                parquet = pq.ParquetFile(handle)
                names = parquet.schema_arrow.names
                _check_columns(names, name)
                tables.append(parquet.read(columns=[column for column in names if column not in WIDE]).to_pandas())
                self._files.append((file, parquet.metadata))
            for group in range(parquet.num_row_groups):
                self._groups += [(i, group, row) for row in range(parquet.metadata.row_group(group).num_rows)]
        super().__init__(pd.concat(tables, ignore_index=True), name)
        self._kept: tuple[tuple[int, int], pa.Table] | None = None

    def _row(self, genome_id: str, column: str) -> Any:
        i, group, row = self._groups[self._places[genome_id]]
        if self._kept is None or self._kept[0] != (i, group):
            file, metadata = self._files[i]
            with self._opened(file) as handle:
                found = pq.ParquetFile(handle, metadata=metadata).read_row_group(group, columns=list(WIDE))
            self._kept = ((i, group), found)
        array = self._kept[1][column].combine_chunks()
        return (array.storage if isinstance(array, pa.ExtensionArray) else array)[row].values

    def vectors(self, genome_id: str, rows: np.ndarray | None = None) -> np.ndarray:
        """Vectors of a genome's proteins, float16 `(n_genes, hidden_size)`; of some genes where rows are given."""
        values = self._row(genome_id, "vectors")
        found = np.asarray(values.flatten().to_numpy(zero_copy_only=False), np.float16).reshape(len(values), -1)
        return found if rows is None else found[rows]

    def contig_ids(self, genome_id: str) -> np.ndarray:
        """Number of each gene's contig, int64 `(n_genes,)`."""
        return np.asarray(self._row(genome_id, "contig_ids").to_numpy(), np.int64)


def _check_columns(names: Sequence[str], name: str) -> None:
    missing = [column for column in OWN_COLUMNS if column not in names]
    if missing:
        raise TableError(
            f"{name} is no dataset of embedded genomes (it lacks the column {missing[0]}); give one that "
            "`biomeformer genome embed --format datasets` wrote."
        )


def open_genomes(
    source: str | Path, *, revision: str | None = None, streaming: bool = False
) -> EmbeddedGenomes | DatasetGenomes | StreamedGenomes:
    """Embedded genomes: a folder of `biomeformer genome embed`, a dataset saved to disk, or one of the Hub.

    Args:
        source: Folder or Hub id; of a dataset as Parquet its folder.
        revision: Branch, tag or commit of a Hub id.
        streaming: Leave the Parquet files of a dataset on the Hub where they are, instead of fetching all of it first.

    Raises:
        TableError: It is none of these, or cannot be had.
    """
    folder = Path(source)
    if (folder / RESULTS["record"]).is_file() or (folder / "run").is_dir():
        return EmbeddedGenomes.read(folder)
    import datasets

    try:
        if folder.is_dir():
            files = sorted(str(file) for file in folder.rglob("*.parquet"))
            if files:
                return StreamedGenomes(files, partial(open, mode="rb"), str(source))
            return DatasetGenomes(datasets.load_from_disk(str(folder)), str(source))
        if streaming:
            from huggingface_hub import HfFileSystem

            hub = HfFileSystem()
            at = f"datasets/{source}@{revision}" if revision else f"datasets/{source}"
            return StreamedGenomes(sorted(hub.glob(f"{at}/**/*.parquet")), hub.open, str(source))
        return DatasetGenomes(datasets.load_dataset(str(source), split="train", revision=revision), str(source))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        if isinstance(error, TableError):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise TableError(
            f"{source} holds no embedded genomes ({reason}); give a folder that `biomeformer genome embed` wrote, or a "
            "dataset."
        ) from error


__all__ = ["DatasetGenomes", "StreamedGenomes", "open_genomes"]
