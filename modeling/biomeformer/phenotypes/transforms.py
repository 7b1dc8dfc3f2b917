"""Transforms of compositions, row by row, so that no information passes between samples.

Zeros have no logarithm. How they are replaced is a rule of `ZERO_RULES`; by default it depends on the sequencing depth
where a table has counts, since a zero among a thousand reads says less than one among a million.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from .features import FeatureTable

TRANSFORMS = ("none", "clr", "ilr")
ZERO_RULES = {
    "fixed": "zeros are replaced by 1/n² of the whole for n features, the other shares shrunk to make room",
    "sq": "zeros among N counts of n features are replaced by 1/(n(√N + 1)) of the whole, the other shares shrunk to "
    "make room (Bayesian-multiplicative replacement with a uniform prior of strength √N, Martín-Fernández et al. 2015)",
    "gbm": "zeros among N counts are replaced by t/(1 + N g) of the whole, t being the feature's share of the other "
    "training samples' counts and g the geometric mean of t, the other shares shrunk to make room (geometric "
    "Bayesian-multiplicative replacement, Martín-Fernández et al. 2015)",
    "epsilon": "1e-12 is added to every share, zero or not (the scripts of Roy et al. 2026)",
}
EPSILON = 1e-12
# Rules that do not depend on the sequencing depth.
DEPTHLESS = ("fixed", "epsilon")
ZERO_CHOICES = ("auto", *ZERO_RULES)


def is_counts(values: np.ndarray) -> bool:
    """Tell whether values are counts, whose row sums are sequencing depths, rather than shares or percentages.

    Whole numbers of which every row sums to 1 or to 100 are taken for shares or percentages.
    """
    return bool((values == np.round(values)).all()) and not np.isin(values.sum(1), (1, 100)).all()


def resolve_zeros(values: np.ndarray, zeros: str) -> str:
    """Return the rule for a table's zeros: for `auto`, `sq` if its values are counts and `fixed` if they are shares.

    Raises:
        InputError: The rule is unknown, or needs counts and the values are shares.
    """
    if zeros not in ZERO_CHOICES:
        raise InputError(f"the rule for zeros is {zeros!r}; give {', '.join(ZERO_CHOICES)}.")
    counts = is_counts(values)
    if zeros == "auto":
        return "sq" if counts else "fixed"
    if zeros not in DEPTHLESS and not counts:
        raise InputError(
            f"the rule {zeros!r} for zeros needs counts, whose sum is the sequencing depth, and the table has shares; "
            f"give counts, or the rule {' or '.join(DEPTHLESS)}."
        )
    return zeros


def replace_zeros(
    values: np.ndarray,
    zeros: str = "fixed",
    training_rows: np.ndarray | None = None,
    names: Sequence[str] = (),
    prior_counts: np.ndarray | None = None,
) -> np.ndarray:
    """Scale rows to a sum of one and replace their zeros multiplicatively: the ratios of other features stay the same.

    The rule `epsilon`, which adds 1e-12 to every share, changes all ratios, if little. `sq` and `gbm` are those of
    zCompositions' `cmultRepl` (methods SQ and GBM, without its adjustment of values above the smallest observed share;
    Martín-Fernández et al. 2015, doi:10.1177/1471082X14535524). `fixed` is scikit-bio's `multi_replace`
    (Martín-Fernández et al. 2003, doi:10.1023/A:1023866030544).

    Args:
        values: float64 `(n_samples, n_features)`; counts for `sq` and `gbm`.
        zeros: One of `ZERO_RULES`.
        training_rows: For `gbm`: rows of the training samples; all by default. The prior of a sample is from all
            training samples but itself.
        names: Names of the features, for errors.
        prior_counts: For `gbm`: summed counts of training samples that are not among the rows, `(n_features,)`; then
            the prior is from them alone.

    Returns:
        float64 `(n_samples, n_features)`, rows that sum to one.

    Raises:
        InputError: The rule is unknown, or, for `gbm`, a feature is in no sample that the prior is from.
    """
    depth = values.sum(1, keepdims=True)
    shares = values / depth
    if zeros == "epsilon":
        shares = shares + EPSILON
        return np.asarray(shares / shares.sum(1, keepdims=True))
    n_features = values.shape[1]
    if zeros == "fixed":
        replacement = np.full(values.shape, 1 / n_features**2)
    elif zeros == "sq":
        replacement = np.broadcast_to(1 / (n_features * (np.sqrt(depth) + 1)), values.shape)
    elif zeros == "gbm":
        prior = _prior_counts(values, training_rows) if prior_counts is None else prior_counts[None]
        if (prior <= 0).any():
            column = int(np.argmax((prior <= 0).any(0)))
            feature = repr(names[column]) if len(names) else f"number {column}"
            raise InputError(
                f"the rule 'gbm' for zeros needs each feature in two training samples at least, and feature {feature} "
                "is in fewer; leave rare features out, or use the rule sq."
            )
        prior = prior / prior.sum(1, keepdims=True)
        strength = 1 / np.exp(np.log(prior).mean(1, keepdims=True))
        replacement = prior * strength / (depth + strength)
    else:
        raise InputError(f"the rule for zeros is {zeros!r}; give {', '.join(ZERO_RULES)}.")
    is_zero = values == 0
    remainder = 1 - np.where(is_zero, replacement, 0).sum(1, keepdims=True)
    return np.where(is_zero, replacement, shares * remainder)


def _prior_counts(values: np.ndarray, training_rows: np.ndarray | None) -> np.ndarray:
    """Return the summed counts that the prior of each sample is from, `(n_samples, n_features)`."""
    is_training = np.ones(len(values), bool)
    if training_rows is not None:
        is_training = np.zeros(len(values), bool)
        is_training[training_rows] = True
    return np.asarray(values[is_training].sum(0) - values * is_training[:, None])


def transform_shares(
    values: np.ndarray,
    transform: str,
    zeros: str = "fixed",
    training_rows: np.ndarray | None = None,
    names: Sequence[str] = (),
    prior_counts: np.ndarray | None = None,
) -> np.ndarray:
    """Transform compositions (Aitchison geometry through scikit-bio).

    Args:
        values: float64 `(n_samples, n_features)`, shares, or counts where the rule for zeros needs them.
        transform: `none` (shares), `clr` (centred log-ratio) or `ilr` (isometric log-ratio, Gram-Schmidt basis).
        zeros: Rule for zeros: see `replace_zeros`.
        training_rows: As for `replace_zeros`.
        names: As for `replace_zeros`.
        prior_counts: As for `replace_zeros`.

    Returns:
        float64 `(n_samples, n_features)`, one column fewer for `ilr`.

    Raises:
        InputError: The transform or rule is unknown, or there are too few features for it.

    Examples:
        >>> transform_shares(np.array([[0.5, 0.25, 0.25]]), "clr").round(3)
        array([[ 0.462, -0.231, -0.231]])
    """
    if transform not in TRANSFORMS:
        raise InputError(f"transform is {transform!r}; give {', '.join(TRANSFORMS)}.")
    if transform == "none":
        return values / values.sum(1, keepdims=True)
    if values.shape[1] < 2:
        raise InputError(f"a log-ratio needs two features, and there is {values.shape[1]}; use the transform none.")
    from skbio.stats.composition import clr, ilr

    replaced = replace_zeros(values, zeros, training_rows, names, prior_counts)
    return np.asarray(clr(replaced) if transform == "clr" else ilr(replaced)).reshape(len(values), -1)


def design_matrix(
    blocks: Sequence[FeatureTable],
    transform: str,
    zeros: str | Sequence[str] = "auto",
    training_rows: np.ndarray | None = None,
) -> np.ndarray:
    """Concatenate blocks of features by column, after scaling each row of a block to one and transforming the block.

    Covariates are not transformed; missing ones become the median of the training samples.

    Args:
        blocks: Tables of the same samples in the same order.
        transform: As for `transform_shares`.
        zeros: Rule for zeros, one of `ZERO_CHOICES`, for all blocks or for each.
        training_rows: Rows of the training samples, from which the prior of the rule `gbm` and the medians of missing
            covariates are; all by default.

    Returns:
        float64 `(n_samples, n_columns)`.

    Raises:
        InputError: The samples differ, or the transform or rule cannot be applied.
    """
    if any(block.sample_ids != blocks[0].sample_ids for block in blocks):
        raise InputError("feature tables of different samples cannot be concatenated; take the same samples of each.")
    matrices = []
    for block, rule in zip(blocks, block_rules(blocks, transform, zeros), strict=True):
        if not block.is_composition:
            matrices.append(_imputed(block, training_rows))
            continue
        matrices.append(
            transform_shares(block.fitted_on(training_rows), transform, rule or "fixed", training_rows, block.names)
        )
    return np.concatenate(matrices, axis=1)


def block_rules(blocks: Sequence[FeatureTable], transform: str, zeros: str | Sequence[str]) -> list[str]:
    """Return the rule for zeros of each block: empty if the transform has no logarithms."""
    if transform == "none":
        return [""] * len(blocks)
    chosen = [zeros] * len(blocks) if isinstance(zeros, str) else list(zeros)
    return [
        resolve_zeros(block.values, rule) if block.is_composition else ""
        for block, rule in zip(blocks, chosen, strict=True)
    ]


def needs_training_rows(blocks: Sequence[FeatureTable], rules: Sequence[str]) -> bool:
    """Tell whether the design matrix depends on which samples are for training."""
    return "gbm" in rules or any(
        block.refit is not None or (not block.is_composition and np.isnan(block.values).any()) for block in blocks
    )


def _imputed(block: FeatureTable, training_rows: np.ndarray | None) -> np.ndarray:
    """Return covariates with the median of the training samples for missing numbers.

    Raises:
        InputError: No training sample has a value.
    """
    known = block.values if training_rows is None else block.values[training_rows]
    empty = np.isnan(known).all(0)
    if empty.any():
        raise InputError(
            f"no training sample has a value of the covariate {block.names[int(np.argmax(empty))]!r}; leave it out."
        )
    return np.where(np.isnan(block.values), np.nanmedian(known, axis=0), block.values)


__all__ = [
    "TRANSFORMS",
    "ZERO_CHOICES",
    "ZERO_RULES",
    "block_rules",
    "design_matrix",
    "is_counts",
    "needs_training_rows",
    "replace_zeros",
    "resolve_zeros",
    "transform_shares",
]
