"""Read the features and classes of a cohort."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...errors import InputError
from ..console import note

if TYPE_CHECKING:
    import pandas as pd

    from ...phenotypes import FeatureTable, Target
    from ...phenotypes.cohort_transfer import LabelledCohort
    from ...phenotypes.metadata_columns import MetadataColumn


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


def read_cohort_and_metadata(
    table: Path,
    metadata: Path | None,
    target: str,
    positive: list[str] | None,
    missing: Collection[str],
    task: Literal["auto", "classification", "regression", "multilabel"] = "classification",
    covariates: str | None = None,
    impute: bool = False,
) -> tuple[LabelledCohort, pd.DataFrame, str]:
    """Read a table's features and target, and print what was left out; return also the metadata and its path."""
    from ...checkpoints.source import public_record
    from ...phenotypes import make_target
    from ...phenotypes.cohort_transfer import LabelledCohort

    features, columns, where = read_source(table, metadata, target)
    print_remarks(str(table), features)
    classes = make_target(
        columns, target, features.sample_ids, positive=positive, where=where, missing=missing, task=task
    )
    if classes.n_missing:
        note(f"{table}: left out: {classes.describe_missing()}")
    note_assumptions(classes, task)
    blocks = [features.take(classes.sample_ids, str(table))]
    if covariates is not None:
        blocks.append(read_covariates(covariates, columns, classes, impute=impute, where=where, missing=missing))
    return LabelledCohort(public_record(str(table)), tuple(blocks), classes), columns, where


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


def read_covariates(
    columns: str, metadata: pd.DataFrame, target: Target, *, impute: bool, where: str, missing: Collection[str]
) -> FeatureTable:
    """Return the block of the covariates named by `--covariates`, such as `age,sex`."""
    from ...phenotypes.covariates import make_covariates

    names = [name.strip() for name in columns.split(",") if name.strip()]
    if not names:
        raise InputError("--covariates names no column; give names of the metadata, joined by commas.")
    exclude = (target.column, target.group_column)
    return make_covariates(
        metadata, names, target.sample_ids, impute=impute, exclude=exclude, where=where, missing=missing
    )


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
