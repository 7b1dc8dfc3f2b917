"""Measure the preparation of labelled sequences: sequences per second and memory per sequence.

Each run has its own process with one thread; memory is its peak resident set:

* FASTA of 1,000,000 and 2,000,000 sequences of 200 bp, one in ten a copy of an earlier one and half of the copies as
  the reverse complement, split at random and by clusters of near-duplicates;
* 200,000 windows of 1,000 bp of a reference of two contigs of 100 Mb.

Memory per sequence is computed from the difference of two sizes. Prints a table and writes one JSON file.

    python benchmarks/prepare_sequences.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import biomeformer
from biomeformer.sequences import PreparationSettings, prepare_sequences

LENGTH, BLOCK = 200, 50_000
CONTIG_BASES, N_CONTIGS, WINDOW = 100_000_000, 2, 1000
LETTERS = np.frombuffer(b"ACGT", np.uint8)
MIB = 1 << 20


def write_fasta(path: Path, n: int, seed: int) -> None:
    """Random sequences; in each block the last tenth repeats the first, every other one as the reverse complement."""
    rng = np.random.default_rng(seed)
    with path.open("wb") as handle:
        for first in range(0, n, BLOCK):
            codes = rng.integers(0, 4, (min(BLOCK, n - first), LENGTH), dtype=np.uint8)
            tenth = len(codes) // 10
            codes[-tenth:] = codes[:tenth]
            codes[-tenth::2] = 3 - codes[-tenth::2, ::-1]
            handle.write(b"".join(b">s%d\n%s\n" % (first + i, one.tobytes()) for i, one in enumerate(LETTERS[codes])))


def write_genome(folder: Path, n: int) -> None:
    """A reference in lines of 60, and intervals of two labels."""
    rng = np.random.default_rng(0)
    with (folder / "genome.fa").open("wb") as handle:
        for contig in range(N_CONTIGS):
            handle.write(b">chr%d\n" % contig)
            lines = np.full((CONTIG_BASES // 60, 61), ord("\n"), np.uint8)
            lines[:, :60] = LETTERS[rng.integers(0, 4, (len(lines), 60), dtype=np.uint8)]
            handle.write(lines.tobytes())
    for label in "ab":
        starts = rng.integers(WINDOW, CONTIG_BASES - 2 * WINDOW, n // 2)
        rows = (f"chr{i % N_CONTIGS}\t{start}\t{start + 1}\n" for i, start in enumerate(starts.tolist()))
        (folder / f"{label}.bed").write_text("".join(rows))


def peak_memory_mib() -> float:
    """The most memory this process had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(round(int(line.split()[1]) / 1024, 1) for line in lines if line.startswith("VmHWM:"))


def measure(folder: Path, split: str) -> dict[str, Any]:
    """Seconds by stage and the peak memory of one preparation, in this process."""
    genome = folder / "genome.fa"
    kind = "bed" if genome.exists() else "fa"
    inputs = [f"{label}={folder / label}.{kind}" for label in "ab"]
    stages: dict[str, list[float]] = {}
    began = time.perf_counter()

    def note(stage: str, n_done: int, n_in_all: int | None) -> None:
        stages.setdefault(stage, []).append(time.perf_counter())

    before = peak_memory_mib()
    prepared = prepare_sequences(
        inputs,
        folder / split,
        PreparationSettings(split=split, length=WINDOW),
        genome=genome if genome.exists() else None,
        on_progress=note,
        overwrite=True,
    )
    seconds = time.perf_counter() - began
    return {
        "split": split,
        "n_read": prepared.n_read,
        "n_kept": prepared.n_kept,
        "n_duplicates": prepared.dropped.get("duplicate", 0),
        "n_clusters": prepared.n_clusters,
        "seconds": round(seconds, 1),
        "until_s": {stage: round(times[-1] - began, 1) for stage, times in stages.items()},
        "sequences_per_s": round(prepared.n_read / seconds),
        "imports_mib": before,
        "peak_memory_mib": peak_memory_mib(),
        "output_mib": round(sum(path.stat().st_size for path in (folder / split).rglob("*.parquet")) / MIB, 1),
    }


def apart(folder: Path, split: str) -> dict[str, Any]:
    """`measure` in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--measure", str(folder), "--split", split]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=1_000_000, help="of the smaller size")
    parser.add_argument("--windows", type=int, default=200_000)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--split", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "prepare_sequences.json")
    args = parser.parse_args()
    if args.measure is not None:
        print(json.dumps(measure(args.measure, args.split)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for n in (args.sequences, 2 * args.sequences):
            folder = Path(name) / str(n)
            folder.mkdir()
            for seed, label in enumerate("ab"):
                write_fasta(folder / f"{label}.fa", n // 2, seed)
            rows += [{"input": "fasta", "bases": LENGTH, **apart(folder, split)} for split in ("random", "cluster")]
        folder = Path(name) / "windows"
        folder.mkdir()
        write_genome(folder, args.windows)
        rows.append({"input": "bed", "bases": WINDOW, **apart(folder, "random")})
    columns = ("input", "split", "n_read", "n_kept", "seconds", "sequences_per_s", "peak_memory_mib", "output_mib")
    table = Table(*(column.replace("_", " ") for column in columns))
    for row in rows:
        table.add_row(*(f"{row[column]:,}" if isinstance(row[column], int) else str(row[column]) for column in columns))
    Console(width=140).print(table)
    fasta = {(row["split"], row["n_read"]): row["peak_memory_mib"] for row in rows if row["input"] == "fasta"}
    result = {
        "runs": rows,
        "bytes_a_sequence": {
            split: round((fasta[split, 2 * args.sequences] - fasta[split, args.sequences]) * MIB / args.sequences)
            for split in ("random", "cluster")
        },
        "processor": processor(),
        "threads": 1,
        "versions": {
            "biomeformer": biomeformer.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(result, indent=1) + "\n")
    for split, n_bytes in result["bytes_a_sequence"].items():
        print(f"split {split}: {n_bytes} bytes of memory a sequence")
    print(f"Written to {args.output}")


def processor() -> str:
    """The CPU's name."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [line for line in cpuinfo.read_text().splitlines() if "model name" in line] if cpuinfo.exists() else []
    return names[0].split(":")[1].strip() if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
