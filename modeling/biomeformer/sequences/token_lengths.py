"""Token lengths of sequences, and the context length that holds them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..checkpoints import public_name
from ..checkpoints.admission import require_known_tokens
from ..checkpoints.loader import load_tokenizer
from ..checkpoints.source import open_checkpoint

N_SAMPLED = 20_000
QUANTILES = (0.05, 0.5, 0.95, 0.99, 1.0)
HELD, MULTIPLE = 0.99, 8


@dataclass(frozen=True)
class TokenLengths:
    """Token lengths of a sample of sequences, special tokens included.

    The proposed context is the smallest multiple of 8 that holds 99 % of the sampled sequences untruncated.

    Attributes:
        read_encoder: Checkpoint of the tokenizer.
        n_sampled: Number of sampled sequences.
        quantiles: Token length by quantile; `1` is the longest.
        proposed_context: Proposed context length in tokens.
        cut_at_proposed: Fraction of the sequences that are longer than the proposed context.
        max_tokens: The context length asked about, or None.
        cut_at_max_tokens: Fraction of the sequences that are longer than `max_tokens`, or None.
    """

    read_encoder: str
    n_sampled: int
    quantiles: dict[str, int]
    proposed_context: int
    cut_at_proposed: float
    max_tokens: int | None
    cut_at_max_tokens: float | None

    @property
    def record(self) -> dict[str, Any]:
        """The token lengths as JSON values."""
        return asdict(self)


class TokenCounter:
    """Counts tokens with the tokenizer of a read encoder, without loading its weights.

    Args:
        read_encoder: A shipped checkpoint, a folder or a Hub id.
        revision: Branch, tag or commit of a Hub id.

    Raises:
        CheckpointError: The checkpoint cannot be found, or has no tokenizer of DNA.
    """

    def __init__(self, read_encoder: str, revision: str | None = None) -> None:
        from ..models.metagenbert import MetagenBertProcessor

        tokenizer = load_tokenizer(open_checkpoint(read_encoder, revision=revision))
        self.read_encoder = public_name(read_encoder)
        processor = MetagenBertProcessor(tokenizer)
        require_known_tokens(self.read_encoder, processor)
        self._encode = processor.encode_reads
        self._lengths: list[np.ndarray] = []

    def add(self, sequences: list[bytes]) -> None:
        """Count the tokens of sequences; a sequence without tokens has length 0."""
        offsets = np.cumsum([0, *map(len, sequences)])
        packed = self._encode(np.frombuffer(b"".join(sequences), np.uint8), offsets)
        lengths = np.zeros(len(sequences), np.int64)
        lengths[packed.rows] = packed.lengths
        self._lengths.append(lengths)

    def finish(self, max_tokens: int | None) -> TokenLengths:
        """Summarize the lengths of all added sequences, at least one."""
        return token_lengths(np.concatenate(self._lengths), self.read_encoder, max_tokens)


def token_lengths(lengths: np.ndarray, read_encoder: str, max_tokens: int | None) -> TokenLengths:
    """Summarize token lengths `(n_sampled,)` as quantiles and a proposed context length."""
    ordered = np.sort(lengths)
    quantiles = {f"{q:g}": int(ordered[max(math.ceil(q * len(ordered)) - 1, 0)]) for q in QUANTILES}
    context = max(math.ceil(quantiles[f"{HELD:g}"] / MULTIPLE), 1) * MULTIPLE
    return TokenLengths(
        read_encoder,
        len(ordered),
        quantiles,
        context,
        float((lengths > context).mean()),
        max_tokens,
        None if max_tokens is None else float((lengths > max_tokens).mean()),
    )


__all__ = ["TokenCounter", "TokenLengths", "token_lengths"]
