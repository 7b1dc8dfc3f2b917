"""CSV and TSV tables that people open in spreadsheets: text in them is text there too, and is read back as it was.

Tables of other programs' formats, such as a QIIME 2 metadata file whose ids must equal those of a BIOM table, are not
written through this module.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from os import PathLike
from typing import IO, TYPE_CHECKING, Any

from ..sinks import from_spreadsheet, spreadsheet

if TYPE_CHECKING:
    import pandas as pd


def write_spreadsheet(frame: pd.DataFrame, file: str | PathLike[str] | IO[str] | None = None, **options: Any) -> str:
    """Write a table as CSV or TSV whose names and text no spreadsheet computes as formulas.

    Args:
        frame: The table.
        file: File to write; None to return the text alone.
        **options: Options of `DataFrame.to_csv`, such as `sep` and `index`.

    Returns:
        The text if there is no file, else an empty text.
    """
    label = options.get("index_label")
    if isinstance(label, str):
        options["index_label"] = spreadsheet(label)
    mapped = _mapped(frame, spreadsheet)
    texts = [mapped.columns, mapped.index, *(column for _, column in mapped.items() if column.dtype == object)]
    if any(isinstance(text, str) and "\r" in text for values in texts for text in values):
        # The writer quotes its own line end only, and readers take this one for one too.
        options["quoting"] = csv.QUOTE_NONNUMERIC
    return mapped.to_csv(file, **options) or ""


def undo_spreadsheet(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table that pandas read from a file of `write_spreadsheet`, with its names and text as they were."""
    return _mapped(frame, lambda value: from_spreadsheet(value) if isinstance(value, str) else value)


def _mapped(frame: pd.DataFrame, change: Callable[[Any], Any]) -> pd.DataFrame:
    """Apply a function to column names, index and text columns."""
    import pandas as pd

    mapped = frame.copy(deep=False)
    for position, kind in enumerate(frame.dtypes):
        if not pd.api.types.is_numeric_dtype(kind):
            mapped.isetitem(
                position, pd.Series([change(value) for value in frame.iloc[:, position]], frame.index, object)
            )
    mapped.columns = pd.Index([change(name) for name in frame.columns], name=frame.columns.name, dtype=object)
    if not pd.api.types.is_numeric_dtype(frame.index.dtype):
        mapped.index = pd.Index([change(name) for name in frame.index], name=change(frame.index.name), dtype=object)
    return mapped


__all__ = ["undo_spreadsheet", "write_spreadsheet"]
