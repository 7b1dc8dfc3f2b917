"""Which split a sequence belongs to, by draws that depend on its bases and the seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from ..reads.subsampling import read_hash

SPLITS = ("train", "validation", "test")
_LOW_63_BITS = np.uint64((1 << 63) - 1)


def draw_keys(numbers: np.ndarray, seed: int) -> np.ndarray:
    """Seeded hashes, uint64 `(n,)`, of numbers that name things, uint64 `(n,)`: an order of draw."""
    return read_hash((numbers & _LOW_63_BITS).astype(np.int64), seed)


def name_keys(names: Sequence[str], seed: int) -> np.ndarray:
    """Seeded hashes of names, uint64 `(n_names,)`."""
    numbers = b"".join(blake2b(name.encode(), digest_size=8).digest() for name in names)
    return draw_keys(np.frombuffer(numbers, "<u8"), seed)


def draw_balanced(keys: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Which sequences are drawn so that there are as many of each class as of the smallest, bool `(n_sequences,)`.

    Args:
        keys: uint64 `(n_sequences,)`, the order of draw.
        strata: int `(n_sequences,)`, the class of each.
    """
    counts = np.bincount(strata)
    order, rank = _ranks(keys, strata)
    drawn = np.empty(len(keys), bool)
    drawn[order] = rank < counts[counts > 0].min()
    return drawn


def split_randomly(keys: np.ndarray, strata: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Split every class by the shares, exactly but for rounding.

    Args:
        keys: uint64 `(n_sequences,)`, the order of draw.
        strata: int `(n_sequences,)`, the class of each.
        shares: Of each split; they add up to 1.

    Returns:
        int8 `(n_sequences,)`, places in `SPLITS`.
    """
    counts = np.bincount(strata)
    return _cut(keys, strata, np.rint(np.cumsum(shares)[:-1, None] * counts))


def split_groups(
    groups: np.ndarray, group_keys: np.ndarray, keys: np.ndarray, strata: np.ndarray, shares: Sequence[float]
) -> np.ndarray:
    """Split so that a group stays together and the shares are reached as nearly as the groups allow.

    Groups of two and more go first, larger ones before smaller ones by powers of two and by their keys within one, each
    to the split that leaves the least squared distance to the shares over the classes. Then single sequences fill what
    is lacking, by class. No split stays empty while there are groups for all.

    Args:
        groups: int `(n_sequences,)`, from 0.
        group_keys: uint64 `(n_groups,)`, the order of draw of groups.
        keys: uint64 `(n_sequences,)`, the order of draw of single sequences.
        strata: int `(n_sequences,)`, the class of each.
        shares: Of each split; they add up to 1.

    Returns:
        int8 `(n_sequences,)`, places in `SPLITS`.
    """
    sizes = np.bincount(groups, minlength=len(group_keys))
    totals = np.bincount(strata)
    lacking = np.asarray(shares)[:, None] * totals
    split_of_group = _place_groups(groups, sizes, group_keys, strata, lacking, np.asarray(shares) > 0)
    split = split_of_group[groups]
    single = np.flatnonzero(split < 0)
    if len(single):
        counts = np.bincount(strata[single], minlength=len(totals))
        wanted = np.maximum(lacking, 0)
        wanted /= np.maximum(wanted.sum(0), 1e-9)
        split[single] = _cut(keys[single], strata[single], np.rint(np.cumsum(wanted, 0)[:-1] * counts))
    return split


def _place_groups(
    groups: np.ndarray,
    sizes: np.ndarray,
    group_keys: np.ndarray,
    strata: np.ndarray,
    lacking: np.ndarray,
    is_wanted: np.ndarray,
) -> np.ndarray:
    """The split of each group of two and more, int8 `(n_groups,)`, -1 for the others; lowers `lacking`."""
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
    is_empty = is_wanted.copy()
    for group, first, last in zip(large.tolist(), *borders.tolist(), strict=True):
        one, n = classes[first:last], counts[first:last]
        allowed = is_empty if n_left <= is_empty.sum() else is_wanted
        score = np.where(allowed, lacking[:, one] @ (n * weight[one]), -np.inf)
        best = int(np.argmax(score))
        chosen[group] = best
        lacking[best, one] -= n
        is_empty[best] = False
        n_left -= 1
    return chosen


def _ranks(keys: np.ndarray, strata: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order by class and key, and the place of each within its class, in that order."""
    order = np.lexsort((keys, strata))
    counts = np.bincount(strata)
    return order, np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)


def _cut(keys: np.ndarray, strata: np.ndarray, borders: np.ndarray) -> np.ndarray:
    """Split each class at its borders, `(n_splits - 1, n_classes)`."""
    order, rank = _ranks(keys, strata)
    split = np.empty(len(keys), np.int8)
    split[order] = (rank >= borders[:, strata[order]]).sum(0)
    return split


__all__ = ["SPLITS", "draw_balanced", "draw_keys", "name_keys", "split_groups", "split_randomly"]
