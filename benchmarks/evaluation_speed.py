"""Measure what one fold of `phenotype evaluate` costs by model, and what its two savings are worth.

The table is simulated: 1,000 features of negative binomial counts, 30 of which depend on the class. Each model is
fitted to the training samples of a fold with one thread, in turn with the way it was fitted before: boosting with 255
bins, L1 with features scaled for each penalty by itself. Both give the same predictions, which is checked. Times are
CPU time, so that a busy machine does not matter much, and ratios are of the same round. Folds are independent, so a
study takes the sum over its folds divided by the number of processes.

Boosting is also fitted in processes of their own, which keep the memory that they free or give it back, as they did
before. --study measures whole processes of the command with its defaults; wall times hold where `others_share`, the
share of the machine that other processes took, is small.

    python benchmarks/evaluation_speed.py
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import sklearn
import torch
from hardware import describe
from peers import measure as measure_processes
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from biomeformer.phenotypes import MODELS, transform_shares
from biomeformer.phenotypes.evaluation import inner_folds
from biomeformer.phenotypes.l1_logistic import RATIOS, _fit
from biomeformer.phenotypes.models import MAX_BINS, make_model, predict_target

RESULTS = Path(__file__).parent / "results"
# Folds of a study with the defaults of the command.
N_FOLDS = 50
N_FEATURES, N_INFORMATIVE, DEPTH = 1000, 30, 20_000
Fit = Callable[[], np.ndarray]
# Fits boosting twice, to warm up and to measure, and prints the processor time and the page faults of the second.
BOOSTING = """
import resource, sys
import numpy as np
from biomeformer.phenotypes.fold_fits import FoldJob, fit_fold, keep_freed_memory
from biomeformer.phenotypes.models import make_model

counts, labels = (np.load(sys.argv[1])[name] for name in ("counts", "labels"))
if sys.argv[2] == "kept" and not keep_freed_memory():
    sys.exit("the C library is not glibc")
train = np.arange(len(labels) - len(labels) // 10)
test = np.arange(len(train), len(labels))
job = FoldJob(make_model("boosting", 2, None, 0, 1, len(train)), labels, train, test, "binary", 2)
before = after = None
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF)
    fit = fit_fold(job, counts)
    after = resource.getrusage(resource.RUSAGE_SELF)
print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, after.ru_minflt - before.ru_minflt,
      float(fit.predicted.sum()))
"""


def simulated(n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts `(n_samples, N_FEATURES)`, and the classes."""
    rng = np.random.default_rng(0)
    labels = np.arange(n_samples) % 2
    effect = np.ones((2, N_FEATURES))
    informative = rng.choice(N_FEATURES, N_INFORMATIVE, replace=False)
    effect[1, informative] = np.exp(rng.normal(0, 0.8, N_INFORMATIVE))
    rates = rng.gamma(0.3, 1, N_FEATURES) * effect[labels] * rng.gamma(0.7, 1, (n_samples, N_FEATURES))
    counts = np.stack([rng.multinomial(DEPTH, rate / rate.sum()) for rate in rates])
    return counts.astype(np.float64), labels


def fits(name: str, counts: np.ndarray, labels: np.ndarray) -> dict[str, Fit]:
    """Ways to fit the training samples, nine tenths, and to predict the others."""
    rows = transform_shares(counts, "clr" if name == "l1" else "none", "fixed")
    test = np.arange(len(labels)) >= len(labels) - len(labels) // 10
    train, tested, known = rows[~test], rows[test], labels[~test]
    inner = inner_folds(known, None, 0) if name == "l1" else None

    def now(**options: Any) -> np.ndarray:
        model = make_model(name, 2, inner, 0, 1, len(known)).set_params(**options)
        return predict_target(model.fit(train, known), tested, "binary", 2)

    def scaled_for_each_penalty() -> np.ndarray:
        for inner_train, inner_test in inner or ():
            for ratio in RATIOS:
                _fit(train[inner_train], known[inner_train], ratio, 0).predict_proba(train[inner_test])
        return np.asarray(_fit(train, known, ratio_chosen, 0).predict_proba(tested))

    if name == "l1":
        ratio_chosen = make_model(name, 2, inner, 0, 1, len(known)).fit(train, known).best_ratio_
        return {"now": now, "before": scaled_for_each_penalty}
    if name == "boosting":
        return {"now": now, "before": lambda: now(max_bins=MAX_BINS)}
    return {"now": now}


def measure_folds(n_samples: int, rounds: int) -> dict[str, Any]:
    """CPU seconds of a fold, by model."""
    counts, labels = simulated(n_samples)
    models: dict[str, Any] = {}
    for name in MODELS:
        ways = fits(name, counts, labels)
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        predicted = {way: fit() for way, fit in ways.items()}
        if any(not np.array_equal(one, predicted["now"]) for one in predicted.values()):
            raise SystemExit(f"{name}: predictions differ; the times are not comparable")
        for _ in range(rounds):
            for way, fit in ways.items():
                began = process_time()
                fit()
                seconds[way].append(process_time() - began)
        ratios = [a / b for a, b in zip(seconds.get("before", seconds["now"]), seconds["now"], strict=True)]
        models[name] = {
            "cpu_seconds": {way: round(statistics.median(values), 3) for way, values in seconds.items()},
            "before_over_now": round(statistics.median(ratios), 2),
            "before_over_now_range": [round(min(ratios), 2), round(max(ratios), 2)],
        }
    total = {
        way: sum(model["cpu_seconds"].get(way, model["cpu_seconds"]["now"]) for model in models.values())
        for way in ("now", "before")
    }
    for model in models.values():
        model["share"] = round(model["cpu_seconds"]["now"] / total["now"], 2)
    return {
        "n_samples": n_samples,
        "n_features": N_FEATURES,
        "models": models,
        "study_cpu_seconds": {way: round(N_FOLDS * seconds, 1) for way, seconds in total.items()},
    }


def measure_memory(n_samples: int, rounds: int) -> dict[str, Any]:
    """Processor time and page faults of a fold of boosting, with freed memory kept and given back."""
    counts, labels = simulated(n_samples)
    seconds: dict[str, list[float]] = {"kept": [], "given back": []}
    faults: dict[str, list[int]] = {"kept": [], "given back": []}
    predicted = set()
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.npz"
        np.savez(table, counts=counts, labels=labels)
        for _ in range(rounds):
            for way in seconds:
                command = [sys.executable, "-c", BOOSTING, str(table), way]
                cpu, n_faults, total = subprocess.run(
                    command, check=True, capture_output=True, text=True
                ).stdout.split()
                seconds[way].append(float(cpu))
                faults[way].append(int(n_faults))
                predicted.add(total)
    if len(predicted) != 1:
        raise SystemExit("boosting: predictions differ; the times are not comparable")
    ratios = [a / b for a, b in zip(seconds["kept"], seconds["given back"], strict=True)]
    return {
        "n_samples": n_samples,
        "cpu_seconds": {way: round(statistics.median(values), 3) for way, values in seconds.items()},
        "page_faults": {way: round(statistics.median(values)) for way, values in faults.items()},
        "kept_over_given_back": round(statistics.median(ratios), 2),
        "range": [round(min(ratios), 2), round(max(ratios), 2)],
    }


def measure_study(n_samples: int, rounds: int) -> dict[str, Any]:
    """Whole processes of `phenotype evaluate` with its defaults."""
    counts, labels = simulated(n_samples)
    runs = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table, metadata = folder / "table.tsv", folder / "metadata.tsv"
        samples = [f"sample_{i}" for i in range(n_samples)]
        header = "\t".join(["sample_id", *(f"feature_{i}" for i in range(N_FEATURES))])
        rows = ("\t".join([sample, *map(str, row.astype(int))]) for sample, row in zip(samples, counts, strict=True))
        table.write_text("\n".join([header, *rows]) + "\n")
        classes = (
            "\t".join([sample, ("control", "case")[label]]) for sample, label in zip(samples, labels, strict=True)
        )
        metadata.write_text("\n".join(["sample_id\tdisease", *classes]) + "\n")
        for number in range(rounds):
            options = ["--metadata", metadata, "--target", "disease", "--output", folder / f"study_{number}"]
            command = [sys.executable, "-m", "biomeformer", "phenotype", "evaluate", table, *options]
            runs.append(measure_processes([command], folder, os.cpu_count() or 1))
            # A process starts with the memory of the one that starts it, which is large here.
            del runs[-1]["memory_mib"]
    medians = {key: round(statistics.median(run[key] for run in runs), 1) for key in ("wall_s", "cpu_s")}
    return {"n_samples": n_samples, "n_features": N_FEATURES, **medians, "runs": runs}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[200, 24])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--study", type=int, default=0, help="rounds of the whole command")
    parser.add_argument("--output", type=Path, default=RESULTS / "evaluation_speed.json")
    args = parser.parse_args()
    with threadpool_limits(1):
        studies = [measure_folds(n_samples, args.rounds) for n_samples in args.samples]
    table = Table("samples", "model", "CPU s per fold", "before", "before / now", "share", title="One fold, one thread")
    for study in studies:
        for name, model in study["models"].items():
            seconds, (low, high) = model["cpu_seconds"], model["before_over_now_range"]
            table.add_row(
                str(study["n_samples"]),
                name,
                f"{seconds['now']:.3f}",
                f"{seconds.get('before', seconds['now']):.3f}",
                f"{model['before_over_now']:.2f} ({low:.2f}-{high:.2f})",
                f"{model['share']:.0%}",
            )
    Console().print(table)
    freed = measure_memory(args.samples[0], args.rounds)
    print(f"boosting with freed memory kept: {freed['kept_over_given_back']} times the processor time {freed['range']}")
    whole = measure_study(args.samples[0], args.study) if args.study else None
    if whole is not None:
        print(f"phenotype evaluate: {whole['wall_s']} s, {whole['cpu_s']} s of processor time")
    record = describe(torch.device("cpu"), threads=1)
    record["versions"]["scikit-learn"] = sklearn.__version__
    results = {"n_folds": N_FOLDS, "studies": studies, "boosting_memory": freed, "command": whole}
    args.output.write_text(json.dumps(record | results, indent=2) + "\n")


if __name__ == "__main__":
    main()
