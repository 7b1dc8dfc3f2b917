"""Matrix products of float32 numbers in full float32, whatever the host program has set."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

# How torch names a precision that does not shorten float32 numbers.
FULL_PRECISIONS = ("ieee", "none")


class _FullFloat32:
    """torch's setting of full float32 products, while at least one of those who asked for it is at work.

    The setting is one for the whole process, and on a CPU several threads embed at once: the first sets it, and the
    last puts back what the host program had set.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_users = 0
        self._before: tuple[str, list[str]] | None = None

    def begin(self) -> None:
        with self._lock:
            if not self._n_users:
                self._before = self._set()
            self._n_users += 1

    def end(self) -> None:
        with self._lock:
            self._n_users -= 1
            if not self._n_users and self._before is not None:
                self._restore(*self._before)
                self._before = None

    def _set(self) -> tuple[str, list[str]] | None:
        """Set it; gives what was set before, None where nothing had to be changed."""
        before = [operation.fp32_precision for operation in _matrix_products()]
        if all(precision in FULL_PRECISIONS for precision in before):
            return None
        for operation in _matrix_products():
            operation.fp32_precision = "ieee"
        # torch raises where its older and its newer setting contradict each other, in compiled modules too; with the
        # newer one at full precision the older can be read.
        older = torch.get_float32_matmul_precision()
        if older != "highest":
            torch.set_float32_matmul_precision("highest")
        return older, before

    def _restore(self, older: str, before: list[str]) -> None:
        if older != "highest":
            torch.set_float32_matmul_precision(older)
        for operation, precision in zip(_matrix_products(), before, strict=True):
            # An operation that follows the setting of all operations goes on to follow it.
            operation.fp32_precision = "none"
            if operation.fp32_precision != precision:
                operation.fp32_precision = precision


def _matrix_products() -> tuple[Any, Any]:
    """Where torch keeps the precision of float32 matrix products: on CUDA, and on a CPU."""
    return torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]


_FULL_FLOAT32 = _FullFloat32()


@contextmanager
def full_float32_matmul() -> Iterator[None]:
    """Let matrix products of float32 numbers be made in full float32 within this context; also a decorator.

    `torch.set_float32_matmul_precision("high")`, `torch.backends.cuda.matmul.allow_tf32`, the `fp32_precision` settings
    and `TORCH_ALLOW_TF32_CUBLAS_OVERRIDE` (which NVIDIA's containers set) have them made in TF32 on CUDA, with 10 bits
    of 23, and in bfloat16 on some CPUs. Rounding that coarse depends on the shape of a batch, and is far above the
    tolerance within which two distances count as equal.

    The setting is the process's: what other threads multiply meanwhile is in full float32 too. It may be entered by
    several threads at once and within itself.
    """
    _FULL_FLOAT32.begin()
    try:
        yield
    finally:
        _FULL_FLOAT32.end()


__all__ = ["full_float32_matmul"]
