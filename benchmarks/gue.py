"""Classify the promoters and transcription-factor binding sites of GUE, beside published frozen foundation models.

Thirteen tasks of the GUE benchmark with their published splits. Models are trained on train; early stopping, penalties
and thresholds use dev; test is scored once:

* the read encoder that ships, all weights fine-tuned, and with LoRA;
* the convolutional network;
* a logistic regression on canonical k-mers, its penalty chosen on dev.

The published scores are of classifiers on embeddings of models that were not fine-tuned, so a model below them is weak,
and one above them is not thereby better than a fine-tuned foundation model.

    python benchmarks/gue.py --folder GUE --work WORK [--max-train 8000] [--seeds 0 1] [--base metagenbert-mini]
    python benchmarks/gue.py --write-docs

GUE holds a folder per task with train, dev and test as CSV. Finished models are kept in WORK, and a run goes on with
the next.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
import transformers
import yaml
from gue_docs import write_docs
from gue_tasks import DATA_SOURCE, PUBLISHED_MODELS, PUBLISHED_SOURCE, TASKS, GueTask, prepare
from sequence_models import CONFIGS, fine_tuned, logistic, recipe, scores_of

import biomeformer
from biomeformer.io.atomic import write_json
from biomeformer.io.records import RecordType
from biomeformer.sequences.training_data import read_training_data

RESULTS = Path(__file__).parent / "results" / "gue.json"
DOCS = Path(__file__).parents[1] / "docs" / "gue.md"
K, STRENGTHS, MAX_ITER = 6, (1e-4, 1e-3, 1e-2, 1e-1), 1000
LOGISTIC = f"logistic regression, {K}-mers"
# Configs of the recipe, and whether the read encoder is its base. Training stops three epochs after the best.
MODELS = {"fine-tuned": ("mini.yaml", True), "LoRA": ("lora.yaml", True), "CNN": ("cnn_wide.yaml", False)}
PATIENCE = 3
METHODS = (LOGISTIC, *MODELS)
METRICS = ("roc_auc", "mcc")
N_BOOTSTRAPS = 1000
TRAINED = RecordType(dict[str, Any], "delete it and run the benchmark again")


def config_of(method: str, base: str, seed: int) -> tuple[str, dict[str, Any]]:
    """Return the config of the recipe for a method, and what is changed in it."""
    config, has_base = MODELS[method]
    return config, {"seed": seed, "patience": PATIENCE} | ({"base": base} if has_base else {})


def settings_of(method: str, base: str, seed: int) -> dict[str, Any]:
    """Return all settings of a method, of the recipe's config or of the regression."""
    if method == LOGISTIC:
        return {"k": K, "C": list(STRENGTHS), "max_iter": MAX_ITER}
    config, changes = config_of(method, base, seed)
    return dict(yaml.safe_load((CONFIGS / config).read_text()) | changes)


def run_name(method: str, seed: int) -> str:
    """Return the name of a run's files."""
    return f"{method.replace(' ', '-').replace(',', '')}-{seed}"


def measure(module: Any, method: str, data: Path, work: Path, base: str, seed: int) -> dict[str, Any]:
    """Train and score a model, unless that is done.

    Args:
        module: The recipe.
        method: One of `METHODS`.
        data: Dataset of the task.
        work: Folder of the task's runs.
        base: Read encoder to fine-tune.
        seed: Seed of the training.

    Returns:
        Scores on test with intervals, ROC-AUC on validation, settings, and seconds of CPU of all threads; these are
        None if the training was interrupted and resumed.
    """
    settings = settings_of(method, base, seed) | {"sequences": read_training_data(data).fingerprint}
    name = run_name(method, seed)
    file = work / f"{name}.json"
    if file.is_file():
        result = TRAINED.read(file)
        if result["settings"] != settings:
            raise SystemExit(f"{file} is of other settings or sequences; give another --work or delete {work}.")
        return result
    is_new, began = not (work / name).exists(), time.process_time()
    if method == LOGISTIC:
        arrays = logistic(data, K, STRENGTHS, MAX_ITER)
    else:
        arrays = fine_tuned(module, data, work / name, *config_of(method, base, seed))
    seconds = time.process_time() - began
    names = read_training_data(data).label_names
    validation = scores_of(names, (*arrays[:2], *arrays[:2]))
    result = {
        "scores": {
            metric: [values[end] for end in ("value", "low", "high")]
            for metric, values in scores_of(names, arrays, N_BOOTSTRAPS).items()
            if metric in METRICS
        },
        "validation_roc_auc": validation["roc_auc"]["value"],
        "cpu_seconds": round(seconds, 1) if is_new else None,
        "settings": settings,
    }
    TRAINED.write(file, result)
    return result


def mean_of(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Average the results of several seeds; ends of intervals are averaged too."""
    seconds = [result["cpu_seconds"] for result in results]
    return {
        **{
            metric: [round(float(value), 4) for value in np.mean([r["scores"][metric] for r in results], 0)]
            for metric in METRICS
        },
        "validation_roc_auc": round(float(np.mean([result["validation_roc_auc"] for result in results])), 4),
        "cpu_seconds": None if None in seconds else round(float(np.mean(seconds)), 1),
    }


def run_task(task: GueTask, args: argparse.Namespace, module: Any) -> dict[str, Any]:
    """Measure all methods on a task."""
    work = args.work / task.folder
    work.mkdir(parents=True, exist_ok=True)
    sequences = prepare(args.folder / task.folder, work / "data", args.max_train, args.max_validation)
    methods = {}
    for method in args.methods:
        # A logistic regression has no random numbers.
        seeds = args.seeds[:1] if method == LOGISTIC else args.seeds
        if args.finished and not all((work / f"{run_name(method, seed)}.json").is_file() for seed in seeds):
            print(f"{task.title}: {method}: not finished, left out", flush=True)
            continue
        methods[method] = mean_of([measure(module, method, work / "data", work, args.base, seed) for seed in seeds])
        auc = methods[method]["roc_auc"]
        print(f"{task.title}: {method}: ROC-AUC {auc[0]:.3f} ({auc[1]:.3f}-{auc[2]:.3f})", flush=True)
    return {
        "title": task.title,
        "sequences": sequences,
        "methods": methods,
        "published_roc_auc": dict(zip(PUBLISHED_MODELS, task.published, strict=True)),
    }


def parser() -> argparse.ArgumentParser:
    """Build the argument parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="folder of GUE, with a folder per task")
    parser.add_argument("--work", type=Path, help="where datasets and runs are kept")
    parser.add_argument("--tasks", nargs="+", choices=[task.folder for task in TASKS], help="default: all")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--max-train", type=int, help="training sequences per task; default: all")
    parser.add_argument("--max-validation", type=int, help="validation sequences per task; default: all")
    parser.add_argument("--base", default="metagenbert-mini", help="read encoder to fine-tune")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--finished", action="store_true", help="train nothing; results of what is finished in WORK")
    parser.add_argument("--write-docs", action="store_true", help="write docs/gue.md from the results, and no more")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    args = parser().parse_args(arguments)
    if args.write_docs:
        write_docs(RESULTS, DOCS)
        return
    if args.folder is None or args.work is None:
        parser().error("give --folder and --work")
    module = recipe()
    chosen = [task for task in TASKS if args.tasks is None or task.folder in args.tasks]
    content = {
        "tasks": {task.folder: run_task(task, args, module) for task in chosen},
        "published_source": PUBLISHED_SOURCE,
        "data_source": DATA_SOURCE,
        "base": args.base,
        "seeds": args.seeds,
        "max_train": args.max_train,
        "max_validation": args.max_validation,
        "n_bootstraps": N_BOOTSTRAPS,
        "configs": {method: MODELS[method][0] for method in args.methods if method in MODELS},
        "settings": {method: settings_of(method, args.base, args.seeds[0]) for method in args.methods},
        "device": f"cpu, {os.cpu_count()} cores, {torch.get_num_threads()} thread(s) of torch",
        "versions": {
            "biomeformer": biomeformer.__version__,
            "scikit-learn": sklearn.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
        },
    }
    write_json(args.output, content, indent=1)
    print(f"Written to {args.output}")


if __name__ == "__main__":
    main()
