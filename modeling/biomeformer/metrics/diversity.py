"""Diversity within samples."""

from __future__ import annotations

import numpy as np
from scipy.special import entr


def shannon_entropy(shares: np.ndarray) -> np.ndarray:
    """Compute the Shannon entropy of compositions.

    Results equal scikit-bio's, which is not used because its import would add a second to `biomeformer embed`.

    Args:
        shares: `(n_samples, n_features)`, rows that sum to one, or are scaled to do so.

    Returns:
        float64 `(n_samples,)`, in bits; NaN for a row of zeros.
    """
    with np.errstate(invalid="ignore"):
        shares = shares / shares.sum(axis=1, keepdims=True)
    return np.asarray(entr(shares).sum(axis=1) / np.log(2))


__all__ = ["shannon_entropy"]
