"""Tokenise many sequences at once with any tokenizer."""

from __future__ import annotations

from typing import Any

import numpy as np


class PackedTokenizer:
    """Packed token ids from any tokenizer: by its own `encode_packed`, its `tokenizers` backend, or plain calls.

    Args:
        tokenizer: A tokenizer of transformers.
        add_special_tokens: Whether to add special tokens to sequences.
        max_length: Largest number of tokens of a sequence, special ones included; longer sequences are truncated.
        kmer_size: Write sequences as their overlapping k-mers with blanks between, for a tokenizer of words. None:
            sequences are tokenised as they are.

    Attributes:
        n_special: Number of special tokens that each sequence gets.

    Raises:
        ValueError: `max_length` leaves no room for a token beside the special ones.
    """

    def __init__(
        self, tokenizer: Any, add_special_tokens: bool, max_length: int | None, kmer_size: int | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.add_special_tokens = add_special_tokens
        self.max_length = max_length
        self.kmer_size = kmer_size
        self.encode_packed = getattr(tokenizer, "encode_packed", None)
        self.backend: Any = None
        if self.encode_packed is None and getattr(tokenizer, "is_fast", False):
            from tokenizers import Tokenizer

            # A copy, so that the tokenizer's own padding and truncation stay as they are.
            self.backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
            self.backend.no_padding()
            self.backend.no_truncation()
            longest_token = max(map(len, self.backend.get_vocab()), default=1)
        else:
            longest_token = max(map(len, tokenizer.get_vocab()), default=1) if self.encode_packed is None else 1
        if kmer_size is not None:
            # A k-mer and the blank after it.
            longest_token = max(longest_token, kmer_size + 1)
        # Later bases cannot be part of the first max_length tokens, so they need not be tokenised.
        self.max_bases = (
            None if max_length is None or self.encode_packed is not None else (max_length + 1) * longest_token
        )
        self.prefix, self.suffix = self._special_tokens()
        self.n_special = len(self.prefix) + len(self.suffix)
        if max_length is not None and max_length <= self.n_special:
            raise ValueError(f"max_length is {max_length}; it must leave room for a token beside the special ones.")

    def _ids(self, texts: list[str], special: bool) -> list[list[int]]:
        """Return the token ids of each text, with or without special tokens."""
        if not texts:
            return []
        if self.backend is not None:
            encodings = self.backend.encode_batch_fast(texts, add_special_tokens=special)
            return [encoding.ids for encoding in encodings]
        return list(self.tokenizer(texts, add_special_tokens=special)["input_ids"])

    def _special_tokens(self) -> tuple[list[int], list[int]]:
        """Return the special tokens before and after each sequence; truncation must keep both."""
        if self.encode_packed is not None or not self.add_special_tokens:
            return [], []
        full, bare = self._ids(["ACGT"], True)[0], self._ids(["ACGT"], False)[0]
        n_prefix = next((i for i in range(len(full)) if full[i : i + len(bare)] == bare), 0)
        return full[:n_prefix], full[n_prefix + len(bare) :]

    def _texts(self, sequence: np.ndarray, offsets: np.ndarray, limit: int | None = None) -> list[str]:
        """Return sequences as the tokenizer takes them, of which at most `limit` characters are needed."""
        if self.kmer_size is not None:
            sequence, offsets = spaced_kmers(sequence, offsets, self.kmer_size)
        text = sequence.tobytes().decode("ascii")
        return [
            text[begin : end if limit is None else min(end, begin + limit)]
            for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
        ]

    def encode(self, sequence: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokenise packed sequences.

        Args:
            sequence: uint8 `(n_bases,)`, concatenated sequences in ASCII.
            offsets: int64 `(n_sequences + 1,)`, index at which each sequence begins, and the end of the last.

        Returns:
            Concatenated token ids `(n_tokens,)`, the number of tokens of each sequence, int64 `(n_sequences,)`, and
            which sequences were truncated, bool `(n_sequences,)`.
        """
        if self.encode_packed is not None:
            ids, lengths = self.encode_packed(sequence, offsets)
            return self._truncate(ids, lengths)
        encoded = self._ids(self._texts(sequence, offsets, self.max_bases), self.add_special_tokens)
        truncated = np.zeros(len(encoded), bool)
        if self.max_length is not None:
            n_suffix = len(self.suffix)
            for i, ids in enumerate(encoded):
                if len(ids) > self.max_length:
                    truncated[i] = True
                    encoded[i] = ids[: self.max_length - n_suffix] + ids[len(ids) - n_suffix :]
        return *_packed(encoded), truncated

    def encode_windows(self, sequence: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokenise packed sequences in windows of at most `max_length` tokens, each with the special tokens.

        A sequence has as few windows as it needs, without overlap, and their lengths differ by one token at most, so
        that no window is a short rest.

        Args:
            sequence: uint8 `(n_bases,)`, concatenated sequences in ASCII.
            offsets: int64 `(n_sequences + 1,)`, index at which each sequence begins, and the end of the last.

        Returns:
            Concatenated token ids `(n_tokens,)`, the number of tokens of each window, int64 `(n_windows,)`, and the
            sequence of each window, int64 `(n_windows,)`. A sequence without tokens has no window.
        """
        assert self.max_length is not None, "windows have a length"
        size = self.max_length - self.n_special
        if self.encode_packed is not None:
            ids, lengths = self.encode_packed(sequence, offsets)
            n_windows = -(-lengths // size)
            rows = np.repeat(np.arange(len(lengths)), n_windows)
            number = np.arange(len(rows)) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
            cuts = lengths[rows] * np.stack([number, number + 1]) // n_windows[rows]
            return ids, cuts[1] - cuts[0], rows
        windows: list[list[int]] = []
        of_sequence: list[int] = []
        for row, ids in enumerate(self._ids(self._texts(sequence, offsets), False)):
            n = -(-len(ids) // size)
            windows += [
                [*self.prefix, *ids[len(ids) * i // n : len(ids) * (i + 1) // n], *self.suffix] for i in range(n)
            ]
            of_sequence += [row] * n
        return *_packed(windows), np.array(of_sequence, np.int64)

    def count_unknown(self, ids: np.ndarray, n_sequences: int) -> int:
        """Return how many of the tokens of so many sequences are unknown, special ones not counted.

        Args:
            ids: Concatenated token ids, special ones included.
            n_sequences: Number of sequences.
        """
        unknown = None if self.encode_packed is not None else getattr(self.tokenizer, "unk_token_id", None)
        if unknown is None:
            return 0
        # In some tokenizers it is a special token too.
        return int((ids == unknown).sum()) - n_sequences * (self.prefix + self.suffix).count(unknown)

    def _truncate(self, ids: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Truncate packed tokens without special ones; return values as of `encode`."""
        truncated = np.zeros(len(lengths), bool) if self.max_length is None else lengths > self.max_length
        if truncated.any():
            assert self.max_length is not None
            starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
            ids = ids[np.arange(len(ids)) - starts < self.max_length]
            lengths = np.minimum(lengths, self.max_length)
        return ids, lengths, truncated


def _packed(encoded: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Concatenate lists of token ids; return also their lengths."""
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    return np.fromiter((token for ids in encoded for token in ids), np.int64, int(lengths.sum())), lengths


def spaced_kmers(sequence: np.ndarray, offsets: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Write packed sequences as their overlapping k-mers, with a blank after each: ACGT is `AC CG GT ` for k = 2.

    Args:
        sequence: uint8 `(n_bases,)`, concatenated sequences in ASCII.
        offsets: int64 `(n_sequences + 1,)`, index at which each sequence begins, and the end of the last.
        k: Length of a k-mer.

    Returns:
        Characters in ASCII, uint8, and the offsets of the sequences in them; a sequence shorter than k is empty.
    """
    n_kmers = np.maximum(np.diff(offsets) - k + 1, 0)
    new_offsets = np.concatenate([[0], np.cumsum(n_kmers * (k + 1))])
    if not n_kmers.any():
        return np.empty(0, np.uint8), new_offsets
    starts = np.arange(int(n_kmers.sum())) + np.repeat(offsets[:-1] - np.cumsum(n_kmers) + n_kmers, n_kmers)
    text = np.full((len(starts), k + 1), ord(" "), np.uint8)
    text[:, :k] = np.lib.stride_tricks.sliding_window_view(sequence, k)[starts]
    return text.ravel(), new_offsets


__all__ = ["PackedTokenizer", "spaced_kmers"]
