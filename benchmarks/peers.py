"""Measure what a user would run instead, in turn with biomeformer, as whole processes on the same files.

Reads: Kraken 2 (a database of the given genomes), sourmash (sketch and gather), Mash (screen), sylph, and a script of
4-mers and k-means (`peers_four_mers.py`, NumPy and FAISS). Genomes: Prodigal with DIAMOND or MMseqs2. Fine-tuning:
the recipe, and transformers' Trainer with a plain BERT of the same size (`peers_trainer.py`).

Nothing is installed: what is absent is skipped, with the reason in the results. Databases are made before and timed
apart. Wall time, processor time and peak memory are those of each process with those it starts; `others_share` is the
share of the machine's processor time that other processes took meanwhile, and `stolen_share` what the host gave to
other machines. Compare processor times, and wall times only where both shares are small.

    python benchmarks/peers.py --reads reads.fastq.gz --genomes genomes/ --work /tmp/peers --threads 2
    python benchmarks/peers.py --write-docs
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "peers.json"
# The same for a larger file of reads, with some of the tools.
LARGE_RESULTS = HERE / "results" / "peers_large.json"
DOCS = HERE.parent / "docs" / "peers.md"
TASKS = ("reads", "genomes", "fine-tuning")
OURS = "biomeformer"
# Genomes that are annotated or predicted, and others whose proteins they are compared with.
QUERIES, LIBRARY = 2, 4
Command = Sequence[str | Path]


@dataclass(frozen=True)
class Inputs:
    """What is measured on.

    Attributes:
        reads: FASTQ, plain or gzip.
        genomes: FASTA files of genomes, gzip.
        work: Folder of databases, which are kept for the next run.
        threads: Threads of each tool.
        steps: Training steps.
    """

    reads: Path
    genomes: tuple[Path, ...]
    work: Path
    threads: int
    steps: int = 60

    def plain_genomes(self) -> list[Path]:
        """Return the genomes as uncompressed FASTA, made where they are missing."""
        folder = self.work / "genomes"
        folder.mkdir(parents=True, exist_ok=True)
        plain = []
        for path in self.genomes:
            plain.append(folder / path.name.removesuffix(".gz"))
            if not plain[-1].exists():
                plain[-1].write_bytes(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
        return plain


@dataclass(frozen=True)
class Peer:
    """A tool, or ours.

    Attributes:
        name: Of the results.
        task: One of `TASKS`.
        commands: What is timed, one after the other in a new folder.
        needs: Programs and, after `python:`, Python modules.
        version: Command whose first line of output tells it.
        prepare: Makes the database in `Inputs.work`; timed apart.
        gives: What the user has in the end.
    """

    name: str
    task: str
    commands: Callable[[Inputs], list[Command]]
    needs: tuple[str, ...]
    version: Command = ()
    prepare: Callable[[Inputs], list[Command]] = field(default=lambda inputs: [])
    gives: str = ""


def missing(peer: Peer) -> str | None:
    """Return why a peer cannot run here, or None."""
    for name in peer.needs:
        module = name.removeprefix("python:")
        if module != name:
            if find_spec(module) is None:
                return f"the Python module {module} is not installed"
        elif shutil.which(name) is None:
            return f"{name} is not on PATH"
    return None


def first_line(command: Command) -> str | None:
    """Return the first line that a command prints, on either stream."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, check=False)
    return next((line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()), None)


def machine_ticks() -> tuple[int, int, int] | None:
    """Return ticks of all processors since the start, those not idle, and those stolen by the host; None off Linux."""
    try:
        line = Path("/proc/stat").read_text().splitlines()[0]
    except OSError:
        return None
    ticks = [int(value) for value in line.split()[1:9]]
    return sum(ticks), sum(ticks) - ticks[3] - ticks[4], ticks[7]


class ToolError(Exception):
    """A command failed; the message has its exit code and last line."""


def measure(commands: Sequence[Command], folder: Path, threads: int) -> dict[str, Any]:
    """Run commands one after the other in a folder, and measure each process with those it starts.

    Returns:
        `wall_s`, `cpu_s`, `memory_mib` (the largest), `others_share` and `stolen_share` (None off Linux).

    Raises:
        ToolError: One failed.
    """
    # Threads that spin while they wait would count as processor time on a busy machine.
    waiting = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
    env = {**os.environ, **waiting, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    before, began = machine_ticks(), time.perf_counter()
    cpu, memory = 0.0, 0.0
    for number, command in enumerate(commands):
        log = folder / f"{number}.log"
        with (folder / f"{number}.out").open("wb") as output, log.open("wb") as errors:
            process = subprocess.Popen(
                [str(part) for part in command], cwd=folder, env=env, stdout=output, stderr=errors
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        cpu += usage.ru_utime + usage.ru_stime
        memory = max(memory, usage.ru_maxrss / 1024)
        if process.returncode:
            lines = log.read_text(errors="replace").strip().splitlines()
            raise ToolError(f"{command[0]} ended with {process.returncode}: {lines[-1] if lines else 'no message'}")
    wall, after = time.perf_counter() - began, machine_ticks()
    others = stolen = None
    if before is not None and after is not None and after[0] > before[0]:
        total = after[0] - before[0]
        own = cpu * os.sysconf("SC_CLK_TCK")
        stolen = (after[2] - before[2]) / total
        others = max((after[1] - before[1] - own) / total - stolen, 0.0)
    return {
        "wall_s": round(wall, 3),
        "cpu_s": round(cpu, 3),
        "memory_mib": round(memory, 1),
        "others_share": None if others is None else round(others, 3),
        "stolen_share": None if stolen is None else round(stolen, 3),
    }


def compare(
    peers: Sequence[Peer], inputs: Inputs, rounds: int, save: Callable[[dict[str, Any]], None] = lambda results: None
) -> dict[str, Any]:
    """Run the peers in turn, round by round.

    Args:
        peers: The tools.
        inputs: What they are measured on.
        rounds: How often each runs.
        save: Called with the results so far after each run.

    Returns:
        By name: `task` and either `skipped`, the reason; `failed`, the message; or `version`, `preparation` and the
        medians of what `measure` tells, with all `rounds`.
    """
    results: dict[str, Any] = {}
    inputs.work.mkdir(parents=True, exist_ok=True)
    for peer in peers:
        reason = missing(peer)
        results[peer.name] = {"task": peer.task}
        if reason is not None:
            results[peer.name]["skipped"] = reason
            continue
        results[peer.name]["version"] = first_line(peer.version) if peer.version else None
        results[peer.name]["rounds"] = []
        _attempt(results[peer.name], "preparation", lambda p=peer: _prepare(p, inputs))
    for _ in range(rounds):
        for peer in peers:
            result = results[peer.name]
            if "skipped" in result or "failed" in result:
                continue
            with tempfile.TemporaryDirectory(dir=inputs.work) as folder:
                _attempt(result, None, lambda p=peer, f=folder: measure(p.commands(inputs), Path(f), inputs.threads))
            save(_with_medians(results))
    return _with_medians(results)


def _with_medians(results: dict[str, Any]) -> dict[str, Any]:
    """Return results with the medians of their rounds, of those that were measured."""
    complete = {}
    for name, result in results.items():
        rounds = result.get("rounds", [])
        medians = {}
        for key in rounds[0] if rounds else ():
            # A process may end before the system's clock ticks: the shares are then unknown.
            known = [one[key] for one in rounds if one[key] is not None]
            medians[key] = round(statistics.median(known), 3) if known else None
        complete[name] = result | medians
    return complete


def _prepare(peer: Peer, inputs: Inputs) -> dict[str, Any] | None:
    """Make a peer's database unless a former run did; return what it took then."""
    done = inputs.work / f"{peer.name.replace(' ', '_')}.prepared.json"
    if done.exists():
        former: dict[str, Any] | None = json.loads(done.read_text())
        return former
    commands = peer.prepare(inputs)
    took = None
    if commands:
        with tempfile.TemporaryDirectory(dir=inputs.work) as folder:
            took = measure(commands, Path(folder), inputs.threads)
        done.write_text(json.dumps(took))
    return took


def _attempt(result: dict[str, Any], key: str | None, work: Callable[[], Any]) -> None:
    """Keep what `work` returns under a key, or as a round; or why it failed."""
    try:
        value = work()
    except (ToolError, OSError, subprocess.SubprocessError) as error:
        result["failed"] = str(error)
        return
    if key is None:
        result["rounds"].append(value)
    else:
        result[key] = value


def _embed(inputs: Inputs) -> list[Command]:
    sheet = inputs.work / "sheet.csv"
    sheet.write_text(f"sample_id,fastq\nsample,{inputs.reads}\n")
    options = ["--model", "metagenbert-mini", "--device", "cpu", "--output", "embedded"]
    return [[sys.executable, "-m", "biomeformer", "embed", sheet, *options]]


def _kraken_database(inputs: Inputs) -> list[Command]:
    database = inputs.work / "kraken2"
    shutil.rmtree(database, ignore_errors=True)
    (database / "taxonomy").mkdir(parents=True)
    nodes, names = ["1\t|\t1\t|\tno rank\t|\t-\t|"], ["1\t|\troot\t|\t\t|\tscientific name\t|"]
    library = database / "genomes.fna"
    with library.open("w") as output:
        for taxon, path in enumerate(inputs.plain_genomes(), 2):
            nodes.append(f"{taxon}\t|\t1\t|\tspecies\t|\t-\t|")
            names.append(f"{taxon}\t|\t{path.stem}\t|\t\t|\tscientific name\t|")
            for number, record in enumerate(path.read_text().split(">")[1:]):
                _, _, sequence = record.partition("\n")
                output.write(f">g{taxon}_{number}|kraken:taxid|{taxon}\n{sequence}")
    (database / "taxonomy" / "nodes.dmp").write_text("\n".join(nodes) + "\n")
    (database / "taxonomy" / "names.dmp").write_text("\n".join(names) + "\n")
    return [
        ["kraken2-build", "--add-to-library", library, "--no-masking", "--db", database],
        ["kraken2-build", "--build", "--threads", str(inputs.threads), "--db", database],
    ]


def _kraken(inputs: Inputs) -> list[Command]:
    options = ["--threads", str(inputs.threads), "--report", "report.txt", "--output", "-"]
    packed = ["--gzip-compressed"] if inputs.reads.suffix == ".gz" else []
    return [["kraken2", "--db", inputs.work / "kraken2", *options, *packed, inputs.reads]]


def _sourmash_database(inputs: Inputs) -> list[Command]:
    parameters = ["-p", "k=31,scaled=1000"]
    return [["sourmash", "sketch", "dna", *parameters, *inputs.genomes, "-o", inputs.work / "sourmash.zip"]]


def _sourmash(inputs: Inputs) -> list[Command]:
    return [
        ["sourmash", "sketch", "dna", "-p", "k=31,scaled=1000,abund", inputs.reads, "-o", "reads.sig.gz"],
        ["sourmash", "gather", "reads.sig.gz", inputs.work / "sourmash.zip", "-o", "gathered.csv"],
    ]


def _mash_database(inputs: Inputs) -> list[Command]:
    return [["mash", "sketch", "-p", str(inputs.threads), "-o", inputs.work / "mash", *inputs.genomes]]


def _sylph_database(inputs: Inputs) -> list[Command]:
    options = ["-t", str(inputs.threads), "-o", inputs.work / "sylph"]
    return [["sylph", "sketch", *options, "-g", *inputs.genomes]]


def _four_mers(inputs: Inputs, *options: str) -> list[Command]:
    return [[sys.executable, HERE / "peers_four_mers.py", inputs.reads, inputs.work / "four_mers.npy", *options]]


def _predict(inputs: Inputs) -> list[Command]:
    base = [sys.executable, "-m", "biomeformer", "genome", "predict"]
    return [[*base, *inputs.genomes[:QUERIES], "--model", "genome-transformer-mini"]]


def _prodigal(inputs: Inputs) -> list[Command]:
    genomes = inputs.plain_genomes()[:QUERIES]
    return [["prodigal", "-q", "-i", path, "-a", f"{i}.faa", "-o", os.devnull] for i, path in enumerate(genomes)]


def _protein_library(inputs: Inputs) -> Path:
    return inputs.work / "proteins.faa"


def _library(inputs: Inputs) -> list[Command]:
    """Proteins of the genomes after those that are annotated."""
    if _protein_library(inputs).exists():
        return []
    others = inputs.plain_genomes()[QUERIES : QUERIES + LIBRARY]
    script = (
        'out=$1; shift; for genome; do prodigal -q -i "$genome" -a /dev/stdout -o /dev/null; done > "$out.partial" && '
        'mv "$out.partial" "$out"'
    )
    return [["sh", "-c", script, "sh", _protein_library(inputs), *others]]


def _diamond(inputs: Inputs) -> list[Command]:
    search = 'cat *.faa > all.faa && diamond blastp --quiet -p "$1" -d "$2" -q all.faa -o hits.tsv'
    return [*_prodigal(inputs), ["sh", "-c", search, "sh", str(inputs.threads), inputs.work / "diamond"]]


def _diamond_database(inputs: Inputs) -> list[Command]:
    make = ["diamond", "makedb", "--quiet", "--in", _protein_library(inputs), "-d", inputs.work / "diamond"]
    return [*_library(inputs), make]


def _mmseqs(inputs: Inputs) -> list[Command]:
    search = 'cat *.faa > all.faa && mmseqs easy-search all.faa "$2" hits.tsv tmp --threads "$1" -v 1'
    return [*_prodigal(inputs), ["sh", "-c", search, "sh", str(inputs.threads), _protein_library(inputs)]]


def _trainer(what: str) -> Callable[[Inputs], list[Command]]:
    return lambda inputs: [[sys.executable, HERE / "peers_trainer.py", what, inputs.work / "fine_tuning"]]


def _labelled_sequences(inputs: Inputs) -> list[Command]:
    folder = inputs.work / "fine_tuning"
    if (folder / "config.yaml").exists():
        return []
    return [[sys.executable, HERE / "peers_trainer.py", "prepare", folder, "--steps", str(inputs.steps)]]


def _python_version(package: str) -> Command:
    return [sys.executable, "-c", f"from importlib.metadata import version; print(version({package!r}))"]


PEERS = (
    Peer(
        OURS,
        "reads",
        _embed,
        ("python:biomeformer",),
        _python_version("biomeformer"),
        gives="abundances of 512 clusters and a report",
    ),
    Peer(
        "Kraken 2",
        "reads",
        _kraken,
        ("kraken2", "kraken2-build"),
        ("kraken2", "--version"),
        _kraken_database,
        gives="reads per species of the database",
    ),
    Peer(
        "sourmash",
        "reads",
        _sourmash,
        ("sourmash",),
        ("sourmash", "--version"),
        _sourmash_database,
        gives="genomes of the database that cover the reads",
    ),
    Peer(
        "Mash",
        "reads",
        lambda inputs: [["mash", "screen", "-p", str(inputs.threads), inputs.work / "mash.msh", inputs.reads]],
        ("mash",),
        ("mash", "--version"),
        _mash_database,
        gives="identity to each genome of the database",
    ),
    Peer(
        "sylph",
        "reads",
        lambda inputs: [
            ["sylph", "profile", "-t", str(inputs.threads), inputs.work / "sylph.syldb", "-r", inputs.reads]
        ],
        ("sylph",),
        ("sylph", "--version"),
        _sylph_database,
        gives="abundance of each genome of the database",
    ),
    Peer(
        "4-mers and k-means",
        "reads",
        _four_mers,
        ("python:faiss",),
        _python_version("numpy"),
        lambda inputs: _four_mers(inputs, "--fit"),
        gives="abundances of clusters of 4-mers",
    ),
    Peer(
        f"{OURS} genome predict",
        "genomes",
        _predict,
        ("python:biomeformer",),
        _python_version("biomeformer"),
        gives="the habitat of each genome, with probabilities",
    ),
    Peer(
        "Prodigal and DIAMOND",
        "genomes",
        _diamond,
        ("prodigal", "diamond"),
        ("diamond", "version"),
        _diamond_database,
        gives="genes, and their hits among known proteins",
    ),
    Peer(
        "Prodigal and MMseqs2",
        "genomes",
        _mmseqs,
        ("prodigal", "mmseqs"),
        ("mmseqs", "version"),
        _library,
        gives="genes, and their hits among known proteins",
    ),
    Peer(
        f"{OURS} recipe, DNABERT-2",
        "fine-tuning",
        _trainer("ours"),
        ("python:biomeformer",),
        _python_version("biomeformer"),
        _labelled_sequences,
        gives="a classifier with thresholds, scores on the test split, predictions and a report",
    ),
    Peer(
        "Trainer, plain BERT",
        "fine-tuning",
        _trainer("bert"),
        ("python:transformers", "python:datasets"),
        _python_version("transformers"),
        _labelled_sequences,
        gives="a classifier and its loss on the validation split",
    ),
)


def render(record: dict[str, Any]) -> str:
    """Return the document of a results file."""
    machine = f"{record['threads']} threads on {record['cores']} cores ({record['processor']})"
    lines = [
        "# Compared with other tools",
        "",
        "Generated by `python benchmarks/peers.py --write-docs` from `benchmarks/results/peers.json`; do not edit.",
        "",
        f"Whole processes, {machine}, in turn on the same files: {record['n_reads']:,} reads in one file,",
        f"databases of {record['n_genomes']} genomes, which are made before and not part of the times; medians of",
        f"{record['rounds']} or more runs. `others` is the share of the machine that other processes took, `stolen`",
        "what its host gave to other machines: compare processor times, and wall times only where both are small. The",
        "tools answer different questions; none replaces another. `others` of Kraken 2 is the process in which it",
        "unpacks its input.",
        *(f"\n{remark}" for remark in record.get("remarks", [])),
    ]
    titles = {
        # A task that was not asked for has no results.
        "reads": "From a FASTQ file to a sample's profile",
        "genomes": f"From {QUERIES} genomes to a prediction, or to proteins compared with those of {LIBRARY} others",
        "fine-tuning": f"Fine-tuning on the same sequences, {record['steps']} steps of 16, the same size of model",
    }
    for task in TASKS:
        results = {name: result for name, result in record["tools"].items() if result["task"] == task}
        measured = {name: result for name, result in results.items() if result.get("rounds")}
        if not results:
            continue
        lines += ["", f"## {titles[task]}", ""]
        if measured:
            lines += _table(measured)
        for name, result in results.items():
            for kind in ("skipped", "failed"):
                if kind in result:
                    lines += ["", f"{name}: {kind}, {result[kind]}."]
    return "\n".join(lines) + "\n"


def page(results: Path = RESULTS) -> str:
    """Return the document of a results file, and of the larger file of reads if it was measured."""
    text = render(json.loads(results.read_text()))
    return f"{text}\n{render_large(json.loads(LARGE_RESULTS.read_text()))}" if LARGE_RESULTS.exists() else text


def render_large(record: dict[str, Any]) -> str:
    """Return the section on a larger file of reads."""
    lines = [f"## {record['n_reads']:,} reads in one file", "", *_table(record["tools"])]
    return "\n".join(lines) + "\n"


def _table(measured: dict[str, Any]) -> list[str]:
    gives = {peer.name: peer.gives for peer in PEERS}
    return [
        "| | version | processor time, s | wall, s | memory, MiB | others | stolen | gives |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {name} | {result['version'] or '-'} | {result['cpu_s']:,.1f} | {result['wall_s']:,.1f} | "
            f"{result['memory_mib']:,.0f} | {_share(result['others_share'])} | "
            f"{_share(result['stolen_share'])} | {gives.get(name) or '-'} |"
            for name, result in measured.items()
        ),
    ]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def processor() -> str:
    """Return the name of the machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def count_reads(path: Path) -> int:
    """Return the number of records of a FASTQ file of four lines each."""
    opened = gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")
    with opened as file:
        return sum(1 for _ in file) // 4


def main(arguments: list[str] | None = None) -> int:
    """Measure, and write the results or the document; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reads", type=Path, help="FASTQ, plain or gzip; only for the task of reads")
    parser.add_argument("--genomes", type=Path, help="folder of FASTA files, gzip")
    parser.add_argument("--max-genomes", type=int, default=40)
    parser.add_argument("--work", type=Path, help="folder of databases, kept for the next run")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60, help="of fine-tuning")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--tools", nargs="+", metavar="NAME", choices=[peer.name for peer in PEERS], help="only these")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--write-docs", action="store_true", help="only write the document of the results")
    args = parser.parse_args(arguments)
    if args.write_docs:
        DOCS.write_text(page(args.output))
        return 0
    if args.genomes is None or args.work is None or (args.reads is None and "reads" in args.tasks):
        parser.error("give --genomes, --work and, for the task of reads, --reads")
    paths = sorted(path.resolve() for path in args.genomes.iterdir() if path.name.endswith((".fna.gz", ".fna")))
    inputs = Inputs(
        (args.reads or Path("reads.fastq.gz")).resolve(),
        tuple(paths[: args.max_genomes]),
        args.work.resolve(),
        args.threads,
        args.steps,
    )
    # Other tasks may have been measured before, on the same files.
    former = json.loads(args.output.read_text()) if args.output.exists() else {"tools": {}}
    others = {name: tool for name, tool in former["tools"].items() if tool["task"] not in args.tasks}
    kept = {"remarks": former["remarks"]} if others and "remarks" in former else {}
    record: dict[str, Any] = kept | {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": args.threads,
        "n_reads": former.get("n_reads", 0) if args.reads is None else count_reads(inputs.reads),
        "n_genomes": len(inputs.genomes),
        "rounds": args.rounds,
        "steps": args.steps,
    }
    differ = [key for key in record if others and former.get(key) != record[key]]
    if differ:
        parser.error(f"{args.output} was measured with other {', '.join(differ)}; give --output another file")
    peers = [peer for peer in PEERS if peer.task in args.tasks and (not args.tools or peer.name in args.tools)]

    def save(tools: dict[str, Any]) -> None:
        record["tools"] = others | tools
        args.output.write_text(json.dumps(record, indent=1) + "\n")

    save(compare(peers, inputs, args.rounds, save))
    print(render(record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
