"""Read the features and classes of a cohort."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from ...phenotypes import FeatureTable
    from ...phenotypes.cohort_transfer import LabelledCohort


def read_source(table: Path, metadata: Path | None, target: str) -> tuple[FeatureTable, pd.DataFrame, str]:
    """Read a table's features and its samples' metadata; return also the path of the metadata, for errors."""
    from ...metagenomes import AbundanceTable
    from ...metagenomes.abundance_table import is_abundance_source
    from ...phenotypes import FeatureTable, read_feature_table, read_metadata

    columns = None if metadata is None else read_metadata(metadata)
    if is_abundance_source(table):
        abundance = AbundanceTable.read(table)
        features = FeatureTable.from_abundance(abundance)
        return (features, abundance.metadata, str(table)) if columns is None else (features, columns, str(metadata))
    if columns is None:
        raise InputError(f"{table} holds only features; give the table with the column {target!r} by --metadata.")
    return read_feature_table(table, list(map(str, columns.index))), columns, str(metadata)


def read_cohort_table(table: Path, metadata: Path | None, target: str, positive: list[str] | None) -> LabelledCohort:
    """Read a table's features and classes."""
    from ...checkpoints.source import public_record
    from ...phenotypes import make_target
    from ...phenotypes.cohort_transfer import LabelledCohort

    features, columns, where = read_source(table, metadata, target)
    classes = make_target(columns, target, features.sample_ids, positive=positive, where=where)
    return LabelledCohort(public_record(str(table)), (features.take(classes.sample_ids, str(table)),), classes)


def table_record(path: Path) -> dict[str, str]:
    """Return a table's path, or the Hub id of its dataset, and the SHA-256 of its content."""
    from ...metagenomes.abundance_table import is_dataset_id, table_file

    file = table_file(path)
    where = path.as_posix() if is_dataset_id(path) else str(file.resolve())
    return {"path": where, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
