"""Where the tokens of the sequences of a batch lie while DNABERT-2's layers work on them: packed, or padded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class PackedLayout:
    """Positions of the sequences in a packed batch.

    Attributes:
        groups: `(first_token, n_sequences, length)` of each group of equally long sequences, in packed order.
    """

    groups: tuple[tuple[int, int, int], ...]

    @classmethod
    def from_sorted_lengths(cls, lengths: list[int]) -> PackedLayout:
        """Return the layout of sequences in ascending order of length; empty sequences have no place in it."""
        groups: list[tuple[int, int, int]] = []
        first = 0
        for length in lengths:
            if groups and groups[-1][2] == length:
                start, n, _ = groups[-1]
                groups[-1] = (start, n + 1, length)
            elif length:
                groups.append((first, 1, length))
            first += length
        return cls(tuple(groups))

    @property
    def max_length(self) -> int:
        """Length of the longest sequence in tokens; 0 without sequences."""
        return max((length for _, _, length in self.groups), default=0)

    def views(self, packed: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield each group of `packed` `(n_tokens, ...)` as `(n_sequences, length, ...)`, without copying."""
        for first, n, length in self.groups:
            yield packed[first : first + n * length].unflatten(0, (n, length))

    def join(self, groups: list[torch.Tensor]) -> torch.Tensor:
        """Concatenate groups `(n_sequences, length, ...)` to `(n_tokens, ...)`, the inverse of `views`."""
        flat = [group.flatten(0, 1) for group in groups]
        return flat[0] if len(flat) == 1 else torch.cat(flat)

    def pack(self, packed: torch.Tensor) -> torch.Tensor:
        """Return the argument: the layers' inputs are packed already."""
        return packed

    def unpack(self, packed: torch.Tensor) -> torch.Tensor:
        """Return the argument: the layers' outputs remain packed."""
        return packed


@dataclass(frozen=True)
class PaddedLayout:
    """A batch that remains padded: no operation depends on its values, so that it can be exported and compiled.

    Attributes:
        mask: bool `(batch, length)`, true on tokens; None if all positions are tokens.
    """

    mask: torch.Tensor | None = None

    def views(self, padded: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield the whole batch `(batch, length, ...)` as one group."""
        yield padded

    def join(self, groups: list[torch.Tensor]) -> torch.Tensor:
        """Return the one group."""
        return groups[0]

    def pack(self, padded: torch.Tensor) -> torch.Tensor:
        """Return the argument."""
        return padded

    def unpack(self, padded: torch.Tensor) -> torch.Tensor:
        """Set padding of `(batch, length, size)` to zero."""
        return padded if self.mask is None else padded * self.mask[:, :, None]


@dataclass(frozen=True)
class BatchPacking:
    """A padded batch whose tokens each layer packs for its own work, sequences ordered by length.

    Attributes:
        shape: `(batch, length)` of the padded batch.
        source: `(n_tokens,)` flat position in the padded batch of each packed token.
        layout: Groups of the packed sequences.
    """

    shape: tuple[int, int]
    source: torch.Tensor
    layout: PackedLayout

    @classmethod
    def from_mask(cls, mask: torch.Tensor) -> BatchPacking:
        """Derive the packing from a mask, bool `(batch, length)`.

        Raises:
            ValueError: A row has padding between tokens, or no token at all.
        """
        batch, length = mask.shape
        lengths = mask.sum(1)
        first = mask.int().argmax(1)
        column = torch.arange(length, device=mask.device)
        run = (column >= first[:, None]) & (column < (first + lengths)[:, None])
        bad = (lengths == 0) | (run != mask).any(1)
        if bool(bad.any()):
            row = int(bad.nonzero()[0])
            what = "has no token" if int(lengths[row]) == 0 else "has padding between tokens"
            raise ValueError(f"attention_mask row {row} {what}; padding may only stand before or after a sequence.")
        order = torch.argsort(lengths, stable=True)
        flat = torch.arange(batch * length, device=mask.device).view(batch, length)
        source = flat[order][mask[order]]
        return cls((batch, length), source, PackedLayout.from_sorted_lengths(lengths[order].tolist()))

    def views(self, packed: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield each group of equally long sequences, as `PackedLayout.views`."""
        return self.layout.views(packed)

    def join(self, groups: list[torch.Tensor]) -> torch.Tensor:
        """Concatenate groups, as `PackedLayout.join`."""
        return self.layout.join(groups)

    def pack(self, padded: torch.Tensor) -> torch.Tensor:
        """Pack `(batch, length, ...)` to `(n_tokens, ...)`."""
        return padded.flatten(0, 1)[self.source]

    def unpack(self, packed: torch.Tensor) -> torch.Tensor:
        """Unpack `(n_tokens, ...)` to `(batch, length, ...)`, zero on padding."""
        batch, length = self.shape
        padded = packed.new_zeros(batch * length, *packed.shape[1:])
        return padded.index_copy(0, self.source, packed).unflatten(0, (batch, length))


Layout = PackedLayout | PaddedLayout | BatchPacking

__all__ = ["BatchPacking", "Layout", "PackedLayout", "PaddedLayout"]
