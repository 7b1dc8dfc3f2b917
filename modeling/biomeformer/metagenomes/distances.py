"""Reads that lie far from a model's centroids, beside the reads that these were learned on.

A read is far if it lies farther from its nearest centroid than 95 % of the reads of about its length that the centroids
were learned on: the vector of a short read is noisier, so distances are compared within classes of length only.
"""

from __future__ import annotations

import numpy as np

# Share of the reads that centroids were learned on that are far by definition.
FAR_SHARE = 0.05
# Share of far reads from which a cohort is better served by centroids of its own. Measured on simulated reads: see
# docs/clusters.md.
MANY_FAR = 0.065
CLASSES_PER_OCTAVE = 4
# Reads that a class of length needs for its quantile, and a cohort for a remark: then the share is known to 0.7 %.
MIN_READS = 200
MIN_COMPARED_READS = 1_000
# Reads of a fit that are looked at, and of each sample that are compared.
MAX_FITTED_READS = 50_000
MAX_COMPARED_READS = 1_000


def far_distances(distances: np.ndarray, n_tokens: np.ndarray) -> list[list[float]] | None:
    """Return the distances from which reads are far, by length, for `MetagenBertConfig.far_distances`.

    Args:
        distances: Distance of each read to its nearest centroid, `(n_reads,)`, of reads that these were learned on.
        n_tokens: Tokens of each read, `(n_reads,)`.

    Returns:
        For each class of length with enough reads, its fewest and most tokens and the distance; None if there is none.
    """
    classes = _length_class(n_tokens)
    record = []
    for length in np.unique(classes).tolist():
        own = classes == length
        if own.sum() >= MIN_READS:
            far = float(np.quantile(distances[own], 1 - FAR_SHARE))
            record.append([float(n_tokens[own].min()), float(n_tokens[own].max()), round(far, 6)])
    return record or None


def count_far(distances: np.ndarray, n_tokens: np.ndarray, record: list[list[float]]) -> tuple[int, int]:
    """Count reads whose length the record has, and those of them that are far.

    Args:
        distances: Distance of each read to its nearest centroid, `(n_reads,)`.
        n_tokens: Tokens of each read, `(n_reads,)`.
        record: `MetagenBertConfig.far_distances`.
    """
    limits = dict(zip(_length_class(np.array([row[0] for row in record])).tolist(), record, strict=True))
    n_compared = n_far = 0
    for length in np.unique(classes := _length_class(n_tokens)).tolist():
        if length in limits:
            own = classes == length
            n_compared += int(own.sum())
            n_far += int((distances[own] > limits[length][2]).sum())
    return n_compared, n_far


def far_remark(n_compared: int, n_far: int) -> str | None:
    """Return a remark if the share of far reads exceeds `MANY_FAR` by more than its error, or None."""
    # Two standard errors of a count.
    if n_compared < MIN_COMPARED_READS or n_far - 2 * n_far**0.5 <= MANY_FAR * n_compared:
        return None
    return (
        f"{n_far / n_compared:.1%} of the reads compared lie far from the centroids (n_far in the table), against "
        f"{FAR_SHARE:.0%} of those that the centroids were learned on: many probably come from other species. "
        "Centroids of the cohort's own reads fit better (embed --fit-centroids, or fit-centroids for several cohorts)"
    )


def _length_class(n_tokens: np.ndarray) -> np.ndarray:
    return np.floor(CLASSES_PER_OCTAVE * np.log2(np.maximum(n_tokens, 1))).astype(np.int64)


__all__ = ["FAR_SHARE", "MANY_FAR", "count_far", "far_distances", "far_remark"]
