"""How the compiled kernels read tables and centroids."""

from __future__ import annotations

CODON = 3
# float32 numbers of a vector register of AVX-512; narrower registers take a part of them at a time.
LANES = 16
# Heads whose scores are summed at once.
HEADS = 8
# Columns of a table that are summed at once: 4**6 rows of 32 float32 are 512 KiB, half of the second-level cache.
TILE = 32
# Rows and blocks of 16 centroids whose products are accumulated in registers at once.
ROWS, BLOCKS = 4, 4

__all__ = ["BLOCKS", "CODON", "HEADS", "LANES", "ROWS", "TILE"]
