"""Batches of reads of one length and fixed size, so that a read's vector does not depend on the others."""

from __future__ import annotations

from collections.abc import Iterator

import torch

# Numbers of equally long reads, and of their tokens, that are embedded at once when results must not depend on the
# batch; reads are embedded one at a time on devices that are not named, such as CPUs.
EXACT_BATCH_READS = {"cuda": 16}
EXACT_BATCH_TOKENS = 4096


def exact_batch_size(length: int, device: torch.device) -> int:
    """Return the number of reads of a length to embed at once when results must not depend on the batch.

    It depends on length and type of device only, so that every batch of a length has the same shape.
    """
    return max(min(EXACT_BATCH_READS.get(device.type, 1), EXACT_BATCH_TOKENS // length), 1)


def by_length(
    input_ids: torch.Tensor, lengths: torch.Tensor, rows: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield given reads of a packed batch in groups of equal length; the CPU does not wait for a GPU.

    Args:
        input_ids: `(n_tokens,)`, concatenated reads.
        lengths: `(n_reads,)`, tokens of each read, on the CPU.
        rows: int64 `(n_rows,)`, indices of the reads to yield, on the CPU.

    Yields:
        Indices `(n_group,)` on the CPU, and tokens `(n_group, length)` on the device of `input_ids`.
    """
    starts = torch.cumsum(lengths, 0) - lengths
    for length in lengths[rows].unique().tolist():
        group = rows[lengths[rows] == length]
        positions = starts[group][:, None] + torch.arange(length)
        if input_ids.device.type == "cuda":
            positions = positions.pin_memory()
        yield group, input_ids[positions.to(input_ids.device, non_blocking=True)]


__all__ = ["by_length", "exact_batch_size"]
