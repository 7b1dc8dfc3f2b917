"""Diversity within samples."""

from __future__ import annotations

import numpy as np


def shannon_entropy(shares: np.ndarray) -> np.ndarray:
    """Shannon entropy of compositions, through scikit-bio.

    Args:
        shares: `(n_samples, n_features)`, rows that sum to one.

    Returns:
        float64 `(n_samples,)`, in bits.
    """
    from skbio.diversity.alpha import shannon

    return np.array([float(shannon(row, base=2)) for row in shares])


__all__ = ["shannon_entropy"]
