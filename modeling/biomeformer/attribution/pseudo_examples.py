"""Compare pseudo-examples, genomes reduced to the genes of their strongest pairs, with random genes.

The test of arXiv 2405.05998: if the pairs carry the class, the model still predicts it from their genes alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ..metrics.resampling import bootstrap

N_BOOTSTRAPS = 2000


def pseudo_table(genomes: pd.DataFrame, seed: int) -> list[dict[str, Any]]:
    """Compute the accuracy of predictions from complete genomes, pseudo-examples and controls.

    Intervals are 95 % percentile intervals over bootstrap samples of the genomes.

    Args:
        genomes: Table of genomes as in `GeneInteractionNetwork`. Where the true class is unknown, the class predicted
            from the complete genome is the reference.
        seed: Seed of the bootstrap.

    Returns:
        One dictionary per source of genes: `from`, `genes` (mean number), and `accuracy`, `balanced_accuracy` and
        `pseudo_examples_minus_this` (difference in accuracy) as value, low and high. Controls that were not drawn are
        left out.
    """
    reference = genomes["true_class"].where(genomes["true_class"] != "", genomes["class"])
    # Of controls, the fraction of draws that are classified correctly.
    correct = {
        "whole genomes": (genomes["class"] == reference).to_numpy(float),
        "genes of the strongest pairs": (genomes["pseudo_class"] == reference).to_numpy(float),
        "as many random genes": genomes["random_genes_right"].to_numpy(float),
        "genes of as many random pairs": genomes["random_pairs_right"].to_numpy(float),
    }
    sizes = {
        "whole genomes": genomes["n_genes"],
        "genes of the strongest pairs": genomes["n_pseudo_genes"],
        "as many random genes": genomes["n_pseudo_genes"],
        "genes of as many random pairs": genomes["n_random_pair_genes"],
    }
    labels = pd.factorize(reference)[0]
    drawn = {name: values for name, values in correct.items() if not np.isnan(values).any()}
    pseudo = correct["genes of the strongest pairs"]
    one_hot = np.eye(labels.max() + 1)[labels]

    def scores(weights: np.ndarray) -> dict[str, np.ndarray]:
        """Score weighted genomes; `weights` is `(n_draws, n_genomes)`, how often each draw holds each genome."""
        results = {}
        n, class_sizes = weights.sum(1), weights @ one_hot
        for name, values in drawn.items():
            results[f"{name}: accuracy"] = weights @ values / n
            # A bootstrap sample may lack a class: the mean is over those it has.
            n_correct = weights @ (values[:, None] * one_hot)
            recall = np.divide(n_correct, class_sizes, where=class_sizes > 0, out=np.zeros_like(class_sizes))
            results[f"{name}: balanced_accuracy"] = recall.sum(1) / (class_sizes > 0).sum(1)
            results[f"{name}: pseudo_examples_minus_this"] = weights @ (pseudo - values) / n
        return results

    intervals = bootstrap(scores, len(genomes), n_draws=N_BOOTSTRAPS, seed=seed)
    rows = []
    for name in drawn:
        row: dict[str, Any] = {"from": name, "genes": round(float(sizes[name].mean()), 1)}
        for score in ("accuracy", "balanced_accuracy", "pseudo_examples_minus_this"):
            interval = intervals[f"{name}: {score}"]
            row[score] = [round(number, 4) for number in (interval.value, interval.low, interval.high)]
        rows.append(row)
    return rows


__all__ = ["pseudo_table"]
