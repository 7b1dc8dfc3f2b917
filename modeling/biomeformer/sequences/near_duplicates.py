"""Near-duplicates by MinHash over canonical k-mers, with banding; signatures are kept on disk.

A sequence's signature is one permutation hashing with 128 bins (Li, Owen and Zhang, 2012): each k-mer is assigned to a
bin by its hash, each bin keeps its smallest hash, and an empty bin takes the value of another bin, drawn by its number
alone (Shrivastava, 2017). The fraction of equal bins estimates the Jaccard index of two k-mer sets, with a standard
error of at most 0.045 if there are several k-mers per bin. Two sequences are candidates if they agree in all bins of a
band of two bins (four from a similarity of 0.65 on), which sequences at the requested similarity do with a probability
of 99 % or more; among the sequences that share a band, each is compared with the one before it and with the first.
Sequences that agree in enough bins are put into one cluster, and clusters are transitive.

With k = 12, copies that differ in about every 17th base have an index of about 0.3, as do windows that share half their
bases. Both strands count as one. Sequences that are similar only as proteins or by short motifs are not detected, nor
is a short sequence contained in a long one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

K = 12
N_BINS = 128
STRICT = 0.65
BAND_TYPES = {2: "<u4", 4: "<u8"}
ROW_BYTES = 2 * N_BINS
READ_ROWS, PAIR_ROWS = 1 << 14, 1 << 14
_CODE = np.full(256, 4, np.uint8)
_CODE[list(b"ACGT")] = range(4)
_EMPTY_BIN = np.uint32(0xFFFFFFFF)


def signatures(sequences: list[bytes], digests: np.ndarray) -> np.ndarray:
    """Compute MinHash signatures.

    Args:
        sequences: Folded sequences.
        digests: uint64 `(n_sequences, 2)`; a sequence without any k-mer of A, C, G and T gets a signature made from
            its digest, which resembles no other.

    Returns:
        uint16 `(n_sequences, 128)`.
    """
    kmers, rows = _kmers(sequences)
    hashes = _mix(kmers.astype(np.uint64) + np.uint64(1))
    flat = np.full(len(sequences) * N_BINS, _EMPTY_BIN, np.uint32)
    cells = rows * N_BINS + (hashes >> np.uint64(57)).astype(np.int64)
    np.minimum.at(flat, cells, (hashes & np.uint64(0x7FFFFFFF)).astype(np.uint32))
    bins = flat.reshape(-1, N_BINS)
    filled = _fill_empty_bins(bins).astype(np.uint16)
    has_no_kmers = (bins == _EMPTY_BIN).all(1)
    filled[has_no_kmers] = np.tile(digests[has_no_kmers].view(np.uint16), N_BINS // 8)
    return filled


def _kmers(sequences: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Return the canonical k-mers of A, C, G and T, uint32 `(n_kmers,)`, and the row of each one's sequence, int64."""
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    codes = _CODE[np.frombuffer(b"".join(sequences), np.uint8)]
    n_windows = max(len(codes) - K + 1, 0)
    if not n_windows:
        return np.empty(0, np.uint32), np.empty(0, np.int64)
    forward, backward = np.zeros(n_windows, np.uint32), np.zeros(n_windows, np.uint32)
    bases = (codes & 3).astype(np.uint32)
    for i in range(K):
        letters = bases[i : i + n_windows]
        forward = (forward << np.uint32(2)) | letters
        backward |= (np.uint32(3) - letters) << np.uint32(2 * i)
    n_ambiguous = np.concatenate([[0], np.cumsum(codes == 4)])
    is_whole = n_ambiguous[K:] == n_ambiguous[:n_windows]
    rows = np.repeat(np.arange(len(sequences)), lengths)
    is_whole &= rows[:n_windows] == rows[K - 1 :]
    return np.minimum(forward, backward)[is_whole], rows[:n_windows][is_whole]


def _fill_empty_bins(bins: np.ndarray) -> np.ndarray:
    """Fill empty bins from other bins of the same row; a row of empty bins stays empty."""
    filled, left = bins.copy(), np.argwhere((bins == _EMPTY_BIN) & (bins != _EMPTY_BIN).any(1)[:, None])
    attempt = 0
    while len(left):
        attempt += 1
        source = (_mix((left[:, 1] + N_BINS * attempt).astype(np.uint64)) >> np.uint64(57)).astype(np.int64)
        values = bins[left[:, 0], source]
        filled[left[:, 0], left[:, 1]] = values
        left = left[values == _EMPTY_BIN]
    return filled


def _mix(values: np.ndarray) -> np.ndarray:
    """Hash 64-bit integers bijectively (the finalizer of MurmurHash3)."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


def find_clusters(
    file: Path, order: np.ndarray, similarity: float, on_band: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """Find clusters of sequences that are connected by chains of near-duplicates.

    Memory use is a few numbers per sequence; the signatures stay on disk and are read once per band.

    Args:
        file: Concatenated signatures, as returned by `signatures`.
        order: int64 `(n_sequences,)`, rows of the file in an order that does not depend on the order of the input.
        similarity: Smallest Jaccard index at which two sequences are put into one cluster.
        on_band: Called after each band with the number of bands done and their total number.

    Returns:
        int64 `(n_sequences,)`, in that order: index of the first member of each sequence's cluster.
    """
    n = len(order)
    roots = np.arange(n)
    if n < 2:
        return roots
    width = 4 if similarity >= STRICT else 2
    needed = int(np.ceil(similarity * N_BINS))
    n_bands = N_BINS // width
    for band in range(n_bands):
        for left, right in _pairs(_band_keys(file, n, band, width)[order]):
            apart = roots[left] != roots[right]
            left, right = left[apart], right[apart]
            alike = _are_alike(file, order[left], order[right], needed)
            if alike.any():
                roots = _joined(roots, left[alike], right[alike])
        if on_band is not None:
            on_band(band + 1, n_bands)
    return roots


def _band_keys(file: Path, n: int, band: int, width: int) -> np.ndarray:
    kind: np.dtype[Any] = np.dtype(BAND_TYPES[width])
    keys = np.empty(n, kind)
    with file.open("rb") as handle:
        for first in range(0, n, READ_ROWS):
            rows = min(READ_ROWS, n - first)
            part = np.fromfile(handle, kind, rows * (N_BINS // width))
            keys[first : first + rows] = part.reshape(rows, -1)[:, band]
    return keys


def _pairs(keys: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs of rows with the same key: each row with the one before it, then each with the first."""
    by_key = np.argsort(keys, kind="stable")
    is_same = keys[by_key[1:]] == keys[by_key[:-1]]
    second = np.flatnonzero(is_same) + 1
    yield by_key[second - 1], by_key[second]
    run_start = np.arange(len(keys))
    run_start[1:][is_same] = 0
    first = np.maximum.accumulate(run_start)[second]
    is_new = first < second - 1
    yield by_key[first[is_new]], by_key[second[is_new]]


def _are_alike(file: Path, left: np.ndarray, right: np.ndarray, needed: int) -> np.ndarray:
    alike = np.empty(len(left), bool)
    # Read rather than mapped: the system may count all pages of a mapped file as this process's memory.
    with file.open("rb", buffering=0) as handle:
        for first in range(0, len(left), PAIR_ROWS):
            part = slice(first, first + PAIR_ROWS)
            alike[part] = (_rows(handle, left[part]) == _rows(handle, right[part])).sum(1) >= needed
    return alike


def _rows(handle: BinaryIO, rows: np.ndarray) -> np.ndarray:
    """Read the signatures of the given rows of a file, uint16 `(n_rows, 128)`."""
    parts = []
    for row in rows.tolist():
        handle.seek(row * ROW_BYTES)
        parts.append(handle.read(ROW_BYTES))
    return np.frombuffer(b"".join(parts), np.uint16).reshape(-1, N_BINS)


def _joined(roots: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the first member of each sequence's cluster after joining the pairs."""
    n = len(roots)
    edges = coo_array((np.ones(len(left), bool), (roots[left], roots[right])), shape=(n, n))
    n_components, component = connected_components(edges, directed=False)
    first = np.full(n_components, n)
    np.minimum.at(first, component, np.arange(n))
    return first[component[roots]]


__all__ = ["find_clusters", "signatures"]
