"""P values: of permutations, adjusted for multiple tests, and as text. A p value that is undefined is NaN."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Statistics of permutations that differ by rounding only are ties, which count.
RELATIVE_TIE = 1e-8
SMALLEST_PRINTED = 1e-300


def permutation_p(observed: float, permuted: np.ndarray) -> float:
    """Return the fraction of permutations, counting the identity, with at least the observed statistic.

    Args:
        observed: Statistic of the data, larger for a larger effect.
        permuted: Statistics of permutations, `(n_permutations,)`; undefined ones (NaN) count against the effect.

    Returns:
        p; NaN if the observed statistic is undefined or there are no permutations.
    """
    if np.isnan(observed) or not len(permuted):
        return float("nan")
    at_least = ~(permuted < observed - RELATIVE_TIE * abs(observed))
    return float((1 + at_least.sum()) / (1 + len(permuted)))


def benjamini_hochberg(p: Sequence[float]) -> np.ndarray:
    """Adjust p values (Benjamini and Hochberg 1995), float64 `(n_tests,)`; undefined ones stay NaN and do not count."""
    from scipy.stats import false_discovery_control

    values = np.asarray(p, np.float64)
    adjusted = np.full(values.shape, np.nan)
    defined = ~np.isnan(values)
    if defined.any():
        adjusted[defined] = false_discovery_control(values[defined])
    return adjusted


def format_p(p: float | None, n_permutations: int | None = None) -> str:
    """Return a p or q value as text: `undefined` for NaN, `< 0.005` for the smallest that permutations can give.

    Args:
        p: The value.
        n_permutations: Number of permutations that p is from; None if it is from a distribution.
    """
    if p is None or np.isnan(p):
        return "undefined"
    if n_permutations and p <= (1 + RELATIVE_TIE) / (1 + n_permutations):
        return f"< {1 / (1 + n_permutations):.3g}"
    if p < SMALLEST_PRINTED:
        return f"< {SMALLEST_PRINTED:g}"
    return f"{p:.3g}"


def describe_p(p: float | None, n_permutations: int | None = None) -> str:
    """Return `p = 0.02`, `p < 0.005` or `p undefined`."""
    text = format_p(p, n_permutations)
    return f"p {text}" if text.startswith(("<", "u")) else f"p = {text}"


__all__ = ["benjamini_hochberg", "describe_p", "format_p", "permutation_p"]
