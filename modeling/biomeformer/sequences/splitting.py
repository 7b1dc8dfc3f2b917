"""Assign sequences to splits by random choices that depend only on their bases and the seed."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from ..reads.subsampling import read_hash

SPLITS = ("train", "validation", "test")
_LOW_63_BITS = np.uint64((1 << 63) - 1)


def draw_keys(numbers: np.ndarray, seed: int) -> np.ndarray:
    """Return seeded hashes, uint64 `(n,)`, of identifying numbers, uint64 `(n,)`; they define an order of sampling."""
    return read_hash((numbers & _LOW_63_BITS).astype(np.int64), seed)


def name_keys(names: Sequence[str], seed: int) -> np.ndarray:
    """Return seeded hashes of names, uint64 `(n_names,)`."""
    numbers = b"".join(blake2b(name.encode(), digest_size=8).digest() for name in names)
    return draw_keys(np.frombuffer(numbers, "<u8"), seed)


def draw_balanced(keys: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Sample as many sequences of each class as the smallest class has.

    Args:
        keys: uint64 `(n_sequences,)`, the order of sampling.
        strata: int `(n_sequences,)`, the class of each sequence.

    Returns:
        Whether each sequence is sampled, bool `(n_sequences,)`.
    """
    counts = np.bincount(strata)
    order, rank = _ranks(keys, strata)
    drawn = np.empty(len(keys), bool)
    drawn[order] = rank < counts[counts > 0].min()
    return drawn


def split_randomly(keys: np.ndarray, strata: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Split every class according to the shares, exactly up to rounding.

    Args:
        keys: uint64 `(n_sequences,)`, the order of sampling.
        strata: int `(n_sequences,)`, the class of each sequence.
        shares: Fraction of each split; they add up to 1.

    Returns:
        int8 `(n_sequences,)`, indices into `SPLITS`.
    """
    counts = np.bincount(strata)
    return _cut(keys, strata, np.rint(np.cumsum(shares)[:-1, None] * counts))


def split_groups(
    groups: np.ndarray, group_keys: np.ndarray, keys: np.ndarray, strata: np.ndarray, shares: Sequence[float]
) -> np.ndarray:
    """Split so that groups stay together and the shares are approximated as well as the groups allow.

    Groups of two or more are assigned first, in decreasing order of size rounded to powers of two, ties broken by key,
    each to the split that minimizes the squared distance to the shares over the classes. Single sequences then fill
    the remainder, by class. No split stays empty while there are enough groups for all.

    Args:
        groups: int `(n_sequences,)`, from 0.
        group_keys: uint64 `(n_groups,)`, the order of sampling of groups.
        keys: uint64 `(n_sequences,)`, the order of sampling of single sequences.
        strata: int `(n_sequences,)`, the class of each sequence.
        shares: Fraction of each split; they add up to 1.

    Returns:
        int8 `(n_sequences,)`, indices into `SPLITS`.
    """
    sizes = np.bincount(groups, minlength=len(group_keys))
    totals = np.bincount(strata)
    lacking = np.asarray(shares)[:, None] * totals
    split_of_group = _assign_groups(groups, sizes, group_keys, strata, lacking, np.asarray(shares) > 0)
    split = split_of_group[groups]
    single = np.flatnonzero(split < 0)
    if len(single):
        counts = np.bincount(strata[single], minlength=len(totals))
        fractions = np.maximum(lacking, 0)
        fractions /= np.maximum(fractions.sum(0), 1e-9)
        split[single] = _cut(keys[single], strata[single], np.rint(np.cumsum(fractions, 0)[:-1] * counts))
    return split


def _assign_groups(
    groups: np.ndarray,
    sizes: np.ndarray,
    group_keys: np.ndarray,
    strata: np.ndarray,
    lacking: np.ndarray,
    is_used: np.ndarray,
) -> np.ndarray:
    """Return the split of each group of two or more, int8 `(n_groups,)`, -1 for single sequences; updates `lacking`."""
    chosen = np.full(len(sizes), -1, np.int8)
    large = np.flatnonzero(sizes > 1)
    if not len(large):
        return chosen
    large = large[np.lexsort((group_keys[large], -np.frexp(sizes[large])[1]))]
    n_classes = lacking.shape[1]
    weight = 1 / np.maximum(lacking.sum(0), 1)
    rows = np.flatnonzero(sizes[groups] > 1)
    cells, counts = np.unique(groups[rows].astype(np.int64) * n_classes + strata[rows], return_counts=True)
    borders = np.searchsorted(cells, np.stack([large, large + 1]) * n_classes)
    classes = cells % n_classes
    n_left = int((sizes > 0).sum())
    is_empty = is_used.copy()
    for group, first, last in zip(large.tolist(), *borders.tolist(), strict=True):
        own, n = classes[first:last], counts[first:last]
        allowed = is_empty if n_left <= is_empty.sum() else is_used
        score = np.where(allowed, lacking[:, own] @ (n * weight[own]), -np.inf)
        best = int(np.argmax(score))
        chosen[group] = best
        lacking[best, own] -= n
        is_empty[best] = False
        n_left -= 1
    return chosen


def _ranks(keys: np.ndarray, strata: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the order by class and key, and in that order the rank of each sequence within its class."""
    order = np.lexsort((keys, strata))
    counts = np.bincount(strata)
    return order, np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)


def _cut(keys: np.ndarray, strata: np.ndarray, borders: np.ndarray) -> np.ndarray:
    """Split each class at the ranks in `borders`, `(n_splits - 1, n_classes)`."""
    order, rank = _ranks(keys, strata)
    split = np.empty(len(keys), np.int8)
    split[order] = (rank >= borders[:, strata[order]]).sum(0)
    return split


__all__ = ["SPLITS", "draw_balanced", "draw_keys", "name_keys", "split_groups", "split_randomly"]
