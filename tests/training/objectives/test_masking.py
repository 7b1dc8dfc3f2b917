"""BERT's masking."""

import numpy as np

from biomeformer.training.objectives import mask_tokens


def test_shares_are_those_of_bert():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 100, 400_000)
    hidden, labels = mask_tokens(ids, [0, 1, 2, 3, 4], 4, 100, np.random.default_rng(1))
    ordinary = ids > 4
    chosen = labels != -100
    assert not chosen[~ordinary].any() and (hidden[~chosen] == ids[~chosen]).all()
    assert (labels[chosen] == ids[chosen]).all()
    assert abs(chosen[ordinary].mean() - 0.15) < 0.003
    masked, kept = hidden[chosen] == 4, hidden[chosen] == ids[chosen]
    assert abs(masked.mean() - 0.8) < 0.01 and abs(kept.mean() - 0.1 - 0.1 / 95) < 0.01
    swapped = hidden[chosen & (hidden != 4) & (hidden != ids)]
    assert swapped.min() == 5 and swapped.max() == 99
