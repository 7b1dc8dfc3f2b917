"""Measure what centroids of all samples gain over centroids of the training samples of each fold.

**Simulated reads** of real cohorts (a simulator given with --simulator). Reads of all samples are drawn and embedded
once; for each K, centroids are fitted on all samples, as usual, and on the training samples of every fold, and
classifiers of both are evaluated on the same folds. Models are `l1` and `forest` with their defaults, and `lasso` on
ilr with the zero rule `epsilon`, as published with MetagenBERT.

    python benchmarks/centroid_leak.py --cohorts COHORTS --genomes GENOMES --simulator simulate_cohort.py

Every finished part is kept in the JSON at once: the same command goes on with what is left.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from simulation import simulated_cohort

import biomeformer
from biomeformer.metagenomes import fit_centroids
from biomeformer.metagenomes.drawn_vectors import DrawnVectors
from biomeformer.phenotypes import make_target, run_study
from biomeformer.phenotypes.refitting import leak_table, refitted_tables
from phenotypes import Results, machine

# Transform and rule for zeros by model; the defaults of each where there is none.
SETTINGS: dict[str, dict[str, Any]] = {
    "l1": {},
    "forest": {},
    "lasso": {"transform": "ilr", "zeros": "epsilon"},
}


def drawn(name: str, args: argparse.Namespace) -> tuple[DrawnVectors, pd.DataFrame]:
    """Return the vectors of the drawn reads of a simulated cohort, and its metadata."""
    folder = args.cache / f"vectors-{name}-{args.reads}-{args.seed}"
    reads = simulated_cohort(
        args.cache / f"{name}-{args.reads}-{args.seed}",
        simulator=args.simulator,
        cohorts=args.cohorts,
        name=name,
        genomes=args.genomes,
        n_reads=args.reads,
        seed=args.seed,
    )
    metadata = pd.read_csv(reads / "cohort.csv", dtype=str).set_index("sample_id")
    encoder, tokenizer = biomeformer.load_read_encoder(args.read_encoder)
    fit_centroids(
        reads / "cohort.csv",
        encoder,
        biomeformer.MetagenBertProcessor(tokenizer),
        n_clusters=min(args.n_clusters),
        reads_per_sample=args.reads,
        seed=args.seed,
        spherical=biomeformer.load(args.read_encoder).config.normalize_embeddings,
        vectors=folder,
    )
    return DrawnVectors.read(folder), metadata


def leak(name: str, n_clusters: int, args: argparse.Namespace) -> dict[str, Any]:
    """Evaluate both kinds of centroids of one cohort with every model."""
    vectors, metadata = drawn(name, args)
    target = make_target(metadata, "label", tuple(metadata.index))
    tables = refitted_tables(vectors, target.sample_ids, n_clusters, seed=args.seed)
    rows = []
    for model in args.models:
        options = SETTINGS[model]
        sets = {kind: [table] for kind, table in tables.items()}
        study = run_study(
            sets, target, models=[model], n_splits=10, n_repeats=args.repeats, seed=args.seed, n_jobs=1, **options
        )
        row = leak_table(study).iloc[0].to_dict()
        rows.append({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()})
    return {"classes": target.sizes, "rows": rows}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=Path, required=True)
    parser.add_argument("--genomes", type=Path, required=True)
    parser.add_argument("--simulator", type=Path, required=True)
    parser.add_argument("--names", nargs="+", default=["cirrhosis", "ibd"])
    parser.add_argument("--read-encoder", default="metagenbert-mini")
    parser.add_argument("--n-clusters", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--models", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--reads", type=int, default=1000, help="reads a simulated sample, all of which are used")
    parser.add_argument("--repeats", type=int, default=1, help="of the cross-validation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path("centroid-leak-cache"), help="for simulated reads")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "centroid_leak.json")
    args = parser.parse_args()
    settings = {
        "read_encoder": args.read_encoder,
        "reads_per_sample": args.reads,
        "n_splits": 10,
        "n_repeats": args.repeats,
        "seed": args.seed,
        **machine(),
    }
    results, console = Results(args.output, settings), Console()
    args.cache.mkdir(parents=True, exist_ok=True)
    table = Table("cohort", "K", "model", "all samples", "training samples", "gain", "95 %", title="ROC-AUC")
    for name in args.names:
        for n_clusters in args.n_clusters:
            part = results.part(f"{name}, K {n_clusters}", lambda name=name, k=n_clusters: leak(name, k, args))
            for row in part["rows"]:
                values = [f"{row[key]:.3f}" for key in ("all_samples", "training_samples")]
                table.add_row(
                    name,
                    str(n_clusters),
                    row["model"],
                    *values,
                    f"{row['leak']:+.3f}",
                    f"{row['low']:+.3f} to {row['high']:+.3f}",
                )
    console.print(table)
    console.print(f"Written to {args.output}")


if __name__ == "__main__":
    main()
