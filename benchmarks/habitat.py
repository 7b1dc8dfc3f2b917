"""Compare habitat classifiers of genomes with held-out genera: simple features, mean proteins and the transformer.

Balanced accuracy of logistic regressions and random forests on GC content, on size, on both, on canonical 4-mers and on
the mean protein vector, compared with runs of `recipes/train_genome_transformer.py` on the same folds, which no genus
shares. Intervals, also of differences paired by fold, are those of the corrected resampled t-test over folds. Genomes
that a run held out of folds and training are a second test, of models fitted once to all others; its intervals are of a
bootstrap over genera.

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
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import biomeformer
from biomeformer.genomes.catalog import GenomeCatalog, read_catalog
from biomeformer.genomes.embedding import EmbeddedGenomes
from biomeformer.genomes.fasta import read_contigs
from biomeformer.genomes.text import read_text
from biomeformer.metrics.probabilities import balanced_accuracy
from biomeformer.metrics.resampling import bootstrap
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


def logistic() -> Any:
    """Return a logistic regression."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000, class_weight="balanced"))


def forest() -> Any:
    """Return a random forest."""
    return RandomForestClassifier(500, class_weight="balanced", random_state=0)


def fold_scores(
    model: Any, features: np.ndarray, target: Target, splits: list[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """Balanced accuracy of a model on each fold."""
    scores = []
    for train, test in splits:
        model.fit(features[train], target.labels[train])
        scores.append(balanced_accuracy(target.labels[test], model.predict_proba(features[test])))
    return np.array(scores)


def rounded(span: Interval) -> list[float]:
    """Mean, low and high end for JSON."""
    return [round(value, 4) for value in (span.mean, span.low, span.high)]


def held_out_scores(
    predicted: dict[str, np.ndarray], labels: np.ndarray, groups: np.ndarray, reference: str
) -> dict[str, dict[str, list[float]]]:
    """Balanced accuracy on held-out groups, and its difference from the reference's, with intervals over groups."""
    one_hot = np.eye(labels.max() + 1)[labels]
    correct = {name: (values == labels)[:, None] * one_hot for name, values in predicted.items()}

    def scores(weights: np.ndarray) -> dict[str, np.ndarray]:
        sizes = weights @ one_hot
        results = {}
        for name, right in correct.items():
            recall = np.divide(weights @ right, sizes, out=np.zeros_like(sizes), where=sizes > 0)
            results[name] = recall.sum(1) / (sizes > 0).sum(1)
        return results | {f"{name} minus": values - results[reference] for name, values in list(results.items())}

    spans = bootstrap(scores, len(labels), n_draws=5000, groups=groups)
    values = {name: [round(v, 4) for v in (span.value, span.low, span.high)] for name, span in spans.items()}
    return {
        "balanced_accuracy": {name: values[name] for name in predicted},
        "minus_reference": {name: values[f"{name} minus"] for name in predicted if name != reference},
    }


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
    records = [json.loads((run / "training_record.json").read_text()) for run in args.run]
    first, held_out = studies[0], records[0].get("held_out", {}).get("genomes", {})
    every = [str(name) for name in embedded.genomes.index]
    ids = [name for name in every if name not in held_out]
    target = make_target(embedded.metadata, args.target, ids, group_column=args.group)
    splits = list(folds(target, first.n_splits, first.n_repeats, first.seed))
    correction = 1 / len(splits) + float(np.mean([len(test) / len(train) for train, test in splits]))
    names = (*target.sample_ids, *held_out)
    sets = simple_features(read_catalog(args.genomes), names)
    means, spreads = [], []
    for name in names:
        vectors = embedded.vectors(name).astype(float)
        means.append(vectors.mean(0))
        spreads.append(vectors.std(0))
    sets["mean protein"] = np.stack(means)
    sets["mean and spread of proteins"] = np.concatenate([sets["mean protein"], np.stack(spreads)], 1)
    n = len(target.sample_ids)
    by_fold: dict[str, np.ndarray] = {}
    predicted: dict[str, np.ndarray] = {}
    for name, features in sets.items():
        for suffix, model in (("", logistic()), (", forest", forest())):
            by_fold[name + suffix] = fold_scores(model, features[:n], target, splits)
            if held_out:
                predicted[name + suffix] = model.fit(features[:n], target.labels).predict(features[n:])
    # The better of both on 4-mers is what a run has to beat.
    reference = max(("4-mers", "4-mers, forest"), key=lambda name: float(by_fold[name].mean()))
    results: dict[str, Any] = {}
    for path, study, record in zip(args.run, studies, records, strict=True):
        same = (study.n_splits, study.n_repeats, study.seed, study.target.sample_ids)
        if same != (first.n_splits, first.n_repeats, first.seed, target.sample_ids):
            raise SystemExit(f"{path} was trained on other folds or genomes; run all with one config's folds and seed.")
        results[path.name] = {
            "config": record["config"],
            "accuracy": record["accuracy"],
            "calibration": record["calibration"],
            "model_sha256": hashlib.sha256((path / "model" / "model.safetensors").read_bytes()).hexdigest(),
            "device": record["device"],
            "seconds": record["wall_time_s"],
        }
        own = f"transformer: {path.name}"
        by_fold[own] = study.evaluations[0].fold_scores["balanced_accuracy"]
        if held_out:
            rows = record["held_out"]["genomes"]
            predicted[own] = np.array(
                [max(range(len(target.classes)), key=lambda i: rows[name][target.classes[i]]) for name in held_out]
            )
    scores = {name: interval(values, correction).clipped() for name, values in by_fold.items()}
    differences = {
        name: {other: interval(values - by_fold[other], correction) for other in by_fold if other != name}
        for name, values in by_fold.items()
        if name.startswith("transformer: ")
    }
    table = Table("features", "balanced accuracy", title=f"{args.target} of genomes, {args.group} held out")
    for name, span in scores.items():
        table.add_row(name, str(span))
    for name, spans in differences.items():
        table.add_row(f"{name} minus {reference}", str(spans[reference]))
    second: dict[str, Any] = {}
    if held_out:
        labels = np.array([target.classes.index(values["true"]) for values in held_out.values()])
        groups = embedded.metadata.loc[list(held_out), args.group].to_numpy(str)
        second = {
            "n_genomes": len(held_out),
            "classes": {name: int((labels == i).sum()) for i, name in enumerate(target.classes)},
            "groups": sorted(set(groups)),
            **held_out_scores(predicted, labels, groups, reference),
        }
        for name, values in second["balanced_accuracy"].items():
            table.add_row(f"held-out genera: {name}", "{:.3f} ({:.3f}-{:.3f})".format(*values))
    Console().print(table)
    content = {
        "n_genomes": len(target.labels),
        "classes": target.sizes,
        "n_groups": len(np.unique(target.groups)),
        "n_splits": first.n_splits,
        "n_repeats": first.n_repeats,
        "seed": first.seed,
        "protein_encoder": {key: value for key, value in embedded.preprocessing.items() if key != "name"},
        "balanced_accuracy": {name: rounded(span) for name, span in scores.items()},
        "reference": reference,
        "differences": {
            name: {other: rounded(span) for other, span in spans.items()} for name, spans in differences.items()
        },
        **({"held_out": second} if second else {}),
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
