"""Feature tables: samples by clusters or species, from this package's tables and from other profilers'."""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import InputError, MissingDependencyError, TableError, reason_of
from ..io.compression import StreamError, open_bytes
from ..io.html_repr import MAX_COLUMNS, count, html_table
from ..io.limits import EXPANDED_BYTES, expands_too_far
from ..io.short_repr import short_repr
from ..io.tables import is_number, why_no_number
from ..metagenomes import AbundanceTable
from ..metagenomes.abundance_table import check_agreement, is_abundance_source, table_file
from .metadata_columns import Covariate
from .profiles.dialects import Profile, read_text
from .profiles.folders import holds_profiles, read_folder
from .profiles.lineages import TOTALS, is_stratified, is_taxon, is_unassigned, partition
from .profiles.sample_names import match_samples

# How a heap of texts begins in an HDF5 file, and the length of its head and of its objects' heads.
HEAP, HEAD_BYTES = b"GCOL", 16
# Relative amount by which a sum of shares may exceed 1, or 100 %.
SHARE_TOLERANCE = 0.02
# Share of the abundance from which leaving it out is a warning.
LEFT_OUT_WARNING = 0.05


@dataclass(frozen=True)
class FeatureTable:
    """Features of samples: compositions, non-negative rows that are defined up to a factor; or covariates.

    Attributes:
        sample_ids: Sample of each row.
        names: Feature of each column.
        values: float64 `(n_samples, n_features)`, as read: counts, shares or percentages.
        provenance: Model and settings that produced the numbers, for tables of this package; tables of different
            provenance cannot be joined.
        notes: How the table was read and what was left out, with its share of the abundance.
        warnings: What was left out or assumed and may change results.
        unusable: What is wrong with samples that cannot be used, whose values are zero; `take` refuses them.
        metadata_columns: Columns that were left out since the metadata has columns of these names.
        is_composition: Whether rows are compositions; else they are covariates, numbers of any kind, NaN if missing.
        covariates: Of covariates, how each metadata column became features.
        refit: For features that are fitted on the training samples of each fold: returns the values of all rows, given
            the ids of the training samples and of the rows. `values` are then those fitted on all samples.
    """

    sample_ids: tuple[str, ...]
    names: tuple[str, ...]
    values: np.ndarray
    provenance: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    unusable: dict[str, str] = field(default_factory=dict)
    metadata_columns: tuple[str, ...] = ()
    is_composition: bool = True
    covariates: tuple[Covariate, ...] = ()
    refit: Callable[[Sequence[str], Sequence[str]], np.ndarray] | None = field(default=None, compare=False)

    __repr__ = short_repr

    def _repr_html_(self) -> str:
        title = f"{count(len(self), 'sample')}, {count(len(self.names), 'feature')}"
        index = pd.Index(self.sample_ids, name="sample_id")
        frame = pd.DataFrame(self.values[:, :MAX_COLUMNS], index=index, columns=list(self.names[:MAX_COLUMNS]))
        return html_table(self, title, frame)

    def __len__(self) -> int:
        return len(self.sample_ids)

    @property
    def shares(self) -> np.ndarray:
        """Values with each row scaled to sum to one, float64 `(n_samples, n_features)`."""
        return self.values / self.values.sum(1, keepdims=True)

    def fitted_on(self, training_rows: np.ndarray | None) -> np.ndarray:
        """Return the values as fitted on these rows, float64 `(n_samples, n_features)`; on all rows if None."""
        if self.refit is None or training_rows is None:
            return self.values
        return self.refit([self.sample_ids[i] for i in training_rows], self.sample_ids)

    @classmethod
    def from_abundance(cls, table: AbundanceTable) -> FeatureTable:
        """Build a feature table from the cluster counts of an abundance table."""
        names = tuple(f"cluster_{i}" for i in range(table.counts.shape[1]))
        return cls(table.sample_ids, names, table.counts.astype(np.float64), table.provenance)

    def take(self, sample_ids: Sequence[str], where: str = "the table") -> FeatureTable:
        """Return the rows of the given samples, in that order.

        Raises:
            TableError: A sample is not in the table, or its values cannot be used.
        """
        row_of = {name: i for i, name in enumerate(self.sample_ids)}
        missing = [name for name in sample_ids if name not in row_of]
        if missing:
            raise TableError(
                f"{where} lacks {len(missing)} of {len(sample_ids)} samples (such as {missing[0]!r}; it has "
                f"{self.sample_ids[0]!r} and {len(self) - 1} others); give tables of the same samples."
            )
        for name in sample_ids:
            if name in self.unusable:
                raise TableError(self.unusable[name])
        return replace(self, sample_ids=tuple(sample_ids), values=self.values[[row_of[name] for name in sample_ids]])

    def with_features(self, names: Sequence[str]) -> FeatureTable:
        """Return a composition of exactly these features, in this order: those it lacks are 0, others are dropped."""
        column_of = {name: i for i, name in enumerate(self.names)}
        values = np.zeros((len(self), len(names)))
        shared = [i for i, name in enumerate(names) if name in column_of]
        # Counts stay counts: their sum is the depth.
        values[:, shared] = self.values[:, [column_of[names[i]] for i in shared]]
        return replace(self, names=tuple(names), values=values)

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


def read_feature_table(
    path: str | Path, sample_ids: Sequence[str] | None = None, *, metadata_columns: Collection[str] = ()
) -> FeatureTable:
    r"""Read a feature table: one of this package, or a species table in any common layout.

    Supported are Parquet of `biomeformer embed` (or its folder, or the Hub id of a dataset), BIOM 1 and 2, tables of
    MetaPhlAn, curatedMetagenomicData, mOTUs, Bracken, taxpasta, kreport2mpa, QIIME 2 and HUMAnN, folders with one
    profile of Kraken, Bracken or MetaPhlAn per sample, and any other CSV or TSV of numbers, in the orientation that
    matches the sample ids. Of several ranks, taxa that partition the community are kept (see
    `biomeformer.phenotypes.profiles.lineages`). Text is read by `biomeformer.io.tables` and may be compressed.

    Args:
        path: The table.
        sample_ids: Samples of the metadata, which tell rows from columns where the table itself does not. With them, a
            sample that has no usable values is an error only once it is taken from the table.
        metadata_columns: Columns of the metadata. They are never features: left out where the table has them too.

    Raises:
        TableError: The table cannot be read, mixes ranks, or has a value that is missing, not a number, or negative.

    Examples:
        >>> _ = Path("species.csv").write_text("sample_id,Rothia,Dialister\ns1,30,70\ns2,5,95\n")
        >>> table = read_feature_table("species.csv")
        >>> table.names, table.shares.tolist()
        (('Rothia', 'Dialister'), [[0.3, 0.7], [0.05, 0.95]])
    """
    path = Path(path)
    if is_profile_folder(path):
        profile = read_folder(path, sample_ids or ())
    elif is_abundance_source(path):
        return FeatureTable.from_abundance(AbundanceTable.read(path))
    else:
        head = _head(path)
        if head.startswith(b"PAR1"):
            return FeatureTable.from_abundance(AbundanceTable.read(path))
        if head.startswith(b"\x89HDF") or head.lstrip().startswith(b"{"):
            profile = _read_biom(path)
        else:
            profile = read_text(path)
    table = _feature_table(path, profile, sample_ids, metadata_columns)
    if sample_ids is None and table.unusable:
        raise TableError(next(iter(table.unusable.values())))
    return table


def is_profile_folder(path: Path) -> bool:
    """Return whether a path is a folder with one profile per sample, rather than one of `biomeformer embed`."""
    return path.is_dir() and not table_file(path).is_file() and holds_profiles(path)


def _read_biom(path: Path) -> Profile:
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
        reason = reason_of(error, None)
        raise TableError(f"{path} is no BIOM table that can be read ({reason}).") from error
    n_bytes, limit = table.shape[0] * table.shape[1] * np.dtype(np.float64).itemsize, EXPANDED_BYTES.get()
    if n_bytes > limit:
        raise TableError(f"{path}: {expands_too_far(n_bytes, limit)}.")
    values = table.matrix_data.toarray().T
    return Profile(pd.DataFrame(values, index=table.ids().tolist(), columns=table.ids("observation").tolist()), False)


def _check_biom_size(path: Path) -> None:
    """Check, before a BIOM table is read, that it does not expand too far.

    Raises:
        TableError: It does, or is damaged.
    """
    try:
        # JSON, or its compressed stream; of HDF5 these are the bytes of the file.
        with open_bytes(path) as file:
            is_hdf5 = file.peek(4).startswith(b"\x89HDF")
            content = b"" if is_hdf5 else file.read()
    except (InputError, StreamError) as error:
        raise TableError(f"{path}: {str(error).rstrip('.')}.") from error
    if not is_hdf5:
        _check_biom_json(path, content)
        return
    import h5py

    if not _has_whole_heaps(path):
        raise TableError(f"{path} is no HDF5 file that can be read (a heap of its texts is damaged); copy it again.")
    sizes: list[int] = []
    try:
        with h5py.File(path, "r") as content:
            content.visititems(lambda _, item: sizes.append(item.nbytes) if isinstance(item, h5py.Dataset) else None)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise TableError(f"{path} is no HDF5 file that can be read ({' '.join(str(error).split())}).") from error
    limit = EXPANDED_BYTES.get()
    if sum(sizes) > limit:
        raise TableError(f"{path}: {expands_too_far(sum(sizes), limit)}.")


def _has_whole_heaps(path: Path) -> bool:
    """Tell whether each heap of texts in an HDF5 file is filled to its end; else HDF5 may search forever.

    A heap has a head of 16 bytes with its size, and objects with heads of 16 bytes with their number and size, padded
    to 8 bytes; the last one, of number 0, is free space up to the heap's end.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(HEAP)
        while start >= 0:
            (size,) = struct.unpack_from("<Q", content, start + 8) if start + HEAD_BYTES <= len(content) else (0,)
            end, at = start + size, start + HEAD_BYTES
            if size < HEAD_BYTES or end > len(content):
                return False
            while at + HEAD_BYTES <= end:
                number, _, _, n_bytes = struct.unpack_from("<HHIQ", content, at)
                at += n_bytes if number == 0 else HEAD_BYTES + -(-n_bytes // 8) * 8
                if at > end or (number == 0 and at != end):
                    return False
            start = content.find(HEAP, end)
    return True


def _check_biom_json(path: Path, content: bytes) -> None:
    """Check what `biom` does not: the shape, and that a sparse table has one value per row and column.

    Raises:
        TableError: They are not as they must be, or the file is not JSON.
    """
    try:
        record = json.loads(content.decode("utf-8"))
        shape = [len(record["rows"]), len(record["columns"])]
        values = record["data"] if record["matrix_type"] == "sparse" else ()
        wrong = next((value for value in values if len(value) != 3), None)
        n_distinct = len({(row, column) for row, column, _ in values}) if wrong is None else 0
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        reason = reason_of(error, None)
        raise TableError(f"{path} is no BIOM table that can be read ({reason}).") from error
    if wrong is not None:
        raise TableError(f"{path}: its data hold {str(wrong)[:40]}, which is not row, column and value; fix the table.")
    if record.get("shape") != shape or n_distinct < len(values):
        problem = "a row and column twice in its data" if n_distinct < len(values) else f"another shape than {shape}"
        raise TableError(f"{path} has {problem}, so it is damaged; write it again.")


def _head(path: Path) -> bytes:
    """Return the first bytes of a file, decompressed; empty if it cannot be opened, which `read_table` then reports."""
    try:
        with open_bytes(path) as file:
            return file.read(64)
    except (InputError, StreamError):
        return b""


def _feature_table(
    path: Path, profile: Profile, sample_ids: Sequence[str] | None, metadata_columns: Collection[str]
) -> FeatureTable:
    frame, notes, warnings = _samples_in_rows(profile, sample_ids), list(profile.notes), list(profile.warnings)
    ids, note = match_samples([str(name) for name in frame.index], set(sample_ids or ()))
    notes += [note] if note else []
    names = [str(name) for name in frame.columns]
    in_metadata = {str(name).strip().lower() for name in metadata_columns}
    excluded = [name for name in names if name.strip().lower() in in_metadata]
    if excluded:
        notes.append(f"left out: columns that the metadata has too, which are never features ({_listed(excluded)})")
    # Rows of HUMAnN: of a gene family and, again, of its parts by species.
    are_stratified = any(map(is_stratified, names)) and not all(map(is_stratified, names))
    has_taxa = not are_stratified and any(map(is_taxon, names))
    others = {
        name
        for name in names
        if is_unassigned(name) or (has_taxa and not is_taxon(name)) or (are_stratified and is_stratified(name))
    }
    others -= set(excluded)
    not_features = others.union(excluded)
    is_kept = np.array([name not in not_features for name in names], bool)
    names_kept = [name for name, kept in zip(names, is_kept, strict=True) if kept]
    for noun, labels in (("sample", ids), ("feature", names_kept)):
        seen: set[str] = set()
        for label in labels:
            if label in seen:
                raise TableError(f"{path}: the {noun} {label!r} occurs twice; give each once.")
            seen.add(label)
    if not ids or not names_kept:
        advice = "; give metadata that holds no features" if excluded else ""
        raise TableError(
            f"{path} holds {len(ids)} samples and {len(names_kept)} features; give a table of both{advice}."
        )
    values, unusable = _numbers(path, frame.loc[:, is_kept], ids, names_kept)
    usable = np.array([name not in unusable for name in ids])
    if has_taxa or _are_plain_lineages(names_kept):
        parts = partition(names_kept, values[usable], str(path))
        names_kept = parts.names
        values = np.zeros((len(ids), len(names_kept)))
        values[usable] = parts.values
        notes += parts.notes
        warnings += parts.warnings
    if others:
        not_kept = frame.loc[:, [name in others for name in names]]
        other_notes, other_warnings = _describe_left_out(not_kept.loc[usable], values[usable].sum(1))
        notes += other_notes
        warnings += other_warnings
    table = FeatureTable(
        tuple(ids), tuple(names_kept), values, {}, tuple(notes), tuple(warnings), unusable, tuple(excluded)
    )
    _check_ranks(table, str(path))
    return replace(table, unusable=unusable | _unusable_compositions(table, str(path)))


def _samples_in_rows(profile: Profile, sample_ids: Sequence[str] | None) -> pd.DataFrame:
    """Return the profile's frame with samples in rows."""
    frame = profile.frame
    if profile.samples_in_columns is not None:
        return frame.T if profile.samples_in_columns else frame
    rows, columns = ([str(name) for name in axis] for axis in (frame.index, frame.columns))
    n_taxa = [sum(is_taxon(name) or is_stratified(name) for name in axis) for axis in (rows, columns)]
    if any(n_taxa):
        return frame.T if n_taxa[0] > n_taxa[1] else frame
    expected = set(sample_ids or ())
    n_samples = [len(expected.intersection(match_samples(axis, expected)[0])) for axis in (rows, columns)]
    in_columns = n_samples[1] > n_samples[0] if any(n_samples) else profile.likely_in_columns
    return frame.T if in_columns else frame


def _are_plain_lineages(names: Sequence[str]) -> bool:
    """Return whether most names are lineages without prefixes, such as those of mothur."""
    return 2 * sum(";" in name.strip().rstrip(";") for name in names) > len(names)


def _describe_left_out(frame: pd.DataFrame, kept: np.ndarray) -> tuple[list[str], list[str]]:
    """Describe columns that are not features; they are a warning if they hold much of the abundance.

    Args:
        frame: The columns, as text.
        kept: Sum of the features of each sample.
    """
    notes: list[str] = []
    warnings: list[str] = []
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(map(str, frame.columns)):
        what = "what is assigned to no taxon or gene" if is_unassigned(name) else "columns that are not taxa"
        groups.setdefault("parts of others by species" if is_stratified(name) else what, []).append(i)
    for what, positions in groups.items():
        columns = frame.iloc[:, positions]
        text = f"left out: {what} ({_listed([str(name) for name in columns.columns])})"
        if what == "parts of others by species":
            notes.append(f"{text}: 0 % of the abundance")
            continue
        numbers = columns.apply(pd.to_numeric, errors="coerce").clip(lower=0).fillna(0).to_numpy(np.float64).sum(1)
        if not numbers.any():
            notes.append(text)
            continue
        total = numbers + kept
        shares = np.divide(numbers, total, out=np.zeros_like(total), where=total > 0)
        largest = int(np.argmax(shares))
        text += (
            f": {100 * shares.mean():.2g} % of the abundance on average, at most {100 * shares[largest]:.2g} % (in "
            f"{str(frame.index[largest])!r})"
        )
        if not is_unassigned(str(columns.columns[0])):
            text += ", if their numbers are abundances"
        (warnings if shares.mean() > LEFT_OUT_WARNING else notes).append(text)
    return notes, warnings


def _listed(names: Sequence[str]) -> str:
    """Return a few of the names and the number of all: "'a', 'b'", or "12, such as 'a', 'b', 'c'"."""
    shown = ", ".join(map(repr, names[:3]))
    return shown if len(names) <= 3 else f"{len(names)}, such as {shown}"


def _floats(values: np.ndarray) -> np.ndarray:
    """Return text or numbers as numbers; raise ValueError for what is none, as `is_number` tells."""
    if values.dtype == object and any("_" in value for value in values.flat if isinstance(value, str)):
        raise ValueError("an underscore")
    return values.astype(np.float64)


def _numbers(
    path: Path, frame: pd.DataFrame, ids: Sequence[str], names: Sequence[str]
) -> tuple[np.ndarray, dict[str, str]]:
    """Return the values as numbers, and what is wrong with samples whose values are not all finite and at least 0.

    The values of such samples are zero.
    """
    unusable: dict[str, str] = {}
    try:
        values = _floats(frame.to_numpy())
    except ValueError:
        values = np.zeros(frame.shape)
        for i, row in enumerate(frame.to_numpy(dtype=object)):
            try:
                values[i] = _floats(row)
            except ValueError:
                j = next(j for j, text in enumerate(row) if not is_number(text))
                problem = why_no_number(str(row[j]))
                unusable[ids[i]] = f"{path}, sample {ids[i]!r}, {names[j]!r}: the value is {problem}; fix the table."
    bad = ~np.isfinite(values) | (values < 0)
    for i in np.flatnonzero(bad.any(1)).tolist():
        j = int(np.argmax(bad[i]))
        unusable.setdefault(
            ids[i],
            f"{path}, sample {ids[i]!r}, {names[j]!r}: the value is {values[i, j]}; give finite numbers of 0 or more.",
        )
    # A copy, as pandas may return a view.
    values = np.where([[name in unusable] for name in ids], 0.0, values)
    return values, unusable


def _unusable_compositions(table: FeatureTable, where: str) -> dict[str, str]:
    """Return what is wrong with samples that are no compositions: all zero, or shares that exceed their total."""
    sums = table.values.sum(1)
    unusable = {}
    for i in np.flatnonzero(sums == 0).tolist():
        sample = table.sample_ids[i]
        if sample not in table.unusable:
            unusable[sample] = (
                f"{where}, sample {sample!r}: all values are 0, which is not a composition; leave the sample out."
            )
    total = _declared_total(table.values, sums)
    if total is None:
        return unusable
    unit = {1.0: "shares", 100.0: "percentages", 1e6: "parts per million"}[total]
    for i in np.flatnonzero(sums > total * (1 + SHARE_TOLERANCE)).tolist():
        unusable[table.sample_ids[i]] = (
            f"{where}, sample {table.sample_ids[i]!r}: the {unit} sum to {sums[i]:.4g}, more than {total:g}; give one "
            "rank of the taxonomy, or counts."
        )
    return unusable


def _declared_total(values: np.ndarray, sums: np.ndarray) -> float | None:
    """Return 1, 100 or a million if at least half of the rows sum to it; None for counts, coverage and the like."""
    nonzero = sums[sums > 0]
    if not len(nonzero) or (values == np.round(values)).all():
        return None
    for total in TOTALS:
        if 2 * (np.abs(nonzero / total - 1) <= SHARE_TOLERANCE).sum() >= len(nonzero):
            return total
    return None


def _check_ranks(table: FeatureTable, where: str) -> None:
    """Check that not every row sums to the same multiple of 1, 100 or a million, as rows of several ranks do.

    Raises:
        TableError: They do.
    """
    sums = table.values.sum(1)
    sums = sums[sums > 0]
    if len(sums) < 2 or (table.values == np.round(table.values)).all():
        return
    for total in TOTALS:
        multiple = round(float(np.median(sums)) / total)
        if 2 <= multiple <= 9 and np.all(np.abs(sums / (multiple * total) - 1) < 0.001):
            raise TableError(
                f"{where}: every sample sums to {multiple} times {total:g}, as in a table that mixes {multiple} ranks "
                "of the taxonomy; give the rows of one rank."
            )


def check_compositions(table: FeatureTable, where: str) -> None:
    """Check that each row is a composition: counts, shares, percentages, or any other abundances up to a factor.

    Raises:
        TableError: A row is all zero; its shares sum to more than the total to which most rows sum; or rows of several
            ranks are mixed.
    """
    _check_ranks(table, where)
    for problem in _unusable_compositions(table, where).values():
        raise TableError(problem)


__all__ = ["FeatureTable", "check_compositions", "is_profile_folder", "read_feature_table"]
