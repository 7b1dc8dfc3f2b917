"""Transforms of compositions, row by row, so that no information passes between samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from .features import FeatureTable

TRANSFORMS = ("none", "clr", "ilr")
ZERO_RULE = "zeros are replaced by 1/n² of the whole for n features, the other shares shrunk to make room"


def transform_shares(shares: np.ndarray, transform: str) -> np.ndarray:
    """Transform compositions (Aitchison geometry through scikit-bio).

    Zeros, which have no logarithm, are replaced multiplicatively by `1 / n_features**2` (scikit-bio's
    `multi_replace`; Martín-Fernández et al. 2003, doi:10.1023/A:1023866030544), the same in every sample.

    Args:
        shares: float64 `(n_samples, n_features)`, rows that sum to one.
        transform: `none`, `clr` (centred log-ratio) or `ilr` (isometric log-ratio, Gram-Schmidt basis).

    Returns:
        float64 `(n_samples, n_features)`, one column fewer for `ilr`.

    Raises:
        InputError: The transform is unknown, or there are too few features for it.
    """
    if transform not in TRANSFORMS:
        raise InputError(f"transform is {transform!r}; give {', '.join(TRANSFORMS)}.")
    if transform == "none":
        return shares
    if shares.shape[1] < 2:
        raise InputError(f"a log-ratio needs two features, and there is {shares.shape[1]}; use the transform none.")
    from skbio.stats.composition import clr, ilr, multi_replace

    replaced = multi_replace(shares, delta=1 / shares.shape[1] ** 2)
    return np.asarray(clr(replaced) if transform == "clr" else ilr(replaced)).reshape(len(shares), -1)


def design_matrix(blocks: Sequence[FeatureTable], transform: str) -> np.ndarray:
    """Concatenate blocks of features by column, after scaling each row of a block to one and transforming the block.

    Args:
        blocks: Tables of the same samples in the same order.
        transform: As for `transform_shares`.

    Returns:
        float64 `(n_samples, n_columns)`.

    Raises:
        InputError: The samples differ, or the transform cannot be applied.
    """
    if any(block.sample_ids != blocks[0].sample_ids for block in blocks):
        raise InputError("feature tables of different samples cannot be concatenated; take the same samples of each.")
    return np.concatenate([transform_shares(block.shares, transform) for block in blocks], axis=1)


__all__ = ["TRANSFORMS", "ZERO_RULE", "design_matrix", "transform_shares"]
