"""Batches by token budget, and passes over them on a CPU's cores or a GPU."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeVar

import numpy as np
import torch

from ..errors import InputError
from ..models.metagenbert import MetagenBertModel, MetagenBertProcessor, PackedReads
from ..models.metagenbert.full_float32 import full_float32_matmul
from ..reads import ReadBatch
from .token_budget import TokenBudget

# On a CPU what a layer makes of a core's batch should stay in the caches, and a batch is to be worth its products:
# 512 tokens were 1.1 times slower than 1,024, and 16,384 1.3 times.
DEFAULT_BATCH_TOKENS = {"cpu": 1_024, "cuda": 262_144}
# An encoder that only looks vectors up reads its tables again in each batch: a batch of reads is one pass.
LOOKUP_BATCH_TOKENS = 4_194_304

Item = TypeVar("Item")
Result = TypeVar("Result")


class TokenSequences(Protocol):
    """Tokens of sequences, end to end: int64 `input_ids (n_tokens,)` and int64 `lengths (n_sequences,)`."""

    @property
    def input_ids(self) -> np.ndarray:
        """Tokens."""

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each sequence."""


class _OneThread:
    """torch's setting of one thread, in effect while at least one user is at work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_users = 0
        self._before = 1

    def begin(self) -> None:
        with self._lock:
            if not self._n_users:
                self._before = torch.get_num_threads()
                torch.set_num_threads(1)
            self._n_users += 1

    def end(self) -> None:
        with self._lock:
            self._n_users -= 1
            if not self._n_users:
                torch.set_num_threads(self._before)


_ONE_THREAD = _OneThread()


def in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], n_threads: int
) -> Generator[Result, None, None]:
    """Apply a function to items in several threads; results come in the order of the items, few items ahead.

    torch computes with one thread in each of them meanwhile: threads that share their work wait for each other at every
    operation, and are delayed by whatever else runs.
    """
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="biomeformer-embed")
    waiting: deque[Future[Result]] = deque()
    _ONE_THREAD.begin()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > n_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        _ONE_THREAD.end()


def map_per_core(
    function: Callable[[Item], Result], items: Iterable[Item], device: torch.device
) -> Generator[Result, None, None]:
    """Apply a function to batches: on a CPU a batch on each core, on a GPU one after the other.

    A batch on each core is faster than a share of one on all of them: nothing is waited for within it.

    Args:
        function: May be called by several threads at once.
        items: Batches, taken by the calling thread.
        device: Of the model.
    """
    n_threads = torch.get_num_threads() if device.type == "cpu" else 1
    # Other threads do not see the caller's autocast.
    if n_threads > 1 and not torch.is_autocast_enabled("cpu"):
        yield from in_threads(function, items, n_threads)
    else:
        yield from map(function, items)


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a copy on the model's device; to a GPU from pinned memory, so that it overlaps with the previous batch."""
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


@dataclass(frozen=True)
class Fetched:
    """A tensor's copy on the CPU, on its way from a GPU.

    Attributes:
        copy: Its values are those of the tensor once `wait` returns, and not before.
        ready: Reached once the copy has ended; None of a tensor that was on the CPU.
    """

    copy: torch.Tensor
    ready: torch.cuda.Event | None

    def wait(self) -> torch.Tensor:
        """Wait for the copy to end; return it."""
        if self.ready is not None:
            self.ready.synchronize()
        return self.copy


def fetch(tensor: torch.Tensor) -> Fetched:
    """Start to copy a tensor from a GPU into pinned memory, without waiting for later work on the GPU."""
    if tensor.device.type != "cuda":
        return Fetched(tensor.cpu(), None)
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    copy.copy_(tensor, non_blocking=True)
    ready = torch.cuda.Event()
    # On the stream of the tensor's own GPU, where the copy runs: the current GPU may be another one, whose stream has
    # nothing to wait for.
    ready.record(torch.cuda.current_stream(tensor.device))
    return Fetched(copy, ready)


def delay_one(items: Iterable[Item]) -> Generator[Item, None, None]:
    """Yield the items, each once the next has been requested."""
    last: list[Item] = []
    for item in items:
        yield from last
        last = [item]
    yield from last


def is_lookup_encoder(model: MetagenBertModel) -> bool:
    """Return whether a read's vector does not depend on its batch at all, as in an encoder that looks vectors up."""
    return bool(getattr(model.encoder, "embeds_reads_independently", False))


def default_batch_tokens(model: MetagenBertModel) -> int:
    """Return the default token budget of a batch."""
    if is_lookup_encoder(model):
        return LOOKUP_BATCH_TOKENS
    return DEFAULT_BATCH_TOKENS["cpu" if model.device.type == "cpu" else "cuda"]


def check_batch_tokens(batch_tokens: int | None, model: MetagenBertModel) -> int:
    """Return the token budget to use, the default for None.

    Raises:
        InputError: It is not positive.
    """
    if batch_tokens is None:
        return default_batch_tokens(model)
    if batch_tokens < 1:
        raise InputError(f"batch_tokens is {batch_tokens}; it must be at least 1 token.")
    return batch_tokens


def iter_token_batches(
    packed: TokenSequences, batch_tokens: int, *, sort: bool = True
) -> Iterator[tuple[torch.Tensor, torch.Tensor, np.ndarray]]:
    """Cut packed reads, or other sequences, into batches of at most `batch_tokens` tokens.

    There are as few batches as the budget allows, and they are as even as the lengths allow: a little more than the
    budget is two halves of it, not a full batch and a small one. A read that is longer than the budget by itself makes
    a batch of its own.

    Args:
        packed: Tokens of the usable reads.
        batch_tokens: Budget.
        sort: Whether reads are put in order of length: an encoder that works on equally long ones need then not sort
            them, where they would have to be moved on its device. One that looks vectors up has no use for it.

    Yields:
        `input_ids (n_tokens,)`, `lengths (n_reads,)`, and the reads' positions among the usable reads.
    """
    if not len(packed.lengths):
        return
    lengths, order = packed.lengths, None
    if sort and bool((np.diff(lengths) < 0).any()):
        order = np.argsort(lengths, kind="stable")
        starts, lengths = (np.cumsum(lengths) - lengths)[order], lengths[order]
    ends = np.cumsum(lengths)
    for first, last in pairwise(_even_cuts(ends, batch_tokens)):
        part = lengths[first:last]
        if order is None:
            # In the given order: nothing has to be copied.
            used = int(ends[first - 1]) if first else 0
            ids, positions = packed.input_ids[used : int(ends[last - 1])], np.arange(first, last)
        else:
            within = np.arange(int(part.sum())) - np.repeat(np.cumsum(part) - part, part)
            ids, positions = packed.input_ids[np.repeat(starts[first:last], part) + within], order[first:last]
        yield torch.from_numpy(ids), torch.from_numpy(part), positions


def _even_cuts(ends: np.ndarray, batch_tokens: int) -> list[int]:
    """Return the cuts of `_full_cuts` for the smallest budget that needs no more batches than `batch_tokens` does."""
    cuts = _full_cuts(ends, batch_tokens)
    too_small, enough = 0, batch_tokens
    while enough - too_small > 1:
        middle = (too_small + enough) // 2
        tried = _full_cuts(ends, middle)
        if len(tried) == len(cuts):
            enough, cuts = middle, tried
        else:
            too_small = middle
    return cuts


def _full_cuts(ends: np.ndarray, batch_tokens: int) -> list[int]:
    """Return the number of the first read of each batch, and of all reads, with batches as full as can be.

    Args:
        ends: `(n_reads,)`, tokens up to the end of each read.
        batch_tokens: Budget.
    """
    cuts = [0]
    while cuts[-1] < len(ends):
        used = int(ends[cuts[-1] - 1]) if cuts[-1] else 0
        cuts.append(max(int(np.searchsorted(ends, used + batch_tokens, side="right")), cuts[-1] + 1))
    return cuts


def embed_batches(
    embed: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    sequences: TokenSequences,
    budget: TokenBudget,
    device: torch.device,
    *,
    sort: bool = True,
) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
    """Yield vectors of sequences, batch by batch; in full float32 where the encoder's numbers are float32.

    On a GPU a batch's vectors are fetched while the next batch is computed. A batch that does not fit into the device's
    memory is halved, with a warning.

    Args:
        embed: From `input_ids (n_tokens,)` on the device and `lengths (n,)` on the CPU to vectors `(n, hidden_size)`.
        sequences: Tokens.
        budget: Of one pass.
        device: Of the encoder.
        sort: As for `iter_token_batches`.

    Yields:
        float32 vectors `(n, hidden_size)`, and the positions of their sequences among all.

    Raises:
        RunError: A single sequence does not fit into the device's memory.
    """

    def one_pass(input_ids: torch.Tensor, lengths: torch.Tensor) -> Fetched:
        return fetch(embed(to_device(input_ids, device), lengths))

    @torch.inference_mode()
    @full_float32_matmul()
    def one_batch(batch: tuple[torch.Tensor, torch.Tensor, np.ndarray]) -> tuple[list[Fetched], np.ndarray]:
        input_ids, lengths, positions = batch
        return list(budget.passes(one_pass, input_ids, lengths)), positions

    with closing(map_per_core(one_batch, iter_token_batches(sequences, budget.tokens, sort=sort), device)) as batches:
        for parts, positions in delay_one(batches):
            first = 0
            for part in parts:
                vectors = part.wait().numpy()
                yield vectors, positions[first : first + len(vectors)]
                first += len(vectors)


def read_budget(model: MetagenBertModel, batch_tokens: int) -> TokenBudget:
    """Return the token budget of passes over reads."""
    return TokenBudget(
        model, batch_tokens, what="read", advice="set max_length in the checkpoint's preprocessing config"
    )


def embed_vectors(
    model: MetagenBertModel, processor: MetagenBertProcessor, batch: ReadBatch, batch_tokens: int | None = None
) -> tuple[np.ndarray, PackedReads]:
    """Return the vectors of a batch of reads in memory.

    Args:
        model: Its encoder, pooling and normalisation are used; its centroids are not.
        processor: The preprocessing config.
        batch: The reads.
        batch_tokens: Token budget of one pass through the encoder; a batch that the device has no memory for is halved.

    Returns:
        float32 `(n_used, hidden_size)`, and the tokens with their read_stats.

    Raises:
        InputError: `batch_tokens` is not positive.
        RunError: A single read does not fit into the device's memory.
    """
    budget = read_budget(model, check_batch_tokens(batch_tokens, model))
    packed = processor.encode_reads(batch.sequence, batch.offsets)
    vectors = np.empty((len(packed.lengths), model.config.hidden_size), np.float32)
    batches = embed_batches(model.embed_packed, packed, budget, model.device, sort=not is_lookup_encoder(model))
    with closing(batches):
        for values, positions in batches:
            vectors[positions] = values
    return vectors, packed
