"""Feature tables: samples by clusters or species, from this package's tables and from other profilers'."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import InputError, MissingDependencyError, TableError
from ..io.compression import StreamError, open_bytes
from ..io.limits import EXPANDED_BYTES, expands_too_far
from ..io.tables import TableFormat, read_table
from ..metagenomes import AbundanceTable
from ..metagenomes.abundance_table import check_agreement, is_abundance_source

TAXON = re.compile(r"(?:^|[|;]\s*)[kdpcofgst]__")
SPECIES = re.compile(r"(?:^|[|;]\s*)s__[^|;]+$")
# Annotation columns between the taxa and the samples.
ANNOTATIONS = {"ncbi_tax_id", "clade_taxid", "taxonomy", "tax_id", "additional_species"}
# Columns may be samples or features, so duplicates are checked after the table has been oriented.
FORMAT = TableFormat(advice="give a CSV, TSV or BIOM table", comments=True, row_names=True, unique_columns=False)
# Relative amount by which a sum of shares may exceed 1, or 100 %.
SHARE_TOLERANCE = 0.02


@dataclass(frozen=True)
class FeatureTable:
    """Non-negative features of samples: compositions, whose rows are defined up to a factor.

    Attributes:
        sample_ids: Sample of each row.
        names: Feature of each column.
        values: float64 `(n_samples, n_features)`, as read: counts, shares or percentages.
        provenance: Model and settings that produced the numbers, for tables of this package; tables of different
            provenance cannot be joined.
        notes: Descriptions of what was left out when the table was read.
    """

    sample_ids: tuple[str, ...]
    names: tuple[str, ...]
    values: np.ndarray
    provenance: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.sample_ids)

    @property
    def shares(self) -> np.ndarray:
        """Values with each row scaled to sum to one, float64 `(n_samples, n_features)`."""
        return self.values / self.values.sum(1, keepdims=True)

    @classmethod
    def from_abundance(cls, table: AbundanceTable) -> FeatureTable:
        """Build a feature table from the cluster counts of an abundance table."""
        names = tuple(f"cluster_{i}" for i in range(table.counts.shape[1]))
        return cls(table.sample_ids, names, table.counts.astype(np.float64), table.provenance)

    def take(self, sample_ids: Sequence[str], where: str = "the table") -> FeatureTable:
        """Return the rows of the given samples, in that order.

        Raises:
            TableError: A sample is not in the table.
        """
        row_of = {name: i for i, name in enumerate(self.sample_ids)}
        missing = [name for name in sample_ids if name not in row_of]
        if missing:
            raise TableError(
                f"{where} lacks {len(missing)} of {len(sample_ids)} samples (such as {missing[0]!r}; it has "
                f"{self.sample_ids[0]!r} and {len(self) - 1} others); give tables of the same samples."
            )
        return replace(self, sample_ids=tuple(sample_ids), values=self.values[[row_of[name] for name in sample_ids]])

    def check_joins(self, other: FeatureTable, where: str, other_where: str) -> None:
        """Check that the features of two tables are comparable.

        Raises:
            TableError: The tables come from different checkpoints or preprocessing configs, or share no feature.
        """
        check_agreement(self.provenance, other.provenance, where, other_where)
        if not self.provenance and set(self.names).isdisjoint(other.names):
            raise TableError(
                f"{where} and {other_where} do not join: they have no feature in common (such as {self.names[0]!r} and "
                f"{other.names[0]!r}); give tables of one profiler."
            )


def read_feature_table(path: str | Path, sample_ids: Sequence[str] | None = None) -> FeatureTable:
    """Read a feature table: one of this package, or a species table in any common layout.

    Supported are Parquet of `biomeformer embed` (or its folder, or the Hub id of a dataset), BIOM 1 and 2, MetaPhlAn 2
    to 4 and curatedMetagenomicData (taxa in rows or in columns; of several ranks, species and taxa that are classified
    no further are kept), and any other CSV or TSV of numbers, in the orientation that matches the sample ids. Text is
    read by `biomeformer.io.tables` and may be compressed.

    Args:
        path: The table.
        sample_ids: Expected samples, to distinguish rows from columns where the table itself does not.

    Raises:
        TableError: The table cannot be read, or has a value that is missing, not a number, or negative.
    """
    path = Path(path)
    if is_abundance_source(path):
        return FeatureTable.from_abundance(AbundanceTable.read(path))
    head = _head(path)
    if head.startswith(b"PAR1"):
        return FeatureTable.from_abundance(AbundanceTable.read(path))
    if head.startswith(b"\x89HDF") or head.lstrip().startswith(b"{"):
        frame = _read_biom(path)
    else:
        frame = _read_text(path)
    return _feature_table(path, frame, sample_ids)


def _read_biom(path: Path) -> pd.DataFrame:
    try:
        from biom import load_table
    except ImportError as error:
        raise MissingDependencyError(
            f"{path} is a BIOM table, and biom-format is not installed ({error}); install it: "
            "pip install 'biomeformer[export]'."
        ) from error
    _check_biom_size(path)
    try:
        table = load_table(str(path))
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TableError(f"{path} is no BIOM table that can be read ({reason}).") from error
    n_bytes, limit = table.shape[0] * table.shape[1] * np.dtype(np.float64).itemsize, EXPANDED_BYTES.get()
    if n_bytes > limit:
        raise TableError(f"{path}: {expands_too_far(n_bytes, limit)}.")
    values = table.matrix_data.toarray().T
    return pd.DataFrame(values, index=table.ids().tolist(), columns=table.ids("observation").tolist())


def _check_biom_size(path: Path) -> None:
    """Check, before a BIOM table is read, that it does not expand too far.

    Raises:
        TableError: It does, or is damaged.
    """
    try:
        # JSON, or its compressed stream; of HDF5 these are the bytes of the file.
        with open_bytes(path) as file:
            is_hdf5 = file.peek(4).startswith(b"\x89HDF")
            while not is_hdf5 and file.read(1 << 20):
                pass
    except (InputError, StreamError) as error:
        raise TableError(f"{path}: {str(error).rstrip('.')}.") from error
    if not is_hdf5:
        return
    import h5py

    sizes: list[int] = []
    try:
        with h5py.File(path, "r") as content:
            content.visititems(lambda _, item: sizes.append(item.nbytes) if isinstance(item, h5py.Dataset) else None)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise TableError(f"{path} is no HDF5 file that can be read ({' '.join(str(error).split())}).") from error
    limit = EXPANDED_BYTES.get()
    if sum(sizes) > limit:
        raise TableError(f"{path}: {expands_too_far(sum(sizes), limit)}.")


def _head(path: Path) -> bytes:
    """Return the first bytes of a file, decompressed; empty if it cannot be opened, which `read_table` then reports."""
    try:
        with open_bytes(path) as file:
            return file.read(64)
    except (InputError, StreamError):
        return b""


def _read_text(path: Path) -> pd.DataFrame:
    """Read every field as text, with the first column as index."""
    table = read_table(path, FORMAT)
    if not table.rows:
        raise TableError(f"{path} holds no table: it has fewer than two lines.")
    if len(table.columns) < 2:
        raise TableError(f"{path}, line 1: no tab or comma separates columns; give a CSV, TSV or BIOM table.")
    return table.frame(table.columns[0])


def _feature_table(path: Path, frame: pd.DataFrame, sample_ids: Sequence[str] | None) -> FeatureTable:
    frame = frame.loc[:, [str(name).lower() not in ANNOTATIONS for name in frame.columns]]
    in_rows, in_columns = (sum(bool(TAXON.search(str(name))) for name in axis) for axis in (frame.index, frame.columns))
    if in_rows > in_columns or (not in_rows and not in_columns and _samples_in_columns(frame, sample_ids)):
        frame = frame.T
    names = [str(name) for name in frame.columns]
    notes = []
    if in_rows or in_columns:
        taxa = [bool(TAXON.search(name)) for name in names]
        if not all(taxa):
            excluded = [name for name, is_taxon in zip(names, taxa, strict=True) if not is_taxon]
            notes.append(f"{len(excluded)} columns that are not taxa were left out (such as {excluded[0]!r})")
        keep = _species_and_leaves(names, taxa)
        if sum(keep) < sum(taxa):
            notes.append(f"{sum(taxa) - sum(keep)} taxa above or below the species were left out")
        frame = frame.loc[:, keep]
        names = [name for name, kept in zip(names, keep, strict=True) if kept]
    ids = [str(name) for name in frame.index]
    for noun, labels in (("sample", ids), ("feature", names)):
        seen: set[str] = set()
        for label in labels:
            if label in seen:
                raise TableError(f"{path}: the {noun} {label!r} occurs twice; give each once.")
            seen.add(label)
    if not ids or not names:
        raise TableError(f"{path} holds {len(ids)} samples and {len(names)} features; give a table of both.")
    values = _numbers(path, frame, ids, names)
    table = FeatureTable(tuple(ids), tuple(names), values, notes=tuple(notes))
    check_compositions(table, str(path))
    return table


def _species_and_leaves(names: list[str], taxa: list[bool]) -> list[bool]:
    """Mark the taxa that partition the community: species and leaves above them, or all taxa if there is no species."""
    if not any(SPECIES.search(name) for name in names):
        return taxa
    parents = set()
    for name in names:
        parts = re.split(r"[|;]\s*", name)
        parents |= {tuple(parts[:i]) for i in range(1, len(parts))}
    is_leaf = [tuple(re.split(r"[|;]\s*", name)) not in parents and "s__" not in name for name in names]
    return [
        is_taxon and (bool(SPECIES.search(name)) or leaf)
        for name, is_taxon, leaf in zip(names, taxa, is_leaf, strict=True)
    ]


def _samples_in_columns(frame: pd.DataFrame, sample_ids: Sequence[str] | None) -> bool:
    expected = set(sample_ids or ())
    return len(expected & set(map(str, frame.columns))) > len(expected & set(map(str, frame.index)))


def _numbers(path: Path, frame: pd.DataFrame, ids: list[str], names: list[str]) -> np.ndarray:
    try:
        values = frame.to_numpy(dtype=np.float64)
    except ValueError:
        for i, j in np.ndindex(frame.shape):
            text = frame.iat[i, j]
            try:
                float(text)
            except ValueError:
                problem = "empty" if not str(text).strip() else f"{text!r}, which is no number"
                raise TableError(
                    f"{path}, sample {ids[i]!r}, {names[j]!r}: the value is {problem}; fix the table."
                ) from None
        raise
    bad = ~np.isfinite(values) | (values < 0)
    if bad.any():
        i, j = np.argwhere(bad)[0]
        raise TableError(
            f"{path}, sample {ids[i]!r}, {names[j]!r}: the value is {values[i, j]}; give finite numbers of 0 or more."
        )
    return values


def check_compositions(table: FeatureTable, where: str) -> None:
    """Check that each row is a composition: counts, shares of one, or percentages.

    Raises:
        TableError: A row is all zero, or its shares sum to more than the total.
    """
    sums = table.values.sum(1)
    if (sums == 0).any():
        sample = table.sample_ids[int(np.argmax(sums == 0))]
        raise TableError(
            f"{where}, sample {sample!r}: all values are 0, which is not a composition; leave the sample out."
        )
    if (table.values == np.round(table.values)).all():
        return
    total = 100.0 if np.median(sums) > 2 else 1.0
    exceeds = sums > total * (1 + SHARE_TOLERANCE)
    if exceeds.any():
        i = int(np.argmax(exceeds))
        unit = "percentages" if total == 100 else "shares"
        raise TableError(
            f"{where}, sample {table.sample_ids[i]!r}: the {unit} sum to {sums[i]:.4g}, more than {total:g}; give one "
            "rank of the taxonomy, or counts."
        )


__all__ = ["FeatureTable", "check_compositions", "read_feature_table"]
