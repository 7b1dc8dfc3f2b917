"""Measure which attention kernel DNABERT-2's packed passes run and what new batches cost, with and without cuDNN.

cuDNN makes a new plan for every number of sequences and length, so each batch is timed twice: with new shapes, then
with known ones. The package's attention excludes cuDNN; here it is allowed again for comparison.

    python benchmarks/gpu_attention.py --device cuda --output attention.json
"""

from __future__ import annotations

import argparse
import json
import statistics
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from hardware import describe, seconds
from speed_shapes import READ_SHAPES, flat, random_reads, read_encoder

# Of DNABERT-2's attention, in the module that runs it.
CONTEXT = "biomeformer.models.dnabert2.modeling_dnabert2.without_cudnn_attention"
LENGTHS = [100, 125, 150, 200, 250]
N_KERNELS = 20


def batches(shape: str, device: torch.device, n_batches: int, n_reads: int) -> tuple[Any, list[tuple[Any, Any]]]:
    """An encoder in bfloat16, and batches of random reads as it gets them: in order of length."""
    encoder, processor, _ = read_encoder(shape, device)
    token_batches = []
    for number in range(n_batches):
        packed = processor.encode_reads(*flat(random_reads(n_reads, LENGTHS, seed=7, part=number)))
        order = packed.lengths.argsort(kind="stable")
        reads = torch.from_numpy(packed.input_ids).split(packed.lengths.tolist())
        ids = torch.cat([reads[row] for row in order])
        token_batches.append((ids.to(device), torch.from_numpy(packed.lengths[order])))
    return encoder.to(torch.bfloat16), token_batches


def kernels(work: Any, device: torch.device) -> list[dict[str, Any]]:
    """The kernels (on a CPU operators) that take longest in a call, with their number and milliseconds."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        seconds(work, device)
    on_device = [event for event in profile.key_averages() if event.self_device_time_total > 0]
    events = on_device or profile.key_averages()
    name = "self_device_time_total" if on_device else "self_cpu_time_total"
    rows = sorted(events, key=lambda event: -getattr(event, name))[:N_KERNELS]
    rows += [event for event in profile.key_averages() if is_attention(event.key)]
    return list(
        {
            event.key: {"name": event.key, "calls": event.count, "ms": round(getattr(event, name) / 1000, 3)}
            for event in rows
        }.values()
    )


def is_attention(name: str) -> bool:
    """Whether an operator is one of torch's attention."""
    return "scaled_dot_product" in name


@torch.inference_mode()
def measure(encoder: Any, groups: list[tuple[Any, Any]], device: torch.device) -> dict[str, Any]:
    """Seconds of batches that are new, and known; and the kernels of one."""
    warm, *others = groups
    encoder.embed_packed(*warm)
    new = [seconds(lambda b=batch: encoder.embed_packed(*b), device) for batch in others]
    known = [seconds(lambda b=batch: encoder.embed_packed(*b), device) for batch in others]
    return {
        "seconds_new": [round(value, 4) for value in new],
        "seconds_known": [round(value, 4) for value in known],
        "median_ratio": round(statistics.median(a / b for a, b in zip(new, known, strict=True)), 2),
        "tokens": [len(ids) for ids, _ in others],
        "kernels": kernels(lambda: encoder.embed_packed(*others[0]), device),
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shape", default="dnabert2", choices=READ_SHAPES)
    parser.add_argument("--batches", type=int, default=5)
    parser.add_argument("--reads", type=int, default=4000, help="reads of a batch")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    device = torch.device(args.device)
    encoder, groups = batches(args.shape, device, args.batches, args.reads)
    result: dict[str, Any] = {"shape": args.shape, **describe(device, torch.get_num_threads())}
    for name, context in (("as shipped", nullcontext()), ("with cuDNN", mock.patch(CONTEXT, lambda _: nullcontext()))):
        with context:
            result[name] = measure(encoder, groups, device)
        args.output.write_text(json.dumps(result, indent=1) + "\n")
        row = result[name]
        print(f"{name}: new {row['seconds_new']} s, known {row['seconds_known']} s, {row['median_ratio']} times")
    used = [row["name"] for row in result["as shipped"]["kernels"] if is_attention(row["name"])]
    print(f"attention as shipped: {', '.join(used) or 'see the kernels'}")


if __name__ == "__main__":
    main()
