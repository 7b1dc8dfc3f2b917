"""Compute matrix products of float32 in full float32 precision, whatever the host program has set."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

# torch's names of precisions that do not round float32 inputs.
FULL_PRECISIONS = ("ieee", "none")


class _FullFloat32:
    """torch's setting of full float32 products, active while at least one user needs it.

    The setting is global to the process, and on a CPU several threads embed at once: the first user changes it, and the
    last one restores the host program's setting.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_users = 0
        self._before: tuple[str, list[str]] | None = None

    def begin(self) -> None:
        """Add a user; the first one changes the setting."""
        with self._lock:
            if not self._n_users:
                self._before = self._set()
            self._n_users += 1

    def end(self) -> None:
        """Remove a user; the last one restores the setting."""
        with self._lock:
            self._n_users -= 1
            if not self._n_users and self._before is not None:
                self._restore(*self._before)
                self._before = None

    def _set(self) -> tuple[str, list[str]] | None:
        """Change the setting and return the one before, None if it was full float32 already."""
        before = [operation.fp32_precision for operation in _matrix_products()]
        if all(precision in FULL_PRECISIONS for precision in before):
            return None
        for operation in _matrix_products():
            operation.fp32_precision = "ieee"
        # torch raises an error, also in compiled modules, if its older and its newer setting contradict each other; now
        # that the newer one is full precision, the older can be read.
        older = torch.get_float32_matmul_precision()
        if older != "highest":
            torch.set_float32_matmul_precision("highest")
        return older, before

    def _restore(self, older: str, before: list[str]) -> None:
        if older != "highest":
            torch.set_float32_matmul_precision(older)
        for operation, precision in zip(_matrix_products(), before, strict=True):
            # "none" follows torch's setting for all operations. An operation that followed it before must do so again,
            # not be fixed to the value that it had.
            operation.fp32_precision = "none"
            if operation.fp32_precision != precision:
                operation.fp32_precision = precision


def _matrix_products() -> tuple[Any, Any]:
    """Return the objects that hold torch's precision of float32 matrix products, on CUDA and on a CPU."""
    return torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]


_FULL_FLOAT32 = _FullFloat32()


@contextmanager
def full_float32_matmul() -> Iterator[None]:
    """Compute matrix products of float32 in full float32 within this context, which is also a decorator.

    `torch.set_float32_matmul_precision("high")`, `torch.backends.cuda.matmul.allow_tf32`, the `fp32_precision` settings
    and `TORCH_ALLOW_TF32_CUBLAS_OVERRIDE` (which NVIDIA's containers set) select TF32 on CUDA, with 10 instead of 23
    bits of mantissa, and bfloat16 on some CPUs. The error then depends on the shape of the batch, and is far above the
    tolerance within which two distances count as equal.

    The setting is global to the process: other threads compute in full float32 meanwhile too. The context may be
    entered by several threads at once, and nested. While a graph is recorded, which has no such settings, it does
    nothing.
    """
    if torch.compiler.is_compiling():
        yield
        return
    _FULL_FLOAT32.begin()
    try:
        yield
    finally:
        _FULL_FLOAT32.end()


__all__ = ["full_float32_matmul"]
