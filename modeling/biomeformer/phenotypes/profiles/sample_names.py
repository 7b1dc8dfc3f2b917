"""Names of samples as tools write them, such as `S01.bracken` and `S01_profile`, matched to those of the metadata."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence


def match_samples(names: Sequence[str], expected: Collection[str]) -> tuple[list[str], str]:
    """Remove the ending that all names have in common if that makes them names of expected samples.

    Args:
        names: Names of samples in a table.
        expected: Samples of the metadata.

    Returns:
        The names, and a note that says which ending was removed; empty if none was.
    """
    if not expected or any(name in expected for name in names):
        return list(names), ""
    # The longest ending first; it begins at a sign such as "." or "_".
    for start in (match.start() for match in re.finditer(r"[^0-9A-Za-z]", names[0] if names else "")):
        ending = names[0][start:]
        if not all(name.endswith(ending) for name in names):
            continue
        shorter = [name.removesuffix(ending) for name in names]
        if any(name in expected for name in shorter) and all(shorter):
            return shorter, f"the ending {ending!r} of the samples' names was removed, as in the metadata"
    return list(names), ""


__all__ = ["match_samples"]
