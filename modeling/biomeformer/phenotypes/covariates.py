"""Covariates: columns of the metadata beside the features, such as age and sex."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from ..errors import InputError
from ..io.tables import MISSING_VALUES, is_missing, is_number, why_no_number
from .features import FeatureTable

# A column with more different words is no covariate, but a name of the sample or a free text.
MOST_WORDS = 20
SEPARATOR = "="
MISSING_WORD = "missing"


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
        A table that is no composition.

    Raises:
        InputError: A column does not exist, is named twice, is excluded, holds too many words or never varies, or a
            value is missing and `impute` is not set.
    """
    names: list[str] = []
    parts: list[np.ndarray] = []
    for i, column in enumerate(columns):
        if column not in metadata.columns:
            raise InputError(f"{where} has no column {column!r}; it has {', '.join(map(str, metadata.columns))}.")
        if column in columns[:i]:
            raise InputError(f"the covariate {column!r} is named twice; name it once.")
        if column in exclude:
            raise InputError(
                f"column {column!r} is the target or its groups, which cannot be a covariate; leave it out."
            )
        values = metadata.loc[list(sample_ids), column].astype(str).str.strip()
        is_without = values.map(lambda value: is_missing(value, missing)).to_numpy(bool)
        if is_without.any() and not impute:
            raise InputError(
                f"{is_without.sum()} of {len(values)} samples (such as {values.index[int(np.argmax(is_without))]!r}) "
                f"have no value in the covariate {column!r} of {where}; fill it, leave the samples or the covariate "
                "out, or give --impute."
            )
        known = values[~is_without]
        if known.nunique() < 2:
            raise InputError(f"the covariate {column!r} has one value in all samples, and says nothing; leave it out.")
        numbers = pd.to_numeric(known, errors="coerce").to_numpy(np.float64)
        if np.isfinite(numbers).all():
            filled = np.full(len(values), np.nan)
            filled[~is_without] = numbers
            names.append(column)
            parts.append(filled[:, None])
            continue
        words = sorted(set(known))
        others = [word for word in words if not is_number(word)]
        if not others:
            raise InputError(f"the covariate {column!r} has an infinite value; fix it.")
        if all(is_number(word.replace(",", "")) for word in others):
            raise InputError(f"the covariate {column!r} has the value {why_no_number(others[0])}; fix it.")
        if len(words) > MOST_WORDS:
            raise InputError(
                f"the covariate {column!r} has {len(words)} different words, and at most {MOST_WORDS} are handled; "
                "give numbers or fewer words."
            )
        labels = np.where(is_without, MISSING_WORD, values)
        words += [MISSING_WORD] if is_without.any() and MISSING_WORD not in words else []
        names += [f"{column}{SEPARATOR}{word}" for word in words]
        parts.append((labels[:, None] == np.array(words)).astype(np.float64))
    return FeatureTable(tuple(sample_ids), tuple(names), np.concatenate(parts, axis=1), is_composition=False)


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


__all__ = ["align_covariates", "make_covariates"]
