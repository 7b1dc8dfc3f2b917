"""Shared by benchmarks of sequence classifiers: runs of the recipe, logistic regressions of k-mers, and scores."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from biomeformer.metrics.tasks import choose_thresholds, score_predictions
from biomeformer.models.kmer_encoder.tokenization_kmer_encoder import KmerTokenizer
from biomeformer.models.metagenbert.packed_tokenizer import PackedTokenizer
from biomeformer.sequences.prediction_table import read_predictions, split_arrays
from biomeformer.sequences.training_data import read_training_data

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "recipes" / "configs" / "finetune_sequence_classifier"
STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
# Truth and probabilities on validation, then on test.
Predictions = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def recipe() -> Any:
    """Return the recipe as a module."""
    path = ROOT / "recipes" / "finetune_sequence_classifier.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def kmer_shares(sequences: list[str], k: int) -> np.ndarray:
    """Return the shares of canonical k-mers, `(n_sequences, n_kmers)`."""
    tokenizer = KmerTokenizer(k=k)
    raw = np.frombuffer("".join(sequences).encode(), np.uint8)
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in sequences])])
    ids, lengths, _ = PackedTokenizer(tokenizer, True, None).encode(raw, offsets)
    cells = np.repeat(np.arange(len(lengths)), lengths) * tokenizer.vocab_size + ids
    counts = np.bincount(cells, minlength=len(lengths) * tokenizer.vocab_size)
    return counts.reshape(len(lengths), -1) / np.maximum(lengths, 1)[:, None]


def logistic(data: Path, k: int, strengths: Sequence[float] = STRENGTHS, max_iter: int = 5000) -> Predictions:
    """Fit a logistic regression on k-mers, its penalty chosen by the loss on validation.

    Args:
        data: A dataset of `biomeformer sequences prepare` with two classes.
        k: Length of the k-mers.
        strengths: Inverse penalties to choose from.
        max_iter: Maximum number of iterations of the solver.

    Returns:
        Truth `(n,)` and probabilities `(n, 2)` on validation, then on test.
    """
    splits = read_training_data(data).splits
    features = {name: kmer_shares(split.sequences(range(len(split))), k) for name, split in splits.items()}
    best: tuple[float, Any] | None = None
    for strength in strengths:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=max_iter))
        model.fit(features["train"], splits["train"].truth)
        chosen = model.predict_proba(features["validation"])[
            np.arange(len(splits["validation"])), splits["validation"].truth
        ]
        loss = float(-np.log(chosen.clip(1e-12)).mean())
        if best is None or loss < best[0]:
            best = (loss, model)
    assert best is not None
    return (
        splits["validation"].truth,
        best[1].predict_proba(features["validation"]),
        splits["test"].truth,
        best[1].predict_proba(features["test"]),
    )


def fine_tuned(module: Any, data: Path, output: Path, config: str, changes: dict[str, Any]) -> Predictions:
    """Run the recipe, unless it has run, and return what its model predicts.

    Args:
        module: The recipe, as returned by `recipe`.
        data: A dataset of `biomeformer sequences prepare` with two classes.
        output: Folder of the run.
        config: Name of a config of the recipe.
        changes: Fields of the config to change.

    Returns:
        Truth `(n,)` and probabilities `(n, 2)` on validation, then on test.

    Raises:
        SystemExit: The recipe failed, or the folder is of a run with other settings.
    """
    values = yaml.safe_load((CONFIGS / config).read_text()) | changes
    output.parent.mkdir(parents=True, exist_ok=True)
    file, text = output.with_suffix(".yaml"), yaml.safe_dump(values)
    if file.is_file() and file.read_text() != text:
        raise SystemExit(f"{output} is a run with other settings; give another folder of work or delete it.")
    file.write_text(text)
    arguments = ["--data", str(data), "--config", str(file), "--output", str(output), "--cpu"]
    if not (output / "evaluation.json").is_file() and module.main(arguments):
        raise SystemExit(f"{output} failed.")
    names = read_training_data(data).label_names
    table = read_predictions(output)
    return (
        *split_arrays(table, "binary", names, "validation"),
        *split_arrays(table, "binary", names, "test"),
    )


def scores_of(names: Sequence[str], arrays: Predictions, n_bootstraps: int = 1) -> dict[str, dict[str, float]]:
    """Score predictions on test, at the threshold chosen on validation, with 95 % intervals of `n_bootstraps` draws."""
    thresholds = choose_thresholds("binary", arrays[0], arrays[1])
    return score_predictions("binary", names, arrays[2], arrays[3], thresholds, n_bootstraps=n_bootstraps)
