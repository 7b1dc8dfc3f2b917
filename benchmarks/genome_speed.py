"""Measure what predicting genomes costs, stage by stage, and against another checkout of the package in turn.

Stages are processor times of one thread in one process, the best of the rounds, after one genome to warm up: start
(imports, and loading the model), reading the file, training Pyrodigal's model and finding genes, translating and
checking genes, tokenising and embedding proteins, the genome transformer, and the store of vectors, which
`genome embed` uses in place of the transformer.

Whole processes are `biomeformer genome predict`, of each genome alone and of all at once, in turn with those of
another checkout; their predictions must be equal to the last digit printed. Wall times hold where `others_share`, the
share of the machine that other processes took, is small.

    python benchmarks/genome_speed.py GENOME... --baseline CHECKOUT --rounds 3
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from peers import measure, processor

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "genome_speed.cpu.json"
NEW, OLD = "this", "baseline"

STAGES = r"""
import json, sys, tempfile, time
from collections import defaultdict

clock = time.process_time
spent = defaultdict(float)


def timed(stage, function):
    def call(*args, **options):
        began = clock()
        try:
            return function(*args, **options)
        finally:
            spent[stage] += clock() - began

    return call


import torch
from biomeformer.checkpoints.loading import load_genome_model
from biomeformer.genomes import calling, prediction, proteins, reading
from biomeformer.genomes.store import ProteinStore, protein_keys

torch.set_num_threads(1)
model = load_genome_model("genome-transformer-mini", device="cpu")
encoder = prediction.protein_encoder_of(model)
start = clock()
finder = calling.pyrodigal.GeneFinder


class Pyrodigal:
    __version__ = calling.pyrodigal.__version__

    @staticmethod
    def GeneFinder(**options):
        made = finder(**options)

        class Timed:
            train = staticmethod(timed("train gene model", made.train))
            find_genes = staticmethod(timed("find genes", made.find_genes))

        return Timed


calling.pyrodigal = Pyrodigal
prediction.read_genome = timed("read genome", prediction.read_genome)
reading.read_text = timed("read file", reading.read_text)
proteins.pack_proteins = timed("tokenise", proteins.pack_proteins)
proteins.ProteinEncoder.embed = timed("embed", proteins.ProteinEncoder.embed)
model.forward = timed("transformer", model.forward)
rows = {}
for path in [sys.argv[2], *sys.argv[2:]]:
    best = {}
    for _ in range(int(sys.argv[1])):
        spent.clear()
        began = clock()
        genome = prediction.predict_genome(model, path).genome
        whole = clock() - began
        stages = dict(spent)
        rest = stages.pop("read genome") - sum(stages[s] for s in ("train gene model", "find genes", "read file"))
        stages["translate and check genes"] = rest
        stages["embed proteins"] = stages.pop("embed") - stages["tokenise"]
        stages["report and rest"] = whole - sum(stages.values())
        vectors = encoder.embed([gene.protein for gene in genome.genes]).vectors
        began = clock()
        keys = protein_keys([gene.protein for gene in genome.genes])
        with tempfile.TemporaryDirectory() as folder:
            store = ProteinStore(folder, encoder.preprocessing)
            store.refresh()
            store.find_intact(keys)
            store.add(keys, vectors)
            store.get(keys)
        stages["store"] = clock() - began
        best = {name: min(value, best.get(name, value)) for name, value in stages.items()}
    rows[genome.genome_id] = {"bases": genome.gene_stats["n_bases"], "genes": len(genome)} | {
        name: round(value, 4) for name, value in best.items()
    }
print(json.dumps({"start": round(start, 3), "genomes": rows}))
"""


def run_stages(package: Path, genomes: list[Path], rounds: int) -> dict[str, Any]:
    """Return processor seconds by stage, in a process of its own with a checkout's package."""
    env = {**os.environ, "PYTHONPATH": str(package), "OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"}
    command = [sys.executable, "-W", "ignore", "-c", STAGES, str(rounds), *map(str, genomes)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    stages: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return stages


def predict(package: Path, genomes: list[Path], threads: int) -> dict[str, Any]:
    """Run `biomeformer genome predict` of a checkout's package; returns what it took, and what it printed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command: list[str | Path] = ["env", f"PYTHONPATH={package}", sys.executable, "-m", "biomeformer", "genome"]
        took = measure([[*command, "predict", *genomes, "--threads", str(threads)]], folder, threads)
        return took | {"printed": (folder / "0.out").read_text()}


def main() -> int:
    """Measure and write the results; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("genomes", nargs="+", type=Path, help="FASTA files, plain or gzip")
    parser.add_argument("--baseline", type=Path, help="another checkout, to measure in turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--skip", choices=["stages", "processes"], help="keep these of the results file")
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    packages = {NEW: (HERE.parent / "modeling").resolve()}
    if args.baseline is not None:
        packages[OLD] = (args.baseline / "modeling").resolve()
    genomes = [path.resolve() for path in args.genomes]
    record: dict[str, Any] = json.loads(args.output.read_text()) if args.output.exists() else {}
    record |= {"processor": processor(), "cores": os.cpu_count(), "threads": args.threads}
    if args.skip != "stages":
        record["stages"] = {name: run_stages(package, genomes, args.rounds) for name, package in packages.items()}
    if args.skip != "processes":
        record["processes"] = {}
        sets = {path.name.partition(".")[0]: [path] for path in genomes} | {"all": genomes}
        for number in range(args.rounds):
            for name, files in sets.items():
                for version in sorted(packages, reverse=bool(number % 2)):
                    took = predict(packages[version], files, args.threads)
                    record["processes"].setdefault(name, {}).setdefault(version, []).append(took)
                    args.output.write_text(json.dumps(record, indent=1) + "\n")
    for name, versions in record.get("processes", {}).items():
        printed = {took["printed"] for rounds in versions.values() for took in rounds}
        if len(printed) > 1:
            raise SystemExit(f"{name}: the predictions differ: {sorted(printed)}")
    args.output.write_text(json.dumps(record, indent=1) + "\n")
    print(render(record))
    return 0


def render(record: dict[str, Any]) -> str:
    """Return the results as tables."""
    lines = []
    for version, stages in record.get("stages", {}).items():
        names = [name for name in next(iter(stages["genomes"].values())) if name not in ("bases", "genes")]
        lines += [f"{version}: start {stages['start']:.2f} s of processor time", "genome\t" + "\t".join(names)]
        for genome, row in stages["genomes"].items():
            lines.append(f"{genome}\t" + "\t".join(f"{row[name]:.3f}" for name in names))
    for name, versions in record.get("processes", {}).items():
        for version, rounds in versions.items():
            cpu, wall = (sorted(took[key] for took in rounds) for key in ("cpu_s", "wall_s"))
            lines.append(f"{name}\t{version}\tcpu {cpu[len(cpu) // 2]:.2f} s\twall {wall[len(wall) // 2]:.2f} s")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
