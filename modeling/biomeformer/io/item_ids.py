"""Tables with one row per item, such as a sample or a genome: ids that become names of files, and rows at all."""

from __future__ import annotations

from ..errors import CohortError
from .tables import Table

# File systems take 255, of which suffixes and names of partial files need some.
MAX_ID_BYTES = 200


def check_not_empty(table: Table, key: str, noun: str) -> None:
    """Refuse a table without rows.

    Raises:
        CohortError: It has a header alone, or rows of empty fields.
    """
    if not table.rows and table.first_blank is not None:
        raise CohortError(f"{table.path}, line {table.first_blank}, column {key}: empty, as in every row; fill it")
    if not table.rows:
        raise CohortError(f"{table.path} has a header and no {noun}; add one row per {noun.removesuffix('s')}")


def check_table_id(where: str, item_id: str, column: str) -> None:
    """Refuse an id that cannot be part of a file name."""
    where = f"{where}, column {column}"
    if not item_id:
        raise CohortError(f"{where}: empty; give every row a name")
    if item_id.startswith("."):
        raise CohortError(f"{where}: {item_id!r} begins with '.'; file names are made from it, begin with a letter")
    unsafe = next((letter for letter in item_id if letter in "/\\" or not letter.isprintable()), None)
    if unsafe is not None:
        raise CohortError(
            f"{where}: {item_id!r} holds {unsafe!r}; file names are made from it, use letters, digits, - _"
        )
    if len(item_id.encode()) > MAX_ID_BYTES:
        raise CohortError(f"{where}: {item_id[:20]!r}… is longer than {MAX_ID_BYTES} bytes; give a shorter name")


__all__ = ["check_not_empty", "check_table_id"]
