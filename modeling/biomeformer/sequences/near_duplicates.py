"""Near-duplicates: MinHash over canonical k-mers, on the disk, and banding.

A sequence's signature is one permutation hashing with 128 bins (Li, Owen and Zhang, 2012): each k-mer falls into a bin
by its hash, each bin keeps its smallest, and an empty bin takes the value of another drawn by its number alone
(Shrivastava, 2017). The share of equal bins estimates the Jaccard index of two sets of k-mers, with a standard error of
0.045 at most where there are several k-mers a bin. Two sequences are compared when they agree in all bins of a band of
two (of four from a similarity of 0.65), which those at the similarity asked for do with a probability of 99 % or more;
of those that share a band each is compared with the one before it and with the first. Where two agree in enough of all
bins they stay together, and so does whatever is joined to either.

With k = 12, copies that differ in every 17th base or so have an index of about 0.3, and so have windows that share half
their bases. Both strands count as one. What is similar only as proteins or by short motifs is not found, nor a short
sequence inside a long one.
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
_NOTHING = np.uint32(0xFFFFFFFF)


def signatures(sequences: list[bytes], digests: np.ndarray) -> np.ndarray:
    """MinHash signatures.

    Args:
        sequences: Folded sequences.
        digests: uint64 `(n_sequences, 2)`; a sequence without a k-mer of A, C, G and T gets a signature made of its
            digest, which is similar to no other.

    Returns:
        uint16 `(n_sequences, 128)`.
    """
    kmers, rows = _kmers(sequences)
    hashes = _mix(kmers.astype(np.uint64) + np.uint64(1))
    flat = np.full(len(sequences) * N_BINS, _NOTHING, np.uint32)
    places = rows * N_BINS + (hashes >> np.uint64(57)).astype(np.int64)
    np.minimum.at(flat, places, (hashes & np.uint64(0x7FFFFFFF)).astype(np.uint32))
    bins = flat.reshape(-1, N_BINS)
    found = _without_gaps(bins).astype(np.uint16)
    nothing = (bins == _NOTHING).all(1)
    found[nothing] = np.tile(digests[nothing].view(np.uint16), N_BINS // 8)
    return found


def _kmers(sequences: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Canonical k-mers of A, C, G and T, uint32 `(n_kmers,)`, and the sequence of each, int64."""
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    codes = _CODE[np.frombuffer(b"".join(sequences), np.uint8)]
    n_windows = max(len(codes) - K + 1, 0)
    if not n_windows:
        return np.empty(0, np.uint32), np.empty(0, np.int64)
    forward, backward = np.zeros(n_windows, np.uint32), np.zeros(n_windows, np.uint32)
    bases = (codes & 3).astype(np.uint32)
    for i in range(K):
        one = bases[i : i + n_windows]
        forward = (forward << np.uint32(2)) | one
        backward |= (np.uint32(3) - one) << np.uint32(2 * i)
    n_ambiguous = np.concatenate([[0], np.cumsum(codes == 4)])
    is_whole = n_ambiguous[K:] == n_ambiguous[:n_windows]
    rows = np.repeat(np.arange(len(sequences)), lengths)
    is_whole &= rows[:n_windows] == rows[K - 1 :]
    return np.minimum(forward, backward)[is_whole], rows[:n_windows][is_whole]


def _without_gaps(bins: np.ndarray) -> np.ndarray:
    """Fill empty bins from others of the same row; a row with none stays empty."""
    filled, left = bins.copy(), np.argwhere((bins == _NOTHING) & (bins != _NOTHING).any(1)[:, None])
    attempt = 0
    while len(left):
        attempt += 1
        source = (_mix((left[:, 1] + N_BINS * attempt).astype(np.uint64)) >> np.uint64(57)).astype(np.int64)
        values = bins[left[:, 0], source]
        filled[left[:, 0], left[:, 1]] = values
        left = left[values == _NOTHING]
    return filled


def _mix(values: np.ndarray) -> np.ndarray:
    """A bijection of 64-bit integers that scatters them (the finaliser of MurmurHash3)."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


def find_clusters(
    file: Path, order: np.ndarray, similarity: float, on_band: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """Clusters of sequences that are joined by chains of near-duplicates.

    In memory are a few numbers a sequence; the signatures stay on the disk and are read once a band.

    Args:
        file: Signatures end to end, as `signatures` gives them.
        order: int64 `(n_sequences,)`, places in the file in an order that does not depend on the input's.
        similarity: Jaccard index from which two stay together.
        on_band: Called after each band with how many are done, and of how many.

    Returns:
        int64 `(n_sequences,)`, in that order: the first member of each sequence's cluster.
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
    """Pairs with the same key: each with the one before it, then each with the first."""
    by_key = np.argsort(keys, kind="stable")
    is_same = keys[by_key[1:]] == keys[by_key[:-1]]
    second = np.flatnonzero(is_same) + 1
    yield by_key[second - 1], by_key[second]
    place = np.arange(len(keys))
    place[1:][is_same] = 0
    first = np.maximum.accumulate(place)[second]
    far = first < second - 1
    yield by_key[first[far]], by_key[second[far]]


def _are_alike(file: Path, left: np.ndarray, right: np.ndarray, needed: int) -> np.ndarray:
    alike = np.empty(len(left), bool)
    # Not mapped: of a mapped file the system may count all pages as this process's memory.
    with file.open("rb", buffering=0) as handle:
        for first in range(0, len(left), PAIR_ROWS):
            part = slice(first, first + PAIR_ROWS)
            alike[part] = (_rows(handle, left[part]) == _rows(handle, right[part])).sum(1) >= needed
    return alike


def _rows(handle: BinaryIO, places: np.ndarray) -> np.ndarray:
    """Signatures at some places of a file, uint16 `(n_places, 128)`."""
    parts = []
    for place in places.tolist():
        handle.seek(place * ROW_BYTES)
        parts.append(handle.read(ROW_BYTES))
    return np.frombuffer(b"".join(parts), np.uint16).reshape(-1, N_BINS)


def _joined(roots: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The first member of each cluster once the pairs are joined."""
    n = len(roots)
    edges = coo_array((np.ones(len(left), bool), (roots[left], roots[right])), shape=(n, n))
    n_found, component = connected_components(edges, directed=False)
    first = np.full(n_found, n)
    np.minimum.at(first, component, np.arange(n))
    return first[component[roots]]


__all__ = ["find_clusters", "signatures"]
