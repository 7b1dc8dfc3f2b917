"""Measure what compiled kernels save of each stage from FASTQ.gz to counts, with and without them in turn.

Stages are processor times of one thread in one process, over the reads of one file, as medians of the rounds: what
decompression costs, what reading costs beyond it, tokenising with the statistics of reads, encoding, and assigning to
the model's centroids. *All* is `embed_sample` as a whole, which also batches, counts, and compares reads with the
centroids' record. Counts with and without kernels must be equal.

    python benchmarks/read_kernels.py READS.fastq.gz
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from hardware import describe, stolen_time
from speed_reads import known_vectors

import biomeformer
from biomeformer.inference.batching import check_batch_tokens, iter_token_batches
from biomeformer.inference.kernels import KERNELS, record_kernels
from biomeformer.io.compression import DecompressedStream
from biomeformer.metagenomes.sample import embed_sample
from biomeformer.models.metagenbert import MetagenBertModel
from biomeformer.reads import SampleReader, SampleReads

RESULTS = Path(__file__).parent / "results" / "read_kernels.cpu.json"
WAYS = ("kernels", "numpy and torch")
# Of the stages but the whole, which needs no memory for all reads.
MOST_READS = 200_000


@torch.inference_mode()
def measure(model: MetagenBertModel, path: Path, rounds: int) -> dict[str, Any]:
    """Microseconds of processor time per read, by stage and way, and their ratios within a round."""
    processor = model.processor
    assert processor is not None
    sample = SampleReads.single(path)
    code = KERNELS.load()
    if code is None:
        raise SystemExit("the kernels do not work here")

    def use(way: str) -> None:
        KERNELS._code = code if way == WAYS[0] else None

    batches = []
    for batch in SampleReader(sample):
        batches.append(batch)
        if sum(map(len, batches)) >= MOST_READS:
            break
    budget = check_batch_tokens(None, model)
    packed = [processor.encode_reads(batch.sequence, batch.offsets) for batch in batches]
    tokens = [(ids, lengths) for one in packed for ids, lengths, _ in iter_token_batches(one, budget)]
    vectors = [model.embed_packed(ids, lengths) for ids, lengths in tokens]
    n_held = sum(map(len, batches))
    n_reads = sum(len(batch) for batch in SampleReader(sample))
    counts = []

    def decompress() -> None:
        with DecompressedStream(path) as stream:
            while stream.read_block(1 << 20):
                pass

    def read() -> None:
        for _ in SampleReader(sample, kernels=record_kernels):
            pass

    def assign() -> None:
        with known_vectors(model, tokens, vectors):
            for one in tokens:
                model.assign_packed(*one)

    stages: dict[str, tuple[Callable[[], object], int]] = {
        "decompress": (decompress, n_reads),
        "decompress and parse": (read, n_reads),
        "tokenise": (lambda: [processor.encode_reads(batch.sequence, batch.offsets) for batch in batches], n_held),
        "encode": (lambda: [model.embed_packed(*one) for one in tokens], n_held),
        "assign": (assign, n_held),
        "all": (lambda: counts.append(embed_sample(model, path).counts), n_reads),
    }
    spent: dict[str, dict[str, list[float]]] = {stage: {way: [] for way in WAYS} for stage in stages}
    for number in range(rounds + 1):
        for stage, (run, n) in stages.items():
            for way in WAYS:
                use(way)
                began = process_time()
                run()
                # The first round warms up.
                if number:
                    spent[stage][way].append(1e6 * (process_time() - began) / n)
    if any(not np.array_equal(one, counts[0]) for one in counts):
        raise SystemExit("counts differ; the times are not comparable")
    parse = {
        way: [
            both - one for both, one in zip(spent["decompress and parse"][way], spent["decompress"][way], strict=True)
        ]
        for way in WAYS
    }
    del spent["decompress and parse"]
    rows = {"decompress": spent["decompress"], "parse": parse} | spent
    return {"n_reads": n_reads, "rounds": rounds, "stages": {stage: _summary(times) for stage, times in rows.items()}}


def _summary(times: dict[str, list[float]]) -> dict[str, Any]:
    ratios = [new / old for new, old in zip(times[WAYS[0]], times[WAYS[1]], strict=True)]
    return {
        "microseconds_per_read": {way: round(statistics.median(values), 3) for way, values in times.items()},
        "ratio": round(statistics.median(ratios), 3),
        "range": [round(min(ratios), 3), round(max(ratios), 3)],
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reads", type=Path, help="FASTQ, gzip")
    parser.add_argument("--model", default="metagenbert-mini")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = biomeformer.load(args.model)
    result = describe(torch.device("cpu"), threads=1)
    with stolen_time(result):
        result |= measure(model, args.reads, args.rounds)
    result |= {"model": args.model, "clusters": int(model.config.n_clusters)}
    for stage, figures in result["stages"].items():
        print(stage, figures)
    args.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
