"""Feature tables of the same samples at several read depths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..errors import InputError
from ..metagenomes import AbundanceTable
from .features import FeatureTable

FRACTIONS = (1.0, 0.5, 0.1, 0.05, 0.01)


def depth_name(read_fraction: float) -> str:
    """Return the name of the feature set at a fraction of the reads."""
    return f"{100 * read_fraction:.6g} %"


def depth_tables(tables: Sequence[AbundanceTable]) -> dict[float, FeatureTable]:
    """Return the tables of a cohort by their fraction of the reads, largest first, with the samples common to all.

    Raises:
        InputError: Two tables have the same fraction, there are fewer than two, or they have no sample in common.
        TableError: The tables come from different checkpoints or preprocessing configs.
    """
    by_fraction: dict[float, FeatureTable] = {}
    for table in tables:
        fraction, features = float(table.provenance["read_fraction"]), FeatureTable.from_abundance(table)
        if fraction in by_fraction:
            raise InputError(
                f"two tables are of {depth_name(fraction)} of the reads; give one table per fraction of the reads."
            )
        for other, first in by_fraction.items():
            first.check_joins(features, f"the table of {depth_name(other)}", f"the table of {depth_name(fraction)}")
        by_fraction[fraction] = features
    if len(by_fraction) < 2:
        raise InputError(f"a curve needs tables of at least two fractions of the reads; there is {len(by_fraction)}.")
    common = [
        name for name in tables[0].sample_ids if all(name in features.sample_ids for features in by_fraction.values())
    ]
    if not common:
        raise InputError("the tables of different read depths have no sample in common; embed one cohort.")
    return {
        fraction: replace(by_fraction[fraction].take(common), notes=_left_out(by_fraction[fraction], common))
        for fraction in sorted(by_fraction, reverse=True)
    }


def _left_out(table: FeatureTable, common: Sequence[str]) -> tuple[str, ...]:
    n = len(table) - len(common)
    return (f"{n} samples that another depth lacks were left out",) if n else ()


__all__ = ["FRACTIONS", "depth_name", "depth_tables"]
