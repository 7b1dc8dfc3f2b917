"""Drawing a fixed number of reads from a sample."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from biomeformer.errors import InputError
from biomeformer.reads.batch import ReadBatch
from biomeformer.reads.sample import SampleReader, SampleReads
from biomeformer.reads.subsampling import read_hash


def draw_reads(
    reads: SampleReads,
    n_reads: int,
    *,
    seed: int = 0,
    progress: Callable[[int, int, int], None] | None = None,
    check: Callable[[], None] | None = None,
) -> tuple[ReadBatch, int]:
    """Draw the `n_reads` reads whose numbers have the smallest hashes; uniform and reproducible.

    One pass over the files; memory grows with `n_reads`, not with the sample. Of the last pair drawn, only the first
    mate may fit.

    Args:
        reads: The files.
        n_reads: Reads to draw, mates counted as two; all of them where the sample has fewer.
        seed: The draw's seed.
        progress: Called after each batch with reads seen, bytes read and bytes in all.
        check: Called after each batch; what it raises ends the work.

    Returns:
        The reads in the order of their numbers, and how many reads the sample has.

    Raises:
        InputError: `n_reads` is below 1.
        ReadFileError: As `SampleReader`.
    """
    if n_reads < 1:
        raise InputError(f"n_reads is {n_reads}; draw at least one read")
    reader = SampleReader(reads)
    pool: list[ReadBatch] = []
    n_pooled = 0
    limit = np.uint64(np.iinfo(np.uint64).max)
    for batch in reader:
        if progress is not None:
            progress(reader.n_reads, reader.bytes_done, reader.bytes_total)
        if check is not None:
            check()
        candidates = batch.select(read_hash(batch.index, seed) <= limit)
        if not len(candidates):
            continue
        pool.append(candidates)
        n_pooled += len(candidates)
        if n_pooled >= 2 * n_reads:
            drawn, limit = _smallest(ReadBatch.concatenate(pool), n_reads, seed)
            pool, n_pooled = [drawn], len(drawn)
    drawn, _ = _smallest(ReadBatch.concatenate(pool), n_reads, seed)
    return drawn, reader.n_reads


def _smallest(batch: ReadBatch, n_reads: int, seed: int) -> tuple[ReadBatch, np.uint64]:
    """Return the `n_reads` reads with the smallest hashes, in the order of the batch, and the largest of these."""
    hashes = read_hash(batch.index, seed)
    if len(batch) <= n_reads:
        return batch, np.uint64(np.iinfo(np.uint64).max)
    order: npt.NDArray[np.intp] = np.argsort(hashes, kind="stable")[:n_reads]
    keep = np.zeros(len(batch), dtype=np.bool_)
    keep[order] = True
    return batch.select(keep), np.uint64(hashes[order[-1]])
