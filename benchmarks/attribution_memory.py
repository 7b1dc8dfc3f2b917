"""Measure the memory of attributing a genome of 4,096 genes at the paper's size; one gene-by-gene map is 64 MiB.

Each method runs in its own process. Reported is its peak memory minus the memory before it starts, which holds the
model, the genome's vectors and what a warm-up pass leaves.

* forward: a prediction, which keeps no map;
* attention, attention_gradient, rollout: one map of `biomeformer.attribution.maps` and its 100 strongest pairs;
* every layer's attention: the model asked for `output_attentions`, which keeps 15 maps;
* whole genome: all that `biomeformer genome attribute` does for one genome, with two ablated pairs, not twenty.

    python benchmarks/attribution_memory.py [--device cuda]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import biomeformer
from biomeformer import GenomeTransformerConfig, GenomeTransformerForSequenceClassification
from biomeformer.attribution import AttributionSettings, explain_genome
from biomeformer.attribution.maps import METHODS
from biomeformer.attribution.pairs import top_pairs

WAYS = ("forward", *METHODS, "every layer's attention", "whole genome")
MIB = 1 << 20


def memory(device: torch.device, *, peak: bool) -> int:
    """Bytes at most since `forget_peak`, or now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) if peak else torch.cuda.memory_allocated(device)
    name = "VmHWM:" if peak else "VmRSS:"
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def forget_peak(device: torch.device) -> None:
    """Reset the peak."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5")


def work_of(way: str, model: GenomeTransformerForSequenceClassification, proteins: torch.Tensor) -> Callable[[], Any]:
    """Return the call to measure."""
    contigs = torch.zeros(len(proteins), dtype=torch.int64, device=proteins.device)
    if way in METHODS:
        return lambda: top_pairs(METHODS[way](model, proteins, contigs, 0), 100)
    if way == "whole genome":
        vectors = proteins.cpu().numpy()
        settings = AttributionSettings(n_ablated=2, n_controls=1)
        return lambda: explain_genome(model, vectors, np.zeros(len(vectors), np.int64), settings)

    def work() -> None:
        with torch.no_grad():
            model(proteins[None], output_attentions=way != "forward")

    return work


def measure(way: str, device: torch.device, n_genes: int) -> float:
    """Return the memory of one method in MiB."""
    torch.manual_seed(0)
    config = GenomeTransformerConfig(hidden_dropout_prob=0.0, num_labels=3)
    model = GenomeTransformerForSequenceClassification(config).to(device).eval()
    if way == "every layer's attention":
        model.set_attn_implementation("eager")
    proteins = torch.randn(n_genes, config.protein_size, device=device)
    # A few genes first: libraries are loaded and their buffers made.
    work_of(way, model, proteins[:64])()
    before = memory(device, peak=False)
    forget_peak(device)
    work_of(way, model, proteins)()
    return round((memory(device, peak=True) - before) / MIB, 1)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--n-genes", type=int, default=4096)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help="default results/attribution_memory.DEVICE.json")
    args = parser.parse_args()
    if args.way:
        print(json.dumps(measure(args.way, torch.device(args.device), args.n_genes)))
        return
    one_map = args.n_genes**2 * 4 / MIB
    results: dict[str, dict[str, float]] = {}
    table = Table("", "MiB", "maps beyond forward", title=f"{args.n_genes} genes, {args.device}")
    for way in WAYS:
        command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
        # What is freed goes back at once, so that the process has what it uses.
        environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            raise SystemExit(f"{way} failed:\n{done.stderr[-2000:]}")
        taken = json.loads(done.stdout.splitlines()[-1])
        beyond = (taken - results["forward"]["taken_mib"]) / one_map if results else 0.0
        results[way] = {"taken_mib": taken, "maps_beyond_forward": round(beyond, 2)}
        table.add_row(way, *(str(value) for value in results[way].values()))
    Console().print(table)
    name = torch.cuda.get_device_name(args.device) if args.device.startswith("cuda") else f"cpu, {os.cpu_count()} cores"
    content = {
        "n_genes": args.n_genes,
        "one_map_mib": one_map,
        "ways": results,
        "device": name,
        "versions": {
            "biomeformer": biomeformer.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    kind = args.device.split(":")[0]
    output = args.output or Path(__file__).parent / "results" / f"attribution_memory.{kind}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(content, indent=1) + "\n")
    print(f"Written to {output}")


if __name__ == "__main__":
    main()
