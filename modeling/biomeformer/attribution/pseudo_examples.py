"""Genomes reduced to the genes of their strongest pairs, against genes drawn at random (arXiv 2405.05998)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ..metrics.resampling import bootstrap

N_BOOTSTRAPS = 2000


def pseudo_table(genomes: pd.DataFrame, seed: int) -> list[dict[str, Any]]:
    """How often the class is told right from what, with 95 % intervals over bootstraps of the genomes.

    Args:
        genomes: As in `GeneInteractionNetwork`. Where a true class is unknown, the class predicted from the whole
            genome stands for it.
        seed: Of the bootstraps.

    Returns:
        Rows of `from`, `genes` (mean number), `accuracy` and `balanced_accuracy` as mean, low and high; and the
        difference of the pseudo-examples' accuracy to each control's.
    """
    known = genomes["true_class"].where(genomes["true_class"] != "", genomes["class"])
    right = {
        "whole genomes": (genomes["class"] == known).to_numpy(float),
        "genes of the strongest pairs": (genomes["pseudo_class"] == known).to_numpy(float),
        "as many random genes": genomes["random_genes_right"].to_numpy(float),
        "genes of as many random pairs": genomes["random_pairs_right"].to_numpy(float),
    }
    sizes = {
        "whole genomes": genomes["n_genes"],
        "genes of the strongest pairs": genomes["n_pseudo_genes"],
        "as many random genes": genomes["n_pseudo_genes"],
        "genes of as many random pairs": genomes["n_random_pair_genes"],
    }
    labels = pd.factorize(known)[0]
    known_right = {name: values for name, values in right.items() if not np.isnan(values).any()}
    pseudo = right["genes of the strongest pairs"]
    in_class = np.eye(labels.max() + 1)[labels]

    def scores(weights: np.ndarray) -> dict[str, np.ndarray]:
        found = {}
        n, sizes = weights.sum(1), weights @ in_class
        for name, values in known_right.items():
            found[f"{name}: accuracy"] = weights @ values / n
            # Of the classes that are drawn.
            recall = np.divide(weights @ (values[:, None] * in_class), sizes, where=sizes > 0, out=np.zeros_like(sizes))
            found[f"{name}: balanced_accuracy"] = recall.sum(1) / (sizes > 0).sum(1)
            found[f"{name}: pseudo_examples_minus_this"] = weights @ (pseudo - values) / n
        return found

    spans = bootstrap(scores, len(genomes), n_draws=N_BOOTSTRAPS, seed=seed)
    rows = []
    for name in known_right:
        row: dict[str, Any] = {"from": name, "genes": round(float(sizes[name].mean()), 1)}
        for score in ("accuracy", "balanced_accuracy", "pseudo_examples_minus_this"):
            span = spans[f"{name}: {score}"]
            row[score] = [round(number, 4) for number in (span.value, span.low, span.high)]
        rows.append(row)
    return rows


__all__ = ["pseudo_table"]
