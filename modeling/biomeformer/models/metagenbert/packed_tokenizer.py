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

    Raises:
        ValueError: `max_length` leaves no room for a token beside the special ones.
    """

    def __init__(self, tokenizer: Any, add_special_tokens: bool, max_length: int | None) -> None:
        self.tokenizer = tokenizer
        self.add_special_tokens = add_special_tokens
        self.max_length = max_length
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
        # Later bases cannot be part of the first max_length tokens, so they need not be tokenised.
        self.max_bases = (
            None if max_length is None or self.encode_packed is not None else (max_length + 1) * longest_token
        )
        self.n_suffix = 0 if self.encode_packed is not None or not add_special_tokens else self._n_suffix()
        if max_length is not None and max_length <= self._n_special():
            raise ValueError(f"max_length is {max_length}; it must leave room for a token beside the special ones.")

    def _ids(self, texts: list[str], special: bool) -> list[list[int]]:
        """Return the token ids of each text, with or without special tokens."""
        if self.backend is not None:
            encodings = self.backend.encode_batch_fast(texts, add_special_tokens=special)
            return [encoding.ids for encoding in encodings]
        return list(self.tokenizer(texts, add_special_tokens=special)["input_ids"])

    def _n_special(self) -> int:
        """Return the number of special tokens that a sequence gets."""
        if self.encode_packed is not None or not self.add_special_tokens:
            return 0
        return len(self._ids(["ACGT"], True)[0]) - len(self._ids(["ACGT"], False)[0])

    def _n_suffix(self) -> int:
        """Return the number of special tokens at the end of a sequence, which truncation must keep."""
        full, bare = self._ids(["ACGT"], True)[0], self._ids(["ACGT"], False)[0]
        n_prefix = next((i for i in range(len(full)) if full[i : i + len(bare)] == bare), 0)
        return len(full) - len(bare) - n_prefix

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
        text = sequence.tobytes().decode("ascii")
        limit = self.max_bases
        texts = [
            text[begin : end if limit is None else min(end, begin + limit)]
            for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
        ]
        encoded = self._ids(texts, self.add_special_tokens)
        truncated = np.zeros(len(encoded), bool)
        if self.max_length is not None:
            for i, ids in enumerate(encoded):
                if len(ids) > self.max_length:
                    truncated[i] = True
                    encoded[i] = ids[: self.max_length - self.n_suffix] + ids[len(ids) - self.n_suffix :]
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        flat = np.fromiter((token for ids in encoded for token in ids), np.int64, int(lengths.sum()))
        return flat, lengths, truncated

    def _truncate(self, ids: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Truncate packed tokens without special ones; return values as of `encode`."""
        truncated = np.zeros(len(lengths), bool) if self.max_length is None else lengths > self.max_length
        if truncated.any():
            assert self.max_length is not None
            starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
            ids = ids[np.arange(len(ids)) - starts < self.max_length]
            lengths = np.minimum(lengths, self.max_length)
        return ids, lengths, truncated


__all__ = ["PackedTokenizer"]
