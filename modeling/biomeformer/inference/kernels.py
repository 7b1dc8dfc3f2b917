"""When reads on a CPU are tokenised, embedded and assigned by compiled kernels (`kernel_code`).

Results are those of the operations of numpy and torch that they replace: tokens, vectors to the last bit, clusters.
Importing numba and loading the machine code takes about half a second of processor time (compiling it 4 to 6 s, once;
it is kept in `__pycache__`, or in the user's cache), and the kernels save 4 microseconds per read of 150 bases, so they
are used from the `WORTHWHILE_TOKENS`-th token on that a process embeds. Without numba, or where it does not work, the
other operations are used throughout; NUMBA_DISABLE_JIT=1 chooses this.
"""

from __future__ import annotations

import logging
import platform
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..runs.garbage_collection import paused_collection
from .kernel_layout import BLOCKS, CODON, HEADS, LANES, TILE

if TYPE_CHECKING:
    from ..reads.blocks import RecordKernels

# About 58,000 reads of 150 bases, over which torch takes as much longer as loading the kernels takes.
WORTHWHILE_TOKENS = 1 << 23
# Fewer vectors are not worth a look at whether the centroids have changed.
WORTHWHILE_VECTORS = 256

# Where torch's sums are known to be in the same order, to the last bit.
PROCESSORS = ("x86_64", "AMD64")

logger = logging.getLogger(__name__)


class _Kernels:
    """The compiled kernels of this process, loaded once they are worth it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_tokens = 0
        self._is_loaded = False
        self._code: ModuleType | None = None

    def after(self, n_tokens: int) -> ModuleType | None:
        """Return the kernels if they are worth it after so many more tokens, and None otherwise."""
        with self._lock:
            self._n_tokens += n_tokens
            return self._load() if self._n_tokens > WORTHWHILE_TOKENS else None

    @property
    def in_use(self) -> ModuleType | None:
        """The kernels if they are loaded and work, or None."""
        return self._code

    @property
    def is_in_use(self) -> bool:
        """Whether the kernels are loaded and work."""
        return self._code is not None

    def load(self) -> ModuleType | None:
        """Load the kernels now; return None where they do not work."""
        with self._lock:
            return self._load()

    def _load(self) -> ModuleType | None:
        if not self._is_loaded:
            self._is_loaded = True
            try:
                with paused_collection():
                    from numba import config

                    if not config.DISABLE_JIT and platform.machine() in PROCESSORS:
                        from . import kernel_code

                        _compile(kernel_code)
                        self._code = kernel_code
            # Whatever the compiler, its cache or the machine has against them.
            except Exception as error:
                logger.warning(
                    f"Reads are embedded without compiled kernels, at about half the speed, since numba fails here "
                    f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}); "
                    "results are the same. NUMBA_DISABLE_JIT=1 avoids the attempt."
                )
        return self._code


KERNELS = _Kernels()


def record_kernels() -> RecordKernels | None:
    """Return the kernels for the records of FASTQ files, if kernels are in use."""
    if KERNELS.in_use is None:
        return None
    from . import kernel_records

    return kernel_records


def _compile(code: ModuleType) -> None:
    """Compile the kernels, or load their machine code, by using them."""
    _compile_record_kernels()
    ids, lengths = torch.ones(8, dtype=torch.int32), torch.tensor([8])
    vectors = torch.eye(16, 32)
    tables = GatedTables.of(torch.zeros(2, 8), vectors[:2], torch.arange(2))
    tables.run(code, ids, lengths, lambda scores: (scores, scores[0, :, 0] + 1), None)
    codes = np.frombuffer(bytes(256), np.uint8)
    # Reads come as bytes, which cannot be written to, or as an array that can: to numba, these are two types.
    for sequence in (np.zeros(8, np.uint8), codes[:8]):
        run_number_kmers(code, sequence, np.array([0, 8]), codes, 2)
    if has_vnni():
        NearestKernel.of(vectors).run(code, vectors, 1e-5)


def _compile_record_kernels() -> None:
    from . import kernel_records

    text, line_ends = np.zeros(256, np.uint8), np.zeros((1, 4), np.int64)
    kernel_records.find_records(text, 1, line_ends)
    offsets = np.zeros(2, np.int64)
    kernel_records.copy_sequences(text, line_ends, np.zeros(1, np.bool_), text, 0, 1, offsets)
    kernel_records.first_other_name(text, 0, line_ends, text, 0, line_ends, 1)


@lru_cache(maxsize=1)
def has_vnni() -> bool:
    """Return whether numba compiles for a processor with AVX-512's products of bytes (Ice Lake, Zen 4 and later)."""
    from numba import config
    from numba.core.codegen import get_host_cpu_features

    if config.CPU_NAME is not None or config.CPU_FEATURES is not None:
        return False
    features = get_host_cpu_features().split(",")
    return "+avx512f" in features and "+avx512vnni" in features


@dataclass(frozen=True)
class GatedTables:
    """Tables of a gated k-mer encoder as the kernels read them.

    Attributes:
        scores: float32 `(n_tables, vocab_size, HEADS)`, some heads each, zeros beyond the last.
        vectors: float32 `(n_tiles, vocab_size, TILE)`.
        reverse: int32 `(vocab_size,)`, token of each token's reverse complement.
        n_heads: Number of heads.
    """

    scores: np.ndarray
    vectors: np.ndarray
    reverse: np.ndarray
    n_heads: int

    @classmethod
    def of(cls, scores: torch.Tensor, vectors: torch.Tensor, reverse: torch.Tensor) -> GatedTables:
        """Arrange tables.

        Args:
            scores: float32 `(vocab_size, n_heads)`; row 0 counts as zeros, and so of `vectors`.
            vectors: float32 `(vocab_size, hidden_size)`.
            reverse: int64 `(vocab_size,)`.
        """

        def tiles(table: torch.Tensor, width: int) -> np.ndarray:
            n_rows, n_columns = table.shape
            n_tiles = -(-n_columns // width)
            padded = table.new_zeros(n_rows, n_tiles * width)
            padded[1:, :n_columns] = table[1:]
            return padded.view(n_rows, n_tiles, width).transpose(0, 1).contiguous().numpy()

        return cls(tiles(scores, HEADS), tiles(vectors, TILE), reverse.to(torch.int32).numpy(), scores.shape[1])

    @staticmethod
    def fit(hidden_size: int, n_heads: int) -> bool:
        """Return whether there is a kernel for these sizes: each head has whole registers of columns."""
        return hidden_size % (2 * LANES) == 0 and hidden_size // n_heads % LANES == 0

    def embed(
        self,
        input_ids: torch.Tensor,
        lengths: torch.Tensor,
        exponentials: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
        divisor: int | None,
    ) -> torch.Tensor | None:
        """Embed packed reads by the loaded kernels; see `run`."""
        code = KERNELS.load()
        return None if code is None else self.run(code, input_ids, lengths, exponentials, divisor)

    def run(
        self,
        code: ModuleType,
        input_ids: torch.Tensor,
        lengths: torch.Tensor,
        exponentials: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
        divisor: int | None,
    ) -> torch.Tensor | None:
        """Embed packed reads.

        Args:
            code: The kernels.
            input_ids: int32 or int64 `(n_tokens,)`.
            lengths: `(n_reads,)`.
            exponentials: From sums of scores `(CODON, n_reads, 2, n_heads)` to weights, and their totals
                `(n_reads, n_heads)`.
            divisor: Of a read's sum; None for the number of its tokens but 0.

        Returns:
            float32 `(n_reads, hidden_size)`; None if tokens or lengths are out of range.
        """
        ids = np.ascontiguousarray(input_ids.numpy())
        n_tokens = np.ascontiguousarray(lengths.numpy()).astype(np.int64, copy=False)
        ends = np.cumsum(n_tokens)
        if not len(ids) or not len(ends) or int(n_tokens.min()) < 0 or int(ends[-1]) != len(ids):
            return None
        # As unsigned numbers, negative ones are larger than any token.
        unsigned = ids.view(f"u{ids.itemsize}")
        if int(unsigned.max()) >= len(self.reverse):
            return None
        if divisor is not None:
            divisors = torch.full((len(ends),), divisor)
        else:
            divisors = torch.from_numpy(n_tokens)
            if not int(unsigned.min()):
                rows = np.searchsorted(ends, np.flatnonzero(ids == 0), side="right")
                divisors = divisors - torch.from_numpy(np.bincount(rows, minlength=len(ends)))
            divisors = divisors.clamp_min(1)
        ids = ids.astype(np.int32, copy=False)
        scores = np.empty((CODON, len(ends), 2, self.n_heads), np.float32)
        code.sum_frame_scores(ids, ends, self.reverse, self.scores, scores)
        weights, totals = exponentials(torch.from_numpy(scores))
        totals = totals * divisors[:, None] / (2 * CODON)
        vectors = np.empty((len(ends), self.vectors.shape[0] * TILE), np.float32)
        code.sum_weighed_frames(ids, ends, self.reverse, self.vectors, weights.numpy(), totals.numpy(), vectors)
        return torch.from_numpy(vectors)


@dataclass(frozen=True)
class NearestKernel:
    """Centroids rounded to bytes, by which most are ruled out as the nearest of a vector.

    A vector x is the sum of its rounded form x' and a rest, and so is a centroid c. By the inequality of Cauchy and
    Schwarz, |x·c - x'·c'| = |(x - x')·c + x'·(c - c')| <= |x - x'| |c| + |x'| |c - c'|, of which all lengths are known;
    let E be the greatest of these bounds over the centroids. The squared distance |c|^2 - 2 x·c (without |x|^2, which
    all centroids share) then differs from the approximate one by 2 E at most: a centroid whose approximate distance is
    more than 4 E above the least approximate distance is not the nearest. The others, a few of hundreds, are compared
    by products in float32, as today's torch operations compare all; within the same tolerance two distances are a near
    tie, which float64 decides. x'·c' is a sum of products of bytes and exact. The rounding of float32 in the bounds
    themselves is far below the tolerance, by twice which the limit is raised.

    Attributes:
        centroids: float32 `(n_clusters, hidden_size)`.
        exact_norms: float32 `(n_clusters,)`, squared lengths.
        codes: int8 `(n_blocks, n_words, 16, 4)`: four numbers of 16 centroids beside each other, as VNNI multiplies.
        scales: float32 `(16 * n_blocks,)`, the step between two bytes.
        offsets: int32 `(16 * n_blocks,)`, products with 128, which bytes of vectors are raised by.
        norms: float32 `(16 * n_blocks,)`, `exact_norms` and infinity beyond.
        longest: Greatest length of a centroid.
        largest_loss: Greatest length of what rounding changed of one.
    """

    centroids: np.ndarray
    exact_norms: np.ndarray
    codes: np.ndarray
    scales: np.ndarray
    offsets: np.ndarray
    norms: np.ndarray
    longest: float
    largest_loss: float

    @classmethod
    def of(cls, centroids: torch.Tensor) -> NearestKernel:
        """Round centroids, float32 `(n_clusters, hidden_size)`."""
        exact = centroids.detach().contiguous().clone().numpy()
        n_clusters, size = exact.shape
        group = LANES * BLOCKS
        n_padded, n_words = -(-n_clusters // group) * group, -(-size // 4)
        wide = np.zeros((n_padded, 4 * n_words))
        wide[:n_clusters, :size] = exact
        scales = (np.abs(wide).max(1) / 127).astype(np.float32)
        scales[scales == 0] = 1
        codes = np.rint(wide / scales[:, None]).clip(-127, 127)
        lost = np.sqrt(((wide - codes * scales[:, None].astype(np.float64)) ** 2).sum(1))
        squares = (wide**2).sum(1)
        norms = np.full(n_padded, np.inf, np.float32)
        norms[:n_clusters] = squares[:n_clusters]
        return cls(
            exact,
            norms[:n_clusters].copy(),
            np.ascontiguousarray(codes.astype(np.int8).reshape(-1, LANES, n_words, 4).transpose(0, 2, 1, 3)),
            scales,
            (128 * codes.sum(1)).astype(np.int32),
            norms,
            float(np.sqrt(squares.max())),
            float(lost.max()),
        )

    def is_of(self, centroids: torch.Tensor) -> bool:
        """Return whether these are the centroids that were rounded."""
        return torch.equal(centroids, torch.from_numpy(self.centroids))

    def find(self, vectors: torch.Tensor, tolerance: float) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Find nearest centroids by the loaded kernels; see `run`. None without kernels."""
        code = KERNELS.load()
        return None if code is None else self.run(code, vectors, tolerance)

    def run(self, code: ModuleType, vectors: torch.Tensor, tolerance: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Find the nearest centroid of each vector, and mark near ties.

        Args:
            code: The kernels.
            vectors: float32 `(n_rows, hidden_size)`.
            tolerance: Share of the squared scale (of the vector and the longest centroid) of a near tie.

        Returns:
            Cluster ids, int64 `(n_rows,)`; and near ties, bool `(n_rows,)`.
        """
        rows = np.ascontiguousarray(vectors.numpy())
        cluster_ids, near_tie = np.empty(len(rows), np.int64), np.empty(len(rows), np.bool_)
        code.find_nearest(
            rows,
            self.centroids,
            self.exact_norms,
            self.codes,
            self.scales,
            self.offsets,
            self.norms,
            self.longest,
            self.largest_loss,
            tolerance,
            cluster_ids,
            near_tie,
        )
        return torch.from_numpy(cluster_ids), torch.from_numpy(near_tie)


def number_kmers(
    sequence: np.ndarray, offsets: np.ndarray, codes: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Number the k-mers of reads, if the kernels are in use.

    Args:
        sequence: uint8 `(n_bases,)`, concatenated reads in ASCII.
        offsets: int64 `(n_reads + 1,)`, index at which each read begins, and the end of the last.
        codes: uint8 `(256,)`, 0 to 3 for each letter of a base, and 4 for others.
        k: Length of a k-mer in bases.

    Returns:
        Token ids, int32 `(n_tokens,)`: one more than the k-mer's value in base 4, and 0 of a k-mer with an unknown
        base; and the number of tokens of each read, int64 `(n_reads,)`, none of a read without a known k-mer. None
        without kernels, or if the arrays do not fit each other.
    """
    code = KERNELS.in_use
    return None if code is None else run_number_kmers(code, sequence, offsets, codes, k)


def run_number_kmers(
    code: ModuleType, sequence: np.ndarray, offsets: np.ndarray, codes: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Number the k-mers of reads by these kernels; see `number_kmers`."""
    sequence, offsets = np.ascontiguousarray(sequence), np.ascontiguousarray(offsets, np.int64)
    if sequence.dtype != np.uint8 or len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != len(sequence):
        return None
    if len(codes) != 256 or (np.diff(offsets) < 0).any():
        return None
    ids, lengths = np.empty(len(sequence), np.int32), np.empty(len(offsets) - 1, np.int64)
    return ids[: code.number_kmers(sequence, offsets, codes, k, ids, lengths)], lengths


def nearest_kernel(former: NearestKernel | None, centroids: torch.Tensor, n_vectors: int) -> NearestKernel | None:
    """Return the kernel that finds nearest centroids, if it is in use and worth it for so many vectors.

    Args:
        former: That of the last call, used again if the centroids are the same.
        centroids: float32 `(n_clusters, hidden_size)`.
        n_vectors: Number of vectors.
    """
    if n_vectors < WORTHWHILE_VECTORS or not KERNELS.is_in_use or not has_vnni():
        return None
    return former if former is not None and former.is_of(centroids) else NearestKernel.of(centroids)


__all__ = ["KERNELS", "GatedTables", "NearestKernel", "has_vnni", "nearest_kernel", "number_kmers", "record_kernels"]
