"""The range of the genomes that a model was trained on, and what of a genome lies outside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# Of fewer genomes the quantiles say little.
MIN_GENOMES = 10
# The middle 99 % of the training genomes.
QUANTILES = (0.005, 0.5, 0.995)


def training_range(gc: Sequence[float], n_genes: Sequence[int], mean_vectors: np.ndarray) -> dict[str, Any] | None:
    """Return the range of genomes, as JSON for the model's config; None for too few of them.

    Args:
        gc: Fraction of G and C of each genome; NaN where it is unknown. May be empty.
        n_genes: Number of genes of each genome.
        mean_vectors: Mean of the vectors of each genome's proteins, `(n_genomes, size)`.
    """
    n_genomes = len(n_genes)
    if n_genomes < MIN_GENOMES:
        return None
    center, spread = mean_vectors.mean(0), mean_vectors.std(0)
    known = np.array([value for value in gc if np.isfinite(value)])
    distances = [_distance(vector, center, spread) for vector in mean_vectors]
    values: dict[str, Any] = {"n_genomes": n_genomes, "n_genes": _quantiles(np.array(n_genes))}
    if len(known) >= MIN_GENOMES:
        values["gc"] = _quantiles(known)
    return values | {
        "mean_vector": [float(f"{value:.6g}") for value in center],
        "vector_spread": [float(f"{value:.6g}") for value in spread],
        "vector_distance": _quantiles(np.array(distances)),
    }


def outside_range(known: Mapping[str, Any], gc: float, n_genes: int, mean_vector: np.ndarray) -> tuple[str, ...]:
    """Return what of a genome lies outside the range of 99 % of the training genomes, in words.

    Args:
        known: What `training_range` returned.
        gc: Fraction of G and C; NaN if it is unknown.
        n_genes: Number of genes.
        mean_vector: Mean of the vectors of its proteins.
    """
    differences = []
    if "gc" in known and np.isfinite(gc):
        low, _, high = known["gc"]
        if not low <= gc <= high:
            differences.append(f"GC {gc:.1%} (theirs {low:.1%} to {high:.1%})")
    if "n_genes" in known:
        low, _, high = known["n_genes"]
        if not low <= n_genes <= high:
            differences.append(f"{n_genes:,} genes (theirs {low:,.0f} to {high:,.0f})")
    if "mean_vector" in known:
        center, spread = np.array(known["mean_vector"]), np.array(known["vector_spread"])
        distance, high = _distance(mean_vector, center, spread), known["vector_distance"][2]
        if distance > high:
            differences.append(f"mean protein vector {distance:.2g} standard deviations off (theirs up to {high:.2g})")
    return tuple(differences)


def _distance(vector: np.ndarray, center: np.ndarray, spread: np.ndarray) -> float:
    """Return the root mean square of a vector's standard scores."""
    return float(np.sqrt((((vector - center) / np.maximum(spread, 1e-6)) ** 2).mean()))


def _quantiles(values: np.ndarray) -> list[float]:
    return [float(f"{value:.6g}") for value in np.quantile(values, QUANTILES)]


__all__ = ["MIN_GENOMES", "outside_range", "training_range"]
