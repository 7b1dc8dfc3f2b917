"""Read the features and classes of a cohort."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...errors import InputError
from ..console import note

if TYPE_CHECKING:
    import pandas as pd

    from ...phenotypes import FeatureTable, Target
    from ...phenotypes.cohort_transfer import LabelledCohort
    from ...phenotypes.metadata_columns import MetadataColumn

    Blocks = dict[str, FeatureTable]


def read_source(table: Path, metadata: Path | None, target: str) -> tuple[FeatureTable, pd.DataFrame, str]:
    """Read a table's features and its samples' metadata; return also the path of the metadata, for errors."""
    from ...metagenomes import AbundanceTable
    from ...metagenomes.abundance_table import is_abundance_source
    from ...phenotypes import FeatureTable, read_metadata
    from ...phenotypes.features import is_profile_folder

    columns = None if metadata is None else read_metadata(metadata)
    if is_abundance_source(table) and not is_profile_folder(table):
        abundance = AbundanceTable.read(table)
        features = FeatureTable.from_abundance(abundance)
        return (features, abundance.metadata, str(table)) if columns is None else (features, columns, str(metadata))
    if columns is None:
        raise InputError(f"{table} holds only features; give the table with the column {target!r} by --metadata.")
    return read_species(table, columns), columns, str(metadata)


def read_species(table: Path, metadata: pd.DataFrame) -> FeatureTable:
    """Read a table of features beside the metadata of its samples, whose columns are no features."""
    from ...phenotypes import read_feature_table

    return read_feature_table(table, list(map(str, metadata.index)), metadata_columns=list(map(str, metadata.columns)))


def print_remarks(name: str, table: FeatureTable) -> None:
    """Print how a table was read, what was left out, and warnings."""
    for remark in table.notes:
        note(f"{name}: {remark}")
    for warning in table.warnings:
        note(f"warning: {name}: {warning}")


def note_assumptions(target: Target, task: str) -> None:
    """Say what was assumed about a target: its kind, and that "None" is a class."""
    if task == "auto" and target.kind == "regression":
        note(
            f"{target.column} holds more than 20 different numbers, which are predicted as numbers (regression); give "
            "--task classification and --positive if they are classes"
        )
    joined = [name for name in target.classes if ";" in name]
    if task == "auto" and joined:
        note(f"{joined[0]!r} is taken as one class; if these are several labels, give --task multilabel")
    for name in target.classes:
        if name.lower() == "none":
            note(f"{name!r} is taken as a class; if it marks a missing value, give --missing {name}")


@dataclass(frozen=True)
class TargetOptions:
    """What to predict, as the options of a command say.

    Attributes:
        column: Column with the classes, numbers or labels.
        task: `--task`.
        positive: Values of `--positive`.
        group: Column of `--group`.
        missing: Words that mark a missing value, in lower case.
    """

    column: str
    task: Literal["auto", "classification", "regression", "multilabel"] = "classification"
    positive: list[str] | None = None
    group: str | None = None
    missing: Collection[str] = ()

    def make(self, metadata: pd.DataFrame, sample_ids: Sequence[str], where: str) -> Target:
        """Return the target of samples."""
        from ...phenotypes import make_target

        return make_target(
            metadata,
            self.column,
            sample_ids,
            positive=self.positive,
            group_column=self.group,
            where=where,
            missing=self.missing,
            task=self.task,
        )

    def read(self, metadata: pd.DataFrame, sample_ids: Sequence[str], where: str) -> Target:
        """Return the target of samples, and say what was assumed about it."""
        target = self.make(metadata, sample_ids, where)
        note_assumptions(target, self.task)
        return target


@dataclass(frozen=True)
class FurtherBlocks:
    """Blocks of features beside the main table, as the options of a command say.

    Attributes:
        species: Table of `--species`.
        covariates: Columns of `--covariates`, joined by commas.
        impute: Whether covariates may be missing.
    """

    species: Path | None = None
    covariates: str | None = None
    impute: bool = False

    def read_species(self, metadata: pd.DataFrame) -> dict[str, FeatureTable]:
        """Return the table of `--species` by its name, if it was given, and print how it was read."""
        if self.species is None:
            return {}
        table = read_species(self.species, metadata)
        print_remarks("species", table)
        return {"species": table}

    def read_covariates(self, metadata: pd.DataFrame, target: Target, where: str, missing: Collection[str]) -> Blocks:
        """Return the block of `--covariates` by its name, if it was given."""
        if self.covariates is None:
            return {}
        from ...phenotypes.covariates import make_covariates

        names = [name.strip() for name in self.covariates.split(",") if name.strip()]
        if not names:
            raise InputError("--covariates names no column; give names of the metadata, joined by commas.")
        block = make_covariates(
            metadata,
            names,
            target.sample_ids,
            impute=self.impute,
            exclude=(target.column, target.group_column),
            where=where,
            missing=missing,
        )
        return {"covariates": block}

    def record(self) -> dict[str, Any]:
        """Return the covariates as `inputs` of a study."""
        return {} if self.covariates is None else {"covariates": {"columns": self.covariates, "impute": self.impute}}


@dataclass(frozen=True)
class StudyTables:
    """The tables of a study and its target.

    Attributes:
        tables: The main table, `vectors` of `biomeformer embed` or `features` of any other, and `species`, by name.
        covariates: The block `covariates` by its name; empty if none were asked for.
        target: What is predicted of the samples that are in all tables.
        metadata: The metadata as text, indexed by sample.
        where: Name of the metadata, for errors.
        paths: Path of each table.
    """

    tables: Blocks
    covariates: Blocks
    target: Target
    metadata: pd.DataFrame
    where: str
    paths: dict[str, Path]

    @property
    def main_name(self) -> str:
        """Name of the main table."""
        return next(iter(self.tables))

    @property
    def blocks(self) -> Blocks:
        """All blocks by name."""
        return {**self.tables, **self.covariates}

    @property
    def inputs(self) -> dict[str, Any]:
        """Paths, digests and remarks of the tables, for the study's record."""
        return {"tables": {name: table_record(path, self.tables[name]) for name, path in self.paths.items()}}


def read_study_tables(
    table: Path, metadata: Path | None, target: TargetOptions, further: FurtherBlocks, label: str = ""
) -> StudyTables:
    """Read the blocks of features of a study and its target, and print how they were read.

    Args:
        table: The main table.
        metadata: File of `--metadata`.
        target: What to predict.
        further: Blocks beside the main table.
        label: Name of the main table in remarks; the block's by default.

    Raises:
        InputError: The tables have no sample in common, or as for `make_target` and `make_covariates`.
    """
    main, columns, where = read_source(table, metadata, target.column)
    name = "vectors" if main.provenance else "features"
    print_remarks(label or name, main)
    tables = {name: main, **further.read_species(columns)}
    paths = {name: table} | ({} if further.species is None else {"species": further.species})
    common = samples_in_all(main.sample_ids, tables)
    if not common:
        raise InputError(f"{table} and {further.species} have no sample in common; use the same sample ids in both.")
    classes = target.read(columns, common, where)
    covariates = further.read_covariates(columns, classes, where, target.missing)
    return StudyTables(tables, covariates, classes, columns, where, paths)


def samples_in_all(sample_ids: Sequence[str], tables: Blocks) -> list[str]:
    """Return the samples that every table has, and say how many others were left out."""
    known = [set(table.sample_ids) for table in tables.values()]
    common = [sample for sample in sample_ids if all(sample in ids for ids in known)]
    if 0 < len(common) < len(sample_ids):
        note(f"{len(sample_ids) - len(common)} samples are not in every table and were left out")
    return common


def feature_set(text: str, blocks: Collection[str]) -> list[str]:
    """Return the blocks that `--features` joins by `+`.

    Raises:
        InputError: One does not exist, or stands twice.
    """
    parts = [part.strip() for part in text.split("+")]
    if len(set(parts)) < len(parts) or not set(parts) <= set(blocks):
        raise InputError(f"--features {text!r} is no combination of {', '.join(blocks)}; join different ones by +.")
    return parts


def read_labelled_cohort(
    table: Path, metadata: Path | None, target: TargetOptions, further: FurtherBlocks = FurtherBlocks()
) -> tuple[LabelledCohort, pd.DataFrame, str]:
    """Read a cohort's blocks and target, and print what was left out; return also the metadata and its name."""
    from ...checkpoints.source import public_record
    from ...phenotypes.cohort_transfer import LabelledCohort

    read = read_study_tables(table, metadata, target, further, str(table))
    if read.target.n_missing:
        note(f"{table}: left out: {read.target.describe_missing()}")
    blocks = tuple(block.take(read.target.sample_ids, str(table)) for block in read.blocks.values())
    return LabelledCohort(public_record(str(table)), blocks, read.target), read.metadata, read.where


def with_columns(
    cohort: LabelledCohort,
    metadata: pd.DataFrame,
    names: Sequence[str],
    *,
    categorical: Collection[str],
    where: str,
    missing: Collection[str],
) -> tuple[LabelledCohort, dict[str, MetadataColumn]]:
    """Read further columns of a cohort, and leave out, with a note, the samples that lack a value in one of them."""
    import numpy as np

    from ...phenotypes.metadata_columns import metadata_column

    columns = {
        name: metadata_column(
            metadata,
            name,
            cohort.target.sample_ids,
            categorical=name in categorical,
            where=where,
            missing=missing,
        )
        for name in names
    }
    is_known = np.ones(len(cohort.target.sample_ids), bool)
    for name, column in columns.items():
        if not column.is_known.all():
            note(f"{cohort.name}: left out: {(~column.is_known).sum()} samples without a value in column {name!r}")
        is_known &= column.is_known
    rows = np.flatnonzero(is_known)
    return cohort.take(rows), {name: column.take(rows) for name, column in columns.items()}


def table_record(path: Path, features: FeatureTable | None = None) -> dict[str, Any]:
    """Return a table's path, or the Hub id of its dataset, the SHA-256 of its content, and how it was read."""
    from ...metagenomes.abundance_table import is_dataset_id, table_file

    file = table_file(path)
    if path.is_dir() and not file.is_file():
        record: dict[str, Any] = {"path": str(path.resolve()), "sha256": _folder_digest(path)}
    else:
        where = path.as_posix() if is_dataset_id(path) else str(file.resolve())
        record = {"path": where, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    if features is not None:
        record |= {
            "notes": list(features.notes),
            "warnings": list(features.warnings),
            "metadata_columns": list(features.metadata_columns),
        }
    return record


def _folder_digest(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of a folder's files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")):
        digest.update(f"{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
