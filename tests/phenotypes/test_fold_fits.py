"""Processes that fit folds keep the memory that they free."""

import platform
import subprocess
import sys

import pytest

# Page faults while memory is allocated and freed, with the C library's own settings, and with a worker's once it holds
# the memory; in a new process, whose allocator has not yet adapted to other work.
COUNT_FAULTS = """
import resource
import numpy as np
from biomeformer.phenotypes.fold_fits import keep_freed_memory

def n_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        arrays = [np.ones(1 << 19) for _ in range(8)]
        del arrays
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

n_faults()
before = n_faults()
assert keep_freed_memory()
n_faults()
print(before, n_faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_not_given_back():
    done = subprocess.run([sys.executable, "-c", COUNT_FAULTS], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    # 8 x 4 MB in pages of at most 64 kB, five times.
    assert before > 5 * 8 * 64
    assert after < before / 100
