"""Select the sequences of a dataset and assign them to splits."""

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
    """The selected sequences of a store and their splits.

    Attributes:
        split: int8 `(n_sequences,)`, indices into `SPLITS`, -1 for sequences that are dropped.
        order: int64 `(n_kept,)`, rows of the selected sequences, sorted by digest.
        dropped: Number of sequences dropped, by reason.
        duplicates: Exact duplicates and conflicts.
        n_clusters: Clusters of near-duplicates, singletons included, or None.
    """

    split: np.ndarray
    order: np.ndarray
    dropped: Counter[str]
    duplicates: Duplicates
    n_clusters: int | None


def select(
    store: SequenceStore, labels: Labels, settings: PreparationSettings, work: Path, report: Progress
) -> Selection:
    """Drop exact duplicates, balance the classes, and split.

    Args:
        store: The sequences, at least one.
        labels: Their labels.
        settings: Settings of the preparation.
        work: Folder for a temporary file of signatures.
        report: Called with the stage, the number done and the total.

    Raises:
        InputError: No sequence is left, or a contig named for a split has no sequence.
    """
    digests = store.digests
    tolerance = SAME_VALUE if settings.task == "regression" else 0.0
    duplicates = find_duplicates(digests, labels.values, tolerance)
    n_duplicates, n_conflicts = (int((duplicates.status == status).sum()) for status in (DUPLICATE, CONFLICT))
    dropped = Counter({"duplicate": n_duplicates, "conflict": n_conflicts})
    order = duplicates.order
    if not len(order):
        raise InputError(
            f"all {len(store):,} sequences occur with conflicting labels, so none is left; fix the labels."
        )
    if settings.balance:
        drawn = draw_balanced(draw_keys(digests[order, 1], settings.seed), labels.strata[order])
        dropped["not_drawn"] = int((~drawn).sum())
        order = order[drawn]
    keys, strata = draw_keys(digests[order, 0], settings.seed), labels.strata[order]
    n_clusters = None
    if settings.split == "random":
        split_of_kept = split_randomly(keys, strata, settings.shares)
    elif settings.split == "cluster":
        roots = _clusters(store, order, settings, work / "signatures", report)
        first, groups = np.unique(roots, return_inverse=True)
        n_clusters = len(first)
        split_of_kept = split_groups(groups, keys[first], keys, strata, settings.shares)
    elif settings.validation_contigs or settings.test_contigs:
        split_of_kept = _named_contigs(store, settings)[store.groups[order]]
    else:
        group_keys = name_keys(list(store.group_names), settings.seed)
        split_of_kept = split_groups(store.groups[order], group_keys, keys, strata, settings.shares)
    split = np.full(len(store), -1, np.int8)
    split[order] = split_of_kept
    return Selection(split, order, +dropped, duplicates, n_clusters)


def _named_contigs(store: SequenceStore, settings: PreparationSettings) -> np.ndarray:
    """Return the split of each contig, int8 `(n_contigs,)`."""
    split = np.zeros(len(store.group_names), np.int8)
    for number, names in ((1, settings.validation_contigs), (2, settings.test_contigs)):
        for name in names:
            if name not in store.group_names:
                examples = ", ".join(list(store.group_names)[:N_SHOWN])
                raise InputError(f"{SPLITS[number]} contig {name!r} has no sequence; there are contigs {examples}.")
            split[store.group_names[name]] = number
    return split


def _clusters(
    store: SequenceStore, order: np.ndarray, settings: PreparationSettings, file: Path, report: Progress
) -> np.ndarray:
    """Return the first member of each kept sequence's cluster, in the order of `order`."""
    is_kept = np.zeros(len(store), bool)
    is_kept[order] = True
    n_done = 0
    with file.open("wb") as handle:
        for rows, batch in store.batches():
            kept = np.flatnonzero(is_kept[rows])
            sequences = [value.as_buffer().to_pybytes() for value in batch["sequence"].take(kept)]
            handle.write(signatures(sequences, store.digests[rows][kept]).tobytes())
            n_done += len(kept)
            report(COMPARING, n_done, len(order))
    row_in_file = np.cumsum(is_kept) - 1
    return find_clusters(file, row_in_file[order], settings.similarity, lambda n, total: report(JOINING, n, total))


__all__ = ["Selection", "select"]
