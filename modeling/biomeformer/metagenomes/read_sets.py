"""Samples as sets of vectors: their own centroids (MetagenBERT-Local) or a sample of their reads (MetagenBERT-Sub)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..inference.batching import embed_vectors
from ..io.short_repr import short_repr
from ..models.metagenbert import MetagenBertModel
from ..reads import SampleReads, draw_reads
from .kmeans import run_kmeans
from .sample import ProgressCallback, require_processor

N_ITERATIONS = 20


@dataclass(frozen=True)
class ReadSet:
    """Vectors of one sample with their weights.

    Attributes:
        vectors: float32 `(n_elements, hidden_size)`.
        weights: float32 `(n_elements,)`, above 0, summing to one.
    """

    vectors: np.ndarray
    weights: np.ndarray

    __repr__ = short_repr

    def parts(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return sets of at most `size` elements, as even as possible: every n-th element each.

        Returns:
            float32 `(n_sets, n_elements, hidden_size)` and weights `(n_sets, n_elements)`, 0 on padding.
        """
        n_sets = -(-len(self.vectors) // size)
        rows_of_sets = [np.arange(i, len(self.vectors), n_sets) for i in range(n_sets)]
        longest = len(rows_of_sets[0])
        elements = np.zeros((n_sets, longest, self.vectors.shape[1]), np.float32)
        weights = np.zeros((n_sets, longest), np.float32)
        for i, rows in enumerate(rows_of_sets):
            elements[i, : len(rows)], weights[i, : len(rows)] = self.vectors[rows], self.weights[rows]
        return elements, weights


def read_set(
    model: MetagenBertModel,
    reads: SampleReads,
    *,
    elements: str,
    size: int,
    n_reads: int,
    seed: int = 0,
    batch_tokens: int | None = None,
    progress: ProgressCallback | None = None,
    check: Callable[[], None] | None = None,
) -> ReadSet:
    """Return a sample's own centroids, or its reads, as a set of vectors.

    Args:
        model: Read encoder with its processor; its centroids are not used.
        reads: The sample's files.
        elements: `centroids`, found by k-means among the vectors of the reads drawn, with the share of these reads in
            each cluster; or `reads`, the vectors of the reads drawn, with equal shares.
        size: Clusters. A sample with fewer usable reads has as many; empty ones are left out.
        n_reads: Reads drawn, those whose number hashes lowest.
        seed: Of the draw and of k-means.
        batch_tokens: Token budget of one pass through the encoder.
        progress: Called after each batch with an empty id, reads seen, bytes read and bytes in all.
        check: Called after each batch; what it raises ends the work.

    Returns:
        The set, the same however often it is made.

    Raises:
        ReadFileError: A file is damaged.
        InputError: `elements` is neither, or no read can be used.
    """
    if elements not in ("centroids", "reads"):
        raise InputError(f"elements is {elements!r}; give centroids or reads.")

    def seen(n_seen: int, bytes_done: int, bytes_total: int) -> None:
        if progress is not None:
            progress("", n_seen, bytes_done, bytes_total)

    batch, _ = draw_reads(reads, n_reads, seed=seed, progress=seen, check=check)
    vectors, _ = embed_vectors(model, require_processor(model), batch, batch_tokens)
    if not len(vectors):
        where = ", ".join(map(str, reads.paths()))
        raise InputError(f"{where}: none of {len(batch)} reads drawn can be used; is this the right file?")
    if elements == "reads":
        return ReadSet(vectors, np.full(len(vectors), 1 / len(vectors), np.float32))
    n_clusters = min(size, len(vectors))
    spherical = bool(model.config.normalize_embeddings)
    fit = run_kmeans(vectors, n_clusters, n_iterations=N_ITERATIONS, seed=seed, spherical=spherical)
    is_used = fit.cluster_sizes > 0
    weights = fit.cluster_sizes[is_used] / fit.cluster_sizes.sum()
    return ReadSet(fit.centroids[is_used], weights.astype(np.float32))


__all__ = ["ReadSet", "read_set"]
