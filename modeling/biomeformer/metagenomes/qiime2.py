"""Metadata files of QIIME 2 (https://docs.qiime2.org, "Metadata in QIIME 2"), by scikit-bio's port of its classes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from ..errors import TableError, reason_of
from .abundance_table import file_columns

# The start of the row of column types, as scikit-bio and as QIIME 2 write it.
SKBIO_TYPES, QIIME2_TYPES = b"\n#sk:types\t", b"\n#q2:types\t"


def write_metadata(frame: pd.DataFrame, path: Path) -> None:
    """Write a metadata file with a `#q2:types` row: numbers are numeric columns, everything else is categorical.

    Columns whose names QIIME 2 reserves for ids, such as `id`, get `metadata.` before them. Numbers have 15 digits.

    Args:
        frame: Values by id; the name of the index is one of QIIME 2's headers of ids, such as `sample-id`.
        path: File to write.

    Raises:
        TableError: An id or a column name is not allowed in QIIME 2.
    """
    from skbio.metadata import SampleMetadata
    from skbio.metadata.base import is_id_header

    names = [str(name).strip() for name in frame.columns]
    columns = file_columns(frame.columns, {name for name in names if is_id_header(name)})
    typed = {column.strip(): _column(frame[name]) for name, column in columns.items()}
    try:
        metadata = SampleMetadata(pd.DataFrame(typed, index=frame.index))
    except (TypeError, ValueError) as error:
        reason = reason_of(error, None).rstrip(".")
        raise TableError(f"{path.name} cannot be written: QIIME 2 does not allow it ({reason}); rename it.") from error
    metadata.save(str(path))
    path.write_bytes(path.read_bytes().replace(SKBIO_TYPES, QIIME2_TYPES, 1))


def _column(values: pd.Series) -> pd.Series:
    """Return a column as float64 or as text, with missing values as None."""
    if is_numeric_dtype(values.dtype) and not is_bool_dtype(values.dtype):
        return pd.Series(values.to_numpy("float64", na_value=float("nan")), values.index)
    texts = [None if pd.isna(value) or not str(value).strip() else str(value).strip() for value in values]
    return pd.Series(texts, values.index, dtype=object)


__all__ = ["write_metadata"]
