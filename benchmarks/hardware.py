"""What a machine is and can do: its description, and the fixed kernels that measured rates are set against."""

from __future__ import annotations

import os
import platform
import resource
import time
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers

import biomeformer

# Rows, inner size and columns of square products.
SQUARES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192)}
TABLE_ROWS, TABLE_WIDTH, BAG_TOKENS, BAG_LENGTH = 4097, 272, 1 << 18, 48
COPY_BYTES = 64 << 20
MIB = 1 << 20

Product = tuple[int, int, int]


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], Any], device: torch.device) -> float:
    """Wall time of one call, the device's work included."""
    synchronize(device)
    began = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - began


def best_seconds(work: Callable[[], Any], device: torch.device, least: int = 3, spend: float = 0.3) -> float:
    """Shortest of at least `least` calls, and of as many as `spend` seconds hold; one call to warm up is left out."""
    work()
    found: list[float] = []
    while len(found) < least or sum(found) < spend:
        found.append(seconds(work, device))
    return min(found)


def matrix_peak(
    device: torch.device, dtype: torch.dtype, products: Sequence[Product] = (), squares: Sequence[int] | None = None
) -> tuple[float, dict[str, float]]:
    """Most operations a second of a matrix product, among square ones and those given.

    Args:
        device: Where.
        dtype: Of factors and product.
        products: Rows, inner size and columns of products to try beside square ones.
        squares: Sizes of the square ones.

    Returns:
        The best, and each product's, in FLOP/s; a product counts 2 x rows x inner x columns.
    """
    sizes = SQUARES["cpu" if device.type == "cpu" else "cuda"] if squares is None else squares
    found = {}
    for rows, inner, columns in [*((n, n, n) for n in sizes), *products]:
        left = torch.randn(rows, inner, device=device).to(dtype)
        right = torch.randn(columns, inner, device=device).to(dtype)
        took = best_seconds(lambda a=left, b=right: torch.nn.functional.linear(a, b), device)
        found[f"{rows}x{inner}x{columns}"] = 2 * rows * inner * columns / took
    return max(found.values()), found


@cache
def _fastq_text() -> tuple[bytes, bytes]:
    """Text like a FASTQ file's, plain and compressed."""
    rng = np.random.default_rng(0)
    letters = np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, (20_000, 150))]
    text = b"".join(b"@r%d\n%s\n+\n%s\n" % (i, row.tobytes(), b"I" * 150) for i, row in enumerate(letters))
    return text, zlib.compress(text, 4)


def inflate_rate() -> float:
    """Bytes a second that zlib decompresses to on one core, of text like a FASTQ file's."""
    text, packed = _fastq_text()
    return len(text) / best_seconds(lambda: zlib.decompress(packed), torch.device("cpu"))


def copy_rate(device: torch.device) -> float:
    """Bytes a second of one large copy: in memory, or from pinned memory to the device."""
    source = torch.randint(0, 100, (COPY_BYTES // 8,))
    if device.type == "cuda":
        source = source.pin_memory()
    target = torch.empty(source.shape, dtype=source.dtype, device=device)
    return COPY_BYTES / best_seconds(lambda: target.copy_(source, non_blocking=True), device)


def lookup_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Rows a second that torch's `embedding_bag` looks up and adds, of a table that fits the caches."""
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(TABLE_ROWS, TABLE_WIDTH, generator=generator).to(device=device, dtype=dtype)
    rows = torch.randint(0, TABLE_ROWS, (BAG_TOKENS,), generator=generator).to(device)
    starts = torch.arange(0, BAG_TOKENS, BAG_LENGTH, device=device)
    took = best_seconds(lambda: torch.nn.functional.embedding_bag(rows, table, starts, mode="sum"), device)
    return BAG_TOKENS / took


def reset_peak_memory(device: torch.device) -> None:
    """Begin anew to watch for the most memory in use."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        # Where the kernel has no such thing, the peak is that of the process's whole life.
        return


def peak_memory(device: torch.device) -> dict[str, float | None]:
    """Most memory in use since `reset_peak_memory`, in MiB: the process's (`rss`), and the device's own (`device`)."""
    on_device = torch.cuda.max_memory_allocated(device) / MIB if device.type == "cuda" else None
    return {
        "rss": round(_status_mib("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "device": None if on_device is None else round(on_device, 1),
    }


def _status_mib(field: str) -> float | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:")), None)


def _cpu_field(field: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")


def bf16_instructions() -> dict[str, bool]:
    """Which instructions for bfloat16 the processor has: `avx512_bf16` and `amx_tile`, or Arm's `bf16`."""
    flags = set((_cpu_field("flags") or _cpu_field("Features")).split())
    asked = {"avx512_bf16": "_is_avx512_bf16_supported", "amx_tile": "_is_amx_tile_supported"}
    found = {}
    for flag, function in asked.items():
        known = getattr(torch.cpu, function, None)
        found[flag] = bool(known()) if known is not None else flag in flags
    return {**found, "arm_bf16": "bf16" in flags}


def describe(device: torch.device, threads: int) -> dict[str, Any]:
    """The machine and the versions that run, for a results file."""
    return {
        "device": "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device),
        "processor": _cpu_field("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "bf16_instructions": bf16_instructions(),
        "tf32": bool(torch.backends.cuda.matmul.allow_tf32) if device.type == "cuda" else None,
        "versions": {
            "biomeformer": biomeformer.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
