"""Batches of an epoch, and evaluation of rows shared among processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from ..runs.process_group import ProcessGroup

# Tensors that define a batch's layout, which models compute on the CPU.
STAYS_ON_CPU = ("lengths", "partners", "set_sizes")


def bucketed_batches(
    rows: np.ndarray, lengths: np.ndarray, batch_size: int, n_pooled: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Split an epoch's rows into batches of similar length, to reduce padding, in random order.

    Args:
        rows: Numbers of the examples to train on, int `(n,)`.
        lengths: Length of every example, by number.
        batch_size: Maximum number of rows per batch.
        n_pooled: Number of batches per pool; rows are sorted by length within a pool.
        rng: Random generator of the order.

    Returns:
        The rows of each batch.
    """
    order = rng.permutation(rows)
    n_batches = max(-(-len(order) // batch_size), 1)
    batches = []
    for pool in np.array_split(order, max(n_batches // n_pooled, 1)):
        ordered = pool[np.argsort(lengths[pool], kind="stable")]
        batches += np.array_split(ordered, max(-(-len(pool) // batch_size), 1))
    return [batches[i] for i in rng.permutation(len(batches))]


class Epochs:
    """Maps training steps to the batches of successive epochs.

    Args:
        n_epochs: Number of epochs.
        batches: Returns the batches of an epoch, given its number from 1; their number is the same in each epoch.
    """

    def __init__(self, n_epochs: int, batches: Callable[[int], list[np.ndarray]]) -> None:
        self._batches = lru_cache(maxsize=1)(batches)
        self.steps_per_epoch = len(self._batches(1))
        self.n_steps = n_epochs * self.steps_per_epoch

    def rows(self, step: int) -> tuple[int, np.ndarray]:
        """Return the epoch of a step, from 1, and the rows of its batch."""
        epoch, i = divmod(step, self.steps_per_epoch)
        return epoch + 1, self._batches(epoch + 1)[i]


def to_device(batch: Any, device: torch.device) -> Any:
    """Move the tensors of a batch to a device, except those that define its layout."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {
            name: value if str(name).endswith(STAYS_ON_CPU) else to_device(value, device)
            for name, value in batch.items()
        }
    return batch


def evaluate_rows(
    processes: ProcessGroup, n_rows: int, n_columns: int, compute: Callable[[np.ndarray], Iterable[np.ndarray]]
) -> np.ndarray:
    """Compute rows, divided among the processes; every process must call it and gets all rows.

    Args:
        processes: Processes among which the rows are divided.
        n_rows: Number of rows.
        n_columns: Number of values per row.
        compute: Takes the numbers of this process's rows and yields their values in the same order, in parts
            `(n, n_columns)`.

    Returns:
        float64 `(n_rows, n_columns)`.
    """
    values = np.zeros((n_rows, n_columns))
    own = np.arange(processes.rank, n_rows, processes.size)
    n_done = 0
    for part in compute(own) if len(own) else ():
        values[own[n_done : n_done + len(part)]] = part
        n_done += len(part)
        processes.check()
    # The reduction has a timeout, so all processes meet first.
    processes.barrier()
    return processes.all_reduce(values)


__all__ = ["Epochs", "bucketed_batches", "evaluate_rows", "to_device"]
