"""Processes that fit folds keep the memory that they free."""

import platform
import resource

import numpy as np
import pytest

from biomeformer.phenotypes.fold_fits import keep_freed_memory
from processes import CONTEXT


def n_page_faults() -> int:
    """Page faults while memory is allocated and freed five times."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        arrays = [np.ones(1 << 19) for _ in range(8)]
        del arrays
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def faults_before_and_after() -> tuple[int, int]:
    """Page faults with the C library's own settings, and with a worker's once it holds the memory."""
    n_page_faults()
    before = n_page_faults()
    assert keep_freed_memory()
    n_page_faults()
    return before, n_page_faults()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_not_given_back():
    with CONTEXT.Pool(1) as pool:
        before, after = pool.apply(faults_before_and_after)
    # 8 x 4 MB in pages of at most 64 kB, five times.
    assert before > 5 * 8 * 64
    assert after < before / 100
