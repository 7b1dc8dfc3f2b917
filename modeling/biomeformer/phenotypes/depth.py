"""The same samples at several read depths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..errors import InputError
from ..metagenomes import AbundanceTable
from .features import FeatureTable

FRACTIONS = (1.0, 0.5, 0.1, 0.05, 0.01)


def depth_name(read_fraction: float) -> str:
    """What a feature set of a share of the reads is called."""
    return f"{100 * read_fraction:.6g} %"


def depth_tables(tables: Sequence[AbundanceTable]) -> dict[float, FeatureTable]:
    """Tables of one cohort by their share of the reads, the largest first, of the samples that all of them have.

    Raises:
        InputError: Two have the same share of the reads, there are fewer than two, or they have no sample in common.
        TableError: They come from different checkpoints or preprocessing configs.
    """
    found: dict[float, FeatureTable] = {}
    for table in tables:
        fraction, features = float(table.provenance["read_fraction"]), FeatureTable.from_abundance(table)
        if fraction in found:
            raise InputError(
                f"two tables are of {depth_name(fraction)} of the reads; give one table for each share of the reads."
            )
        for other, first in found.items():
            first.check_joins(features, f"the table of {depth_name(other)}", f"the table of {depth_name(fraction)}")
        found[fraction] = features
    if len(found) < 2:
        raise InputError(f"a curve needs tables of two shares of the reads on, and there is {len(found)}; give more.")
    common = [name for name in tables[0].sample_ids if all(name in features.sample_ids for features in found.values())]
    if not common:
        raise InputError("the tables of different read depths have no sample in common; embed one cohort.")
    return {
        fraction: replace(found[fraction].take(common), notes=_left_out(found[fraction], common))
        for fraction in sorted(found, reverse=True)
    }


def _left_out(table: FeatureTable, common: Sequence[str]) -> tuple[str, ...]:
    n = len(table) - len(common)
    return (f"{n} samples that another depth lacks were left out",) if n else ()


__all__ = ["FRACTIONS", "depth_name", "depth_tables"]
