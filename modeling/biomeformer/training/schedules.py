"""Learning-rate schedules: factor of the peak rate as a function of the step, from 0.

The schedulers of torch and transformers start the warm-up at a rate of 0, which wastes the first step; these start one
increment above it. They are functions of the step only, so they have no state to save.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int], float]


def constant(step: int) -> float:
    """Return 1 at every step."""
    return 1.0


def linear_warmup_decay(n_steps: int, warmup: float) -> Schedule:
    """Return a schedule that rises linearly over a fraction `warmup` of the steps, then decays linearly to 0."""
    n_rising = max(round(n_steps * warmup), 1)

    def factor(step: int) -> float:
        return min((step + 1) / n_rising, max(n_steps - step, 0) / max(n_steps - n_rising, 1))

    return factor


def cosine_warmup_decay(n_steps: int, warmup: float) -> Schedule:
    """Return a schedule that rises linearly over a fraction `warmup` of the steps, then decays to 0 along a cosine."""
    n_rising = max(round(n_steps * warmup), 1)

    def factor(step: int) -> float:
        if step < n_rising:
            return (step + 1) / n_rising
        return 0.5 * (1 + math.cos(math.pi * (step - n_rising) / max(n_steps - n_rising, 1)))

    return factor


# Schedules that a config names; each takes the number of steps and the fraction of them that rises.
WARMUP_SCHEDULES: dict[str, Callable[[int, float], Schedule]] = {
    "linear": linear_warmup_decay,
    "cosine": cosine_warmup_decay,
}

__all__ = ["WARMUP_SCHEDULES", "Schedule", "constant", "cosine_warmup_decay", "linear_warmup_decay"]
