"""Measure how time, memory per process and bytes written grow with the cohort, on one process and on two.

Each run uses simulated reads and one CPU thread per process:

* `biomeformer.metagenomes.cohort.run_cohort` over cohorts of 8, 32 and 128 samples, on 1 and 2 processes;
* one sample of 20,000, 200,000 and 2,000,000 reads, on one process: memory must not grow with the reads;
* the table of every cohort, identical on two processes and on one;
* centroids of the largest cohort with vectors in memory and, at a lower memory limit, on disk.

Prints tables and writes one JSON file.

    python benchmarks/cohort_scale.py --model metagenbert-mini
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import biomeformer
from biomeformer.runs.run_folder import run_status

ROOT = Path(__file__).resolve().parents[1]
COHORTS, PROCESSES = (8, 32, 128), (1, 2)
SAMPLE_READS = (20_000, 200_000, 2_000_000)
MIB = 1 << 20


def write_sample(path: Path, n_reads: int, seed: int, length: int = 150) -> None:
    """Random DNA as FASTQ, uncompressed, so that the time is the engine's."""
    rng, letters, quality = np.random.default_rng(seed), np.frombuffer(b"ACGT", np.uint8), b"I" * length
    with path.open("wb") as handle:
        for first in range(0, n_reads, 50_000):
            block = letters[rng.integers(0, 4, (min(50_000, n_reads - first), length), dtype=np.uint8)]
            handle.write(
                b"".join(b"@r%d\n%s\n+\n%s\n" % (first + i, r.tobytes(), quality) for i, r in enumerate(block))
            )


def write_cohort(folder: Path, name: str, files: list[str]) -> Path:
    """A table of samples."""
    path = folder / f"{name}.csv"
    rows = [f"s{i},{file},{'ab'[i % 2]}" for i, file in enumerate(files)]
    path.write_text("\n".join(["sample_id,fastq,group", *rows]) + "\n")
    return path


def launch(n_processes: int, script: str, *arguments: object) -> float:
    """Run a recipe on so many processes; gives the wall time of the whole command."""
    command = [sys.executable]
    if n_processes > 1:
        command += ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(n_processes)]
        command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        command += ["--main_process_port", "0"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "modeling")}
    began = time.perf_counter()
    done = subprocess.run(
        [*command, str(ROOT / "recipes" / script), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{script} failed:\n{done.stderr}")
    return time.perf_counter() - began


def embed(model: str, cohort: Path, folder: Path, n_processes: int) -> dict[str, Any]:
    """Figures of one run, and its table's bytes."""
    wall = launch(n_processes, "embed_cohort.py", "--cohort", cohort, "--model", model, "--output", folder)
    (attempt,) = run_status(folder).attempts
    return {
        "n_processes": n_processes,
        "run_s": attempt["seconds"],
        "command_s": round(wall, 2),
        "peak_memory_mib": [round(value / MIB, 1) for value in attempt["peak_memory_bytes"]],
        "bytes_written": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
    }


def cohorts(model: str, folder: Path, n_reads: int) -> list[dict[str, Any]]:
    """Cohorts that grow, on one process and two."""
    files = [f"s{i}.fastq" for i in range(max(COHORTS))]
    for i, file in enumerate(files):
        write_sample(folder / file, n_reads, seed=i)
    rows = []
    for n_samples in COHORTS:
        table = write_cohort(folder, f"cohort{n_samples}", files[:n_samples])
        contents = []
        for n_processes in PROCESSES:
            output = folder / f"run{n_samples}_{n_processes}"
            rows.append(
                {"n_samples": n_samples, "reads_per_sample": n_reads, **embed(model, table, output, n_processes)}
            )
            contents.append((output / "abundance.parquet").read_bytes())
        if len(set(contents)) > 1:
            raise SystemExit("The tables of one process and of two differ; the figures mean nothing.")
    return rows


def samples(model: str, folder: Path) -> list[dict[str, Any]]:
    """One sample that grows."""
    rows = []
    for n_reads in SAMPLE_READS:
        write_sample(folder / "one.fastq", n_reads, seed=n_reads)
        table, output = write_cohort(folder, "one", ["one.fastq"]), folder / f"one{n_reads}"
        rows.append({"n_samples": 1, "reads_per_sample": n_reads, **embed(model, table, output, 1)})
    return rows


def centroids(model: str, folder: Path, n_reads: int) -> list[dict[str, Any]]:
    """K-means with vectors in memory and on the disk, on one process and two; the vectors are drawn beforehand."""
    cohort, config = folder / f"cohort{max(COHORTS)}.csv", folder / "centroids.yaml"

    def fit(n_clusters: list[int], allowed: int, n_processes: int) -> tuple[float, dict[str, Any]]:
        config.write_text(
            f"read_encoder: {model}\nreads_per_sample: {n_reads}\nn_clusters: {n_clusters}\nn_iterations: 5\n"
            f"max_memory: {allowed}\n"
        )
        output = folder / "centroids"
        arguments = ("--config", config, "--cohort", cohort, "--output", output)
        wall = launch(n_processes, "fit_glob_centroids.py", *arguments)
        record = json.loads((output / f"k{n_clusters[0]}" / "training_record.json").read_text())
        for k in n_clusters:
            shutil.rmtree(output / f"k{k}")
        return wall, record

    fit([1], 4_000_000_000, 2)
    rows = []
    for allowed in (4_000_000_000, 165_000_000):
        for n_processes in PROCESSES:
            wall, record = fit([64, 256], allowed, n_processes)
            memory = record["memory"]
            taken = [b - a for a, b in zip(memory["process_bytes_at_start"], memory["peak_process_bytes"], strict=True)]
            if max(taken) > allowed:
                raise SystemExit(f"{max(taken):,} bytes were taken and {allowed:,} allowed.")
            rows.append(
                {
                    "n_vectors": record["n_reads_used"],
                    "n_processes": n_processes,
                    "allowed_mib": round(allowed / MIB, 1),
                    "vectors_mib_a_process": round(memory["vectors_bytes"][0] / MIB, 1),
                    "vectors": memory["vectors_bytes"][1],
                    "taken_mib": [round(value / MIB, 1) for value in taken],
                    "command_s": round(wall, 2),
                    "objective": record["kmeans"]["objective"][-1],
                }
            )
    return rows


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows as a table."""
    table = Table(*(name.replace("_", " ") for name in rows[0]), title=title)
    for row in rows:
        table.add_row(
            *(", ".join(map(str, value)) if isinstance(value, list) else str(value) for value in row.values())
        )
    Console(width=160).print(table)


def processor() -> str:
    """The CPU's name."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [line for line in cpuinfo.read_text().splitlines() if "model name" in line] if cpuinfo.exists() else []
    return names[0].split(":")[1].strip() if names else platform.processor() or platform.machine()


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="metagenbert-mini")
    parser.add_argument("--reads", type=int, default=20_000, help="of a sample of the cohorts")
    parser.add_argument("--centroid-reads", type=int, default=4_000, help="drawn of each sample for k-means")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "cohort_scale.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        growing = cohorts(args.model, folder, args.reads)
        show(f"{args.model}: cohorts of samples of {args.reads:,} reads, one thread a process", growing)
        one = samples(args.model, folder)
        show("one sample", one)
        clustered = centroids(args.model, folder, args.centroid_reads)
        show("centroids of the largest cohort", clustered)
    by_size = {row["n_samples"]: row for row in growing if row["n_processes"] == 1}
    two = {row["n_samples"]: row for row in growing if row["n_processes"] == 2}
    largest, smallest = max(COHORTS), min(COHORTS)
    peak = {n: max(row["peak_memory_mib"]) for n, row in by_size.items()}
    result = {
        "model": args.model,
        "cohorts": growing,
        "samples": one,
        "centroids": clustered,
        "ratios": {
            "time_largest_to_smallest": round(by_size[largest]["run_s"] / by_size[smallest]["run_s"], 2),
            "samples_largest_to_smallest": largest / smallest,
            "time_one_to_two_processes": round(by_size[largest]["run_s"] / two[largest]["run_s"], 2),
            "memory_largest_to_smallest_cohort": round(peak[largest] / peak[smallest], 3),
            "memory_largest_to_smallest_sample": round(one[-1]["peak_memory_mib"][0] / one[0]["peak_memory_mib"][0], 3),
            "bytes_a_sample_largest_to_smallest": round(
                by_size[largest]["bytes_written"] / largest / (by_size[smallest]["bytes_written"] / smallest), 3
            ),
        },
        "device": "cpu",
        "processor": processor(),
        "cores": os.cpu_count(),
        "versions": {
            "biomeformer": biomeformer.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(result, indent=1) + "\n")
    for what, value in result["ratios"].items():
        print(f"{what.replace('_', ' ')}: {value}")
    print(f"Written to {args.output}")


if __name__ == "__main__":
    main()
