"""Passes through an encoder that fit its device's memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedModel

from ..errors import RunError
from ..runs.devices import is_out_of_memory

Result = TypeVar("Result")

# Budgets that turned out to be too large for the device's memory, for the rest of the process.
_LOWERED: WeakKeyDictionary[PreTrainedModel, int] = WeakKeyDictionary()


class TokenBudget:
    """Token budget of one pass through a model's encoder, lowered once its device's memory did not suffice.

    Args:
        model: On the device to use.
        tokens: Asked for.
        what: The items of a batch, in the singular, for messages.
        advice: What to do where a single one does not fit, for messages.
    """

    def __init__(self, model: PreTrainedModel, tokens: int, *, what: str, advice: str) -> None:
        self._model, self._asked, self._what, self._advice = model, tokens, what, advice

    @property
    def tokens(self) -> int:
        """Largest number of tokens of a pass."""
        return min(self._asked, _LOWERED.get(self._model, self._asked))

    def passes(
        self, work: Callable[[torch.Tensor, torch.Tensor], Result], input_ids: torch.Tensor, lengths: torch.Tensor
    ) -> Iterator[Result]:
        """Do a batch's work in one pass, or in halves of it where the memory does not suffice; nothing is done twice.

        Args:
            work: Given `input_ids` and `lengths` of a part; may run out of memory before it has changed anything.
            input_ids: `(n_tokens,)`, end to end, on the CPU.
            lengths: `(n,)`, tokens of each, on the CPU.

        Yields:
            What `work` returns, in the order of the batch.

        Raises:
            RunError: A single sequence does not fit into the device's memory.
        """
        # A larger batch was cut before the budget was lowered.
        if len(lengths) == 1 or len(input_ids) <= self.tokens:
            try:
                result = work(input_ids, lengths)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                # Its traceback holds on to the memory.
                self._lower(input_ids, lengths, error.with_traceback(None))
            else:
                yield result
                return
        middle = len(lengths) // 2
        cut = int(lengths[:middle].sum())
        yield from self.passes(work, input_ids[:cut], lengths[:middle])
        yield from self.passes(work, input_ids[cut:], lengths[middle:])

    def _lower(self, input_ids: torch.Tensor, lengths: torch.Tensor, cause: Exception) -> None:
        device = self._model.device
        if len(lengths) == 1:
            raise RunError(
                f"a {self._what} of {int(lengths[0]):,} tokens does not fit into the memory of {device}: "
                f"{self._advice}, or use a larger device; what is finished is kept."
            ) from cause
        if device.type == "cuda":
            torch.cuda.empty_cache()
        lowered = max(len(input_ids) // 2, 1)
        if lowered < self.tokens:
            _LOWERED[self._model] = lowered
            warnings.warn(
                f"{device} has no memory for {len(input_ids):,} tokens at once; continuing with {lowered:,} "
                f"(--batch-tokens {lowered} spares the attempt).",
                stacklevel=5,
            )


__all__ = ["TokenBudget", "is_out_of_memory"]
