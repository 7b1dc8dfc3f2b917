"""Abundance tables in the formats of others: tables and numbers of a cohort, never reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import MissingDependencyError
from .abundance_table import AbundanceTable

FORMATS: dict[str, Callable[[AbundanceTable, Path], None]] = {}


def export_table(table: AbundanceTable, folder: str | Path, file_format: str) -> Path:
    """Write a table in another format.

    Cohort columns are text in the table; here those whose values are all whole numbers or numbers become such, and
    empty fields become missing values.

    * `datasets`: `data/train.parquet` and a `README.md`, for `datasets.load_dataset(folder)`: one row a sample with its
      tallies, cohort columns, `counts` and `abundance`.
    * `csv`: `abundance.csv`, `counts.csv` and `samples.csv` (tallies and cohort columns), one row a sample.
    * `biom`: `counts.biom` (BIOM 2.1, clusters by samples) and `sample-metadata.tsv` as QIIME 2 reads it.
    * `anndata`: `abundance.h5ad` with abundance vectors as `X`, the layer `counts`, and samples in `obs`.

    Each also gets `provenance.json`.

    Args:
        table: The table.
        folder: An existing, empty folder.
        file_format: `datasets`, `csv`, `biom` or `anndata`.

    Returns:
        The folder.

    Raises:
        MissingDependencyError: The format's library is not installed.
    """
    folder = Path(folder)
    FORMATS[file_format](table, folder)
    (folder / "provenance.json").write_text(json.dumps(table.provenance, indent=1) + "\n")
    return folder


def sample_frame(table: AbundanceTable) -> pd.DataFrame:
    """Tallies and cohort columns, with numbers where a column holds nothing else, indexed by `sample_id`."""
    frame = table.tallies.copy()
    reserved = {"sample_id", "counts", "abundance", *frame.columns}
    for name in table.metadata.columns:
        frame[f"metadata.{name}" if name in reserved else name] = _typed(table.metadata[name])
    return frame


def cluster_names(table: AbundanceTable) -> list[str]:
    """Names of the clusters, by their number in the model."""
    return [f"cluster_{i}" for i in range(table.counts.shape[1])]


def _typed(values: pd.Series) -> pd.Series:
    text = values.astype("string").str.strip().replace("", pd.NA)
    numbers = pd.to_numeric(text, errors="coerce")
    if text.isna().all() or (numbers.isna() != text.isna()).any() or np.isinf(numbers.dropna()).any():
        return text.astype(object).where(text.notna(), None)
    whole = text.dropna().str.fullmatch(r"[+-]?\d{1,15}").all()
    # An identifier such as 007 is no number.
    if text.dropna().str.match(r"[+-]?0\d").any():
        return text.astype(object).where(text.notna(), None)
    return numbers.astype("Int64" if whole else "Float64")


def _needs(name: str, error: ImportError) -> MissingDependencyError:
    return MissingDependencyError(f"{name} is not installed ({error}); install it: pip install 'biomeformer[export]'.")


def _csv(table: AbundanceTable, folder: Path) -> None:
    names, index = cluster_names(table), table.tallies.index
    pd.DataFrame(table.abundance, index=index, columns=names).to_csv(folder / "abundance.csv")
    pd.DataFrame(table.counts, index=index, columns=names).to_csv(folder / "counts.csv")
    sample_frame(table).to_csv(folder / "samples.csv")


def _datasets(table: AbundanceTable, folder: Path) -> None:
    try:
        import datasets
        from datasets import Dataset, Features, List, Value
    except ImportError as error:
        raise _needs("datasets", error) from error
    frame, k = sample_frame(table), table.counts.shape[1]
    kinds = {"Int64": "int64", "Float64": "float64", "int64": "int64"}
    features = {"sample_id": Value("string")}
    columns: dict[str, Any] = {"sample_id": list(table.sample_ids)}
    for name in frame.columns:
        features[name] = Value(kinds.get(str(frame[name].dtype), "string"))
        columns[name] = [None if pd.isna(value) else value for value in frame[name].tolist()]
    for name, values, kind in (("counts", table.counts, "int64"), ("abundance", table.abundance, "float64")):
        features[name] = List(Value(kind), length=k)
        columns[name] = values.tolist()
    (folder / "data").mkdir()
    had_bars = not datasets.utils.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        Dataset.from_dict(columns, features=Features(features)).to_parquet(folder / "data" / "train.parquet")
    finally:
        if had_bars:
            datasets.enable_progress_bars()
    (folder / "README.md").write_text(_dataset_readme(table))


def _dataset_readme(table: AbundanceTable) -> str:
    record = table.provenance
    return f"""---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train.parquet
tags:
- metagenomics
- biomeformer
---

# Abundance vectors of {len(table.sample_ids)} metagenomes

One row a sample: `counts` holds the number of its reads that are nearest to each of {record["n_clusters"]} centroids of
`{record["model"]}` (weights SHA-256 `{record["weights_sha256"]}`), `abundance` their shares. The columns `n_reads` to
`n_lower_case` say what became of its reads; the others are the cohort's. `provenance.json` holds the preprocessing
contract and all that decides the numbers. There are no reads here.

```python
from datasets import load_dataset

table = load_dataset("path/to/this/folder", split="train")
```
"""


def _biom(table: AbundanceTable, folder: Path) -> None:
    try:
        import h5py
        from biom import Table
    except ImportError as error:
        raise _needs("biom-format", error) from error
    frame = sample_frame(table)
    biom = Table(table.counts.T.astype(np.float64), cluster_names(table), list(table.sample_ids), type="Function table")
    with h5py.File(folder / "counts.biom", "w") as file:
        biom.to_hdf5(file, f"biomeformer {table.provenance['versions']['biomeformer']}")
    frame.index.name = "sample-id"
    frame.to_csv(folder / "sample-metadata.tsv", sep="\t")


def _anndata(table: AbundanceTable, folder: Path) -> None:
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
            obs[name.replace("/", "_")] = frame[name].to_numpy("int64" if is_whole else "float64", na_value=np.nan)
    data = AnnData(
        table.abundance,
        obs=pd.DataFrame(obs, index=pd.Index(table.sample_ids, dtype=object)),
        var=pd.DataFrame(index=pd.Index(cluster_names(table), dtype=object)),
    )
    data.layers["counts"] = table.counts
    data.uns["biomeformer"] = json.dumps(table.provenance)
    data.write_h5ad(folder / "abundance.h5ad")


FORMATS |= {"datasets": _datasets, "csv": _csv, "biom": _biom, "anndata": _anndata}

__all__ = ["FORMATS", "cluster_names", "export_table", "sample_frame"]
