"""Exact duplicates, detected by the digests of sequences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

KEPT, DUPLICATE, CONFLICT = 0, 1, 2
N_LISTED = 1000


@dataclass(frozen=True)
class Duplicates:
    """Exact duplicates and conflicts among sequences.

    Attributes:
        status: int8 `(n_sequences,)`: `KEPT`, `DUPLICATE` (a copy of a kept sequence) or `CONFLICT` (copies have
            different labels, so none is kept).
        order: int64 `(n_kept,)`, rows kept, sorted by digest and thus independent of the order of the input.
        n_conflicts: Number of distinct sequences in conflict.
        listed: int64 `(n_listed,)`, the first rows in conflict, at most 1,000, copies of a sequence together.
        listed_group: int64 `(n_listed,)`, number of the sequence that each listed row is a copy of, from 0.
    """

    status: np.ndarray
    order: np.ndarray
    n_conflicts: int
    listed: np.ndarray
    listed_group: np.ndarray


def find_duplicates(digests: np.ndarray, labels: np.ndarray, tolerance: float = 0.0) -> Duplicates:
    """Find sequences with equal digests.

    Args:
        digests: uint64 `(n_sequences, 2)`, at least one.
        labels: Numeric labels `(n_sequences,)`.
        tolerance: Largest difference between labels of copies that is not a conflict.
    """
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    differs = np.zeros(len(order) - 1, bool)
    for column in digests.T:
        ordered = column[order]
        differs |= ordered[1:] != ordered[:-1]
    starts = np.concatenate([[0], np.flatnonzero(differs) + 1])
    ordered = labels[order]
    conflicting = np.maximum.reduceat(ordered, starts) - np.minimum.reduceat(ordered, starts) > tolerance
    sizes = np.diff(starts, append=len(order))
    status = np.full(len(order), DUPLICATE, np.int8)
    status[order[starts[~conflicting]]] = KEPT
    status[order[np.repeat(conflicting, sizes)]] = CONFLICT
    # Groups in conflict, by the input row of their first member: a stable sort leaves it in front.
    conflicts = np.flatnonzero(conflicting)
    conflicts = conflicts[np.argsort(order[starts[conflicts]])]
    rows, groups, n_rows = list[np.ndarray](), list[np.ndarray](), 0
    for i, group in enumerate(conflicts[:N_LISTED]):
        rows.append(order[starts[group] : starts[group] + sizes[group]][: N_LISTED - n_rows])
        groups.append(np.full(len(rows[-1]), i))
        n_rows += len(rows[-1])
        if n_rows == N_LISTED:
            break
    empty = np.empty(0, np.int64)
    return Duplicates(
        status,
        order[starts[~conflicting]],
        len(conflicts),
        np.concatenate([empty, *rows]),
        np.concatenate([empty, *groups]),
    )


__all__ = ["CONFLICT", "DUPLICATE", "KEPT", "Duplicates", "find_duplicates"]
