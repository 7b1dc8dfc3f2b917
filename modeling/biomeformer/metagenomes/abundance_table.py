"""Abundance tables: Parquet with counts, read statistics, phenotypes and provenance."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, NotRequired, TypedDict

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from ..errors import TableError
from ..io.atomic import atomic_write
from ..io.dataset_files import DATA, shards
from ..io.html_repr import count, html_table
from ..io.parquet import DAMAGE
from ..io.records import DamagedFileError, RecordType, checksum_of_arrays
from ..io.short_repr import short_repr
from ..moved import renamed
from ..runs.run_folder import failed_items
from .sample import SampleEmbedding, complete_read_stats

METADATA_KEY = b"biomeformer"
FORMAT_VERSION = 1
TABLE_NAME = "abundance.parquet"
# Split of the table's rows in a dataset, on the Hub or in a folder, and what its file is called in messages.
DATASET_SPLIT = "train"
DATASET_FILE = "data/train-*.parquet"
# Names with these endings are files, never datasets of the Hub.
FILE_ENDINGS = {
    ".parquet", ".csv", ".tsv", ".txt", ".biom", ".json", ".gz", ".fastq", ".fq", ".fasta", ".fa", ".fna"
}  # fmt: skip


class _TableRecord(TypedDict):
    """What the metadata of a table's Parquet file say of it.

    Attributes:
        content: Checksum of ids, counts, read statistics and cohort columns; absent in tables of version 0.1.
    """

    format_version: int
    tally_columns: list[str]
    metadata_columns: list[str]
    provenance: dict[str, Any]
    content: NotRequired[str]


RECORD = RecordType(
    _TableRecord,
    "fetch or export the table again",
    [{"format_version", "tally_columns", "metadata_columns", "provenance"}],
)

# What makes a cluster's counts mean the same in two tables, and what to do where it differs.
SAME_CLUSTERS = {
    "weights_sha256": "embed both with one checkpoint",
    "contract": "embed both with one checkpoint",
    "n_clusters": "embed both with one checkpoint",
    "dtype": "embed both with one checkpoint in one dtype",
}
# What makes their samples comparable too: rare clusters appear with depth.
SAME_DEPTH = SAME_CLUSTERS | {"read_fraction": "embed both at one read fraction"}

# Names of fields in messages, where the name in files is an older one.
MESSAGE_NAMES = {"contract": "preprocessing config"}


@dataclass(frozen=True)
class AbundanceTable:
    """Cluster counts of a cohort.

    Attributes:
        sample_ids: Ids of the samples, one per row.
        counts: int64 `(n_samples, n_clusters)`.
        read_stats: Reads found, selected and used, and why others were not; the windows of the used ones, which the
            counts add up to; and their tokens, of which `n_unknown_tokens` are unknown to the tokenizer; one row per
            sample. In tables of version 0.1, and their rows in joined tables, tokens were not counted, and are 0.
        metadata: Phenotypes and covariates of the cohort table, as text; one row per sample.
        provenance: Model, weights' hash, preprocessing, read fraction, seed and versions.
        source: Path or Hub id that `read` read it from, for messages.

    Examples:
        >>> from importlib.resources import files
        >>> from biomeformer import load
        >>> cohort = files("biomeformer") / "example_cohort" / "cohort.csv"
        >>> table = load("metagenbert-mini").embed_cohort(cohort, read_fraction=0.02)
        >>> path = table.write("abundance.parquet")
        >>> again = AbundanceTable.read(path)
        >>> again.sample_ids[:2], again.to_pandas().loc["case_01", "group"]
        (('control_01', 'control_02'), 'case')
    """

    sample_ids: tuple[str, ...]
    counts: np.ndarray
    read_stats: pd.DataFrame
    metadata: pd.DataFrame
    provenance: dict[str, Any] = field(default_factory=dict)
    source: str | None = field(default=None, compare=False)

    __repr__ = short_repr

    def _repr_html_(self) -> str:
        n_samples, n_clusters = self.counts.shape
        size = f"{count(n_samples, 'sample')}, {count(n_clusters, 'cluster')}"
        title = f"{size}, embedded by {self.provenance.get('model')}; shares of the clusters: to_pandas()"
        frame = pd.concat([self.read_stats.filter(["n_reads", "n_used"]), self.metadata], axis=1)
        return html_table(self, title, frame)

    tallies = renamed("tallies", "read_stats")

    @property
    def abundance(self) -> np.ndarray:
        """Abundance vectors: float64 `(n_samples, n_clusters)`, rows sum to one."""
        return self.counts / np.maximum(self.counts.sum(1, keepdims=True), 1)

    def to_anndata(self) -> Any:
        """Return an `anndata.AnnData`, for scanpy: abundance as `X`, counts as a layer, samples in `obs`.

        Raises:
            MissingDependencyError: `anndata` is not installed.
        """
        from .cluster_descriptions import find_descriptions
        from .export import to_anndata

        return to_anndata(self, find_descriptions(self.provenance))

    def to_biom(self) -> Any:
        """Return a `biom.Table` of counts, clusters by samples.

        Raises:
            MissingDependencyError: `biom-format` is not installed.
        """
        from .export import to_biom

        return to_biom(self)

    def to_dataset(self) -> Any:
        """Return a `datasets.Dataset`: one row per sample, as `biomeformer export --format datasets` writes it."""
        from .export import to_dataset

        return to_dataset(self)

    @classmethod
    def from_samples(
        cls, samples: Sequence[SampleEmbedding], metadata: pd.DataFrame, provenance: dict[str, Any]
    ) -> AbundanceTable:
        """Gather samples, in the order given, with the rows of `metadata` that bear their ids."""
        ids = tuple(str(sample.sample_id) for sample in samples)
        return cls(
            ids,
            np.stack([sample.counts for sample in samples]),
            pd.DataFrame(
                [complete_read_stats(sample.read_stats) for sample in samples], index=pd.Index(ids, name="sample_id")
            ),
            metadata.loc[list(ids)],
            provenance,
        )

    @classmethod
    def join(cls, tables: Sequence[AbundanceTable]) -> AbundanceTable:
        """Return the samples of several tables in one, in the order given.

        The tables must agree in `weights_sha256`, `preprocessing`, `n_clusters`, `dtype` and `read_fraction`: all that
        decides which cluster a read counts for, and how many reads of a sample are looked at. They may differ in

        * `model` and `revision`: names of weights, which the hash identifies better;
        * `seed`: it chooses reads, of one sample without regard to those of another;
        * `device` and `versions`: the order of sums, which moves a read only where two centroids are equally near.

        `provenance` is the first table's; where others differ, its field `joined` holds for each table, in the order of
        the rows, `n_samples` and its own values of what differs. A cohort column that a table lacks is empty for its
        samples.

        Args:
            tables: One or more, of other samples each.

        Raises:
            TableError: Two tables do not agree, or have a sample in common; or there is none.
        """
        if not tables:
            raise TableError("there is no table to join; give one or more.")
        tables = [replace(table, read_stats=_complete(table.read_stats)) for table in tables]
        names = [table._name(i) for i, table in enumerate(tables)]
        first, where = tables[0], names[0]
        tables_of: dict[str, str] = {}
        for table, other in zip(tables, names, strict=True):
            if not table.provenance.get("weights_sha256"):
                raise TableError(
                    f"{other} does not say which weights embedded it (weights_sha256), so nothing can be joined to it; "
                    "embed its samples again."
                )
            check_agreement(first.provenance, table.provenance, where, other, SAME_DEPTH)
            for what, mine, theirs in (
                ("numbers of clusters", first.counts.shape[1], table.counts.shape[1]),
                ("read statistics", list(first.read_stats.columns), list(table.read_stats.columns)),
            ):
                if mine != theirs:
                    raise TableError(
                        f"{where} and {other} do not join: they differ in {what} ({_short(mine)} and "
                        f"{_short(theirs)}); "
                        "embed both with one version."
                    )
            for name in table.sample_ids:
                if name in tables_of:
                    raise TableError(
                        f"sample {name!r} is in {tables_of[name]} and again in {other}; rename it, or leave it out of "
                        "one."
                    )
                tables_of[name] = other
        columns = list(dict.fromkeys(name for table in tables for name in table.metadata.columns))
        return cls(
            tuple(tables_of),
            np.concatenate([table.counts for table in tables]),
            pd.concat([table.read_stats for table in tables]),
            pd.concat([table.metadata.reindex(columns=columns, fill_value="") for table in tables]),
            _joined_provenance(tables),
        )

    def without_columns(self, names: Collection[str]) -> AbundanceTable:
        """Return the table without some of its cohort columns.

        Raises:
            TableError: It has no such column.
        """
        unknown = [name for name in names if name not in self.metadata.columns]
        if unknown:
            known = ", ".join(map(str, self.metadata.columns)) or "none"
            raise TableError(f"{self._name(0)} has no cohort column {unknown[0]!r}; it has {known}.")
        return replace(self, metadata=self.metadata.drop(columns=list(names)))

    def to_pandas(self) -> pd.DataFrame:
        """Return read statistics, metadata and abundance columns `cluster_0` … in one frame, indexed by sample."""
        names = [f"cluster_{i}" for i in range(self.counts.shape[1])]
        abundance = pd.DataFrame(self.abundance, index=self.read_stats.index, columns=names)
        return pd.concat([self.read_stats, self.metadata, abundance], axis=1)

    def parquet_metadata(self, columns: Mapping[str, Sequence[str]]) -> dict[bytes, bytes]:
        """Return the metadata of this table in a Parquet file's schema: format, names, provenance and checksums.

        Args:
            columns: Cohort columns as they will be read from the file, as text.
        """
        record = {
            "format_version": FORMAT_VERSION,
            "tally_columns": list(self.read_stats.columns),
            "metadata_columns": list(self.metadata.columns),
            "provenance": self.provenance,
            "content": _content_checksum(self.sample_ids, self.counts, self.read_stats, columns),
        }
        return {METADATA_KEY: RECORD.serialize(record)}

    def write(self, path: str | Path) -> Path:
        """Write Parquet atomically, with checksums; return the path.

        Raises:
            TableError: The counts of a sample do not add up to its `n_used`.
        """
        path = Path(path)
        if (sample := _first_that_differs(self.sample_ids, self.counts, self.read_stats)) is not None:
            raise TableError(
                f"{path} is not written: the counts of sample {sample!r} do not add up to its reads used (n_used) or "
                "their windows (n_windows); "
                "correct the table."
            )
        columns: dict[str, pa.Array] = {"sample_id": pa.array(self.sample_ids, pa.string())}
        for name in self.read_stats.columns:
            columns[name] = pa.array(self.read_stats[name].to_numpy(np.int64), pa.int64())
        columns["counts"] = pa.array(list(self.counts), pa.list_(pa.int64()))
        texts = {name: self.metadata[name].astype(str).tolist() for name in self.metadata.columns}
        for name, column in file_columns(self.metadata.columns, columns).items():
            columns[column] = pa.array(texts[name], pa.string())
        table = pa.table(columns).replace_schema_metadata(self.parquet_metadata(texts))
        with atomic_write(path) as partial:
            pq.write_table(table, partial, write_page_checksum=True)
        return path

    @classmethod
    def read(cls, path_or_id: str | Path, *, revision: str | None = None) -> AbundanceTable:
        """Read a table from a file, a folder, or a dataset on the Hub.

        Cohort columns that `biomeformer export --format datasets` made numbers become text again: numbers in their
        shortest form, missing values empty.

        Args:
            path_or_id: An `abundance.parquet` or the folder of its run; the Parquet file of an
                export for `datasets`, or its folder; or, where there is no such path, the id of a dataset
                (`namespace/name`), taken from the Hub or its cache.
            revision: Branch, tag or commit of the dataset; its main branch by default.

        Raises:
            TableError: It does not exist, cannot be reached, is not Parquet, or is no abundance table.
            InputError: The run in the folder has not finished.
        """
        path = table_file(path_or_id, revision)
        source = str(path_or_id)
        # A path, or the name of a dataset, since its file is in a cache.
        where = str(path) if path.is_relative_to(source) else f"{source} ({DATA}/{path.name})"
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                record = _record(file.schema_arrow, where)
                names = _columns(file.schema_arrow, record, where)
                columns = ["sample_id", *record["tally_columns"], *names.values(), "counts"]
                table = file.read(columns=columns)
        except FileNotFoundError as error:
            if path.name == TABLE_NAME:
                failed_items(path.parent, TABLE_NAME)
            raise TableError(
                f"{path}: no such file; give the abundance.parquet that `biomeformer embed` wrote, or a dataset of "
                "`biomeformer export --format datasets`."
            ) from error
        except (TableError, DamagedFileError):
            raise
        except DAMAGE as error:
            raise TableError(f"{where}: cannot be read as Parquet ({_first_line(error)}).") from error
        for name in ("sample_id", *record["tally_columns"]):
            wanted = pa.types.is_integer if name != "sample_id" else _is_text
            if not wanted(table[name].type) or table[name].null_count:
                kind = "text" if name == "sample_id" else "whole numbers"
                raise TableError(f"{where}: its column {name!r} is not all {kind}; fetch or export the table again.")
        try:
            return cls._from_arrow(table, record, names, where, source)
        except (TableError, DamagedFileError):
            raise
        except DAMAGE as error:
            raise TableError(
                f"{where}: its values cannot be read ({_first_line(error)}); fetch or export the table again."
            ) from error

    @classmethod
    def _from_arrow(
        cls, table: pa.Table, record: _TableRecord, names: Mapping[str, str], where: str, source: str
    ) -> AbundanceTable:
        """Take a table out of Arrow's and verify it.

        Raises:
            TableError: The checksum differs, or counts do not add up to the reads used.
        """
        counts = _counts(table["counts"], where)
        ids = tuple(table["sample_id"].to_pylist())
        index = pd.Index(ids, name="sample_id")
        read_stats = pd.DataFrame(
            {c: table[c].to_numpy().astype(np.int64) for c in record["tally_columns"]}, index=index
        )
        texts = {c: cohort_texts(table[column]) for c, column in names.items()}
        checksum = record.get("content")
        if checksum is not None and checksum != _content_checksum(ids, counts, read_stats, texts):
            raise TableError(
                f"{where}: does not match its checksum, so it is damaged or was edited; fetch or export the table "
                "again."
            )
        if (sample := _first_that_differs(ids, counts, read_stats)) is not None:
            raise TableError(
                f"{where}: the counts of sample {sample!r} do not add up to its reads used (n_used) or "
                "their windows (n_windows), so it is damaged "
                "or was edited; fetch or export the table again."
            )
        return cls(ids, counts, read_stats, pd.DataFrame(texts, index=index), record["provenance"], source)

    def _name(self, index: int) -> str:
        """Return the name of the table in messages, as the table of that index among several."""
        return self.source or f"table {index + 1} ({len(self.sample_ids)} samples, such as {self.sample_ids[0]!r})"


def is_dataset_id(path_or_id: str | Path) -> bool:
    """Return whether this is no path of this machine and has the form of a dataset's Hub id, `namespace/name`."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    text = path_or_id.as_posix() if isinstance(path_or_id, PurePath) else path_or_id
    if text.count("/") != 1 or text.startswith((".", "/", "~")) or PurePath(text).suffix.lower() in FILE_ENDINGS:
        return False
    try:
        validate_repo_id(text)
    except HFValidationError:
        return False
    return not Path(path_or_id).exists()


def is_abundance_source(path_or_id: str | Path) -> bool:
    """Return whether `AbundanceTable.read` reads this: a folder, a Parquet file, or a dataset's Hub id."""
    path = Path(path_or_id)
    return path.is_dir() or path.suffix == ".parquet" or is_dataset_id(path_or_id)


def table_file(path_or_id: str | Path, revision: str | None = None) -> Path:
    """Return the Parquet file of a table; of a dataset on the Hub, its copy in the cache.

    Args:
        path_or_id: As for `AbundanceTable.read`.
        revision: Branch, tag or commit of the dataset.

    Returns:
        The file, which may not exist if `path_or_id` has no form of a Hub id.

    Raises:
        TableError: There is no such dataset, it holds no table, or it can neither be reached nor is in the cache.
    """
    if is_dataset_id(path_or_id):
        return _from_hub(PurePath(path_or_id).as_posix(), revision)
    path = Path(path_or_id)
    if revision is not None and path.exists():
        raise TableError(
            f"{path} is a path of this machine, and only datasets on the Hub have revisions; leave out {revision!r}."
        )
    if not path.is_dir():
        return path
    own = path / TABLE_NAME
    return own if own.is_file() else dataset_file(path, str(path)) or own


def dataset_file(folder: Path, name: str) -> Path | None:
    """Return the Parquet file of a table that was exported for `datasets`; None if the folder has none.

    Args:
        folder: The dataset.
        name: What to call it in messages.

    Raises:
        TableError: It has several.
    """
    files = shards((f"{DATA}/{path.name}" for path in (folder / DATA).glob("*.parquet")), DATASET_SPLIT)
    if len(files) > 1:
        raise TableError(
            f"{name} has {len(files)} files {DATASET_FILE} ({', '.join(files[:2])}), and a table is one; delete those "
            "of earlier exports."
        )
    return folder / files[0] if files else None


def _from_hub(name: str, revision: str | None) -> Path:
    from huggingface_hub import errors, snapshot_download

    nothing_here = f"{name}: there is no such file or folder here, and"
    dataset = name if revision is None else f"{name} at {revision!r}"
    at = "" if revision is None else f" at {revision!r}"
    try:
        folder = snapshot_download(
            name, repo_type="dataset", revision=revision, allow_patterns=f"{DATA}/{DATASET_SPLIT}*.parquet"
        )
    except errors.GatedRepoError as error:
        raise TableError(
            f"{name}: the dataset is there and this login may not read it; ask for access on its page, and log in with "
            "`hf auth login`."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise TableError(
            f"{nothing_here} no such dataset on the Hub that this login may see; check the name, or log in with "
            "`hf auth login`."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise TableError(
            f"{name}: the dataset has no revision {revision or 'main'!r}; give one of its branches, tags or commits."
        ) from error
    except errors.LocalEntryNotFoundError as error:
        reason = _first_line(error.__cause__ or error)
        raise TableError(
            f"{nothing_here} the {DATASET_FILE} of a dataset of that name{at} is not in the cache and the Hub gives "
            f"none ({reason}); check the name, or the network."
        ) from error
    except (errors.HTTPError, OSError) as error:
        reason = _first_line(error)
        raise TableError(f"{dataset}: the dataset cannot be fetched ({reason}); check login and network.") from error
    file = dataset_file(Path(folder), dataset)
    if file is None:
        raise TableError(
            f"{dataset}: the dataset has no {DATASET_FILE}, so it is no abundance table; give one that was exported "
            "with `biomeformer export --format datasets`."
        )
    return file


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(". ")


def _record(schema: pa.Schema, where: str) -> _TableRecord:
    """Return the content of `parquet_metadata`."""
    raw = (schema.metadata or {}).get(METADATA_KEY)
    if raw is None:
        raise TableError(
            f"{where}: has no biomeformer record; give an abundance.parquet that `biomeformer embed` wrote, or a "
            "dataset of `biomeformer export --format datasets` as it was written."
        )
    try:
        record = RECORD.parse(raw, f"{where}: its biomeformer record")
    except DamagedFileError as error:
        raise TableError(str(error)) from error
    if record["format_version"] != FORMAT_VERSION:
        raise TableError(
            f"{where}: is an abundance table of format {record['format_version']}, and this version reads "
            f"{FORMAT_VERSION}; use the version that wrote it."
        )
    return record


def _content_checksum(
    sample_ids: Sequence[str], counts: np.ndarray, read_stats: pd.DataFrame, columns: Mapping[str, Sequence[str]]
) -> str:
    """Return the checksum of what `AbundanceTable.read` takes from a file, however the file is laid out."""
    texts = json.dumps([list(sample_ids), {name: list(values) for name, values in columns.items()}])
    arrays = {"counts": np.asarray(counts, np.int64), "read_stats": read_stats.to_numpy(np.int64)}
    metadata = {"texts": xxhash.xxh3_128_hexdigest(texts.encode()), "read_stats": json.dumps(list(read_stats.columns))}
    return checksum_of_arrays(arrays, metadata)


def _complete(read_stats: pd.DataFrame) -> pd.DataFrame:
    """Return read statistics with those that tables of version 0.1 do not have."""
    rows = [complete_read_stats(row) for row in read_stats.to_dict("records")]
    return pd.DataFrame(rows, index=read_stats.index)


def _first_that_differs(sample_ids: Sequence[str], counts: np.ndarray, read_stats: pd.DataFrame) -> str | None:
    """Return the first sample whose counts do not add up to its reads used, or their windows; None if all do."""
    counted = "n_windows" if "n_windows" in read_stats.columns else "n_used"
    if counted not in read_stats.columns or not len(sample_ids):
        return None
    differing = np.flatnonzero(counts.sum(1) != read_stats[counted].to_numpy())
    return sample_ids[differing[0]] if len(differing) else None


def _columns(schema: pa.Schema, record: _TableRecord, where: str) -> dict[str, str]:
    """Return the file's columns by the cohort's; check that every column of the record exists."""
    reserved = ["sample_id", "counts", *record["tally_columns"]]
    index = schema.get_field_index("abundance")
    if index >= 0 and _is_list(schema.field(index).type):
        reserved.append("abundance")
    names = file_columns(record["metadata_columns"], reserved)
    for name in ("sample_id", "counts", *record["tally_columns"], *names.values()):
        if schema.get_field_index(name) < 0:
            raise TableError(f"{where}: has not one column {name!r}, which its record names; fetch the table again.")
    return names


def file_columns(names: Collection[str], reserved: Collection[str]) -> dict[str, str]:
    """Return the columns of a file for the cohort's: their own names, with `metadata.` before those that are taken."""
    columns: dict[str, str] = {}
    taken = set(reserved)
    for name in names:
        column = str(name)
        while column in taken:
            column = f"metadata.{column}"
        taken.add(column)
        columns[name] = column
    return columns


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _counts(column: pa.ChunkedArray, where: str) -> np.ndarray:
    """Return lists as int64 `(n_samples, n_clusters)`."""
    if _is_list(column.type) and pa.types.is_integer(column.type.value_type) and not column.null_count:
        lengths = pc.unique(pc.list_value_length(column)).to_pylist()
        values = [chunk.flatten() for chunk in column.chunks]
        if len(lengths) == 1 and lengths[0] and not any(part.null_count for part in values):
            counts = np.concatenate([part.to_numpy() for part in values]).astype(np.int64, copy=False)
            if counts.min() >= 0:
                return counts.reshape(len(column), -1)
    raise TableError(
        f"{where}: its column 'counts' does not hold whole numbers of 0 or more, equally many per sample; fetch or "
        "export the table again."
    )


def cohort_texts(column: pa.ChunkedArray | pa.Array) -> list[str]:
    """Return values as a cohort table writes them: numbers in their shortest form, missing values empty."""
    texts = []
    for value in column.to_pylist():
        if value is None or value != value:
            texts.append("")
        else:
            texts.append(repr(value).removesuffix(".0") if isinstance(value, float) else str(value))
    return texts


def check_agreement(
    record: dict[str, Any],
    other: dict[str, Any],
    where: str,
    other_where: str,
    fields: dict[str, str] = SAME_CLUSTERS,
) -> None:
    """Check that the provenance of two tables agrees, so that their numbers mean the same.

    Args:
        record: Provenance of one table.
        other: Provenance of the other.
        where: Name of the first in messages.
        other_where: Name of the second in messages.
        fields: What must agree, and what to do where it does not: `SAME_CLUSTERS` for features of one space,
            `SAME_DEPTH` for samples of one table.

    Raises:
        TableError: A field differs.
    """
    for name, advice in fields.items():
        mine, theirs = record.get(name), other.get(name)
        if mine == theirs:
            continue
        if isinstance(mine, dict) and isinstance(theirs, dict):
            # Of a preprocessing config, what differs.
            part = next(key for key in mine | theirs if mine.get(key) != theirs.get(key))
            shown = f"{part}: {_short(mine.get(part))} and {_short(theirs.get(part))}"
        else:
            shown = f"{_short(mine)} and {_short(theirs)}"
        raise TableError(
            f"{where} and {other_where} do not join: they differ in {MESSAGE_NAMES.get(name, name)} ({shown}); "
            f"{advice}."
        )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"


def _joined_provenance(tables: Sequence[AbundanceTable]) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    for table in tables:
        record = {name: value for name, value in table.provenance.items() if name != "joined"}
        # A table that was joined itself counts as those it was made of.
        parts += [record | own for own in table.provenance.get("joined", [{"n_samples": len(table.sample_ids)}])]
    first = {name: value for name, value in parts[0].items() if name != "n_samples"}
    differing = sorted({name for part in parts for name in part if part.get(name) != first.get(name)} - {"n_samples"})
    if not differing:
        return first
    own = [{"n_samples": part["n_samples"], **{name: part.get(name) for name in differing}} for part in parts]
    return first | {"joined": own}


__all__ = [
    "AbundanceTable",
    "check_agreement",
    "cohort_texts",
    "dataset_file",
    "file_columns",
    "is_abundance_source",
    "is_dataset_id",
    "table_file",
]
