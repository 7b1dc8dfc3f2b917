"""Measure a genome at the paper's size, 4,096 genes through 15 layers of 640 with one head, forward and backward.

A run measures, on one device and in one precision:

* the matrix peak, as the best of square products of several sizes;
* forward alone, and forward with backward, with and without gradient checkpointing: median time, peak memory,
  and share of the matrix peak, counting matrix products only;
* which attention kernel ran, from the profiler.

    python benchmarks/genome_transformer_speed.py [--device cuda --dtype bfloat16]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import biomeformer
from biomeformer import GenomeTransformerConfig, GenomeTransformerForSequenceClassification

WAYS = ("forward", "both", "checkpointed")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(work: Callable[[], Any], device: torch.device, n: int) -> float:
    """Median seconds of `n` runs after one to warm up."""
    work()
    times = []
    for _ in range(n):
        synchronize(device)
        began = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def matrix_peak(device: torch.device, dtype: torch.dtype, largest: int) -> float:
    """Return the highest rate (operations per second) of a square matrix product of at most `largest` rows on a CPU."""
    best = 0.0
    sizes = [size for size in (256, 1024, 2048, 4096) if size <= max(largest, 256)]
    for size in sizes if device.type == "cpu" else (4096, 8192):
        a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        seconds = timed(lambda a=a, b=b: a @ b, device, 5)
        best = max(best, 2 * size**3 / seconds)
    return best


def operations(config: GenomeTransformerConfig, n_genes: int) -> float:
    """Of the products of one forward pass."""
    size, inner = config.hidden_size, config.intermediate_size
    layer = 2 * n_genes * (4 * size * size + 2 * size * inner) + 4 * n_genes**2 * size
    return config.num_hidden_layers * layer + 2 * n_genes * config.protein_size * size


def kernel_of(model: torch.nn.Module, proteins: torch.Tensor) -> list[str]:
    """Names of the attention kernels that a forward pass runs."""
    with torch.profiler.profile() as profile, torch.no_grad():
        model(proteins)
    names = {event.key for event in profile.key_averages() if "scaled_dot_product" in event.key}
    return sorted(name for name in names if name.startswith("aten::_")) or sorted(names)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """One way of running, in a process of its own, so that its memory is its own."""
    device, dtype = torch.device(args.device), DTYPES[args.dtype]
    torch.manual_seed(0)
    config = GenomeTransformerConfig(hidden_dropout_prob=0.0, num_labels=3)
    model = GenomeTransformerForSequenceClassification(config).to(device=device, dtype=dtype)
    model.set_attn_implementation(args.attention)
    proteins = torch.randn(1, args.n_genes, config.protein_size, device=device, dtype=dtype)
    labels = torch.zeros(1, dtype=torch.int64, device=device)
    if args.way == "checkpointed":
        model.gradient_checkpointing_enable()
    model.train(args.way != "forward")

    def work() -> None:
        if args.way == "forward":
            with torch.no_grad():
                model(proteins)
            return
        model.zero_grad(set_to_none=True)
        model(proteins, labels=labels).loss.backward()

    peak = matrix_peak(device, dtype, args.n_genes)
    seconds = timed(work, device, args.runs)
    passes = {"forward": 1, "both": 3, "checkpointed": 3}[args.way]
    rate = passes * operations(config, args.n_genes) / seconds
    memory = (
        torch.cuda.max_memory_allocated(device)
        if device.type == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    return {
        "seconds": round(seconds, 4),
        "peak_memory_mib": round(memory / (1 << 20)),
        "matrix_peak_tflops": round(peak / 1e12, 3),
        "share_of_matrix_peak": round(rate / peak, 3),
        "attention_kernels": kernel_of(model.eval(), proteins),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=DTYPES)
    parser.add_argument("--attention", default="sdpa", choices=["sdpa", "eager"], help="torch's kernels, or our own")
    parser.add_argument("--n-genes", type=int, default=4096)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS, help="what is measured")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help="default results/genome_transformer_speed.DEVICE.json")
    args = parser.parse_args()
    if args.way:
        print(json.dumps(measure(args)))
        return
    results = {}
    for way in args.ways:
        command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{way} failed:\n{done.stderr[-2000:]}")
        results[way] = json.loads(done.stdout.splitlines()[-1])
    table = Table("", *next(iter(results.values())), title=f"{args.n_genes} genes, {args.dtype}, {args.device}")
    for way, values in results.items():
        table.add_row(way, *(str(value) for value in values.values()))
    Console().print(table)
    name = torch.cuda.get_device_name(args.device) if args.device.startswith("cuda") else f"cpu, {os.cpu_count()} cores"
    content = {
        "n_genes": args.n_genes,
        "dtype": args.dtype,
        "attention": args.attention,
        "ways": results,
        "device": name,
        "versions": {
            "biomeformer": biomeformer.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    kind = args.device.split(":")[0]
    output = args.output or Path(__file__).parent / "results" / f"genome_transformer_speed.{kind}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(content, indent=1) + "\n")
    print(f"Written to {output}")


if __name__ == "__main__":
    main()
