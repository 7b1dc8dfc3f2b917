"""Description of clusters by reads: GC content, lengths and examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..inference.batching import embed_vectors
from ..models.metagenbert import MetagenBertModel
from ..reads import ReadBatch, draw_reads
from ..reads.cohort import CohortSample
from .sample import require_processor

GC = np.isin(np.arange(256), list(b"GCgcSs"))
BASES = np.isin(np.arange(256), list(b"ACGTUacgtuSsWw"))


@dataclass(frozen=True)
class ClusterReads:
    """Reads of one cluster among those drawn from a cohort.

    Attributes:
        cluster: Number of the cluster.
        n_reads: Number of reads.
        gc: float64 `(n_reads,)`, share of G and C among the known bases.
        lengths: int64 `(n_reads,)`, in bases.
        examples: Sequences of those nearest to the centroid, from different samples where there are enough, the nearest
            first.
    """

    cluster: int
    n_reads: int
    gc: np.ndarray
    lengths: np.ndarray
    examples: tuple[str, ...]


def describe_clusters(
    model: MetagenBertModel,
    samples: Sequence[CohortSample],
    clusters: Sequence[int],
    *,
    reads_per_sample: int = 1000,
    n_examples: int = 3,
    seed: int = 0,
    batch_tokens: int | None = None,
    check: Callable[[], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[ClusterReads]:
    """Draw reads from samples and describe those nearest to given centroids.

    Args:
        model: Model with its processor.
        samples: Where reads are drawn from.
        clusters: Numbers of the clusters.
        reads_per_sample: Reads drawn from each sample, by identity.
        n_examples: Sequences kept of each cluster.
        seed: Of the draw.
        batch_tokens: Token budget of one pass through the encoder.
        check: Called after each batch; what it raises ends the work.
        progress: Called after each sample with samples done and in all.

    Returns:
        One description per cluster, in the order of `clusters`.

    Raises:
        ReadFileError: A file is damaged.
    """
    processor = require_processor(model)
    gc: dict[int, list[np.ndarray]] = {cluster: [] for cluster in clusters}
    lengths: dict[int, list[np.ndarray]] = {cluster: [] for cluster in clusters}
    nearest: dict[int, list[tuple[float, str]]] = {cluster: [] for cluster in clusters}
    for done, sample in enumerate(samples, 1):
        batch, _ = draw_reads(sample.reads, reads_per_sample, seed=seed, check=check)
        vectors, packed = embed_vectors(model, processor, batch, batch_tokens)
        distances = model.squared_distances(torch.from_numpy(vectors).to(model.device)).detach().cpu().numpy()
        assigned = distances.argmin(1)
        sizes = batch.lengths()
        share = gc_share(batch)
        for cluster in clusters:
            mine = np.flatnonzero(assigned == cluster)
            rows = packed.rows[mine]
            gc[cluster].append(share[rows])
            lengths[cluster].append(sizes[rows])
            if len(mine):
                best = int(distances[mine, cluster].argmin())
                row = int(rows[best])
                sequence = batch.sequence[batch.offsets[row] : batch.offsets[row + 1]].tobytes().decode("latin-1")
                nearest[cluster].append((float(distances[mine[best], cluster]), sequence))
        if progress is not None:
            progress(done, len(samples))
    return [
        ClusterReads(
            cluster,
            sum(map(len, lengths[cluster])),
            np.concatenate([np.empty(0), *gc[cluster]]),
            np.concatenate([np.empty(0, np.int64), *lengths[cluster]]),
            tuple(dict.fromkeys(sequence for _, sequence in sorted(nearest[cluster])))[:n_examples],
        )
        for cluster in clusters
    ]


def gc_share(batch: ReadBatch) -> np.ndarray:
    """Return the share of G and C among the known bases of each read, float64 `(n_reads,)`; 0 where none is known."""
    totals = [np.concatenate([[0], np.cumsum(table[batch.sequence])])[batch.offsets] for table in (GC, BASES)]
    n_gc, n_known = np.diff(totals[0]), np.diff(totals[1])
    return n_gc / np.maximum(n_known, 1)


__all__ = ["ClusterReads", "describe_clusters", "gc_share"]
