"""Test whether attribution ranks a planted gene pair first.

Genomes are sets of protein vectors. Their class depends on two gene families being present together or missing together
(class 1), or one without the other (class 0): each alone says nothing, half the genomes of either class have it. Two
decoy families always come together, in more genomes than the planted ones do, whatever the class. A genome transformer
is trained on such genomes; in others that have both planted genes, each method ranks all pairs of genes.

* precision at 1: share of genomes whose strongest pair is the planted one; at 5: among their five strongest.
* rank over genomes: rank of the planted pair among pairs of families, by how many genomes have it among their five
  strongest pairs.

Ablation takes every pair of genes away; screened, as `biomeformer genome attribute --method ablation` does it, only
pairs of the 8 genes that change the logit most alone, of the 20 with the largest integrated gradients.

Beside them: pairs drawn at random, counting which families come together in most genomes, and the same as a difference
between classes (which knows families and classes, as no model's attention does).

    python benchmarks/planted_pairs.py [--seeds 0 1 2] [--output results/planted_pairs.json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import biomeformer
from biomeformer import GenomeTransformerConfig, GenomeTransformerForSequenceClassification, GenomeTransformerProcessor
from biomeformer.attribution.maps import METHODS
from biomeformer.attribution.pairs import ablation, random_pairs, top_pairs
from biomeformer.attribution.screening import ablated_pairs

PLANTED, DECOYS = (0, 1), (2, 3)
WANTED = 0.97
KS = (1, 5)
SCREEN = (20, 8)


@dataclass(frozen=True)
class Design:
    """How genomes are made, and the model.

    Attributes:
        n_genomes: To train on; a fifth as many to judge by.
        n_families: Beside the planted ones and decoys.
        n_genes: Of a genome, beside planted genes and decoys.
        protein_size: Width of a vector.
        noise: Spread of a gene about its family.
        decoys: Share of genomes with both decoys.
        hidden_size: Of the transformer.
        num_hidden_layers: Of the transformer.
        pooling: Of the transformer.
        n_epochs: At most; training ends once accuracy on other genomes is high.
    """

    n_genomes: int = 2000
    n_families: int = 30
    n_genes: int = 36
    protein_size: int = 24
    noise: float = 0.3
    decoys: float = 0.6
    hidden_size: int = 32
    num_hidden_layers: int = 2
    pooling: str = "mean"
    n_epochs: int = 60


@dataclass(frozen=True)
class PlantedGenome:
    """A genome with its truth: `families (n_genes,)`, `vectors (n_genes, protein_size)`, `label`."""

    families: np.ndarray
    vectors: np.ndarray
    label: int

    @property
    def has_both(self) -> bool:
        """Whether both planted genes are present."""
        return all(family in self.families for family in PLANTED)


def make_genomes(design: Design, centres: np.ndarray, n: int, rng: np.random.Generator) -> list[PlantedGenome]:
    """Genomes with all four combinations of the planted families, equally often."""
    planted = []
    for i in range(n):
        there = i % 2, i // 2 % 2
        families = [*rng.integers(4, 4 + design.n_families, design.n_genes)]
        families += [family for family, present in zip(PLANTED, there, strict=True) if present]
        families += DECOYS if rng.random() < design.decoys else ()
        order = rng.permutation(np.array(families))
        vectors = centres[order] + design.noise * rng.normal(size=(len(order), design.protein_size))
        planted.append(PlantedGenome(order, vectors.astype(np.float32), int(there[0] == there[1])))
    return planted


def train(
    design: Design, seed: int
) -> tuple[GenomeTransformerForSequenceClassification, list[PlantedGenome], float, int]:
    """A trained model, genomes it has not seen, its accuracy on them, and epochs."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(design.n_families + 4, design.protein_size))
    inside = make_genomes(design, centres, design.n_genomes, rng)
    outside = make_genomes(design, centres, design.n_genomes // 5, rng)
    torch.manual_seed(seed)
    longest = design.n_genes + 4
    config = GenomeTransformerConfig(
        protein_size=design.protein_size,
        hidden_size=design.hidden_size,
        num_hidden_layers=design.num_hidden_layers,
        intermediate_size=2 * design.hidden_size,
        hidden_dropout_prob=0.0,
        positions="none",
        pooling=design.pooling,
        max_genes=longest,
    )
    model = GenomeTransformerForSequenceClassification(config).train()
    processor = GenomeTransformerProcessor(protein_size=design.protein_size, max_genes=longest)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    accuracy, n_epochs = 0.0, 0
    while accuracy < WANTED and n_epochs < design.n_epochs:
        order = rng.permutation(len(inside))
        for begin in range(0, len(order), 32):
            batch = [inside[i] for i in order[begin : begin + 32]]
            labels = torch.tensor([genome.label for genome in batch])
            loss = model(**processor([genome.vectors for genome in batch]), labels=labels).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        model.eval()
        with torch.no_grad():
            taken = model(**processor([genome.vectors for genome in outside])).logits.argmax(1).numpy()
        model.train()
        accuracy = float(np.mean(taken == [genome.label for genome in outside]))
        n_epochs += 1
    return model.eval(), outside, accuracy, n_epochs


def ranked_pairs(
    model: GenomeTransformerForSequenceClassification, genome: PlantedGenome, rng: np.random.Generator
) -> Iterator[tuple[str, np.ndarray]]:
    """All pairs of a genome's genes by each method, the strongest first."""
    proteins = torch.from_numpy(genome.vectors)
    contigs = torch.zeros(len(proteins), dtype=torch.long)
    n = len(proteins)
    every = n * (n - 1) // 2
    for method, weigh in METHODS.items():
        yield method, top_pairs(weigh(model, proteins, contigs, genome.label), every).genes
    pairs = np.array(list(combinations(range(n), 2)))
    together = ablation(model, proteins, contigs, genome.label, pairs)
    yield "ablation", pairs[np.argsort(-together, kind="stable")]
    yield "ablation, screened", ablated_pairs(model, proteins, contigs, genome.label, *SCREEN).genes
    yield "random pairs", rng.permutation(random_pairs(n, every, rng).genes)


def judge(
    model: GenomeTransformerForSequenceClassification, genomes: list[PlantedGenome], n_judged: int, seed: int
) -> dict[str, dict[str, float]]:
    """Precision of each method, and the planted pair's rank over genomes."""
    rng = np.random.default_rng([seed, 1])
    chosen = [genome for genome in genomes if genome.has_both][:n_judged]
    places: dict[str, list[int]] = {}
    strongest: dict[str, Counter[tuple[int, int]]] = {}
    for genome in chosen:
        every = len(genome.families) ** 2
        for method, pairs in ranked_pairs(model, genome, rng):
            families = np.sort(genome.families[pairs], 1)
            there = np.flatnonzero((families == PLANTED).all(1))
            places.setdefault(method, []).append(int(there[0]) if len(there) else every)
            strongest.setdefault(method, Counter()).update({tuple(row) for row in families[: KS[-1]].tolist()})
    judgement = {
        method: {
            **{f"precision at {k}": float(np.mean(np.array(values) < k)) for k in KS},
            "rank over genomes": _rank(strongest[method]),
        }
        for method, values in places.items()
    }
    counts: list[Counter[tuple[int, int]]] = [Counter(), Counter()]
    for genome in genomes:
        counts[genome.label].update(combinations(sorted(set(genome.families.tolist())), 2))
    judgement["co-occurrence"] = {"rank over genomes": _rank(counts[0] + counts[1])}
    difference = Counter({pair: counts[1][pair] - counts[0][pair] for pair in counts[0] | counts[1]})
    judgement["co-occurrence, difference of classes"] = {"rank over genomes": _rank(difference)}
    return judgement


def _rank(counts: Counter[tuple[int, int]]) -> float:
    """Place of the planted pair, from 1; equal counts share the mean of their places."""
    own = counts[PLANTED]
    values = np.array([counts[pair] for pair in counts] + ([] if PLANTED in counts else [own]))
    return float((values > own).sum() + ((values == own).sum() + 1) / 2)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--genomes", type=int, default=40, help="with both planted genes, to judge by")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "planted_pairs.json")
    args = parser.parse_args()
    designs = {
        f"{layers} layer{'s' if layers > 1 else ''}, {pooling}": Design(num_hidden_layers=layers, pooling=pooling)
        for pooling in ("mean", "attention", "cls")
        for layers in (1, 2)
    }
    console, results = Console(), []
    for name, design in designs.items():
        for seed in args.seeds:
            began = time.monotonic()
            model, outside, accuracy, n_epochs = train(design, seed)
            methods = judge(model, outside, args.genomes, seed) if accuracy >= WANTED else {}
            results.append(
                {"model": name, "seed": seed, "accuracy": accuracy, "n_epochs": n_epochs, "methods": methods}
                | {"seconds": round(time.monotonic() - began, 1)}
            )
            console.print(f"{name}, seed {seed}: accuracy {accuracy:.3f} after {n_epochs} epochs")
    learnt = [row for row in results if row["methods"]]
    keys = (*(f"precision at {k}" for k in KS), "rank over genomes")
    table = Table(
        "method", *keys, f"models of {len(learnt)} with 0.8 at 1", title="planted pair, mean (range) of models"
    )
    for method in list(learnt[0]["methods"]) if learnt else []:
        rows = [row["methods"][method] for row in learnt]
        values = [[row[key] for row in rows if key in row] for key in keys]
        good = str(sum(value >= 0.8 for value in values[0])) if values[0] else "-"
        table.add_row(method, *(_shown(column) for column in values), good)
    console.print(table)
    content: dict[str, Any] = {
        "designs": {name: asdict(design) for name, design in designs.items()},
        "wanted_accuracy": WANTED,
        "n_judged": args.genomes,
        "results": results,
        "device": f"cpu, {os.cpu_count()} cores",
        "versions": {
            "biomeformer": biomeformer.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(content, indent=1) + "\n")
    print(f"Written to {args.output}")


def _shown(values: list[float]) -> str:
    return f"{np.mean(values):.2f} ({min(values):.2f}-{max(values):.2f})" if values else "-"


if __name__ == "__main__":
    main()
