"""Count what damaged files, failing disks and killed processes do to the package.

    python benchmarks/reliability.py --trials 10000                       damaged files
    python benchmarks/reliability.py --trials 10000 --kills 200 --faults 200 --work WORK
    python benchmarks/reliability.py --write-docs                         the tables of docs/reliability.md

A trial damages one file and lets the package read it (`tests/reliability/`). A kill ends a command or recipe with
SIGKILL at a random moment; a fault lets the disk fail at a random write. After either, the same command is given again,
and what it leaves is compared with an undisturbed run.

With `--work`, what was done is kept there, and the same command resumes. Exits with 1 if anything was at fault.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "modeling")]

import numpy as np  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "reliability.json"
DOCS = ROOT / "docs" / "reliability.md"
MEMORY = Path("/dev/shm")


class Progress:
    """What was done, one JSON line each, so that a long run can be resumed.

    Args:
        file: Where it is kept.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.records: dict[tuple[Any, ...], dict[str, Any]] = {}
        if file.exists():
            for line in file.read_text().splitlines():
                record = json.loads(line)
                self.records[tuple(record["key"])] = record

    def add(self, key: tuple[Any, ...], record: dict[str, Any]) -> None:
        """Keep a record."""
        record = record | {"key": list(key)}
        self.records[key] = record
        with self.file.open("a") as handle:
            handle.write(json.dumps(record) + "\n")

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the records of one kind."""
        return [record for key, record in self.records.items() if key[0] == kind]


def run_trials(progress: Progress, n_trials: int, seed: int, work: Path, names: list[str] | None) -> None:
    """Damage files."""
    from reliability.trials import as_record, plan, run_trials

    left = [pair for pair in plan(n_trials, names) if ("trial", seed, *pair) not in progress.records]
    for n_done, trial in enumerate(run_trials(left, seed, work), 1):
        progress.add(("trial", seed, trial.format, trial.number), as_record(trial) | {"is_fault": trial.is_fault})
        if trial.is_fault:
            print(trial, flush=True)
        if n_done % 500 == 0:
            print(f"{n_done:,} of {len(left):,} trials", file=sys.stderr, flush=True)


def _stage(work: Path) -> Any:
    from processes import Job
    from reliability.commands import make_inputs
    from reliability.disturbances import Stage

    folder = work / "commands"
    if not (folder / "inputs" / "complete").exists():
        job = Job(folder / "text", 1, make_inputs, folder / "inputs")
        if job.wait(600) != [0]:
            raise SystemExit(f"the inputs could not be made: {job.text()[-2000:]}")
        (folder / "inputs" / "complete").touch()
    return Stage(folder)


def disturb(
    progress: Progress, kind: str, cases: Iterable[tuple[Any, ...]], seed: int, one: Callable[..., Any]
) -> None:
    """Disturb commands, each case with a random generator of its own."""
    for number, case in enumerate(cases):
        key = (kind, seed, number)
        if key in progress.records:
            continue
        disturbance = one(*case, np.random.default_rng((seed, number)))
        progress.add(key, asdict(disturbance) | {"is_fault": bool(disturbance.problem)})
        if disturbance.problem:
            print(disturbance, flush=True)


def run_kills(progress: Progress, n_kills: int, seed: int, work: Path) -> None:
    """Kill commands and recipes, on one process and two."""
    from reliability.commands import COMMANDS

    stage = _stage(work)
    ways = [(name, n) for name, command in COMMANDS.items() for n in range(1, command.n_processes + 1)]
    # All ways in turn, so that each is tried equally often.
    disturb(progress, "kill", (ways[i % len(ways)] for i in range(n_kills)), seed, stage.kill)


def run_faults(progress: Progress, n_faults: int, seed: int, work: Path) -> None:
    """Let the disk fail."""
    from reliability.commands import COMMANDS
    from reliability.disturbances import FAULTS, moment_of

    stage = _stage(work)
    ways = [(name, fault) for name in COMMANDS for fault in FAULTS]

    def one(name: str, fault: str, rng: np.random.Generator) -> Any:
        return stage.fail(name, fault, moment_of(fault, stage.expected(name, 1)[2], rng))

    disturb(progress, "fault", (ways[i % len(ways)] for i in range(n_faults)), seed, one)


def result(progress: Progress) -> dict[str, Any]:
    """Return the tables as JSON values."""
    import biomeformer
    from reliability.trials import VERDICTS

    formats: dict[str, dict[str, int]] = {}
    for record in progress.of("trial"):
        row = formats.setdefault(record["format"], dict.fromkeys(("tried", *VERDICTS, "peak_bytes"), 0))
        row["tried"] += 1
        row[record["verdict"]] += 1
        row["peak_bytes"] = max(row["peak_bytes"], record["peak_bytes"])
    commands: dict[str, dict[str, int]] = {}
    for kind in ("kill", "fault"):
        for record in progress.of(kind):
            way = f"{record['command']} on {record['n_processes']}"
            row = commands.setdefault(way, dict.fromkeys(("kills", "kill", "failures", "fault", "problems"), 0))
            row["kills" if kind == "kill" else "failures"] += 1
            row[kind] += record["was_hit"]
            row["problems"] += record["is_fault"]
    faults = [
        {name: record[name] for name in record if name not in ("key", "is_fault", "peak_bytes")}
        for kind in ("trial", "kill", "fault")
        for record in progress.of(kind)
        if record["is_fault"]
    ]
    return {
        "seeds": sorted({key[1] for key in progress.records}),
        "formats": formats,
        "commands": commands,
        "at_fault": faults,
        "device": f"cpu, {os.cpu_count()} cores",
        "versions": {"biomeformer": biomeformer.__version__, "python": platform.python_version()},
    }


def _grid(header: list[str], rows: list[list[object]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *([str(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tables(record: dict[str, Any]) -> dict[str, str]:
    """Return the tables of docs/reliability.md."""
    header = ["file", "tried", "refused", "same", "changed", "raw exceptions", "silently wrong", "hangs", "peak, MB"]

    def row(name: str, counts: dict[str, int]) -> list[object]:
        raw = counts["raw exception"] + counts["unclear error"]
        over = counts["hang"] + counts["memory"]
        shown = [counts[key] for key in ("tried", "refused", "same", "changed")]
        return [
            name,
            *(f"{n:,}" for n in (*shown, raw, counts["silently wrong"], over)),
            f"{counts['peak_bytes'] / 1e6:,.0f}",
        ]

    formats = record["formats"]
    rows = [row(name, counts) for name, counts in formats.items()]
    if formats:
        keys = next(iter(formats.values()))
        total = {key: sum(counts[key] for counts in formats.values()) for key in keys}
        total["peak_bytes"] = max(counts["peak_bytes"] for counts in formats.values())
        rows.append(row("**all**", total))
    commands = record["commands"]
    names = ("kills", "kill", "failures", "fault", "problems")
    kills = [[name, *(counts[key] for key in names)] for name, counts in commands.items()]
    kills.append(["**all**", *(sum(counts[key] for counts in commands.values()) for key in names)])
    return {
        "files": _grid(header, rows),
        "commands": _grid(
            ["command", "kills", "in time", "disk failures", "in time", "otherwise than undisturbed"], kills
        ),
    }


def write_docs(record: dict[str, Any]) -> None:
    """Put the tables between their markers in docs/reliability.md."""
    text = DOCS.read_text()
    for name, content in tables(record).items():
        before, begin, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- end of {name} -->")
        text = f"{before}{begin}{content}\n{end}{after}"
    DOCS.write_text(text)


@contextmanager
def working_in(folder: Path | None) -> Iterator[tuple[Path, Path]]:
    """Yield a folder for copies, in memory where there is one, and the file of what was done."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as copies:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        yield Path(copies), (folder or Path(copies)) / "progress.jsonl"


def main() -> int:
    """Run what was asked for; return 1 if anything was at fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=0, help="damaged files")
    parser.add_argument("--kills", type=int, default=0, help="killed commands")
    parser.add_argument("--faults", type=int, default=0, help="commands on a failing disk")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", nargs="+", help="only these formats")
    parser.add_argument("--work", type=Path, help="folder that keeps what was done, to resume")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/reliability.json and the docs")
    parser.add_argument("--write-docs", action="store_true", help="only the docs, from the results")
    args = parser.parse_args()
    if args.write_docs:
        write_docs(json.loads(RESULT.read_text()))
        return 0
    with working_in(args.work) as (copies, file):
        progress = Progress(file)
        run_trials(progress, args.trials, args.seed, copies, args.format)
        if args.kills:
            run_kills(progress, args.kills, args.seed, copies)
        if args.faults:
            run_faults(progress, args.faults, args.seed, copies)
        record = result(progress)
    if args.write:
        RESULT.write_text(json.dumps(record, indent=1) + "\n")
        write_docs(record)
        print(f"Written to {RESULT} and {DOCS}")
    n_trials = sum(counts["tried"] for counts in record["formats"].values())
    n_disturbed = sum(counts["kills"] + counts["failures"] for counts in record["commands"].values())
    print(f"{n_trials:,} damaged files, {n_disturbed:,} disturbed commands, {len(record['at_fault']):,} at fault")
    return int(bool(record["at_fault"]))


if __name__ == "__main__":
    sys.exit(main())
