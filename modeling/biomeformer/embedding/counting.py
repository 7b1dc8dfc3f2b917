"""Reads per cluster, counted on the model's device without waiting for it."""

from __future__ import annotations

import threading
import warnings
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch

from ..errors import RunError
from ..metagenbert import MetagenBertModel, PackedReads
from .engine import iter_token_batches, looks_up, on_each_core

# Batches that a device may have before the first one's doubtful reads are looked at.
MAX_BEHIND = 3
NO_READS = (torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64))
# Token budgets that turned out to be too large for the device's memory, for the rest of the process.
_LOWERED: WeakKeyDictionary[MetagenBertModel, int] = WeakKeyDictionary()


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
        self._budget = min(batch_tokens, _LOWERED.get(model, batch_tokens))
        self._counts = torch.zeros(model.config.n_clusters, dtype=torch.int64, device=model.device)
        self._sort = not looks_up(model)
        self._lock = threading.Lock()
        self._behind: deque[_Behind] = deque()

    def add(self, packed: PackedReads) -> None:
        """Count the reads of a batch; on a CPU several threads may do so at once.

        Raises:
            RunError: A single read does not fit into the device's memory.
        """
        for input_ids, lengths, _ in iter_token_batches(packed, self._budget, sort=self._sort):
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
                for input_ids, lengths, _ in iter_token_batches(packed, self._budget, sort=self._sort):
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
        if len(input_ids) > self._budget and len(lengths) > 1:
            # It was cut before the budget was lowered.
            self._count_halves(input_ids, lengths)
            return
        try:
            if not self._counts.is_cuda:
                cluster_ids = self._model.assign_packed(input_ids.to(self._counts.device), lengths)
                with self._lock:
                    self._counts.index_add_(0, cluster_ids, torch.ones_like(cluster_ids))
                return
            # From pinned memory the copy runs beside the batch before.
            there = input_ids.pin_memory().to(self._counts.device, non_blocking=True)
            cluster_ids, doubtful = self._model.nearest_packed(there, lengths)
        except torch.OutOfMemoryError as error:
            # Its traceback holds on to the memory.
            cause = error.with_traceback(None)
        else:
            self._counts.index_add_(0, cluster_ids, (~doubtful).to(torch.int64))
            self._behind.append(_fetch(input_ids, lengths, doubtful))
            if len(self._behind) > MAX_BEHIND:
                self._settle(self._behind.popleft())
            return
        self._halve(input_ids, lengths, cause)

    def _halve(self, input_ids: torch.Tensor, lengths: torch.Tensor, cause: torch.OutOfMemoryError) -> None:
        if len(lengths) == 1:
            raise RunError(
                f"a read of {int(lengths[0]):,} tokens does not fit into the memory of {self._model.device}: set "
                "max_length in the checkpoint's contract, or use a larger device; finished samples are kept."
            ) from cause
        if self._counts.is_cuda:
            torch.cuda.empty_cache()
        lowered = max(len(input_ids) // 2, 1)
        if lowered < self._budget:
            self._budget = _LOWERED[self._model] = lowered
            warnings.warn(
                f"{self._model.device} has no memory for {len(input_ids):,} tokens at once; going on with {lowered:,} "
                f"(--batch-tokens {lowered} spares the attempt).",
                stacklevel=4,
            )
        self._count_halves(input_ids, lengths)

    def _count_halves(self, input_ids: torch.Tensor, lengths: torch.Tensor) -> None:
        middle = len(lengths) // 2
        cut = int(lengths[:middle].sum())
        self._count(input_ids[:cut], lengths[:middle])
        self._count(input_ids[cut:], lengths[middle:])

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
