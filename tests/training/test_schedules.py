"""Learning-rate schedules against those of transformers, which begin one step lower."""

from __future__ import annotations

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from biomeformer.training.schedules import constant, cosine_warmup_decay, linear_warmup_decay


def factors(make, n_warmup: int, n_steps: int) -> list[float]:
    """What a scheduler multiplies the rate by, step after step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer, n_warmup, n_steps)
    values = []
    for _ in range(n_steps):
        values.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return values


@pytest.mark.parametrize(("n_steps", "warmup"), [(100, 0.06), (1000, 0.05), (7, 0.0), (3, 0.5)])
def test_decay_is_that_of_transformers(n_steps, warmup):
    n_warmup = max(round(n_steps * warmup), 1)
    linear, cosine = linear_warmup_decay(n_steps, warmup), cosine_warmup_decay(n_steps, warmup)
    for ours, make in ((linear, get_linear_schedule_with_warmup), (cosine, get_cosine_schedule_with_warmup)):
        expected = factors(make, n_warmup, n_steps)
        assert [ours(step) for step in range(n_warmup, n_steps)] == pytest.approx(expected[n_warmup:], abs=1e-12)
        # The warm-up begins one increment above zero.
        assert [ours(step - 1) for step in range(1, n_warmup)] == pytest.approx(expected[1:n_warmup], abs=1e-12)
        assert ours(0) > 0 and ours(n_warmup - 1) == 1
    assert constant(5) == 1


def test_schedules_of_one_step_start_at_the_peak():
    assert linear_warmup_decay(1, 0.5)(0) == cosine_warmup_decay(1, 1.0)(0) == 1
