"""Genomes reduced to the genes of their strongest pairs, against genes drawn at random (arXiv 2405.05998)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

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
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(genomes), (N_BOOTSTRAPS, len(genomes)))
    pseudo = right["genes of the strongest pairs"]
    rows = []
    for name, values in right.items():
        if np.isnan(values).any():
            continue
        rows.append(
            {
                "from": name,
                "genes": round(float(sizes[name].mean()), 1),
                "accuracy": _interval(values.mean(), values[draws].mean(1)),
                "balanced_accuracy": _interval(
                    _balanced(values, labels), np.array([_balanced(values[draw], labels[draw]) for draw in draws])
                ),
                "pseudo_examples_minus_this": _interval((pseudo - values).mean(), (pseudo - values)[draws].mean(1)),
            }
        )
    return rows


def _balanced(values: np.ndarray, labels: np.ndarray) -> float:
    sums, sizes = np.bincount(labels, values), np.bincount(labels)
    return float((sums[sizes > 0] / sizes[sizes > 0]).mean())


def _interval(value: float, draws: np.ndarray) -> list[float]:
    low, high = np.quantile(draws, [0.025, 0.975])
    return [round(float(number), 4) for number in (value, low, high)]


__all__ = ["pseudo_table"]
