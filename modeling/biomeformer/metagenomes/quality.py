"""What an abundance table's read statistics and counts say against its encoder, for remarks after a run."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .distances import far_remark

# With this many reads per cluster, clusters without reads are not a matter of depth.
READS_PER_CLUSTER = 10
# Share of unknown tokens above which vectors say little of the reads.
MANY_UNKNOWN = 0.1


def table_remarks(counts: np.ndarray, read_stats: pd.DataFrame) -> list[str]:
    """Return remarks on unknown tokens, truncated reads, reads far from the centroids, and clusters without reads.

    Args:
        counts: int64 `(n_samples, n_clusters)`.
        read_stats: Read statistics, one row per sample.

    Returns:
        Sentences, each with its share; none if there is nothing to say.
    """
    totals = read_stats.sum()
    remarks = []
    n_tokens, n_unknown = int(totals.get("n_tokens", 0)), int(totals.get("n_unknown_tokens", 0))
    if n_unknown > MANY_UNKNOWN * n_tokens:
        remarks.append(
            f"{n_unknown / n_tokens:.0%} of the reads' tokens are unknown to the tokenizer (n_unknown_tokens in the "
            "table), so vectors say little of these reads; check that the files hold DNA"
        )
    n_used, n_truncated = int(totals.get("n_used", 0)), int(totals.get("n_truncated", 0))
    if n_truncated:
        remarks.append(
            f"{n_truncated:,} of {n_used:,} reads used ({n_truncated / n_used:.1%}) were truncated at the encoder's "
            "max_length (n_truncated in the table); windows count them whole (--windows)"
        )
    far = far_remark(int(totals.get("n_compared", 0)), int(totals.get("n_far", 0)))
    return [*remarks, *(remark for remark in (far, empty_clusters_remark(counts.sum(0))) if remark is not None)]


def empty_clusters_remark(cluster_sizes: np.ndarray) -> str | None:
    """Return a remark if most clusters are empty although there are many reads per cluster, or None.

    Args:
        cluster_sizes: Reads of each cluster, `(n_clusters,)`.
    """
    sizes = np.asarray(cluster_sizes)
    n_filled = int((sizes > 0).sum())
    if len(sizes) < 2 or n_filled * 2 >= len(sizes) or sizes.sum() < READS_PER_CLUSTER * len(sizes):
        return None
    return (
        f"{len(sizes) - n_filled:,} of {len(sizes):,} clusters are empty with {int(sizes.sum()):,} reads counted, so "
        "that the encoder tells few reads apart, or the centroids are of other reads; check the encoder and its "
        "tokenizer"
    )


__all__ = ["empty_clusters_remark", "table_remarks"]
