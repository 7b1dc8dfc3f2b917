"""Embedded genomes from a `datasets` dataset, on disk or from the Hub."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import TableError
from .catalog import GENOME_ID
from .embedding import RESULTS, EmbeddedGenomes

OWN_COLUMNS = (GENOME_ID, "n_genes", "protein_encoder", "contig_ids", "vectors")


class DatasetGenomes:
    """Genomes of a dataset that `EmbeddedGenomes.to_dataset` made: memory-mapped, a row read when it is asked for.

    Args:
        dataset: The dataset.
        name: Where it came from.

    Raises:
        TableError: It lacks a column, holds a genome twice, or vectors of several encoders.
    """

    def __init__(self, dataset: Any, name: str) -> None:
        missing = [column for column in OWN_COLUMNS if column not in dataset.column_names]
        if missing:
            raise TableError(
                f"{name} is no dataset of embedded genomes (it lacks the column {missing[0]}); give one that "
                "`biomeformer genome embed --format datasets` wrote."
            )
        self.name = name
        self._vectors = dataset.select_columns(["contig_ids", "vectors"]).with_format("numpy")
        self._table = dataset.remove_columns(["contig_ids", "vectors"]).to_pandas().set_index(GENOME_ID)
        twice = self._table.index[self._table.index.duplicated()]
        contracts = self._table["protein_encoder"].unique()
        if len(twice) or len(contracts) != 1:
            what = f"the genome {twice[0]!r} twice" if len(twice) else f"vectors of {len(contracts)} protein encoders"
            raise TableError(f"{name} holds {what}; give a dataset of one run.")
        self.contract: dict[str, Any] = json.loads(contracts[0])

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

    def vectors(self, genome_id: str) -> np.ndarray:
        """Vectors of a genome's proteins, float16 `(n_genes, hidden_size)`."""
        return np.asarray(self._vectors[self._places[genome_id]]["vectors"], np.float16)

    def contig_ids(self, genome_id: str) -> np.ndarray:
        """Number of each gene's contig, int64 `(n_genes,)`."""
        return np.asarray(self._vectors[self._places[genome_id]]["contig_ids"], np.int64)


def open_genomes(source: str | Path, *, revision: str | None = None) -> EmbeddedGenomes | DatasetGenomes:
    """Embedded genomes: a folder of `biomeformer genome embed`, a dataset saved to disk, or one of the Hub.

    Args:
        source: Folder or Hub id.
        revision: Branch, tag or commit of a Hub id.

    Raises:
        TableError: It is none of these, or cannot be had.
    """
    folder = Path(source)
    if (folder / RESULTS["record"]).is_file() or (folder / "run").is_dir():
        return EmbeddedGenomes.read(folder)
    import datasets

    try:
        if folder.is_dir():
            return DatasetGenomes(datasets.load_from_disk(str(folder)), str(source))
        return DatasetGenomes(datasets.load_dataset(str(source), split="train", revision=revision), str(source))
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, TableError):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise TableError(
            f"{source} holds no embedded genomes ({reason}); give a folder that `biomeformer genome embed` wrote, or a "
            "dataset."
        ) from error


__all__ = ["DatasetGenomes", "open_genomes"]
