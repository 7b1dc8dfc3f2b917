"""Read genomes in threads, ahead of their use."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from .catalog import CatalogedGenome
from .genome import Genome


class GenomesAhead:
    """Reads genomes, and calls the genes of those without, in threads, while others are embedded.

    Pyrodigal computes without the interpreter's lock, so genes of several genomes are called at a time. No more than
    one genome per thread is read beyond those that were taken, so that a large catalog does not fill the memory.

    Args:
        entries: The genomes, in the order in which they will be taken.
        translation_table: NCBI's number, of genes that do not say.
        threads: Genomes, or contigs of one genome, to process at a time.
    """

    def __init__(self, entries: Sequence[CatalogedGenome], *, translation_table: int, threads: int) -> None:
        self.translation_table = translation_table
        self._entries = iter(entries)
        n_at_once = max(min(threads, len(entries)), 1)
        self._threads_each = max(threads // n_at_once, 1)
        self._pool = ThreadPoolExecutor(n_at_once, thread_name_prefix="biomeformer-genomes")
        self._waiting: deque[tuple[CatalogedGenome, Future[Genome]]] = deque()
        for _ in range(n_at_once):
            self._submit()

    def _submit(self) -> None:
        """Begin to read the next genome, if one is left."""
        entry = next(self._entries, None)
        if entry is not None:
            future = self._pool.submit(entry.read, translation_table=self.translation_table, threads=self._threads_each)
            self._waiting.append((entry, future))

    def __iter__(self) -> Iterator[tuple[CatalogedGenome, Future[Genome]]]:
        """Yield each genome, in order, with what reading it returns or raises."""
        while self._waiting:
            entry, future = self._waiting.popleft()
            self._submit()
            yield entry, future

    def __enter__(self) -> GenomesAhead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop; what is being read is waited for, and not begun what is not."""
        self._pool.shutdown(wait=True, cancel_futures=True)


__all__ = ["GenomesAhead"]
