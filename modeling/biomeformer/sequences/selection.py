"""Which sequences a dataset holds, and in which split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from .duplicates import CONFLICT, DUPLICATE, Duplicates, find_duplicates
from .labels import Labels
from .near_duplicates import find_clusters, signatures
from .settings import PreparationSettings
from .splitting import SPLITS, draw_balanced, draw_keys, name_keys, split_groups, split_randomly
from .store import SequenceStore

SAME_VALUE = 1e-6
COMPARING, JOINING = "comparing", "joining"
N_SHOWN = 5
Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Selection:
    """What becomes of each sequence of a store.

    Attributes:
        split: int8 `(n_sequences,)`, places in `SPLITS`, -1 for those that are left out.
        order: int64 `(n_kept,)`, the others' rows, by digest.
        dropped: Sequences left out, by reason.
        duplicates: Those that are equal.
        n_clusters: Clusters of near-duplicates, single ones included, or None.
    """

    split: np.ndarray
    order: np.ndarray
    dropped: Counter[str]
    duplicates: Duplicates
    n_clusters: int | None


def select(
    store: SequenceStore, labels: Labels, settings: PreparationSettings, work: Path, tell: Progress
) -> Selection:
    """Leave out equal sequences, balance the classes, and split.

    Args:
        store: The sequences, at least one.
        labels: Their labels.
        settings: What decides.
        work: Folder for a file of signatures.
        tell: Called with what is done, how many, and of how many.

    Raises:
        InputError: None is left, or a contig named for a split has no sequence.
    """
    digests = store.digests
    tolerance = SAME_VALUE if settings.task == "regression" else 0.0
    duplicates = find_duplicates(digests, labels.values, tolerance)
    n_equal, n_wrong = (int((duplicates.status == status).sum()) for status in (DUPLICATE, CONFLICT))
    dropped = Counter({"duplicate": n_equal, "conflict": n_wrong})
    order = duplicates.order
    if not len(order):
        raise InputError(f"all {len(store):,} sequences stand there with different labels, so none is left.")
    if settings.balance:
        drawn = draw_balanced(draw_keys(digests[order, 1], settings.seed), labels.strata[order])
        dropped["not_drawn"] = int((~drawn).sum())
        order = order[drawn]
    keys, strata = draw_keys(digests[order, 0], settings.seed), labels.strata[order]
    n_clusters = None
    if settings.split == "random":
        of_kept = split_randomly(keys, strata, settings.shares)
    elif settings.split == "cluster":
        roots = _clusters(store, order, settings, work / "signatures", tell)
        first, groups = np.unique(roots, return_inverse=True)
        n_clusters = len(first)
        of_kept = split_groups(groups, keys[first], keys, strata, settings.shares)
    elif settings.validation_contigs or settings.test_contigs:
        of_kept = _named_contigs(store, settings)[store.groups[order]]
    else:
        names = list(store.group_names)
        of_kept = split_groups(store.groups[order], name_keys(names, settings.seed), keys, strata, settings.shares)
    split = np.full(len(store), -1, np.int8)
    split[order] = of_kept
    return Selection(split, order, +dropped, duplicates, n_clusters)


def _named_contigs(store: SequenceStore, settings: PreparationSettings) -> np.ndarray:
    """The split of each contig, int8 `(n_contigs,)`."""
    split = np.zeros(len(store.group_names), np.int8)
    for place, names in ((1, settings.validation_contigs), (2, settings.test_contigs)):
        for name in names:
            if name not in store.group_names:
                some = ", ".join(list(store.group_names)[:N_SHOWN])
                raise InputError(f"{SPLITS[place]} contig {name!r} has no sequence; there are contigs {some}.")
            split[store.group_names[name]] = place
    return split


def _clusters(
    store: SequenceStore, order: np.ndarray, settings: PreparationSettings, file: Path, tell: Progress
) -> np.ndarray:
    """The first member of each kept sequence's cluster, in the order of their digests."""
    is_kept = np.zeros(len(store), bool)
    is_kept[order] = True
    n_done = 0
    with file.open("wb") as handle:
        for rows, batch in store.batches():
            kept = np.flatnonzero(is_kept[rows])
            sequences = [one.as_buffer().to_pybytes() for one in batch["sequence"].take(kept)]
            handle.write(signatures(sequences, store.digests[rows][kept]).tobytes())
            n_done += len(kept)
            tell(COMPARING, n_done, len(order))
    place = np.cumsum(is_kept) - 1
    return find_clusters(file, place[order], settings.similarity, lambda n, of: tell(JOINING, n, of))


__all__ = ["Selection", "select"]
