"""Subsampling by identity: whether a read is kept depends on its number and the seed, on nothing else.

Read `i` of a sample gets the 64-bit hash

    state = mix(seed + G)
    hash  = mix(state + (i + 1) * G)        (mod 2**64, G = 0x9E3779B97F4A7C15)

where `mix` is the finaliser of splitmix64 (Steele, Lea and Flood, 2014, doi:10.1145/2660193.2660195, with Stafford's
constants "mix 13"), a bijection of 64-bit integers. So the hashes of reads 0, 1, 2, … are the splitmix64 stream that
starts from `state`: no two reads of a sample share one. A read is kept when its hash is below `fraction * 2**64`,
therefore the reads of a smaller fraction are among those of a larger one with the same seed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biomeformer.errors import InputError

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB


def read_hash(index: npt.ArrayLike, seed: int) -> npt.NDArray[np.uint64]:
    """Hash read numbers.

    Args:
        index: Read numbers `(n_reads,)`, 0 or more.
        seed: Any integer; taken modulo 2**64.

    Returns:
        uint64 `(n_reads,)`; uniform over 0 … 2**64 - 1, the same on every machine.
    """
    state = int(_mix(np.array([(seed + _GAMMA) & _MASK], dtype=np.uint64))[0])
    numbers = np.asarray(index, dtype=np.int64).astype(np.uint64)
    return _mix((numbers + np.uint64(1)) * np.uint64(_GAMMA) + np.uint64(state))


def keep_reads(index: npt.ArrayLike, read_fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """Return which reads a subsample keeps.

    Args:
        index: Read numbers `(n_reads,)`, 0 or more.
        read_fraction: Share of the reads to keep, above 0 and at most 1; 1 keeps every read.
        seed: The subsample's seed.

    Returns:
        bool `(n_reads,)`.

    Raises:
        InputError: `read_fraction` is outside (0, 1].

    Examples:
        >>> int(keep_reads(range(100_000), 0.1, seed=0).sum())
        9909
        >>> bool((keep_reads(range(9), 0.5, seed=1) == keep_reads(range(9), 0.5, seed=1)).all())
        True
    """
    check_read_fraction(read_fraction)
    numbers = np.asarray(index)
    if read_fraction == 1:
        return np.ones(numbers.shape, dtype=np.bool_)
    return read_hash(numbers, seed) < np.uint64(int(read_fraction * 2.0**64))


def check_read_fraction(read_fraction: float) -> None:
    """Raise `InputError` unless `read_fraction` is above 0 and at most 1."""
    if not 0 < read_fraction <= 1:
        raise InputError(f"read_fraction is {read_fraction}, but it must be above 0 and at most 1 (0.1 keeps 10 %)")


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Apply the finaliser of splitmix64, uint64 in and out; array arithmetic wraps without a warning."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(_MIX_1)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(_MIX_2)
    return values ^ (values >> np.uint64(31))
