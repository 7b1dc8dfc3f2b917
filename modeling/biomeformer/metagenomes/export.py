"""Export of abundance tables to other formats: tables and numbers of a cohort, never reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pandas.api.types import is_numeric_dtype

from ..errors import MissingDependencyError
from ..io.atomic import write_json
from ..io.dataset_files import DATA, name_by_content, shard_path
from ..io.spreadsheets import write_spreadsheet
from ..io.tables import is_missing
from ..sinks import markdown_code
from .abundance_table import DATASET_SPLIT, AbundanceTable, cohort_texts, file_columns
from .cluster_descriptions import NAME as DESCRIPTIONS
from .cluster_descriptions import ClusterDescriptions, find_descriptions
from .multiqc import write_multiqc
from .qiime2 import write_metadata

FORMATS: dict[str, Callable[[AbundanceTable, Path, ClusterDescriptions | None], None]] = {}
# Largest row group that the Hub's viewer supports well.
ROW_GROUP_BYTES = 100_000_000


def export_table(
    table: AbundanceTable, folder: str | Path, file_format: str, *, descriptions: ClusterDescriptions | None = None
) -> Path:
    """Write a table in another format.

    Cohort columns are text in the table; here those whose values are all whole numbers or numbers become numbers, and
    empty fields become missing values. In a column of numbers, words such as NA (`biomeformer.io.tables`) do too.

    * `datasets`: `data/train-00000-of-00001-DIGEST.parquet` and a `README.md`, for `datasets.load_dataset(folder)`: one
      row per sample with its read_stats, cohort columns, `counts` and `abundance`. `AbundanceTable.read` reads the same
      folder, and the dataset on the Hub that it becomes.
    * `csv`: `abundance.csv`, `counts.csv` and `samples.csv` (read_stats and cohort columns), one row per sample.
    * `biom`: `counts.biom` (BIOM 2.1, clusters by samples) and `sample-metadata.tsv` as QIIME 2 reads it.
    * `anndata`: `abundance.h5ad` with abundance vectors as `X`, the layer `counts`, and samples in `obs`.
    * `multiqc`: `*_mqc.tsv` that MultiQC shows in its report (`biomeformer.metagenomes.multiqc`).

    Each also gets `provenance.json`. Descriptions of the clusters, if there are any, become `clusters.csv`,
    `cluster-metadata.tsv` (BIOM), columns of `var` (anndata), or `cluster_descriptions.parquet` (datasets), which
    reports on that folder use.

    Args:
        table: The table.
        folder: An existing, empty folder.
        file_format: `datasets`, `csv`, `biom`, `anndata` or `multiqc`.
        descriptions: What the clusters are; by default those of the shipped checkpoint that made the table, if one did.

    Returns:
        The folder.

    Raises:
        MissingDependencyError: The format's library is not installed.
    """
    folder = Path(folder)
    descriptions = find_descriptions(table.provenance) if descriptions is None else descriptions
    FORMATS[file_format](table, folder, descriptions)
    write_json(folder / "provenance.json", table.provenance)
    return folder


def sample_frame(table: AbundanceTable) -> pd.DataFrame:
    """Return read statistics and cohort columns, as numbers where all values are, indexed by `sample_id`."""
    frame = table.read_stats.copy()
    reserved = {"sample_id", "counts", "abundance", *frame.columns}
    for name, column in file_columns(table.metadata.columns, reserved).items():
        frame[column] = _typed(table.metadata[name])
    return frame


def cluster_names(table: AbundanceTable) -> list[str]:
    """Return the names of the clusters, by their number in the model."""
    return [f"cluster_{i}" for i in range(table.counts.shape[1])]


def _typed(values: pd.Series) -> pd.Series:
    text = values.astype("string").str.strip().replace("", pd.NA)
    # In a column of numbers, words such as NA are missing values too; in one of text they stay as written.
    is_without = text.fillna("").map(is_missing).to_numpy(bool)
    if pd.to_numeric(text.mask(is_without), errors="coerce").notna().to_numpy()[~is_without].all():
        text = text.mask(is_without)
    numbers = pd.to_numeric(text, errors="coerce")
    if text.isna().all() or (numbers.isna() != text.isna()).any() or np.isinf(numbers.dropna()).any():
        return text.astype(object).where(text.notna(), None)
    whole = text.dropna().str.fullmatch(r"[+-]?\d{1,15}").all()
    # An identifier is no number: 007, or more digits than a float holds.
    if text.dropna().str.match(r"[+-]?(0\d|\d{16,}$)").any():
        return text.astype(object).where(text.notna(), None)
    return numbers.astype("Int64" if whole else "Float64")


def _needs(name: str, error: ImportError) -> MissingDependencyError:
    return MissingDependencyError(f"{name} is not installed ({error}); install it: pip install 'biomeformer[export]'.")


def described_clusters(table: AbundanceTable, descriptions: ClusterDescriptions) -> pd.DataFrame:
    """Return the descriptions with the names of the clusters in exported tables as index."""
    frame = descriptions.frame.drop(columns="cluster")
    frame.insert(0, "description", list(descriptions.names))
    frame.index = pd.Index(cluster_names(table), name="cluster")
    return frame


def _csv(table: AbundanceTable, folder: Path, descriptions: ClusterDescriptions | None) -> None:
    names, index = cluster_names(table), table.read_stats.index
    write_spreadsheet(pd.DataFrame(table.abundance, index=index, columns=names), folder / "abundance.csv")
    write_spreadsheet(pd.DataFrame(table.counts, index=index, columns=names), folder / "counts.csv")
    write_spreadsheet(sample_frame(table), folder / "samples.csv")
    if descriptions is not None:
        write_spreadsheet(described_clusters(table, descriptions), folder / "clusters.csv")


def arrow_table(table: AbundanceTable) -> pa.Table:
    """Return a table's rows as `datasets` and the Hub have them: read statistics, cohort columns, counts, abundance.

    Raises:
        MissingDependencyError: `datasets` is not installed.
    """
    try:
        from datasets import Features, List, Value
    except ImportError as error:
        raise _needs("datasets", error) from error
    frame, k = sample_frame(table), table.counts.shape[1]
    kinds = {"Int64": "int64", "Float64": "float64", "int64": "int64"}
    features = {"sample_id": Value("string")}
    features |= {name: Value(kinds.get(str(frame[name].dtype), "string")) for name in frame.columns}
    features |= {"counts": List(Value("int64"), length=k), "abundance": List(Value("float64"), length=k)}
    # The schema of the features makes the columns exact for `load_dataset`, and our record makes them our table.
    schema = Features(features).arrow_schema
    columns: list[pa.Array] = [pa.array(table.sample_ids, pa.string())]
    for name in frame.columns:
        values = [None if pd.isna(value) else value for value in frame[name].tolist()]
        columns.append(pa.array(values, schema.field(name).type))
    for name, matrix in (("counts", table.counts), ("abundance", table.abundance)):
        columns.append(pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), type=schema.field(name).type))
    cohort = file_columns(table.metadata.columns, {"sample_id", "counts", "abundance", *table.read_stats.columns})
    texts = {name: cohort_texts(columns[schema.get_field_index(column)]) for name, column in cohort.items()}
    schema = schema.with_metadata((schema.metadata or {}) | table.parquet_metadata(texts))
    return pa.table(columns, schema=schema)


def to_dataset(table: AbundanceTable) -> Any:
    """Return a table as a `datasets.Dataset`; see `AbundanceTable.to_dataset`."""
    rows = arrow_table(table)
    from datasets import Dataset

    return Dataset(rows)


def _datasets(table: AbundanceTable, folder: Path, descriptions: ClusterDescriptions | None) -> None:
    rows = arrow_table(table)
    path = shard_path(folder / DATA, DATASET_SPLIT)
    path.parent.mkdir()
    pq.write_table(
        rows,
        path,
        row_group_size=max(1, ROW_GROUP_BYTES // (16 * table.counts.shape[1])),
        use_content_defined_chunking=True,
        write_page_index=True,
        write_page_checksum=True,
    )
    name_by_content(path)
    (folder / "README.md").write_text(dataset_card_text(table), encoding="utf-8")
    if descriptions is not None:
        descriptions.write(folder / DESCRIPTIONS)


def dataset_card_text(table: AbundanceTable) -> str:
    """Return the `README.md` of a table that is exported for `datasets`: its card on the Hub."""
    record = table.provenance
    return f"""---
tags:
- metagenomics
- biomeformer
---

# Abundance vectors of {len(table.sample_ids)} metagenomes

One row per sample: `counts` holds the number of its reads that are nearest to each of {record["n_clusters"]} centroids
of {markdown_code(record["model"])} (weights SHA-256 `{record["weights_sha256"]}`), `abundance` their shares.
The columns `n_reads` to `n_unknown_tokens` say what became of its reads; the others are the cohort's. `provenance.json`
holds the preprocessing config and all else that decides the numbers. The dataset holds no reads.

```python
from biomeformer import AbundanceTable
from datasets import load_dataset

data = load_dataset("path/to/this/folder", split="train")
table = AbundanceTable.read("path/to/this/folder")
```

Both take the dataset's id on the Hub as well. The second knows which model made the numbers, so that it joins only
tables whose numbers mean the same.
"""


@contextmanager
def _hdf5(path: Path) -> Iterator[Any]:
    """Yield an HDF5 file in memory, and write it at the end.

    HDF5 writes to the disk when objects are released, where a full disk ends the process or is an error that Python
    cannot raise.
    """
    import h5py

    with h5py.File(path.name, "w", driver="core", backing_store=False) as file:
        yield file
        file.flush()
        content = file.id.get_file_image()
    path.write_bytes(content)


def to_biom(table: AbundanceTable) -> Any:
    """Return a table as a `biom.Table`; see `AbundanceTable.to_biom`.

    Raises:
        MissingDependencyError: `biom-format` is not installed.
    """
    try:
        from biom import Table
    except ImportError as error:
        raise _needs("biom-format", error) from error
    return Table(table.counts.T.astype(np.float64), cluster_names(table), list(table.sample_ids), type="Function table")


def _biom(table: AbundanceTable, folder: Path, descriptions: ClusterDescriptions | None) -> None:
    biom, frame = to_biom(table), sample_frame(table)
    with _hdf5(folder / "counts.biom") as file:
        biom.to_hdf5(file, f"biomeformer {table.provenance['versions']['biomeformer']}")
    # Not as a spreadsheet: the ids must be those of counts.biom.
    write_metadata(frame.rename_axis("sample-id"), folder / "sample-metadata.tsv")
    if descriptions is not None:
        clusters = described_clusters(table, descriptions)
        # A header of ids that `biom add-metadata` takes too; for it the types are a comment.
        write_metadata(clusters.rename_axis("#OTU ID"), folder / "cluster-metadata.tsv")


def to_anndata(table: AbundanceTable, descriptions: ClusterDescriptions | None = None) -> Any:
    """Return a table as an `anndata.AnnData`; see `AbundanceTable.to_anndata`.

    Args:
        table: The table.
        descriptions: What the clusters are, for `var`.

    Raises:
        MissingDependencyError: `anndata` is not installed.
    """
    try:
        from anndata import AnnData
    except ImportError as error:
        raise _needs("anndata", error) from error
    frame = sample_frame(table)
    # The format takes text as objects, no pandas type that knows gaps, and no "/" in a name.
    obs: dict[str, Any] = {}
    for name in frame.columns:
        kind, has_gaps = str(frame[name].dtype), bool(frame[name].isna().any())
        if kind in ("object", "str", "string"):
            values = [None if pd.isna(value) else str(value) for value in frame[name]]
            categories = pd.Index(sorted({value for value in values if value is not None}), dtype=object)
            obs[name.replace("/", "_")] = pd.Categorical(values, categories=categories)
        else:
            is_whole = kind.lower() == "int64" and not has_gaps
            # pandas 2 would put the NaN into integers.
            numbers = frame[name].to_numpy("int64") if is_whole else frame[name].to_numpy("float64", na_value=np.nan)
            obs[name.replace("/", "_")] = numbers
    clusters = pd.DataFrame(index=pd.Index(cluster_names(table), dtype=object))
    if descriptions is not None:
        described = described_clusters(table, descriptions)
        # As for samples: text as categories that are objects, which the format takes.
        text = {
            name: pd.Categorical(described[name], categories=pd.Index(sorted(set(described[name])), dtype=object))
            for name in described
            if not is_numeric_dtype(described[name])
        }
        clusters = described.assign(**text).set_axis(clusters.index)
    data = AnnData(
        table.abundance,
        obs=pd.DataFrame(obs, index=pd.Index(table.sample_ids, dtype=object)),
        var=clusters,
    )
    data.layers["counts"] = table.counts
    data.uns["biomeformer"] = json.dumps(table.provenance)
    return data


def _anndata(table: AbundanceTable, folder: Path, descriptions: ClusterDescriptions | None) -> None:
    data = to_anndata(table, descriptions)
    from anndata.io import write_elem

    with _hdf5(folder / "abundance.h5ad") as file:
        write_elem(file, "/", data)


FORMATS |= {"datasets": _datasets, "csv": _csv, "biom": _biom, "anndata": _anndata, "multiqc": write_multiqc}

__all__ = [
    "FORMATS",
    "arrow_table",
    "cluster_names",
    "dataset_card_text",
    "described_clusters",
    "export_table",
    "sample_frame",
    "to_anndata",
    "to_biom",
    "to_dataset",
]
