"""Covariates: columns of the metadata beside the features, such as age and sex."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from ..errors import InputError
from ..io.tables import MISSING_VALUES, is_number, why_no_number
from .features import FeatureTable
from .metadata_columns import MISSING_WORD, SEPARATOR, Covariate, MetadataColumn, as_number, metadata_column

# A column with more different words is no covariate, but a name of the sample or a free text.
MOST_WORDS = 20


def make_covariates(
    metadata: pd.DataFrame,
    columns: Sequence[str],
    sample_ids: Sequence[str],
    *,
    impute: bool = False,
    exclude: Collection[str | None] = (),
    where: str = "the metadata",
    missing: Collection[str] = MISSING_VALUES,
) -> FeatureTable:
    """Build a block of features from metadata columns.

    Columns of numbers are kept as numbers. Of words, each becomes a column `COLUMN=WORD` of zeros and ones.

    Args:
        metadata: Metadata as text, indexed by sample.
        columns: Names of the columns.
        sample_ids: Samples of the target.
        impute: Whether missing values are allowed: a missing number stays NaN, which `design_matrix` replaces by the
            median of the training samples, and a missing word is a word of its own.
        exclude: Columns that cannot be covariates: the target and the groups of the folds.
        where: Name of the metadata in errors.
        missing: Words that mark a missing value, in lower case.

    Returns:
        A table that is no composition, with its `covariates`.

    Raises:
        InputError: A column does not exist, is named twice, is excluded, holds too many words or never varies, or a
            value is missing and `impute` is not set.
    """
    covariates: list[Covariate] = []
    parts: list[np.ndarray] = []
    for i, column in enumerate(columns):
        if column in columns[:i]:
            raise InputError(f"the covariate {column!r} is named twice; name it once.")
        if column in exclude:
            raise InputError(
                f"column {column!r} is the target or its groups, which cannot be a covariate; leave it out."
            )
        values = metadata_column(metadata, column, sample_ids, where=where, missing=missing)
        known = values.is_known
        if not known.all() and not impute:
            raise InputError(
                f"{(~known).sum()} of {len(known)} samples (such as {sample_ids[int(np.argmin(known))]!r}) "
                f"have no value in the covariate {column!r} of {where}; fill it, leave the samples or the covariate "
                "out, or give --impute."
            )
        if len(np.unique(values.values[known])) < 2:
            raise InputError(f"the covariate {column!r} has one value in all samples, and says nothing; leave it out.")
        others = [word for word in values.levels if not is_number(word)]
        if values.kind == "category" and not others:
            raise InputError(f"the covariate {column!r} has an infinite value; fix it.")
        if others and all(is_number(word.replace(",", "")) for word in others):
            raise InputError(f"the covariate {column!r} has the value {why_no_number(others[0])}; fix it.")
        if len(values.levels) > MOST_WORDS:
            raise InputError(
                f"the covariate {column!r} has {len(values.levels)} different words, and at most {MOST_WORDS} are "
                "handled; give numbers or fewer words."
            )
        adds_missing = values.kind == "category" and not known.all() and MISSING_WORD not in values.levels
        covariate = Covariate(column, (*values.levels, MISSING_WORD) if adds_missing else values.levels)
        covariates.append(covariate)
        parts.append(covariate.encode(values))
    names = tuple(name for covariate in covariates for name in covariate.names)
    return FeatureTable(
        tuple(sample_ids),
        names,
        np.concatenate(parts, axis=1),
        is_composition=False,
        covariates=tuple(covariates),
    )


def encode_covariates(
    metadata: pd.DataFrame,
    covariates: Sequence[Covariate],
    sample_ids: Sequence[str],
    *,
    impute: bool,
    where: str = "the metadata",
    missing: Collection[str] = MISSING_VALUES,
) -> FeatureTable:
    """Build the block of a fitted model's covariates for new samples.

    Args:
        metadata: Metadata as text, indexed by sample.
        covariates: The model's covariates.
        sample_ids: The samples.
        impute: Whether the model was fitted with missing values, so that it can replace them.
        where: Name of the metadata in errors.
        missing: Words that mark a missing value, in lower case.

    Returns:
        A table that is no composition. Samples that the metadata lacks, without a value, or with a word that the model
        has not seen, are `unusable`.

    Raises:
        InputError: A column does not exist.
    """
    known_samples = set(metadata.index)
    unusable = {
        sample: f"{where} has no sample {sample!r}; add it, or leave it out."
        for sample in sample_ids
        if sample not in known_samples
    }
    parts = []
    for covariate in covariates:
        categorical = bool(covariate.words)
        values = metadata_column(
            metadata, covariate.column, sample_ids, categorical=categorical, where=where, missing=missing
        )
        texts = values.texts("")
        for sample, known, text in zip(sample_ids, values.is_known, texts, strict=True):
            problem = ""
            if not known and not (impute and (not categorical or MISSING_WORD in covariate.words)):
                problem = f"no value in the covariate {covariate.column!r}, which the model needs"
            elif known and categorical and text not in covariate.words:
                problem = f"{text!r} in the covariate {covariate.column!r}, which the model has not seen"
            elif known and not categorical and values.kind == "category" and as_number(text) is None:
                problem = f"in the covariate {covariate.column!r} the value {why_no_number(text)}"
            if problem:
                unusable.setdefault(sample, f"{where}, sample {sample!r}: it has {problem}; correct it.")
        if not categorical and values.kind == "category":
            # Numbers but for some samples, which are unusable.
            values = MetadataColumn(values.name, "number", np.array([as_number(text) for text in texts], np.float64))
        parts.append(covariate.encode(values))
    names = tuple(name for covariate in covariates for name in covariate.names)
    values_of_all = np.concatenate(parts, axis=1)
    return FeatureTable(tuple(sample_ids), names, values_of_all, unusable=unusable, is_composition=False)


def align_covariates(table: FeatureTable, names: Sequence[str]) -> np.ndarray:
    """Return the values of these columns: a word that the table lacks is 0, a number that it lacks is refused.

    Raises:
        InputError: The table lacks a column of numbers, or has words in it.
    """
    values = np.zeros((len(table), len(names)))
    for i, name in enumerate(names):
        if name in table.names:
            values[:, i] = table.values[:, table.names.index(name)]
            continue
        column = name.rpartition(SEPARATOR)[0]
        if not column or not any(other.startswith(column + SEPARATOR) for other in table.names):
            raise InputError(
                f"the covariate {column or name!r} is of numbers in one cohort and of words, or missing, in another; "
                "give it alike in all."
            )
    return values


__all__ = ["align_covariates", "encode_covariates", "make_covariates"]
