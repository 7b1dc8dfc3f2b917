"""Evaluate classifiers of enhancers against other sequences, and of strong against weak enhancers.

The benchmark of iEnhancer-2L (200 bases; its "independent" set is in its training set, so it is left out),
cross-validated: near-duplicates share a fold. For each test fold, another fold is held out for early stopping and
thresholds.

* the read encoder that ships, all weights fine-tuned; the same from random weights; with LoRA;
* the convolutional network;
* a logistic regression on canonical k-mers, its penalty chosen on the validation fold.

    python benchmarks/enhancers.py --folder FOLDER [--folds 5]

FOLDER holds layer1_train_enhancers.fa, layer1_train_nonenhancers.fa, layer2_train_strong_enhancers.fa and
layer2_train_weak_enhancers.fa. Finished folds are kept in --work.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from rich.console import Console
from rich.table import Table
from sequence_models import fine_tuned, logistic, recipe, scores_of

import biomeformer
from biomeformer import prepare_sequences
from biomeformer.genomes.fasta import iter_records
from biomeformer.phenotypes.evaluation import interval
from biomeformer.sequences import PreparationSettings
from biomeformer.sequences.training_data import read_training_data

LAYERS = {
    "enhancer or not": {"enhancer": "layer1_train_enhancers.fa", "other": "layer1_train_nonenhancers.fa"},
    "strong or weak": {"strong": "layer2_train_strong_enhancers.fa", "weak": "layer2_train_weak_enhancers.fa"},
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "metagenbert-mini, all weights": ("mini.yaml", {}),
    "the same, random weights": ("mini.yaml", {"from_scratch": True}),
    "metagenbert-mini, LoRA": ("lora.yaml", {}),
    "CNN": ("cnn.yaml", {}),
}
LOGISTIC = "logistic regression, 6-mers"
METRICS = ("roc_auc", "pr_auc", "f1", "accuracy", "mcc")
K = 6


def read(path: Path) -> list[str]:
    """Sequences of a FASTA file."""
    return [sequence.upper() for _, _, sequence in iter_records(path, path.read_text())]


def make_folds(folder: Path, files: dict[str, str], work: Path, n_folds: int) -> list[Path]:
    """A prepared dataset for each fold, whose test split is the fold.

    Groups of near-duplicates come from `biomeformer sequences prepare --split cluster`, asked for even parts.
    """
    import pandas as pd
    from datasets import load_dataset

    made = [work / f"fold{i}" for i in range(n_folds)]
    if all((path / "prepare.json").is_file() for path in made):
        return made
    # Whole clusters are dealt out in turn: what one round puts into its test split is a fold.
    rest = [(sequence, name) for name, file in files.items() for sequence in read(folder / file)]
    parts: list[list[tuple[str, str]]] = []
    for left in range(n_folds, 1, -1):
        pd.DataFrame(rest, columns=["sequence", "label"]).to_csv(work / "rest.csv", index=False)
        share = 1 / left
        settings = PreparationSettings(split="cluster", shares=(1 - 1.5 * share, 0.5 * share, share), seed=left)
        prepare_sequences([work / "rest.csv"], work / "round", settings, read_encoder=None, overwrite=True)
        dataset = load_dataset(str(work / "round"))
        names = dataset["test"].features["label"].names
        pairs = {
            split: [(row["sequence"], names[row["label"]]) for row in dataset[split]]
            for split in ("train", "validation", "test")
        }
        parts.append(pairs["test"])
        rest = pairs["train"] + pairs["validation"]
    parts.append(rest)
    for i, path in enumerate(made):
        rows = []
        for j, part in enumerate(parts):
            # The next fold is the validation fold.
            split = "test" if j == i else "validation" if j == (i + 1) % n_folds else "train"
            rows += [(sequence, name, split) for sequence, name in part]
        frame = pd.DataFrame(rows, columns=["sequence", "label", "contig"])
        frame.to_csv(work / "fold.csv", index=False)
        settings = PreparationSettings(
            split="chromosome",
            positive=next(iter(files)),
            validation_contigs=("validation",),
            test_contigs=("test",),
        )
        prepare_sequences([work / "fold.csv"], path, settings, read_encoder=None, overwrite=True)
    return made


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="where folds and runs are kept")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument(
        "--models",
        nargs="+",
        choices=[LOGISTIC, *MODELS],
        help="measure these only, and keep the other rows of --output",
    )
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "enhancers.json")
    args = parser.parse_args()
    module, console = recipe(), Console()
    versions = {
        "biomeformer": biomeformer.__version__,
        "scikit-learn": sklearn.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    earlier = None if args.models is None else json.loads(args.output.read_text())
    if earlier is not None and (earlier["versions"], earlier["folds"]) != (versions, args.folds):
        raise SystemExit(f"{args.output} is of other versions or folds; measure all models.")
    results: dict[str, Any] = {}
    for layer, files in LAYERS.items():
        work = args.work / layer.replace(" ", "-")
        work.mkdir(parents=True, exist_ok=True)
        folds = make_folds(args.folder, files, work, args.folds)
        sizes = [{name: len(split) for name, split in read_training_data(path).splits.items()} for path in folds]
        names = read_training_data(folds[0]).label_names
        ratio = float(np.mean([size["test"] / size["train"] for size in sizes]))
        table = Table(layer, *METRICS, title=f"{args.folds} folds, mean (95 % interval)")
        rows: dict[str, Any] = {}
        for name in (LOGISTIC, *MODELS):
            if earlier is not None and name not in args.models:
                if earlier["layers"][layer]["n_sequences"] != sizes:
                    raise SystemExit(f"{args.output} is of other sequences; measure all models.")
                rows[name] = earlier["layers"][layer]["models"][name]
                continue
            began, scores = time.monotonic(), []
            for i, data in enumerate(folds):
                if name in MODELS:
                    config, changes = MODELS[name]
                    output = work / name.replace(" ", "-").replace(",", "") / f"fold{i}"
                    arrays = fine_tuned(module, data, output, config, changes | {"seed": i})
                else:
                    arrays = logistic(data, K)
                scored = scores_of(names, arrays)
                scores.append({metric: scored[metric]["value"] for metric in METRICS})
            spans = {
                metric: interval(np.array([one[metric] for one in scores]), 1 / args.folds + ratio)
                for metric in METRICS
            }
            rows[name] = {metric: [round(v, 4) for v in (s.mean, s.low, s.high)] for metric, s in spans.items()}
            rows[name] |= {"seconds": round(time.monotonic() - began, 1)}
            table.add_row(name, *(str(spans[metric]) for metric in METRICS))
        console.print(table)
        results[layer] = {"n_sequences": sizes, "models": rows}
    content = {
        "folds": args.folds,
        "layers": results,
        "configs": {name: [config, changes] for name, (config, changes) in MODELS.items()},
        "device": f"cpu, {os.cpu_count()} cores",
        "versions": versions,
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(content, indent=1) + "\n")
    print(f"Written to {args.output}")


if __name__ == "__main__":
    main()
