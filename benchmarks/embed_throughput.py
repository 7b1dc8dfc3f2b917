"""How many reads a second go from FASTQ.gz to cluster counts, and what batching buys.

One run measures, on one file of simulated reads:

* reading alone (decompress, parse, check, subsample);
* reading and tokenising;
* the whole path, FASTQ.gz to counts, three times;
* the same float32 encoder called read by read, as a script would, on a part of the reads.

It prints one table and writes one JSON with device and versions.

    python benchmarks/embed_throughput.py --model metagenbert-mini --reads 400000
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import biomeformer
from biomeformer.metagenbert import MetagenBertModel
from biomeformer.reads import SampleReader, SampleReads


def write_reads(path: Path, n_reads: int, length: int, seed: int) -> None:
    """Random DNA as FASTQ.gz."""
    rng = np.random.default_rng(seed)
    quality = b"I" * length
    with gzip.open(path, "wb", compresslevel=4) as handle:
        for first in range(0, n_reads, 50_000):
            block = rng.choice(np.frombuffer(b"ACGT", np.uint8), (min(50_000, n_reads - first), length))
            handle.write(
                b"".join(b"@r%d\n%s\n+\n%s\n" % (first + i, r.tobytes(), quality) for i, r in enumerate(block))
            )


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@torch.inference_mode()
def read_by_read(model: MetagenBertModel, reads: list[str]) -> np.ndarray:
    """Counts by one forward call a read."""
    assert model.processor is not None
    counts = np.zeros(model.config.n_clusters, np.int64)
    for read in reads:
        counts[int(model(**model.processor(read).to(model.device)).cluster_ids[0])] += 1
    return counts


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="metagenbert-mini")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--reads", type=int, default=400_000)
    parser.add_argument("--length", type=int, default=150)
    parser.add_argument("--single-reads", type=int, default=2_000, help="reads of the read-by-read run")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "embed_throughput.json")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    model = biomeformer.load(args.model, device=args.device, dtype=args.dtype)
    processor = model.processor
    assert processor is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reads.fastq.gz"
        write_reads(path, args.reads, args.length, seed=0)
        part = Path(folder) / "part.fastq.gz"
        write_reads(part, args.single_reads, args.length, seed=0)
        model.embed_sample(part)
        reads = SampleReads.single(path)
        reading = seconds(lambda: sum(len(batch) for batch in SampleReader(reads)))
        tokenising = seconds(
            lambda: sum(
                len(processor.encode_reads(batch.sequence, batch.offsets).rows) for batch in SampleReader(reads)
            )
        )
        whole = [seconds(lambda: model.embed_sample(path)) for _ in range(3)]
        texts = [text for batch in SampleReader(SampleReads.single(part)) for text in batch.strings()]
        single_counts: list[np.ndarray] = []
        single = seconds(lambda: single_counts.append(read_by_read(model, texts)))
        if not np.array_equal(single_counts[0], model.embed_sample(part).counts):
            raise SystemExit("The counts of the engine and of the read-by-read run differ; the figures mean nothing.")

    rates = {
        "reading": args.reads / reading,
        "reading_and_tokenising": args.reads / tokenising,
        "fastq_gz_to_counts": args.reads / statistics.median(whole),
        "read_by_read": args.single_reads / single,
    }
    result = {
        "model": args.model,
        "n_reads": args.reads,
        "read_length": args.length,
        "reads_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "fastq_gz_to_counts_runs_s": [round(value, 3) for value in whole],
        "ratio_to_read_by_read": round(rates["fastq_gz_to_counts"] / rates["read_by_read"], 1),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "device": args.device if args.device == "cpu" else torch.cuda.get_device_name(),
        "dtype": args.dtype,
        "threads": args.threads,
        "processor": platform.processor() or platform.machine(),
        "versions": {
            "biomeformer": biomeformer.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(result, indent=2) + "\n")
    table = Table(
        "stage", "reads/s", "ratio to read by read", title=f"{args.model}, {args.reads:,} reads of {args.length} bp"
    )
    for name, rate in rates.items():
        table.add_row(name.replace("_", " "), f"{rate:,.0f}", f"{rate / rates['read_by_read']:.1f}")
    console = Console()
    console.print(table)
    console.print(f"Peak memory {result['peak_memory_mib']} MiB. Written to {args.output}")


if __name__ == "__main__":
    main()
