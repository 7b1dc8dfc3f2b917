"""Tokenise reads into k-mers, many reads at a time."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizer

from .configuration_kmer_encoder import MAX_K, n_canonical_kmers

BASES = "ACGT"
AMBIGUOUS = 4


def _base_codes() -> bytes:
    """Return the code of each byte: 0 to 3 for A, C, G, T or U in any case, `AMBIGUOUS` for others."""
    codes = bytearray([AMBIGUOUS] * 256)
    for letters, code in (("Aa", 0), ("Cc", 1), ("Gg", 2), ("TtUu", 3)):
        for letter in letters:
            codes[ord(letter)] = code
    return bytes(codes)


BASE_CODES = _base_codes()
CODE_TABLE = np.frombuffer(BASE_CODES, np.uint8)


@lru_cache(maxsize=4)
def canonical_table(k: int) -> np.ndarray:
    """Return the token id of each k-mer, equal to that of its reverse complement: int32 `(4**k,)`, from 1."""
    forward = np.arange(4**k, dtype=np.uint32)
    reverse = np.zeros_like(forward)
    remaining = forward.copy()
    for _ in range(k):
        reverse = (reverse << 2) | (3 - (remaining & 3))
        remaining >>= 2
    # Of the two, the lexicographically smaller is canonical; ids count the canonical ones in order.
    canonical = np.minimum(forward, reverse)
    rank = np.cumsum(canonical == forward, dtype=np.int32)
    return rank[canonical]


def _window_type(n_bases: int) -> type[np.unsignedinteger[Any]]:
    """Return the smallest type that holds `n_bases` at two bits each."""
    return np.uint8 if n_bases <= 4 else np.uint16 if n_bases <= 8 else np.uint32


def _windows(codes: np.ndarray, k: int) -> np.ndarray:
    """Return the k-mer that begins at each position, as a number in base 4, in about log2(k) passes over the codes.

    Windows of 1, 2, 4, 8 bases are made by joining two of half the size; those of the powers of two that make up k are
    joined to the result, as in exponentiation by squaring.

    Args:
        codes: uint8 `(n_bases,)`, 0 to 3.
        k: Length of a window in bases.

    Returns:
        Unsigned integers `(n_bases - k + 1,)`.
    """
    result, size = None, 0
    power, width = codes, 1
    remaining = k
    while True:
        if remaining & 1:
            if result is None:
                result, size = power, width
            else:
                total = size + width
                dtype = _window_type(total)
                n = len(codes) - total + 1
                result = (result[:n].astype(dtype) << dtype(2 * width)) | power[size : size + n]
                size = total
        remaining >>= 1
        if not remaining:
            assert result is not None
            return result
        dtype = _window_type(2 * width)
        n = len(codes) - 2 * width + 1
        power = (power[:n].astype(dtype) << dtype(2 * width)) | power[width : width + n]
        width *= 2


class KmerTokenizer(PreTrainedTokenizer):
    r"""A tokenizer whose tokens are the overlapping k-mers of a read, one per position.

    Lower case is read as upper case and U as T. A k-mer with any other letter is left out if k-mers are canonical;
    otherwise it becomes `[PAD]`, so that the k-mers after it keep their reading frame. A read without any valid k-mer
    has no token. The only special token is `[PAD]`, with id 0.

    Tokens that are added (`add_tokens`) are split off by calls, as by every tokenizer; `encode_packed`, which tokenises
    reads, refuses to work with them, and k-mer encoders have no vectors for them.

    Args:
        k: Length of a k-mer in bases, 1 to 10.
        canonical: Whether a k-mer and its reverse complement are the same token.
        pad_token: The padding token.
        **kwargs: Options of `PreTrainedTokenizer`.

    Raises:
        ValueError: `k` is out of range.
    """

    model_input_names = ["input_ids", "attention_mask"]
    vocab_files_names: dict[str, str] = {}
    # The package, where this file is part of it.
    bridge: Any = None

    def __init__(self, k: int = 8, canonical: bool = True, pad_token: str = "[PAD]", **kwargs: Any) -> None:
        if not 1 <= k <= MAX_K:
            raise ValueError(f"k is {k}; it must be from 1 to {MAX_K}.")
        self.k = k
        self.canonical = canonical
        kwargs.pop("unk_token", None)
        if self._auto_class is None:
            # A checkpoint saved by this class has no code beside it, so it must not keep an `auto_map` that names some.
            kwargs.pop("auto_map", None)
        super().__init__(k=k, canonical=canonical, pad_token=pad_token, unk_token=None, **kwargs)

    @property
    def vocab_size(self) -> int:
        """Number of tokens: k-mers and padding."""
        return (n_canonical_kmers(self.k) if self.canonical else 4**self.k) + 1

    def get_vocab(self) -> dict[str, int]:
        """Return all tokens with their ids, added ones included."""
        return {str(self.pad_token): 0, **_kmer_ids(self.k, self.canonical), **self.added_tokens_encoder}

    def encode_packed(self, sequence: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tokenise many reads at once.

        Args:
            sequence: uint8 `(n_bases,)`, the reads' concatenated bases in ASCII.
            offsets: int64 `(n_reads + 1,)`, index at which each read begins, and the end of the last.

        Returns:
            Token ids, int32 `(n_tokens,)`, and the number of tokens of each read, int64 `(n_reads,)`.

        Raises:
            ValueError: The tokenizer has added tokens.
        """
        if len(self._added_tokens_decoder) > 1:
            added = [str(token) for index, token in self._added_tokens_decoder.items() if index]
            raise ValueError(
                f"This tokenizer has added tokens ({', '.join(added[:3])}), which reads are not split at; load it "
                "again without them."
            )
        return self._encode_kmers(sequence, offsets)

    def _encode_kmers(self, sequence: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tokenise as `encode_packed`, whatever tokens have been added."""
        k = self.k
        if self.bridge is not None and not self.canonical:
            numbered: tuple[np.ndarray, np.ndarray] | None = self.bridge.number_kmers(sequence, offsets, CODE_TABLE, k)
            if numbered is not None:
                return numbered
        lengths = np.maximum(np.diff(offsets) - k + 1, 0).astype(np.int64)
        if len(sequence) < k:
            return np.empty(0, np.int32), np.zeros(len(offsets) - 1, np.int64)
        codes = np.frombuffer(bytearray(sequence).translate(BASE_CODES), np.uint8)
        n_windows = len(codes) - k + 1
        # Windows that lie within one read; those that begin less than k bases before its end reach into the next.
        within = np.ones(n_windows, bool)
        ends = offsets[1:]
        for back in range(1, k):
            border = ends - back
            within[border[(border >= 0) & (border < n_windows)]] = False
        # Windows without an ambiguous base.
        known, n_kmers = within, lengths
        ambiguous = np.flatnonzero(codes == AMBIGUOUS)
        if len(ambiguous):
            codes[ambiguous] = 0
            known = within.copy()
            for back in range(k):
                start = ambiguous - back
                known[start[(start >= 0) & (start < n_windows)]] = False
            lost = np.searchsorted(offsets, np.flatnonzero(within != known), side="right") - 1
            n_kmers = lengths - np.bincount(lost, minlength=len(lengths))
        windows = _windows(codes, k)
        if self.canonical:
            return canonical_table(k)[windows[known]], n_kmers
        ids = np.add(windows, 1, dtype=np.int32, casting="unsafe")
        if known is not within:
            # Ambiguous k-mers become padding, id 0; a read of nothing else gets no token.
            ids *= known
            for row in np.flatnonzero((n_kmers == 0) & (lengths > 0)):
                within[offsets[row] : offsets[row] + lengths[row]] = False
        return ids[within], np.where(n_kmers > 0, lengths, 0)

    def _tokenize(self, text: str, **kwargs: Any) -> list[str]:
        raw = np.frombuffer(text.encode("ascii", "replace"), np.uint8)
        ids, _ = self._encode_kmers(raw, np.array([0, len(raw)]))
        return [self._convert_id_to_token(int(i)) for i in ids]

    def _convert_token_to_id(self, token: str) -> int:
        value = 0
        for base in token:
            value = 4 * value + BASES.index(base)
        return int(canonical_table(self.k)[value]) if self.canonical else value + 1

    def _convert_id_to_token(self, index: int) -> str:
        if index == 0:
            return str(self.pad_token)
        value = int(_kmer_values(self.k, self.canonical)[index - 1])
        return "".join(BASES[(value >> (2 * position)) & 3] for position in reversed(range(self.k)))

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Join tokens with spaces: the read cannot be reconstructed from canonical k-mers."""
        return " ".join(tokens)

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Write nothing: the vocabulary follows from k."""
        return ()


@lru_cache(maxsize=4)
def _kmer_ids(k: int, canonical: bool) -> dict[str, int]:
    """Return the id of each k-mer."""
    shifts = 2 * np.arange(k - 1, -1, -1)
    letters = np.frombuffer(BASES.encode(), np.uint8)[(_kmer_values(k, canonical)[:, None] >> shifts) & 3]
    kmers = np.ascontiguousarray(letters).view(f"S{k}")[:, 0].astype(str).tolist()
    return {kmer: i for i, kmer in enumerate(kmers, 1)}


@lru_cache(maxsize=4)
def _kmer_values(k: int, canonical: bool) -> np.ndarray:
    """Return the k-mers as numbers in base 4, in the order of their ids."""
    if not canonical:
        return np.arange(4**k)
    table = canonical_table(k)
    values = np.full(n_canonical_kmers(k), 4**k, np.int64)
    np.minimum.at(values, table - 1, np.arange(4**k))
    return values


__all__ = ["KmerTokenizer"]
