"""Describe a machine, and run the fixed kernels that measured rates are compared with."""

from __future__ import annotations

import os
import platform
import resource
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers

import biomeformer

# Rows, inner size and columns of square products; the last is the fixed kernel.
SQUARES = {"cpu": (512, 2048, 1024), "cuda": (4096, 8192)}
TABLE_ROWS, TABLE_WIDTH, BAG_TOKENS, BAG_LENGTH = 4097, 64, 1 << 18, 48
COPY_BYTES = 64 << 20
# Seconds that a kernel runs for, before and after what it is compared with.
KERNEL_MOMENT = 0.1
# Seconds that a product is tried for.
PEAK_SECONDS = 0.3
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


def costs(work: Callable[[], Any], device: torch.device) -> tuple[float, float]:
    """Wall time of one call, and what it cost: on a CPU the processor time of all threads, on a GPU the wall time."""
    began = time.process_time()
    took = seconds(work, device)
    return took, time.process_time() - began if device.type == "cpu" else took


def best_seconds(work: Callable[[], Any], device: torch.device) -> float:
    """Shortest of at least three calls, and of as many as `PEAK_SECONDS` hold; one call to warm up is left out."""
    work()
    times: list[float] = []
    while len(times) < 3 or sum(times) < PEAK_SECONDS:
        times.append(seconds(work, device))
    return min(times)


def matrix_peak(
    device: torch.device, dtype: torch.dtype, products: Sequence[Product], squares: Sequence[int]
) -> tuple[float, dict[Product, float]]:
    """Return the highest rate (operations per second) of a matrix product, among square ones and those given.

    Args:
        device: Where.
        dtype: Of factors and product.
        products: Rows, inner size and columns of products to try beside square ones.
        squares: Sizes of the square ones.

    Returns:
        The best, and each product's, in FLOP/s; a product counts 2 x rows x inner x columns.
    """
    flops = {}
    for product in [*((n, n, n) for n in squares), *products]:
        rows, inner, columns = product
        left, right = (torch.randn(size, inner, device=device).to(dtype) for size in (rows, columns))
        took = best_seconds(lambda a=left, b=right: torch.nn.functional.linear(a, b), device)
        flops[product] = 2 * rows * inner * columns / took
    return max(flops.values()), flops


@cache
def _fastq_text() -> tuple[bytes, bytes]:
    """Text like a FASTQ file's, plain and compressed."""
    rng = np.random.default_rng(0)
    letters = np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, (20_000, 150))]
    text = b"".join(b"@r%d\n%s\n+\n%s\n" % (i, row.tobytes(), b"I" * 150) for i, row in enumerate(letters))
    return text, zlib.compress(text, 4)


class Kernel:
    """A fixed piece of work, whose rate tells how fast the machine is at a moment.

    On a CPU its rate is by processor time, which neighbours on the same host change little.

    Args:
        work: One run, by one thread of the CPU.
        amount: What a run gets through: bytes, rows or operations.
        device: Waited for.
        map_per_core: Whether each core runs it at the same time, as each has a batch of its own; on a CPU.
    """

    def __init__(
        self, work: Callable[[], Any], amount: float, device: torch.device, map_per_core: bool = False
    ) -> None:
        work()
        self._work, self._amount, self._device = work, amount, device
        self._n_cores = torch.get_num_threads() if map_per_core and device.type == "cpu" else 1

    def rate(self) -> float:
        """What it gets through a second now, over as many runs as fill a moment."""
        n_threads = torch.get_num_threads()
        torch.set_num_threads(1)
        with ThreadPoolExecutor(self._n_cores) as pool:
            n_runs = 0

            def run() -> None:
                nonlocal n_runs
                n_runs = sum(pool.map(self._runs, [KERNEL_MOMENT] * self._n_cores))

            cost = costs(run, self._device)[1]
        torch.set_num_threads(n_threads)
        return n_runs * self._amount / cost

    def _runs(self, moment: float) -> int:
        n_runs, end = 0, time.perf_counter() + moment
        while not n_runs or time.perf_counter() < end:
            self._work()
            synchronize(self._device)
            n_runs += 1
        return n_runs


def inflate_kernel() -> Kernel:
    """Decompression by zlib on one core, of text like a FASTQ file's: bytes that come out."""
    text, packed = _fastq_text()
    return Kernel(lambda: zlib.decompress(packed), len(text), torch.device("cpu"))


def copy_kernel(device: torch.device) -> Kernel:
    """One large copy, in memory or from pinned memory to the device: bytes."""
    source = torch.randint(0, 100, (COPY_BYTES // 8,))
    if device.type == "cuda":
        source = source.pin_memory()
    target = torch.empty(source.shape, dtype=source.dtype, device=device)
    work = torch.inference_mode()(lambda: target.copy_(source, non_blocking=True))
    return Kernel(work, COPY_BYTES, device)


def lookup_kernel(device: torch.device, dtype: torch.dtype) -> Kernel:
    """Look-ups by `embedding_bag` in a table that fits a core's cache: rows that are added up."""
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(TABLE_ROWS, TABLE_WIDTH, generator=generator).to(device=device, dtype=dtype)
    rows = torch.randint(0, TABLE_ROWS, (BAG_TOKENS,), generator=generator).to(device)
    starts = torch.arange(0, BAG_TOKENS, BAG_LENGTH, device=device)
    work = lambda: torch.nn.functional.embedding_bag(rows, table, starts, mode="sum")  # noqa: E731
    return Kernel(torch.inference_mode()(work), BAG_TOKENS, device, map_per_core=True)


def product_kernel(device: torch.device, dtype: torch.dtype, product: Product) -> Kernel:
    """A matrix product of rows, inner size and columns: operations, 2 x rows x inner x columns."""
    rows, inner, columns = product
    left, right = (torch.randn(size, inner, device=device).to(dtype) for size in (rows, columns))
    work = lambda: torch.nn.functional.linear(left, right)  # noqa: E731
    return Kernel(torch.inference_mode()(work), 2 * rows * inner * columns, device, map_per_core=True)


def processor_ticks() -> tuple[int, int] | None:
    """Ticks of all processors since the start, and those of them that a host gave to other machines; None off Linux."""
    try:
        line = Path("/proc/stat").read_text().splitlines()[0]
    except OSError:
        return None
    ticks = [int(value) for value in line.split()[1:9]]
    return sum(ticks), ticks[7]


@contextmanager
def stolen_time(record: dict[str, Any]) -> Iterator[None]:
    """Tells how much processor time within a host gave to other machines: `stolen_s`, and as a share `stolen_share`."""
    before = processor_ticks()
    yield
    after = processor_ticks()
    record |= {"stolen_s": None, "stolen_share": None}
    if before is not None and after is not None and after[0] > before[0]:
        record["stolen_s"] = (after[1] - before[1]) / os.sysconf("SC_CLK_TCK")
        record["stolen_share"] = round((after[1] - before[1]) / (after[0] - before[0]), 4)


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak memory."""
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
    is_known = {}
    for flag, function in asked.items():
        known = getattr(torch.cpu, function, None)
        is_known[flag] = bool(known()) if known is not None else flag in flags
    return {**is_known, "arm_bf16": "bf16" in flags}


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
