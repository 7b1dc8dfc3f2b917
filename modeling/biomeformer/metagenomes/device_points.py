"""The points of k-means as tensors: on the CPU, kept on a CUDA device, or streamed to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import torch

from ..inference.batching import to_device
from ..runs.prefetch import prefetch
from .points import Points

# On a CUDA device a chunk of `points.CHUNK_BYTES` takes less time than launching its kernels.
DEVICE_CHUNK_BYTES = 128 << 20


@dataclass(frozen=True)
class DevicePoints:
    """A process's share of the points on the device that clusters them.

    Attributes:
        chunks: Iterates over them again, in order: float32 tensors `(n, hidden_size)` on the device.
        resident: Whether they stay in the device's memory; otherwise `chunks` reads or streams them each time.
    """

    chunks: Callable[[], Iterator[torch.Tensor]]
    resident: bool

    @classmethod
    def from_points(
        cls, points: Points, device: torch.device, max_bytes: int, check: Callable[[], None] | None = None
    ) -> DevicePoints:
        """Return points on a device, where they stay if they take at most `max_bytes`; they are then read once.

        Args:
            points: This process's share.
            device: CPU or CUDA device; on a CPU the points stay where they are.
            max_bytes: What they may take in a CUDA device's memory.
            check: Called while they are read; what it raises ends the work.
        """
        if device.type == "cpu":
            return cls(lambda: map(torch.from_numpy, points.chunks()), not points.on_disk)
        if points.n_local * points.hidden_size * 4 > max_bytes:
            return cls(lambda: _streamed(points, device, check), False)
        table = torch.empty((points.n_local, points.hidden_size), device=device)
        done = 0
        for chunk in _streamed(points, device, check):
            table[done : done + len(chunk)] = chunk
            done += len(chunk)
        n_rows = device_chunk_rows(points.hidden_size)

        def chunks() -> Iterator[torch.Tensor]:
            for start in range(0, len(table), n_rows):
                yield table[start : start + n_rows]

        return cls(chunks, True)


def device_chunk_rows(hidden_size: int) -> int:
    """Return the points per chunk on a CUDA device."""
    return max(DEVICE_CHUNK_BYTES // (4 * hidden_size), 1)


def _streamed(points: Points, device: torch.device, check: Callable[[], None] | None) -> Iterator[torch.Tensor]:
    """Yield chunks on a CUDA device; a thread reads the next ones into pinned memory meanwhile."""
    pinned = (torch.from_numpy(chunk).pin_memory() for chunk in points.chunks())
    with closing(prefetch(pinned, check=check)) as chunks:
        for chunk in chunks:
            # torch gives pinned memory to another tensor only once the copies from it are done.
            yield to_device(chunk, device)


__all__ = ["DEVICE_CHUNK_BYTES", "DevicePoints", "device_chunk_rows"]
