"""The two smallest distances of each read."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from biomeformer.models.metagenbert.modeling_metagenbert import two_nearest


@pytest.mark.parametrize("n_columns", [1, 2, 7, 16, 48, 1000, 1024])
def test_the_two_smallest_numbers(n_columns):
    distances = torch.from_numpy(np.random.default_rng(0).normal(size=(300, n_columns)))
    expected = distances.sort(1).values
    column, nearest, second = two_nearest(distances.clone())
    assert torch.equal(column, distances.argmin(1)) and torch.equal(nearest, expected[:, 0])
    assert torch.equal(second, expected[:, 1] if n_columns > 1 else torch.full((300,), math.inf).double())


def test_equal_numbers_are_both_found():
    distances = torch.full((2, 32), 5.0)
    distances[0, [3, 20]] = distances[1, [17, 1]] = 1.0
    column, nearest, second = two_nearest(distances.clone())
    assert nearest.tolist() == [1, 1] == second.tolist()
    assert column[0] in (3, 20) and column[1] in (1, 17)
