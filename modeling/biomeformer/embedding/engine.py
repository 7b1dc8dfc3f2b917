"""Batches by token budget, tokenised away from the main thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

import numpy as np
import torch

from ..errors import InputError
from ..metagenbert import MetagenBertModel, MetagenBertProcessor, PackedReads
from ..reads import ReadBatch

# On a CPU what a layer makes of a core's batch should stay in the caches, and a batch is to be worth its products:
# 512 tokens were 1.1 times slower than 1,024, and 16,384 1.3 times.
DEFAULT_BATCH_TOKENS = {"cpu": 1_024, "cuda": 262_144}
# An encoder that only looks vectors up reads its tables anew in each batch: a batch of reads is one pass.
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
    """torch's setting of one thread, while at least one of those who asked for it is at work."""

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
    operation, and are held up by whatever else runs.
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


def on_each_core(
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


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A copy on the model's device; to a GPU from pinned memory, so that it runs beside the batch before."""
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def one_behind(items: Iterable[Item]) -> Generator[Item, None, None]:
    """The items, each once the next has been asked for."""
    last: list[Item] = []
    for item in items:
        yield from last
        last = [item]
    yield from last


def looks_up(model: MetagenBertModel) -> bool:
    """Whether a read's vector does not depend on its batch at all, as in an encoder that looks vectors up."""
    return bool(getattr(model.encoder, "embeds_reads_independently", False))


def default_batch_tokens(model: MetagenBertModel) -> int:
    """Token budget of a batch where none is asked for."""
    if looks_up(model):
        return LOOKUP_BATCH_TOKENS
    return DEFAULT_BATCH_TOKENS["cpu" if model.device.type == "cpu" else "cuda"]


def check_batch_tokens(batch_tokens: int | None, model: MetagenBertModel) -> int:
    """The token budget to use.

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

    A read that is longer than the budget by itself makes a batch of its own.

    Args:
        packed: Tokens of the usable reads.
        batch_tokens: Budget.
        sort: Whether reads are put in order of length: an encoder that works on equally long ones need then not sort
            them, where they would have to be moved on its device. One that looks vectors up has no use for it.

    Yields:
        `input_ids (n_tokens,)`, `lengths (n_reads,)`, and the reads' places among the usable reads.
    """
    if not len(packed.lengths):
        return
    lengths, order = packed.lengths, None
    if sort and bool((np.diff(lengths) < 0).any()):
        order = np.argsort(lengths, kind="stable")
        starts, lengths = (np.cumsum(lengths) - lengths)[order], lengths[order]
    ends = np.cumsum(lengths)
    first = 0
    while first < len(lengths):
        used = int(ends[first - 1]) if first else 0
        last = max(int(np.searchsorted(ends, used + batch_tokens, side="right")), first + 1)
        part = lengths[first:last]
        if order is None:
            # As they lie: nothing has to be copied.
            ids, places = packed.input_ids[used : int(ends[last - 1])], np.arange(first, last)
        else:
            within = np.arange(int(part.sum())) - np.repeat(np.cumsum(part) - part, part)
            ids, places = packed.input_ids[np.repeat(starts[first:last], part) + within], order[first:last]
        yield torch.from_numpy(ids), torch.from_numpy(part), places
        first = last


def embed_vectors(
    model: MetagenBertModel, processor: MetagenBertProcessor, batch: ReadBatch, batch_tokens: int | None = None
) -> tuple[np.ndarray, PackedReads]:
    """Vectors of a batch of reads held in memory.

    Args:
        model: Its encoder, pooling and normalisation are used; its centroids are not.
        processor: The contract.
        batch: The reads.
        batch_tokens: Token budget of one pass through the encoder.

    Returns:
        float32 `(n_used, hidden_size)`, and the tokens with their tallies.
    """
    budget = check_batch_tokens(batch_tokens, model)
    packed = processor.encode_reads(batch.sequence, batch.offsets)
    vectors = np.empty((len(packed.lengths), model.config.hidden_size), np.float32)

    @torch.inference_mode()
    def embed(one: tuple[torch.Tensor, torch.Tensor, np.ndarray]) -> None:
        input_ids, lengths, places = one
        vectors[places] = model.embed_packed(send(input_ids, model.device), lengths).cpu().numpy()

    batches = iter_token_batches(packed, budget, sort=not looks_up(model))
    deque(on_each_core(embed, batches, model.device), maxlen=0)
    return vectors, packed
