"""Measure what it costs to start: whole processes in turn, from Python itself to `embed` of one small sample.

The sample has 2,500 reads of the example cohort; `embed` runs with and without its report. Processor times of each
process with those it starts, as medians of the rounds.

    python benchmarks/start_speed.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from hardware import describe, stolen_time
from peers import Command, measure

import biomeformer

RESULTS = Path(__file__).parent / "results" / "start_speed.cpu.json"
READS = Path(biomeformer.__file__).parent / "example_cohort" / "reads" / "case_01_R1.fastq.gz"


def commands(sheet: Path) -> dict[str, Command]:
    """Return what is run, by what it is."""
    python = [sys.executable, "-c"]
    command = [sys.executable, "-m", "biomeformer"]
    embed = [*command, "embed", sheet, "--model", "metagenbert-mini", "--device", "cpu", "--output", "run"]
    return {
        "Python": [*python, "pass"],
        "import biomeformer": [*python, "import biomeformer"],
        "import torch": [*python, "import torch"],
        "import transformers.modeling_utils, with torch": [*python, "import transformers.modeling_utils"],
        "biomeformer --help": [*command, "--help"],
        "biomeformer embed --no-report, 2,500 reads": [*embed, "--no-report"],
        "biomeformer embed, 2,500 reads": embed,
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    result = describe(torch.device("cpu"), threads=torch.get_num_threads())
    runs: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder, stolen_time(result):
        sheet = Path(folder) / "cohort.csv"
        sheet.write_text(f"sample_id,fastq\nsample,{READS}\n")
        for number in range(args.rounds + 1):
            for name, command in commands(sheet).items():
                with tempfile.TemporaryDirectory(dir=folder) as place:
                    one = measure([command], Path(place), torch.get_num_threads())
                # A process starts with the memory of the one that starts it, which is larger here.
                del one["memory_mib"]
                # The first round warms up.
                if number:
                    runs.setdefault(name, []).append(one)
    keys = ("cpu_s", "wall_s")
    result["commands"] = {
        name: {key: round(statistics.median(run[key] for run in rounds), 2) for key in keys} | {"rounds": rounds}
        for name, rounds in runs.items()
    }
    for name, figures in result["commands"].items():
        print(f"{name}: {figures['cpu_s']:.2f} s of processor time, {figures['wall_s']:.2f} s")
    args.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
