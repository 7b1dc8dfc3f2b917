"""Taxa named by their lineage, and the rows of a table that partition the community.

Profilers write one row per taxon in one of two ways. Rows are *cumulative* if each holds everything below it
(MetaPhlAn, Kraken): then a row is dropped if it equals the sum of the rows below it, and a remainder, assigned no
further, becomes a feature of its own. Or each row holds *its own* abundance (taxa collapsed from OTUs or ASVs): then
all rows are kept. The numbers tell which: see `partition`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import TableError

# Prefixes of ranks: k__, d__ and sk__ to s__ and t__ (Greengenes, GTDB, SILVA, UNITE, MetaPhlAn, Kraken), and D_0__ to
# D_14__ (SILVA as QIIME 1 wrote it). x__ is a rank between those, as written by kreport2mpa.
_PREFIX = r"(?:(?:sk|[dkrpcofgstx])__|D_\d+__)"
TAXON = re.compile(rf"(?:^|[|;]\s*){_PREFIX}")
_SPECIES = re.compile(r"(?:s__|D_6__)\s*\S")
# A part that names no taxon, such as "s__" and "__".
_UNNAMED = re.compile(rf"(?:{_PREFIX}|_*)\s*")
# Names of what a profiler could not assign to any taxon, or mapped to nothing.
UNASSIGNED = frozenset(
    {"unclassified", "unknown", "unassigned", "unmapped", "unintegrated", "ungrouped", "no blast hit", "no hit", "-1"}
)
REMAINDER = "_unclassified"
# Totals of a sample by which shares, percentages and parts per million are recognised.
TOTALS = (1.0, 100.0, 1e6)
# NCBI's deepest lineages have some fifty ranks.
MAX_RANKS = 200
# Number of samples in which a row must equal the sum of those below it to count as evidence.
_LEAST_EQUAL = 3


@dataclass(frozen=True)
class Partition:
    """Features that partition the community.

    Attributes:
        names: Their names.
        values: float64 `(n_samples, n_features)`.
        notes: What was left out and why.
        warnings: What is uncertain.
    """

    names: list[str]
    values: np.ndarray
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def is_taxon(name: str) -> bool:
    """Return whether a name is a lineage with prefixes of ranks."""
    return bool(TAXON.search(name))


def is_unassigned(name: str) -> bool:
    """Return whether a row holds what the profiler assigned to no taxon, such as `UNCLASSIFIED` or `Unassigned;__`."""
    first, *others = re.split(r"[|;]", name.strip().lower())
    return first.strip() in UNASSIGNED and all(_UNNAMED.fullmatch(part.strip()) for part in others)


def separator_of(names: Sequence[str]) -> str:
    """Return the separator of the ranks in a table's lineages."""
    return "|" if any(re.search(rf"\|\s*{_PREFIX}", name) for name in names) else ";"


def is_stratified(name: str) -> bool:
    """Return whether a row is the part of a gene family or pathway that HUMAnN assigned to one species."""
    first, bar, second = name.partition("|")
    return bool(bar) and not is_taxon(first) and (second == "unclassified" or second.startswith("g__"))


def partition(names: Sequence[str], values: np.ndarray, where: str) -> Partition:
    """Return features that partition the community, from rows of one or several ranks.

    A parent is a row with rows of lower ranks below it. If a parent equals the sum of the rows below it in every
    sample, and none has less, rows are cumulative. If a parent has less than the rows below it, each row holds its own
    abundance. If all have more, totals decide: rows are cumulative if the topmost rows sum to 1, 100 or a million, and
    hold their own abundances if all rows do; else they are cumulative if no rank is missing up to the kingdom. Taxa
    below species are left out where their species has a row.

    Args:
        names: Lineages, with `|` or `;` between ranks.
        values: float64 `(n_samples, n_taxa)`.
        where: The table, for errors.

    Raises:
        TableError: Two rows are the same taxon, or ranks are mixed: some parents are sums and others have less than the
            rows below them.
    """
    separator = separator_of(names)
    lineages = [tuple(part.strip() for part in name.strip().rstrip(separator).split(separator)) for name in names]
    deepest = max(range(len(names)), key=lambda i: len(lineages[i]), default=0)
    if lineages and len(lineages[deepest]) > MAX_RANKS:
        raise TableError(
            f"{where}: {names[deepest][:60]!r}… has {len(lineages[deepest]):,} ranks, and lineages have at most "
            f"{MAX_RANKS}; fix the table."
        )
    index: dict[tuple[str, ...], int] = {}
    for i, lineage in enumerate(lineages):
        if lineage in index:
            raise TableError(
                f"{where}: {names[index[lineage]]!r} and {names[i]!r} are one taxon in two rows; join them into one."
            )
        index[lineage] = i
    children = _children(lineages, index)
    if not children:
        return Partition(list(names), values)
    is_cumulative, is_certain = _are_cumulative(list(names), lineages, children, values, where)
    if not is_cumulative:
        parents = list(children)
        share = _percent(values[:, parents].sum() / max(values.sum(), np.finfo(float).tiny))
        text = (
            f"{_count(len(parents), 'taxon with others below it', 'taxa with others below them')} (such as "
            f"{names[parents[0]]!r}), not the sum of these, kept as abundances of their own: {share} of the abundance; "
            "nothing was left out"
        )
        if is_certain:
            return Partition(list(names), values, notes=(text,))
        advice = "; if each instead holds what is below it, give a table with the rows of all ranks, or of one"
        return Partition(list(names), values, warnings=(text + advice,))
    return _leaves_and_remainders(list(names), lineages, index, children, values)


def _children(lineages: Sequence[tuple[str, ...]], index: dict[tuple[str, ...], int]) -> dict[int, list[int]]:
    """Return the rows below each row that has any, without rows in between."""
    children: dict[int, list[int]] = {}
    for i, lineage in enumerate(lineages):
        parent = next((index[lineage[:n]] for n in range(len(lineage) - 1, 0, -1) if lineage[:n] in index), None)
        if parent is not None:
            children.setdefault(parent, []).append(i)
    return children


def _are_cumulative(
    names: list[str],
    lineages: list[tuple[str, ...]],
    children: dict[int, list[int]],
    values: np.ndarray,
    where: str,
) -> tuple[bool, bool]:
    """Return whether each row holds everything below it, and whether the numbers prove that or the opposite."""
    unit, largest = _unit(values), values.max(1, initial=0)
    equal, less, more = [], [], []
    for parent, below in children.items():
        rest = values[:, parent] - values[:, below].sum(1)
        slack = _slack(largest, unit, len(below))
        # Estimated counts, such as those of Bracken, are rounded one by one.
        if (rest < -np.maximum(slack, (len(below) + 1) * unit / 2)).any():
            less.append(parent)
        elif (rest > slack).any():
            more.append(parent)
        elif (values[:, parent] > 10 * slack).sum() >= min(_LEAST_EQUAL, len(values)):
            equal.append(parent)
    if equal and less:
        raise TableError(
            f"{where}: ranks are mixed: {names[equal[0]]!r} is the sum of the rows below it, and {names[less[0]]!r} "
            "has less than the rows below it; give the rows of one rank, or a table as the profiler wrote it."
        )
    if equal or less:
        return bool(equal), True
    if not more:
        return True, True
    below_others = {i for below in children.values() for i in below}
    topmost = [i for i in range(len(names)) if i not in below_others]
    if _known_total(values[:, topmost].sum(1)):
        return True, True
    if _known_total(values.sum(1)):
        return False, True
    known = set(lineages)
    is_complete = all(lineage[:n] in known for lineage in lineages for n in range(1, len(lineage)))
    return is_complete, is_complete


def _leaves_and_remainders(
    names: list[str],
    lineages: list[tuple[str, ...]],
    index: dict[tuple[str, ...], int],
    children: dict[int, list[int]],
    values: np.ndarray,
) -> Partition:
    """Keep species and leaves above them, and of every other row what exceeds the rows below it."""
    unit, largest = _unit(values), values.max(1, initial=0)
    species = {i for i, lineage in enumerate(lineages) if _SPECIES.match(lineage[-1])}
    kept_names, kept_columns, remainders = [], [], 0
    remainder_total = 0.0
    first_remainder = ""
    for i, (name, lineage) in enumerate(zip(names, lineages, strict=True)):
        if any(index.get(lineage[:n]) in species for n in range(1, len(lineage))):
            continue
        if i in species or i not in children:
            kept_names.append(name)
            kept_columns.append(values[:, i])
            continue
        below = children[i]
        rest = values[:, i] - values[:, below].sum(1)
        rest = np.where(rest > _slack(largest, unit, len(below)), rest, 0)
        if rest.any():
            kept_names.append(name + REMAINDER)
            kept_columns.append(rest)
            remainders += 1
            remainder_total += float(rest.sum())
            first_remainder = first_remainder or kept_names[-1]
    kept = np.column_stack(kept_columns)
    total = max(float(kept.sum()), np.finfo(float).tiny)
    n_left = len(names) - (len(kept_names) - remainders)
    level = "above or below the species" if species else "above the lowest rank"
    notes = [
        f"{_count(n_left, 'taxon', 'taxa')} {level} were left out, as the sum or part of others: 0 % of the abundance"
    ]
    if remainders:
        notes.append(
            f"{remainders} of them exceed the sum of the taxa below: the remainder, "
            f"{_percent(remainder_total / total)} of the abundance, is kept as features of its own (such as "
            f"{first_remainder!r})"
        )
    return Partition(kept_names, kept, notes=tuple(notes))


def _unit(values: np.ndarray) -> float:
    """Return the place to which values are rounded, such as 0.01; 0 if they have more than eight decimals."""
    for n_decimals in range(9):
        if np.array_equal(np.round(values, n_decimals), values):
            return 10.0**-n_decimals
    return 0.0


def _slack(largest: np.ndarray, unit: float, n: int) -> np.ndarray:
    """Return by how much a value may differ from the sum of `n` others through rounding, for each sample.

    Args:
        largest: Largest value of each sample.
        unit: Place to which values are rounded.
        n: Number of values in the sum.
    """
    if unit == 1:
        return np.asarray(1e-9 * largest)
    return (n + 1) * np.maximum(unit / 2, 1e-7 * largest)


def _known_total(sums: np.ndarray) -> bool:
    return any(bool(np.all(np.abs(sums / total - 1) < 0.01)) for total in TOTALS)


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.0f} %"


def _count(n: int, one: str, several: str) -> str:
    return f"{n} {one if n == 1 else several}"


__all__ = ["Partition", "is_stratified", "is_taxon", "is_unassigned", "partition", "separator_of"]
