"""Reads per cluster, counted on the model's device without waiting for it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..metagenbert import MetagenBertModel, PackedReads
from .engine import iter_token_batches, looks_up, on_each_core, send
from .token_budget import TokenBudget

# Batches that a device may have before the first one's doubtful reads are looked at.
MAX_BEHIND = 3
NO_READS = (torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64))


@dataclass(frozen=True)
class _Behind:
    """A batch whose doubtful reads are still to be assigned.

    Attributes:
        input_ids: int64 or int32 `(n_tokens,)`, on the CPU.
        lengths: `(n_reads,)`, on the CPU.
        doubtful: bool `(n_reads,)` on the CPU, there once `ready` is.
        ready: Reached when the device has come that far.
    """

    input_ids: torch.Tensor
    lengths: torch.Tensor
    doubtful: torch.Tensor
    ready: torch.cuda.Event


class ClusterCounter:
    """Counts the reads nearest to each centroid.

    On a GPU no batch is waited for: counts stay there until `counts` is asked for, and which of a batch's reads are
    about as near to two centroids comes back some batches later. These are then assigned each by itself, as
    `MetagenBertModel.assign_packed` does, so that a read's answer depends on the read alone.

    Where the device's memory does not suffice for a batch, the batch is halved, and so is the token budget for the rest
    of the process, with a warning; nothing is lost or counted twice.

    Args:
        model: On the device to use.
        batch_tokens: Token budget of one pass through the encoder.
    """

    def __init__(self, model: MetagenBertModel, batch_tokens: int) -> None:
        self._model = model
        self._budget = TokenBudget(
            model, batch_tokens, what="read", advice="set max_length in the checkpoint's contract"
        )
        self._counts = torch.zeros(model.config.n_clusters, dtype=torch.int64, device=model.device)
        self._sort = not looks_up(model)
        self._lock = threading.Lock()
        self._behind: deque[_Behind] = deque()

    def add(self, packed: PackedReads) -> None:
        """Count the reads of a batch; on a CPU several threads may do so at once.

        Raises:
            RunError: A single read does not fit into the device's memory.
        """
        for input_ids, lengths, _ in iter_token_batches(packed, self._budget.tokens, sort=self._sort):
            self._count(input_ids, lengths)

    def add_all(self, stream: Iterable[PackedReads]) -> Generator[dict[str, int], None, None]:
        """Count the reads of many batches; on a CPU each core is at a pass through the encoder of its own.

        Yields:
            After each pass the tallies of the batch that it began, nothing where it did not begin one.

        Raises:
            RunError: A single read does not fit into the device's memory.
        """

        def passes() -> Iterator[tuple[torch.Tensor, torch.Tensor, dict[str, int]]]:
            for packed in stream:
                tallies = packed.tallies
                for input_ids, lengths, _ in iter_token_batches(packed, self._budget.tokens, sort=self._sort):
                    yield input_ids, lengths, tallies
                    tallies = {}
                if tallies:
                    yield *NO_READS, tallies

        def count(one: tuple[torch.Tensor, torch.Tensor, dict[str, int]]) -> dict[str, int]:
            input_ids, lengths, tallies = one
            if len(lengths):
                self._count(input_ids, lengths)
            return tallies

        yield from on_each_core(count, passes(), self._model.device)

    @property
    def counts(self) -> np.ndarray:
        """int64 `(n_clusters,)`, of all reads so far."""
        while self._behind:
            self._settle(self._behind.popleft())
        return self._counts.cpu().numpy()

    @torch.inference_mode()
    def _count(self, input_ids: torch.Tensor, lengths: torch.Tensor) -> None:
        for behind in self._budget.passes(self._count_pass, input_ids, lengths):
            if behind is not None:
                self._behind.append(behind)
            if len(self._behind) > MAX_BEHIND:
                self._settle(self._behind.popleft())

    def _count_pass(self, input_ids: torch.Tensor, lengths: torch.Tensor) -> _Behind | None:
        there = send(input_ids, self._counts.device)
        if not self._counts.is_cuda:
            cluster_ids = self._model.assign_packed(there, lengths)
            with self._lock:
                self._counts.index_add_(0, cluster_ids, torch.ones_like(cluster_ids))
            return None
        cluster_ids, doubtful = self._model.nearest_packed(there, lengths)
        behind, clear = _fetch(input_ids, lengths, doubtful), (~doubtful).to(torch.int64)
        # Last, since a pass that runs out of memory is done again.
        self._counts.index_add_(0, cluster_ids, clear)
        return behind

    def _settle(self, batch: _Behind) -> None:
        """Assign a batch's doubtful reads."""
        batch.ready.synchronize()
        rows = batch.doubtful.nonzero()[:, 0]
        if not len(rows):
            return
        starts = torch.cumsum(batch.lengths, 0) - batch.lengths
        reads = [
            batch.input_ids[first : first + length]
            for first, length in zip(starts[rows].tolist(), batch.lengths[rows].tolist(), strict=True)
        ]
        cluster_ids = self._model.assign_alone([read.to(self._model.device) for read in reads])
        self._counts.index_add_(0, cluster_ids, torch.ones_like(cluster_ids))


def _fetch(input_ids: torch.Tensor, lengths: torch.Tensor, doubtful: torch.Tensor) -> _Behind:
    there = torch.empty(doubtful.shape, dtype=torch.bool, pin_memory=True)
    there.copy_(doubtful, non_blocking=True)
    ready = torch.cuda.Event()
    ready.record()
    return _Behind(input_ids, lengths, there, ready)


__all__ = ["ClusterCounter"]
