"""Compare habitat classifiers of genomes with held-out genera: simple features, mean proteins and the transformer.

Balanced accuracy of logistic regressions on GC content, on size, on both, on canonical 4-mers and on the mean protein
vector, compared with a run of `recipes/train_genome_transformer.py` on the same folds, which no genus shares. Intervals
are those of the corrected resampled t-test over folds.

    biomeformer genome embed genomes.csv --protein-encoder ENCODER --output EMBEDDED
    accelerate launch recipes/train_genome_transformer.py --config CONFIG --genomes EMBEDDED --target habitat \
        --group genus --output RUN
    python benchmarks/habitat.py --genomes genomes.csv --embedded EMBEDDED --run RUN [--run OTHER ...]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import biomeformer
from biomeformer.genomes.catalog import GenomeCatalog, read_catalog
from biomeformer.genomes.embedding import EmbeddedGenomes
from biomeformer.genomes.fasta import read_contigs
from biomeformer.genomes.text import read_text
from biomeformer.metrics.probabilities import balanced_accuracy
from biomeformer.phenotypes import Study, Target, make_target
from biomeformer.phenotypes.evaluation import Interval, folds, interval


def four_mers(bases: str) -> np.ndarray:
    """Shares of canonical 4-mers, `(136,)`; those with an unknown base are left out."""
    table = np.full(256, 4, np.int64)
    table[np.frombuffer(b"ACGT", np.uint8)] = np.arange(4)
    codes = table[np.frombuffer(bases.encode(), np.uint8)]
    words = sum(codes[i : len(codes) - 3 + i] * 4 ** (3 - i) for i in range(4))
    known = np.all([codes[i : len(codes) - 3 + i] < 4 for i in range(4)], axis=0)
    counts = np.bincount(words[known], minlength=256).astype(float)
    digits = np.stack([np.arange(256) // 4**i % 4 for i in range(4)])
    reverse = sum((3 - digits[i]) * 4 ** (3 - i) for i in range(4))
    canonical = np.minimum(np.arange(256), reverse)
    merged = np.bincount(canonical, counts, minlength=256)[np.unique(canonical)]
    return merged / merged.sum()


def simple_features(catalog: GenomeCatalog, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """GC content, size and 4-mers of each genome."""
    by_name = {genome.genome_id: genome for genome in catalog}
    gc, size, words = [], [], []
    for name in names:
        # An unknown base parts contigs.
        bases = "N".join(read_contigs(by_name[name].path, read_text(by_name[name].path)).values())
        known = sum(bases.count(letter) for letter in "ACGT")
        gc.append((bases.count("G") + bases.count("C")) / known)
        size.append(np.log(known))
        words.append(four_mers(bases))
    return {
        "GC": np.array(gc)[:, None],
        "size": np.array(size)[:, None],
        "GC and size": np.stack([gc, size], 1),
        "4-mers": np.stack(words),
    }


def logistic(features: np.ndarray, target: Target, splits: list[tuple[np.ndarray, np.ndarray]]) -> list[float]:
    """Balanced accuracy of a logistic regression on each fold."""
    scores = []
    for train, test in splits:
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000, class_weight="balanced"))
        model.fit(features[train], target.labels[train])
        scores.append(balanced_accuracy(target.labels[test], model.predict_proba(features[test])))
    return scores


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genomes", type=Path, required=True, help="the catalog")
    parser.add_argument("--embedded", type=Path, required=True)
    parser.add_argument("--run", type=Path, action="append", required=True, help="of the recipe; may be given again")
    parser.add_argument("--target", default="habitat")
    parser.add_argument("--group", default="genus")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "habitat.json")
    args = parser.parse_args()
    embedded, studies = EmbeddedGenomes.read(args.embedded), [Study.read(run) for run in args.run]
    first = studies[0]
    ids = [str(name) for name in embedded.genomes.index]
    target = make_target(embedded.metadata, args.target, ids, group_column=args.group)
    splits = list(folds(target, first.n_splits, first.n_repeats, first.seed))
    correction = 1 / len(splits) + float(np.mean([len(test) / len(train) for train, test in splits]))
    sets = simple_features(read_catalog(args.genomes), target.sample_ids)
    means, spreads = [], []
    for name in target.sample_ids:
        vectors = embedded.vectors(name).astype(float)
        means.append(vectors.mean(0))
        spreads.append(vectors.std(0))
    sets["mean protein"] = np.stack(means)
    sets["mean and spread of proteins"] = np.concatenate([sets["mean protein"], np.stack(spreads)], 1)
    scores: dict[str, Interval] = {}
    for name, features in sets.items():
        scores[name] = interval(np.array(logistic(features, target, splits)), correction).clipped()
    results: dict[str, Any] = {}
    for path, study in zip(args.run, studies, strict=True):
        same = (study.n_splits, study.n_repeats, study.seed, study.target.sample_ids)
        if same != (first.n_splits, first.n_repeats, first.seed, target.sample_ids):
            raise SystemExit(f"{path} was trained on other folds or genomes; run all with one config's folds and seed.")
        record = json.loads((path / "training_record.json").read_text())
        results[path.name] = {
            "config": record["config"],
            "accuracy": record["accuracy"],
            "model_sha256": hashlib.sha256((path / "model" / "model.safetensors").read_bytes()).hexdigest(),
            "device": record["device"],
            "seconds": record["wall_time_s"],
        }
        scores[f"transformer: {path.name}"] = study.evaluations[0].scores["balanced_accuracy"]
    table = Table("features", "balanced accuracy", title=f"{args.target} of genomes, {args.group} held out")
    for name, span in scores.items():
        table.add_row(name, str(span))
    Console().print(table)
    content = {
        "n_genomes": len(target.labels),
        "classes": target.sizes,
        "n_groups": len(np.unique(target.groups)),
        "n_splits": first.n_splits,
        "n_repeats": first.n_repeats,
        "seed": first.seed,
        "protein_encoder": {key: value for key, value in embedded.preprocessing.items() if key != "name"},
        "balanced_accuracy": {name: [round(v, 4) for v in (s.mean, s.low, s.high)] for name, s in scores.items()},
        "runs": results,
        "device": f"cpu, {os.cpu_count()} cores",
        "versions": {
            "biomeformer": biomeformer.__version__,
            "scikit-learn": sklearn.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(content, indent=1) + "\n")
    print(f"Written to {args.output}")


if __name__ == "__main__":
    main()
