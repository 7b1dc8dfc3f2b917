"""Masked language modelling, as DNABERT-2 was pretrained (arXiv 2306.15006; BERT, arXiv 1810.04805, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

IGNORED = -100


def mask_tokens(
    input_ids: np.ndarray,
    special_ids: Sequence[int],
    mask_id: int,
    vocab_size: int,
    rng: np.random.Generator,
    fraction: float = 0.15,
) -> tuple[np.ndarray, np.ndarray]:
    """Mask a fraction of the tokens: 80 % of these become `[MASK]`, 10 % a random token, 10 % are unchanged.

    Args:
        input_ids: Token ids, of any shape.
        special_ids: Tokens that are neither masked nor used as random tokens: `[CLS]`, `[SEP]`, `[PAD]`, `[UNK]`,
            `[MASK]`.
        mask_id: Id of `[MASK]`.
        vocab_size: Upper bound of the ids of random tokens.
        rng: Random generator.
        fraction: Fraction of tokens to mask.

    Returns:
        The masked ids, and labels of the same shape: the true id of each chosen token, -100 elsewhere.
    """
    chosen = (rng.random(input_ids.shape) < fraction) & ~np.isin(input_ids, special_ids)
    labels = np.where(chosen, input_ids, IGNORED)
    fate = rng.random(input_ids.shape)
    ordinary = np.setdiff1d(np.arange(vocab_size), special_ids)
    hidden = np.where(chosen & (fate < 0.8), mask_id, input_ids)
    swapped = chosen & (fate >= 0.8) & (fate < 0.9)
    hidden[swapped] = rng.choice(ordinary, int(swapped.sum()))
    return hidden, labels


__all__ = ["IGNORED", "mask_tokens"]
