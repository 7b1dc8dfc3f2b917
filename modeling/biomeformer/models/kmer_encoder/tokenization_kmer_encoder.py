"""K-mers as tokens, over whole batches of reads at once."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizer

from .configuration_kmer_encoder import MAX_K, n_canonical_kmers

BASES = "ACGT"
AMBIGUOUS = 4


def _base_codes() -> bytes:
    codes = bytearray([AMBIGUOUS] * 256)
    for letters, code in (("Aa", 0), ("Cc", 1), ("Gg", 2), ("TtUu", 3)):
        for letter in letters:
            codes[ord(letter)] = code
    return bytes(codes)


BASE_CODES = _base_codes()


@lru_cache(maxsize=4)
def canonical_table(k: int) -> np.ndarray:
    """Token id of each of the `4**k` k-mers: int32, the same for a k-mer and its reverse complement, from 1."""
    forward = np.arange(4**k, dtype=np.uint32)
    reverse = np.zeros_like(forward)
    rest = forward.copy()
    for _ in range(k):
        reverse = (reverse << 2) | (3 - (rest & 3))
        rest >>= 2
    canonical = np.minimum(forward, reverse)
    rank = np.cumsum(canonical == forward, dtype=np.int32)
    return rank[canonical]


def _window_type(n_bases: int) -> type[np.unsignedinteger[Any]]:
    return np.uint8 if n_bases <= 4 else np.uint16 if n_bases <= 8 else np.uint32


def _windows(codes: np.ndarray, k: int) -> np.ndarray:
    """The k-mer that begins at each position, as a number in base 4, in about log2(k) passes."""
    done, size = None, 0
    power, width = codes, 1
    remaining = k
    while True:
        if remaining & 1:
            if done is None:
                done, size = power, width
            else:
                total = size + width
                kind = _window_type(total)
                n = len(codes) - total + 1
                done = (done[:n].astype(kind) << kind(2 * width)) | power[size : size + n]
                size = total
        remaining >>= 1
        if not remaining:
            assert done is not None
            return done
        kind = _window_type(2 * width)
        n = len(codes) - 2 * width + 1
        power = (power[:n].astype(kind) << kind(2 * width)) | power[width : width + n]
        width *= 2


class KmerTokenizer(PreTrainedTokenizer):
    r"""Tokens are the k-mers of a read, one for each position.

    Lower case counts as upper case and U as T. A k-mer that holds any other letter gives no token where k-mers are
    canonical; elsewhere it gives `[PAD]`, so that the k-mers after it keep their reading frame. A read without any
    k-mer gives no token. There are no special tokens but `[PAD]`, id 0.

    Args:
        k: Bases of a k-mer, 1 to 10.
        canonical: Whether a k-mer and its reverse complement are one token.
        pad_token: Padding.
        **kwargs: Passed on to `PreTrainedTokenizer`.
    """

    model_input_names = ["input_ids", "attention_mask"]
    vocab_files_names: dict[str, str] = {}

    def __init__(self, k: int = 8, canonical: bool = True, pad_token: str = "[PAD]", **kwargs: Any) -> None:
        if not 1 <= k <= MAX_K:
            raise ValueError(f"k is {k}; it must be from 1 to {MAX_K}.")
        self.k = k
        self.canonical = canonical
        kwargs.pop("unk_token", None)
        if self._auto_class is None:
            # An `auto_map` stays with the class it names: what this one saves has no code beside it.
            kwargs.pop("auto_map", None)
        super().__init__(k=k, canonical=canonical, pad_token=pad_token, unk_token=None, **kwargs)

    @property
    def vocab_size(self) -> int:
        """K-mers and padding."""
        return (n_canonical_kmers(self.k) if self.canonical else 4**self.k) + 1

    def get_vocab(self) -> dict[str, int]:
        """All tokens with their ids."""
        return {str(self.pad_token): 0, **_kmer_ids(self.k, self.canonical)}

    def encode_packed(self, sequence: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of many reads at once.

        Args:
            sequence: uint8 `(n_bases,)`, the reads' bases end to end, in ASCII.
            offsets: int64 `(n_reads + 1,)`, where each read begins and the last ends.

        Returns:
            Token ids int32 `(n_tokens,)`, and tokens of each read int64 `(n_reads,)`.
        """
        k = self.k
        lengths = np.maximum(np.diff(offsets) - k + 1, 0).astype(np.int64)
        if len(sequence) < k:
            return np.empty(0, np.int32), np.zeros(len(offsets) - 1, np.int64)
        codes = np.frombuffer(bytearray(sequence).translate(BASE_CODES), np.uint8)
        n_windows = len(codes) - k + 1
        within = np.ones(n_windows, bool)
        ends = offsets[1:]
        for back in range(1, k):
            border = ends - back
            within[border[(border >= 0) & (border < n_windows)]] = False
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
            ids *= known
            for row in np.flatnonzero((n_kmers == 0) & (lengths > 0)):
                within[offsets[row] : offsets[row] + lengths[row]] = False
        return ids[within], np.where(n_kmers > 0, lengths, 0)

    def _tokenize(self, text: str, **kwargs: Any) -> list[str]:
        raw = np.frombuffer(text.encode("ascii", "replace"), np.uint8)
        ids, _ = self.encode_packed(raw, np.array([0, len(raw)]))
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
        return "".join(BASES[(value >> (2 * place)) & 3] for place in reversed(range(self.k)))

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Tokens with spaces between: overlapping canonical k-mers do not give the read back."""
        return " ".join(tokens)

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """There is no vocabulary file: k says it all."""
        return ()


@lru_cache(maxsize=4)
def _kmer_ids(k: int, canonical: bool) -> dict[str, int]:
    """K-mers with their ids."""
    places = 2 * np.arange(k - 1, -1, -1)
    letters = np.frombuffer(BASES.encode(), np.uint8)[(_kmer_values(k, canonical)[:, None] >> places) & 3]
    kmers = np.ascontiguousarray(letters).view(f"S{k}")[:, 0].astype(str).tolist()
    return {kmer: i for i, kmer in enumerate(kmers, 1)}


@lru_cache(maxsize=4)
def _kmer_values(k: int, canonical: bool) -> np.ndarray:
    """The k-mers, as numbers, in the order of their ids."""
    if not canonical:
        return np.arange(4**k)
    table = canonical_table(k)
    values = np.full(n_canonical_kmers(k), 4**k, np.int64)
    np.minimum.at(values, table - 1, np.arange(4**k))
    return values


__all__ = ["KmerTokenizer"]
