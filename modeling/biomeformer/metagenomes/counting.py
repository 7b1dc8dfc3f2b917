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


class FirstVectors:
    """The vectors of a sample's first reads, kept as they are counted; several threads may add some at once.

    Args:
        n_reads: Number of reads, of the first batch, whose vectors are kept.
    """

    def __init__(self, n_reads: int) -> None:
        self._n_reads = n_reads
        self._lengths = np.empty(0, np.int64)
        self._vectors: list[tuple[np.ndarray, torch.Tensor]] = []

    def expect(self, packed: PackedReads) -> None:
        """Take note of the first batch, whose vectors are about to be added."""
        # Rows are in the order of the reads.
        self._lengths = packed.lengths[: int(np.searchsorted(packed.rows, self._n_reads))]

    def add(self, vectors: torch.Tensor, positions: np.ndarray) -> None:
        """Keep those vectors that are of the first reads.

        Args:
            vectors: `(n, hidden_size)`, on any device.
            positions: `(n,)`, of each read or window among those of the batch.
        """
        wanted = np.flatnonzero(positions < len(self._lengths))
        if len(wanted):
            rows = to_device(torch.from_numpy(wanted), vectors.device)
            self._vectors.append((positions[wanted], vectors[rows]))

    def vectors(self) -> tuple[torch.Tensor, np.ndarray]:
        """Return the vectors, float32 `(n_windows, hidden_size)` on the CPU, and the tokens of each, `(n_windows,)`."""
        if not self._vectors:
            return torch.empty(0, 0), self._lengths
        order = np.argsort(np.concatenate([positions for positions, _ in self._vectors]))
        return torch.cat([vectors.cpu() for _, vectors in self._vectors])[torch.from_numpy(order)], self._lengths


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
        first: Keeps the vectors of the first reads.
    """

    def __init__(self, model: MetagenBertModel, batch_tokens: int, first: FirstVectors | None = None) -> None:
        self._model = model
        self._first = first
        self._budget = read_budget(model, batch_tokens)
        self._counts = torch.zeros(model.config.n_clusters, dtype=torch.int64, device=model.device)
        self._sort = not is_lookup_encoder(model)
        self._lock = threading.Lock()
        # Whether the device works by itself while the CPU prepares the next batch.
        self._runs_ahead = model.device.type == "cuda"
        self._pending: deque[_PendingBatch] = deque()
        # Near ties by their length, `(n_reads, length)`, until there are enough for a pass.
        self._alone: dict[int, torch.Tensor] = {}

    def add(self, packed: PackedReads, *, is_first: bool = False) -> None:
        """Count the reads of a batch; on a CPU several threads may do so at once.

        Args:
            packed: The batch.
            is_first: Whether it has the sample's first reads.

        Raises:
            RunError: A single read does not fit into the device's memory.
        """
        for batch in self._batches(packed, is_first):
            self._count(*batch)

    def _batches(
        self, packed: PackedReads, is_first: bool
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, np.ndarray | None]]:
        """Yield tokens and lengths by the token budget; of the first reads also their positions, to keep vectors."""
        first = self._first if is_first else None
        if first is not None:
            first.expect(packed)
        for input_ids, lengths, positions in iter_token_batches(packed, self._budget.tokens, sort=self._sort):
            yield input_ids, lengths, None if first is None else positions

    def add_all(self, stream: Iterable[PackedReads]) -> Generator[dict[str, int], None, None]:
        """Count the reads of many batches; on a CPU each core does passes of its own through the encoder.

        Yields:
            After each pass the read statistics of the batch that it started, an empty mapping if it started none. The
            first batch has the sample's first reads.

        Raises:
            RunError: A single read does not fit into the device's memory.
        """

        def passes() -> Iterator[tuple[tuple[torch.Tensor, torch.Tensor, np.ndarray | None] | None, dict[str, int]]]:
            for number, packed in enumerate(stream):
                read_stats = packed.read_stats
                for batch in self._batches(packed, is_first=number == 0):
                    yield batch, read_stats
                    read_stats = {}
                if read_stats:
                    yield None, read_stats

        def count(
            one_pass: tuple[tuple[torch.Tensor, torch.Tensor, np.ndarray | None] | None, dict[str, int]],
        ) -> dict[str, int]:
            batch, read_stats = one_pass
            if batch is not None:
                self._count(*batch)
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
    def _count(self, input_ids: torch.Tensor, lengths: torch.Tensor, positions: np.ndarray | None = None) -> None:
        """Count the reads of one pass; those at given positions of the first batch are also handed on."""
        n_counted = 0
        for n_reads, vectors, pending in self._budget.passes(self._count_pass, input_ids, lengths):
            if positions is not None and self._first is not None:
                self._first.add(vectors, positions[n_counted : n_counted + n_reads])
            n_counted += n_reads
            if pending is not None:
                self._pending.append(pending)
            if len(self._pending) > MAX_PENDING:
                self._settle(self._pending.popleft())

    def _count_pass(
        self, input_ids: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[int, torch.Tensor, _PendingBatch | None]:
        """Count the reads of one pass; return their number, their vectors, and what is still to be assigned."""
        on_device = to_device(input_ids, self._counts.device)
        nearest = self._model.nearest_packed(on_device, lengths)
        if not self._runs_ahead:
            cluster_ids = self._model.settle_near_ties(nearest, on_device, lengths)
            with self._lock:
                self._add(cluster_ids)
            return len(lengths), nearest.vectors, None
        cluster_ids, near_tie, vectors = nearest
        kept = vectors if self._model.settles_near_ties_by_distance else None
        pending, clear = _PendingBatch(on_device, lengths, fetch(near_tie), kept), (~near_tie).to(torch.int64)
        # Last, since a pass that runs out of memory is done again.
        self._counts.index_add_(0, cluster_ids, clear)
        return len(lengths), vectors, pending

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


__all__ = ["ClusterCounter", "FirstVectors"]
