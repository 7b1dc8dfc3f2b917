"""Leave one study out from a single table: the values of a metadata column are cohorts, each left out in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..errors import InputError
from .cohort_transfer import LabelledCohort, Transfer
from .metadata_columns import MetadataColumn


def split_cohort(cohort: LabelledCohort, column: MetadataColumn) -> list[LabelledCohort]:
    """Split a cohort by the values of a category, which all its samples have.

    Args:
        cohort: Features and classes of all samples.
        column: Value of each of its samples.

    Returns:
        One cohort per value, named after it. Each has all classes of the whole, though its samples may be of one.

    Raises:
        InputError: The column has one value, or the samples of all values but one are of a single class.
    """
    if len(column.levels) < 2:
        raise InputError(
            f"column {column.name!r} of {cohort.name} has {len(column.levels)} value; at least two are needed to leave "
            "one out."
        )
    for code, level in enumerate(column.levels):
        rest = cohort.target.labels[column.values != code]
        if cohort.target.kind == "classification" and len(np.unique(rest)) < 2:
            name = cohort.target.column
            raise InputError(
                f"without {column.name} {level!r} all {len(rest)} samples have the same {name}: nothing can be learned "
                f"from the others; {name} is confounded with {column.name}."
            )
    return [cohort.take(np.flatnonzero(column.values == code), level) for code, level in enumerate(column.levels)]


def transfer_predictions(results: Sequence[Transfer], cohorts: Sequence[LabelledCohort]) -> pd.DataFrame:
    """Return one row per tested sample: its cohort, its class, and predictions by model and class.

    Args:
        results: Results of one or more models.
        cohorts: The cohorts that were tested.
    """
    parts = []
    for cohort in cohorts:
        target = cohort.target
        columns: dict[str, Any] = {"cohort": cohort.name, "true": target.values}
        for result in results:
            if result.tested_on == cohort.name:
                for name, values in zip(target.classes, result.probabilities.T, strict=True):
                    columns[f"{result.model}.{name}"] = values
        parts.append(pd.DataFrame(columns, index=pd.Index(target.sample_ids, name="sample_id")))
    return pd.concat(parts)


__all__ = ["split_cohort", "transfer_predictions"]
