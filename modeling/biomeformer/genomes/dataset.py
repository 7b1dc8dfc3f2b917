"""Read embedded genomes from a `datasets` dataset, on disk or on the Hub."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import TableError, reason_of
from ..io.dataset_files import DATA, name_by_content, shard_path
from ..io.parquet import DAMAGE
from .catalog import GENOME_ID
from .embedding import CHECKSUMS, RESULTS, EmbeddedGenomes, value_checksum

REQUIRED_COLUMNS = (GENOME_ID, "n_genes", "protein_encoder", "contig_ids", "vectors")
# Columns with one entry per gene: nearly all of a dataset's bytes, and read genome by genome.
GENE_COLUMNS = ("contig_ids", "vectors")


class _GenomeTable:
    """The columns of a dataset of embedded genomes that have one value per genome.

    Attributes:
        name: Origin of the dataset, for messages.
        preprocessing: Name and preprocessing config of the protein encoder.
    """

    def __init__(self, table: pd.DataFrame, name: str) -> None:
        self.name = name
        self._table = table.set_index(GENOME_ID)
        duplicates = self._table.index[self._table.index.duplicated()]
        encoders = self._table["protein_encoder"].unique()
        if len(duplicates) or len(encoders) != 1:
            problem = (
                f"the genome {duplicates[0]!r} twice"
                if len(duplicates)
                else f"vectors of {len(encoders)} protein encoders"
            )
            raise TableError(f"{name} holds {problem}; give a dataset of one run.")
        # Datasets of version 0.1 have no checksums; columns that somebody added have none either.
        self._checksums: dict[str, dict[str, str]] = {}
        if CHECKSUMS in self._table:
            texts = self._table.pop(CHECKSUMS)
            with _reading(name):
                self._checksums = {str(genome_id): dict(json.loads(text)) for genome_id, text in texts.items()}
            for column in (GENOME_ID, *self._table.columns):
                values = self._table.index if column == GENOME_ID else self._table[column]
                for genome_id, value in zip(self._table.index, values, strict=True):
                    self._verify(str(genome_id), column, value)
        with _reading(name):
            self.preprocessing: dict[str, Any] = dict(json.loads(encoders[0]))

    def _verify(self, genome_id: str, column: str, value: Any) -> None:
        """Compare a value with its checksum.

        Raises:
            TableError: It differs.
        """
        expected = self._checksums.get(genome_id, {}).get(column)
        if expected is not None and value_checksum(value) != expected:
            raise TableError(
                f"{self.name}: {column} of genome {genome_id!r} does not match its checksum, so the dataset is damaged "
                "or was edited; fetch it or make it again."
            )

    def __len__(self) -> int:
        return len(self._table)

    @property
    def metadata(self) -> pd.DataFrame:
        """The catalog's metadata columns, one row per genome."""
        return self._table.drop(columns=["n_genes", "protein_encoder"])

    @property
    def n_genes(self) -> pd.Series:
        """Number of genes of each genome, by its id."""
        return self._table["n_genes"]

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {str(name): i for i, name in enumerate(self._table.index)}

    def _row_number(self, genome_id: str) -> int:
        if genome_id not in self._row_of:
            raise TableError(f"{self.name} has no genome {genome_id!r}; give one of its {len(self)}.")
        return self._row_of[genome_id]


class DatasetGenomes(_GenomeTable):
    """Genomes of a dataset that `EmbeddedGenomes.to_dataset` made; it is memory-mapped and read genome by genome.

    Args:
        dataset: A `datasets.Dataset`.
        name: Origin of the dataset, for messages.

    Raises:
        TableError: The dataset lacks a column, holds a genome twice, or vectors of several protein encoders.
    """

    def __init__(self, dataset: Any, name: str) -> None:
        _check_columns(dataset.column_names, name)
        super().__init__(dataset.remove_columns(list(GENE_COLUMNS)).to_pandas(), name)
        self._vectors = dataset.select_columns(list(GENE_COLUMNS)).with_format("numpy")

    def vectors(self, genome_id: str, rows: np.ndarray | None = None) -> np.ndarray:
        """Return the vectors of a genome's proteins, float16 `(n_genes, hidden_size)`; see `EmbeddedGenomes.vectors`.

        Args:
            genome_id: Id of the genome.
            rows: Indices of the genes to return; all by default.
        """
        row = self._row_number(genome_id)
        with _reading(self.name):
            vectors = np.asarray(self._vectors[row]["vectors"], np.float16)
        self._verify(genome_id, "vectors", vectors)
        return vectors if rows is None else vectors[rows]

    def contig_ids(self, genome_id: str) -> np.ndarray:
        """Return the contig index of each gene, int64 `(n_genes,)`."""
        row = self._row_number(genome_id)
        with _reading(self.name):
            contigs = np.asarray(self._vectors[row]["contig_ids"], np.int64)
        self._verify(genome_id, "contig_ids", contigs)
        return contigs


class StreamedGenomes(_GenomeTable):
    """Genomes of the same dataset as Parquet files, read where they are, such as on the Hub, without a local copy.

    Columns with one value per genome are read at once. Vectors are fetched by row group, when one of its genomes is
    requested, and the last row group is cached. So write one genome per row group (`to_parquet(file, batch_size=1)`):
    with more of them, more is fetched than is used.

    Args:
        files: Names of the files, in order.
        open_file: Function that opens one of them for reading, such as `huggingface_hub.HfFileSystem().open`.
        name: Origin of the dataset, for messages.

    Raises:
        TableError: The files lack a column, hold a genome twice, or vectors of several protein encoders.
    """

    def __init__(self, files: Sequence[str], open_file: Callable[[str], Any], name: str) -> None:
        if not files:
            raise TableError(f"{name} holds no Parquet files, so it cannot be streamed; load it whole.")
        self._open_file = open_file
        # Name and metadata of each file: with the metadata at hand, a row group is fetched without the file's footer.
        self._files = list[tuple[str, Any]]()
        # File, row group and row within it, of each genome.
        tables, self._locations = [], list[tuple[int, int, int]]()
        for i, file in enumerate(files):
            with open_file(file) as handle:
                parquet = pq.ParquetFile(handle)
                names = parquet.schema_arrow.names
                _check_columns(names, name)
                tables.append(
                    parquet.read(columns=[column for column in names if column not in GENE_COLUMNS]).to_pandas()
                )
                self._files.append((file, parquet.metadata))
            for group in range(parquet.num_row_groups):
                self._locations += [(i, group, row) for row in range(parquet.metadata.row_group(group).num_rows)]
        super().__init__(pd.concat(tables, ignore_index=True), name)
        self._cached: tuple[tuple[int, int], pa.Table] | None = None

    def _row(self, genome_id: str, column: str) -> Any:
        """Return a genome's value of a column, as a pyarrow array with one entry per gene."""
        i, group, row = self._locations[self._row_number(genome_id)]
        if self._cached is None or self._cached[0] != (i, group):
            file, metadata = self._files[i]
            with self._open_file(file) as handle:
                parquet = pq.ParquetFile(handle, metadata=metadata, page_checksum_verification=True)
                self._cached = (i, group), parquet.read_row_group(group, columns=list(GENE_COLUMNS))
        array = self._cached[1][column].combine_chunks()
        # `datasets` stores vectors as an extension type over nested lists.
        return (array.storage if isinstance(array, pa.ExtensionArray) else array)[row].values

    def vectors(self, genome_id: str, rows: np.ndarray | None = None) -> np.ndarray:
        """Return the vectors of a genome's proteins, float16 `(n_genes, hidden_size)`; see `EmbeddedGenomes.vectors`.

        Args:
            genome_id: Id of the genome.
            rows: Indices of the genes to return; all by default.
        """
        with _reading(self.name):
            values = self._row(genome_id, "vectors")
            vectors = np.asarray(values.flatten().to_numpy(zero_copy_only=False), np.float16).reshape(len(values), -1)
        self._verify(genome_id, "vectors", vectors)
        return vectors if rows is None else vectors[rows]

    def contig_ids(self, genome_id: str) -> np.ndarray:
        """Return the contig index of each gene, int64 `(n_genes,)`."""
        with _reading(self.name):
            contigs = np.asarray(self._row(genome_id, "contig_ids").to_numpy(), np.int64)
        self._verify(genome_id, "contig_ids", contigs)
        return contigs


def write_genome_dataset(genomes: EmbeddedGenomes, folder: str | Path) -> Path:
    """Write embedded genomes as a dataset that the Hub takes: Parquet with one genome per row group; return the file.

    Args:
        genomes: The genomes.
        folder: Folder of the dataset; the file is in its folder `data`.
    """
    data = Path(folder) / DATA
    data.mkdir(parents=True, exist_ok=True)
    file = shard_path(data, "train")
    genomes.to_dataset().to_parquet(str(file), batch_size=1)
    return name_by_content(file)


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turn what damaged content raises into one sentence."""
    try:
        yield
    except TableError:
        raise
    except DAMAGE as error:
        reason = reason_of(error)
        raise TableError(f"{name} cannot be read ({reason}); fetch it or make it again.") from error


def _check_columns(names: Sequence[str], name: str) -> None:
    missing = [column for column in REQUIRED_COLUMNS if column not in names]
    if missing:
        raise TableError(
            f"{name} is no dataset of embedded genomes (it lacks the column {missing[0]}); give one that "
            "`biomeformer genome embed --format datasets` wrote."
        )


def open_genomes(
    source: str | Path, *, revision: str | None = None, streaming: bool = False
) -> EmbeddedGenomes | DatasetGenomes | StreamedGenomes:
    """Open embedded genomes: a folder of `biomeformer genome embed`, a dataset saved to disk, or a dataset on the Hub.

    Args:
        source: Folder or Hub id. A folder with Parquet files is read as a dataset of these.
        revision: Branch, tag or commit of a Hub id.
        streaming: Read a Hub dataset's Parquet files where they are, instead of downloading all of them first.

    Raises:
        TableError: The source is none of these, or cannot be read.
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
            root = f"datasets/{source}@{revision}" if revision else f"datasets/{source}"
            return StreamedGenomes(sorted(hub.glob(f"{root}/**/*.parquet")), hub.open, str(source))
        return DatasetGenomes(datasets.load_dataset(str(source), split="train", revision=revision), str(source))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        if isinstance(error, TableError):
            raise
        reason = reason_of(error, 200)
        raise TableError(
            f"{source} holds no embedded genomes ({reason}); give a folder that `biomeformer genome embed` wrote, or a "
            "dataset."
        ) from error


__all__ = ["DatasetGenomes", "StreamedGenomes", "open_genomes", "write_genome_dataset"]
