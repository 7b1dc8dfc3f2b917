"""Evaluate phenotype prediction from real species tables and from abundance vectors of simulated reads.

* Species: six real cohorts' MetaPhlAn2 tables, all models, 10-fold, compared with the published AUC of a random
  forest, and with permuted labels.
* Vectors: **simulated reads** of cirrhosis and ibd (a simulator given with --simulator); centroids learnt, without
  labels, on the cirrhosis reads; abundance vectors, the species shares the reads were drawn from ("truth"), and both.
* Depth: the same at 100, 50, 10, 5 and 1 % of the reads.
* Transfer of centroids: vectors of ibd, obesity and colorectal under the cirrhosis cohort's centroids, compared
  with centroids of the cohort's own reads and with the truth.

    python benchmarks/phenotypes.py --cohorts COHORTS --genomes GENOMES --simulator simulate_cohort.py

Every finished part is kept in the JSON at once: the same command goes on with what is left.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import sklearn
import torch
from rich.console import Console
from rich.table import Table
from simulation import simulated_cohort

import biomeformer
from biomeformer.metagenomes import AbundanceTable, fit_centroids, run_cohort
from biomeformer.models.metagenbert import MetagenBertModel
from biomeformer.phenotypes import (
    FRACTIONS,
    MODELS,
    FeatureTable,
    Target,
    depth_name,
    depth_tables,
    make_target,
    read_feature_table,
    run_study,
)
from biomeformer.phenotypes.evaluation import interval

# ROC-AUC of a random forest on all species, 10-fold, as reported for these tables.
KNOWN = {"cirrhosis": 0.942, "t2d": 0.756, "wt2d": 0.728, "obesity": 0.666, "ibd": 0.878, "colorectal": 0.869}
SOURCE, TARGETS = "cirrhosis", ("ibd", "obesity", "colorectal")
SIMULATED = ("cirrhosis", "ibd")


def machine() -> dict[str, Any]:
    """What measures, for the settings of a results file."""
    return {
        "device": f"cpu, {os.cpu_count()} cores",
        "versions": {
            "biomeformer": biomeformer.__version__,
            "torch": torch.__version__,
            "scikit-learn": sklearn.__version__,
            "python": platform.python_version(),
        },
    }


class Results:
    """The JSON, written after every part."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.values: dict[str, Any] = {"settings": settings, "parts": {}}
        if path.is_file():
            before = json.loads(path.read_text())
            if before.get("settings") == settings:
                self.values = before

    def part(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A part, computed unless it is there."""
        parts: dict[str, dict[str, Any]] = self.values["parts"]
        if name not in parts:
            began = time.monotonic()
            result = make()
            parts[name] = result | {"seconds": round(time.monotonic() - began, 1)}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self.values, indent=1) + "\n")
        return parts[name]


def scores(
    sets: dict[str, Sequence[FeatureTable]], target: Target, args: argparse.Namespace, models: Sequence[str] = MODELS
) -> dict[str, Any]:
    """ROC-AUC and PR-AUC with intervals of every set and model, and comparisons of the sets."""
    study = run_study(sets, target, models=models, n_repeats=args.repeats, n_splits=10, seed=args.seed)
    result: dict[str, Any] = {"classes": target.sizes, "scores": {}, "comparisons": []}
    for one in study.evaluations:
        areas = {
            metric: [round(getattr(one.scores[metric], end), 4) for end in ("mean", "low", "high")]
            for metric in ("roc_auc", "pr_auc")
        }
        result["scores"].setdefault(one.features, {})[one.model] = areas
    for pair in study.comparisons:
        difference = [round(getattr(pair.difference, end), 4) for end in ("mean", "low", "high")]
        result["comparisons"].append([pair.first, pair.second, pair.model, difference, round(pair.p, 4)])
    return result


def species(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """One real cohort by its species table, and with permuted labels."""
    labels = pd.read_csv(args.cohorts / f"{name}.samples.tsv", sep="\t", dtype=str).set_index("sample_id")
    table = read_feature_table(args.cohorts / f"{name}.species_abundance.tsv.gz", list(labels.index))
    target = make_target(labels, "label", table.sample_ids)
    result = scores({"species": [table]}, target, args)
    study = run_study(
        {"species": [table]},
        target,
        models=["forest"],
        n_repeats=1,
        n_permutations=args.permutations,
        seed=args.seed,
    )
    # Permutations are independent of each other: the interval is that of their mean.
    permuted = interval(study.evaluations[0].permuted, 1 / args.permutations)
    areas = [round(value, 4) for value in (permuted.mean, permuted.low, permuted.high)]
    return result | {"known": KNOWN[name], "permuted": {"roc_auc": areas, "n_permutations": args.permutations}}


def simulate(name: str, args: argparse.Namespace) -> Path:
    """Folder of a simulated cohort's reads."""
    return simulated_cohort(
        args.cache / f"{name}-{args.reads}-{args.seed}",
        simulator=args.simulator,
        cohorts=args.cohorts,
        name=name,
        genomes=args.genomes,
        n_reads=args.reads,
        seed=args.seed,
    )


def centroids_of(name: str, args: argparse.Namespace) -> MetagenBertModel:
    """The read encoder with centroids of a simulated cohort's reads."""
    folder = args.cache / f"centroids-{name}-{args.reads}-{args.seed}-{args.n_clusters}"
    if not folder.is_dir():
        encoder, tokenizer = biomeformer.load_read_encoder(args.read_encoder)
        shipped = biomeformer.load(args.read_encoder)
        fit = fit_centroids(
            simulate(name, args) / "cohort.csv",
            encoder,
            biomeformer.MetagenBertProcessor(tokenizer),
            n_clusters=args.n_clusters,
            reads_per_sample=2000,
            seed=args.seed,
            spherical=shipped.config.normalize_embeddings,
        )
        fit.save(folder)
    return biomeformer.load(folder)


def vectors(name: str, source: str, args: argparse.Namespace, fraction: float = 1.0) -> AbundanceTable:
    """Abundance vectors of a simulated cohort under a cohort's centroids."""
    folder = args.cache / f"vectors-{name}-by-{source}-{args.reads}-{args.seed}-{args.n_clusters}-{fraction:g}"
    run_cohort(
        centroids_of(source, args),
        simulate(name, args) / "cohort.csv",
        folder,
        read_fraction=fraction,
        seed=args.seed,
    ).raise_for_failures()
    return AbundanceTable.read(folder)


def with_truth(name: str, args: argparse.Namespace) -> tuple[FeatureTable, Target]:
    """The shares that reads were drawn by, and the classes."""
    folder = simulate(name, args)
    labels = pd.read_csv(folder / "cohort.csv", dtype=str).set_index("sample_id")
    truth = read_feature_table(folder / "truth.tsv.gz", list(labels.index))
    return truth, make_target(labels, "label", truth.sample_ids)


def beside_truth(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Vectors, truth and both."""
    truth, target = with_truth(name, args)
    features = FeatureTable.from_abundance(vectors(name, SOURCE, args))
    return scores({"vectors": [features], "truth": [truth], "both": [features, truth]}, target, args)


def depths(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Vectors from fewer and fewer reads."""
    _, target = with_truth(name, args)
    tables = depth_tables([vectors(name, SOURCE, args, fraction) for fraction in FRACTIONS])
    return scores({depth_name(share): [table] for share, table in tables.items()}, target, args, ["l1", "forest"])


def centroid_transfer(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Vectors under another cohort's centroids, under its own, and the truth."""
    truth, target = with_truth(name, args)
    sets = {
        f"{SOURCE} centroids": [FeatureTable.from_abundance(vectors(name, SOURCE, args))],
        "own centroids": [FeatureTable.from_abundance(vectors(name, name, args))],
        "truth": [truth],
    }
    return scores(sets, target, args, ["l1", "forest"])


def show(console: Console, title: str, result: dict[str, Any]) -> None:
    """A part as a table."""
    models = list(next(iter(result["scores"].values())))
    table = Table("features", *models, title=title)
    for features, by_model in result["scores"].items():
        cells = ["{:.3f} ({:.3f}-{:.3f})".format(*by_model[model]["roc_auc"]) for model in models]
        table.add_row(features, *cells)
    if "known" in result:
        table.add_row("known", *("" if model != "forest" else f"{result['known']:.3f}" for model in models))
        permuted = "{:.3f} ({:.3f}-{:.3f})".format(*result["permuted"]["roc_auc"])
        table.add_row("labels permuted", *("" if model != "forest" else permuted for model in models))
    console.print(table)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=Path, required=True)
    parser.add_argument("--genomes", type=Path)
    parser.add_argument("--simulator", type=Path, help="without it, species tables alone")
    parser.add_argument("--read-encoder", default="metagenbert-mini")
    parser.add_argument("--n-clusters", type=int, default=1024)
    parser.add_argument("--reads", type=int, default=20_000, help="reads a simulated sample")
    parser.add_argument("--repeats", type=int, default=1, help="of the cross-validation")
    parser.add_argument("--permutations", type=int, default=20, help="of the labels of species tables")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path("phenotypes-cache"), help="for simulated reads and vectors")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "phenotypes.json")
    args = parser.parse_args()
    settings = {
        "read_encoder": args.read_encoder,
        "n_clusters": args.n_clusters,
        "reads_per_sample": args.reads,
        "n_splits": 10,
        "n_repeats": args.repeats,
        "n_permutations": args.permutations,
        "seed": args.seed,
        **machine(),
    }
    results, console = Results(args.output, settings), Console()
    for name in KNOWN:
        result = results.part(f"species, {name}", lambda name=name: species(name, args))
        show(console, f"{name}, real species table, ROC-AUC", result)
    if args.simulator is not None:
        args.cache.mkdir(parents=True, exist_ok=True)
        for name in SIMULATED:
            result = results.part(f"simulated reads, {name}", lambda name=name: beside_truth(name, args))
            show(console, f"{name}, simulated reads, ROC-AUC", result)
        for name in SIMULATED:
            result = results.part(f"simulated reads, depth, {name}", lambda name=name: depths(name, args))
            show(console, f"{name}, simulated reads by depth, ROC-AUC", result)
        for name in TARGETS:
            result = results.part(f"simulated reads, transfer, {name}", lambda name=name: centroid_transfer(name, args))
            show(console, f"{name}, simulated reads under other centroids, ROC-AUC", result)
    console.print(f"Written to {args.output}")


if __name__ == "__main__":
    main()
