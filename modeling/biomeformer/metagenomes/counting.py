"""Counting of reads per cluster on the model's device, without waiting for it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..inference.batching import (
    Fetched,
    fetch,
    is_lookup_encoder,
    iter_token_batches,
    map_per_core,
    read_budget,
    to_device,
)
from ..models.metagenbert import MetagenBertModel, PackedReads
from ..models.metagenbert.exact_batches import by_length, exact_batch_size

# Batches that a device may have before the near ties of the first one are assigned.
MAX_PENDING = 3
NO_READS = (torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64))


@dataclass(frozen=True)
class _PendingBatch:
    """A batch whose near ties are still to be assigned.

    Attributes:
        input_ids: int64 or int32 `(n_tokens,)`, on the model's device.
        lengths: `(n_reads,)`, on the CPU.
        near_tie: bool `(n_reads,)`, on its way to the CPU.
        vectors: float32 `(n_reads, hidden_size)` on the model's device, where they are all that is needed.
    """

    input_ids: torch.Tensor
    lengths: torch.Tensor
    near_tie: Fetched
    vectors: torch.Tensor | None


class ClusterCounter:
    """Counter of the reads nearest to each centroid.

    Of an encoder in float32, counts are the same for any token budget and any order of reads on one kind of device; of
    one in bfloat16, float16 or float8, reads near the border of two clusters may change sides (see
    `MetagenBertModel.assign_packed`).

    On a GPU no batch is waited for: counts stay there until `counts` is asked for, and which of a batch's reads are
    about as near to two centroids comes back some batches later. These are then assigned each as if by itself, as
    `MetagenBertModel.assign_packed` does, equally long ones of several batches together.

    Where the device's memory does not suffice for a batch, the batch is halved, and so is the token budget for the rest
    of the process, with a warning; nothing is lost or counted twice.

    Args:
        model: On the device to use.
        batch_tokens: Token budget of one pass through the encoder.
    """

    def __init__(self, model: MetagenBertModel, batch_tokens: int) -> None:
        self._model = model
        self._budget = read_budget(model, batch_tokens)
        self._counts = torch.zeros(model.config.n_clusters, dtype=torch.int64, device=model.device)
        self._sort = not is_lookup_encoder(model)
        self._lock = threading.Lock()
        # Whether the device works by itself while the CPU prepares the next batch.
        self._runs_ahead = model.device.type == "cuda"
        self._pending: deque[_PendingBatch] = deque()
        # Near ties by their length, `(n_reads, length)`, until there are enough for a pass.
        self._alone: dict[int, torch.Tensor] = {}

    def add(self, packed: PackedReads) -> None:
        """Count the reads of a batch; on a CPU several threads may do so at once.

        Raises:
            RunError: A single read does not fit into the device's memory.
        """
        for input_ids, lengths, _ in iter_token_batches(packed, self._budget.tokens, sort=self._sort):
            self._count(input_ids, lengths)

    def add_all(self, stream: Iterable[PackedReads]) -> Generator[dict[str, int], None, None]:
        """Count the reads of many batches; on a CPU each core does passes of its own through the encoder.

        Yields:
            After each pass the read statistics of the batch that it started, an empty mapping if it started none.

        Raises:
            RunError: A single read does not fit into the device's memory.
        """

        def passes() -> Iterator[tuple[torch.Tensor, torch.Tensor, dict[str, int]]]:
            for packed in stream:
                read_stats = packed.read_stats
                for input_ids, lengths, _ in iter_token_batches(packed, self._budget.tokens, sort=self._sort):
                    yield input_ids, lengths, read_stats
                    read_stats = {}
                if read_stats:
                    yield *NO_READS, read_stats

        def count(batch: tuple[torch.Tensor, torch.Tensor, dict[str, int]]) -> dict[str, int]:
            input_ids, lengths, read_stats = batch
            if len(lengths):
                self._count(input_ids, lengths)
            return read_stats

        yield from map_per_core(count, passes(), self._model.device)

    @property
    @torch.inference_mode()
    def counts(self) -> np.ndarray:
        """Counts of all reads so far, int64 `(n_clusters,)`."""
        while self._pending:
            self._settle(self._pending.popleft())
        while self._alone:
            _, reads = self._alone.popitem()
            self._add(self._model.assign_exact(reads))
        return self._counts.cpu().numpy()

    @torch.inference_mode()
    def _count(self, input_ids: torch.Tensor, lengths: torch.Tensor) -> None:
        for pending in self._budget.passes(self._count_pass, input_ids, lengths):
            if pending is not None:
                self._pending.append(pending)
            if len(self._pending) > MAX_PENDING:
                self._settle(self._pending.popleft())

    def _count_pass(self, input_ids: torch.Tensor, lengths: torch.Tensor) -> _PendingBatch | None:
        on_device = to_device(input_ids, self._counts.device)
        if not self._runs_ahead:
            cluster_ids = self._model.assign_packed(on_device, lengths)
            with self._lock:
                self._add(cluster_ids)
            return None
        cluster_ids, near_tie, vectors = self._model.nearest_packed(on_device, lengths)
        kept = vectors if self._model.settles_near_ties_by_distance else None
        pending, clear = _PendingBatch(on_device, lengths, fetch(near_tie), kept), (~near_tie).to(torch.int64)
        # Last, since a pass that runs out of memory is done again.
        self._counts.index_add_(0, cluster_ids, clear)
        return pending

    def _settle(self, batch: _PendingBatch) -> None:
        """Assign a batch's near ties, or keep them until there are enough of their length."""
        rows = batch.near_tie.wait().nonzero()[:, 0]
        if not len(rows):
            return
        if batch.vectors is not None:
            self._add(self._model.nearest_exactly(batch.vectors[to_device(rows, batch.vectors.device)]))
            return
        for _, reads in by_length(batch.input_ids, batch.lengths, rows):
            length = reads.shape[1]
            if length in self._alone:
                reads = torch.cat([self._alone.pop(length), reads])
            n_now = len(reads) - len(reads) % exact_batch_size(length, reads.device)
            if n_now:
                self._add(self._model.assign_exact(reads[:n_now]))
            if n_now < len(reads):
                self._alone[length] = reads[n_now:]

    def _add(self, cluster_ids: torch.Tensor) -> None:
        self._counts.index_add_(0, cluster_ids, torch.ones_like(cluster_ids))


__all__ = ["ClusterCounter"]
