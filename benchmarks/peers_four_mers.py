"""Profile reads by their 4-mers and k-means, as a script of NumPy and FAISS does: one of the peers of `peers.py`.

python benchmarks/peers_four_mers.py reads.fastq.gz centroids.npy --fit
python benchmarks/peers_four_mers.py reads.fastq.gz centroids.npy
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import faiss
import numpy as np

N_CLUSTERS, FIT_READS, BATCH = 512, 50_000, 8_192
CODES = np.zeros(256, np.uint8)
CODES[[*b"Cc"]], CODES[[*b"Gg"]], CODES[[*b"Tt"]] = 1, 2, 3


def sequences(path: Path) -> Iterator[bytes]:
    """Yield the reads of a FASTQ file of four lines per record."""
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        for line in islice(file, 1, None, 4):
            yield line.rstrip()


def profiles(reads: list[bytes]) -> np.ndarray:
    """Return shares of 4-mers, those of the reverse complements added: float32 `(n_reads, 256)`."""
    found = np.zeros((len(reads), 256), np.float32)
    for row, read in enumerate(reads):
        codes = CODES[np.frombuffer(read, np.uint8)].astype(np.intp)
        kmers = 64 * codes[:-3] + 16 * codes[1:-2] + 4 * codes[2:-1] + codes[3:]
        found[row] = np.bincount(kmers, minlength=256)
    kmers = np.arange(256)
    reverse = sum((3 - ((kmers >> (2 * i)) & 3)) << (2 * (3 - i)) for i in range(4))
    found += found[:, reverse]
    return found / np.maximum(found.sum(1, keepdims=True), 1)


def main() -> None:
    """Fit centroids, or print the count of reads of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reads", type=Path)
    parser.add_argument("centroids", type=Path)
    parser.add_argument("--fit", action="store_true", help="fit the centroids to the first reads")
    args = parser.parse_args()
    reads = sequences(args.reads)
    if args.fit:
        points = profiles(list(islice(reads, FIT_READS)))
        kmeans = faiss.Kmeans(points.shape[1], min(N_CLUSTERS, len(points)), niter=10, seed=1)
        kmeans.train(points)
        np.save(args.centroids, kmeans.centroids)
        return
    centroids = np.load(args.centroids)
    index = faiss.IndexFlatL2(centroids.shape[1])
    index.add(centroids)
    counts = np.zeros(len(centroids), np.int64)
    while batch := list(islice(reads, BATCH)):
        counts += np.bincount(index.search(profiles(batch), 1)[1][:, 0], minlength=len(centroids))
    print(*counts, sep="\t")


if __name__ == "__main__":
    main()
