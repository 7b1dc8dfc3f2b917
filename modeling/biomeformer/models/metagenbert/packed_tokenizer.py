"""Token ids of many sequences at once, from any tokenizer."""

from __future__ import annotations

from typing import Any

import numpy as np


class PackedTokenizer:
    """Packed token ids from any tokenizer: its own `encode_packed`, a `tokenizers` backend, or plain calls.

    Args:
        tokenizer: Of transformers.
        add_special_tokens: Whether sequences get them.
        max_length: Tokens of a sequence at most, special ones included; the end is cut off.

    Raises:
        ValueError: `max_length` leaves no room for a token beside the special ones.
    """

    def __init__(self, tokenizer: Any, add_special_tokens: bool, max_length: int | None) -> None:
        self.tokenizer = tokenizer
        self.add_special_tokens = add_special_tokens
        self.max_length = max_length
        self.own = getattr(tokenizer, "encode_packed", None)
        self.backend: Any = None
        if self.own is None and getattr(tokenizer, "is_fast", False):
            from tokenizers import Tokenizer

            self.backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
            self.backend.no_padding()
            self.backend.no_truncation()
            longest_token = max(map(len, self.backend.get_vocab()), default=1)
        else:
            longest_token = max(map(len, tokenizer.get_vocab()), default=1) if self.own is None else 1
        # Nothing past this many bases can reach the first max_length tokens.
        self.max_bases = None if max_length is None or self.own is not None else (max_length + 1) * longest_token
        self.n_suffix = 0 if self.own is not None or not add_special_tokens else self._n_suffix()
        if max_length is not None and max_length <= self._n_special():
            raise ValueError(f"max_length is {max_length}; it must leave room for a token beside the special ones.")

    def _ids(self, texts: list[str], special: bool) -> list[list[int]]:
        if self.backend is not None:
            return [e.ids for e in self.backend.encode_batch_fast(texts, add_special_tokens=special)]
        return list(self.tokenizer(texts, add_special_tokens=special)["input_ids"])

    def _n_special(self) -> int:
        if self.own is not None or not self.add_special_tokens:
            return 0
        return len(self._ids(["ACGT"], True)[0]) - len(self._ids(["ACGT"], False)[0])

    def _n_suffix(self) -> int:
        full, bare = self._ids(["ACGT"], True)[0], self._ids(["ACGT"], False)[0]
        n_prefix = next((i for i in range(len(full)) if full[i : i + len(bare)] == bare), 0)
        return len(full) - len(bare) - n_prefix

    def encode(self, sequence: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Token ids end to end, tokens of each read, and which reads were cut."""
        if self.own is not None:
            ids, lengths = self.own(sequence, offsets)
            return self._cut(ids, lengths)
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

    def _cut(self, ids: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        truncated = np.zeros(len(lengths), bool) if self.max_length is None else lengths > self.max_length
        if truncated.any():
            assert self.max_length is not None
            starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
            ids = ids[np.arange(len(ids)) - starts < self.max_length]
            lengths = np.minimum(lengths, self.max_length)
        return ids, lengths, truncated


__all__ = ["PackedTokenizer"]
