"""The pairs of genes that count most, and what happens when they are taken away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import InputError
from ..models.genome_transformer import GenomeTransformerForSequenceClassification

BLOCK = 512
BATCH_GENES = 16_384
SYMMETRY = ("mean", "max")


@dataclass(frozen=True)
class Pairs:
    """Pairs of one genome's genes, the strongest first.

    Attributes:
        genes: int64 `(n_pairs, 2)`, places of genes, the lower one first.
        scores: `(n_pairs,)`, float32 of maps, float64 of ablation.
    """

    genes: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def strongest(self, n: int) -> Pairs:
        """The first `n`."""
        return Pairs(self.genes[:n], self.scores[:n])


def n_pairs_of(n_genes: int, top: int | float) -> int:
    """How many pairs to keep of a genome: `top` of them, or that share of all if it is a fraction below one."""
    every = n_genes * (n_genes - 1) // 2
    if isinstance(top, float) and 0 < top < 1:
        return min(max(round(top * every), 1), every)
    if top < 1 or int(top) != top:
        raise InputError(f"top is {top}; give a number of pairs, or a share of all pairs between 0 and 1.")
    return min(int(top), every)


def top_pairs(weights: torch.Tensor, top: int | float, symmetry: str = "mean") -> Pairs:
    """The strongest pairs of a map. A gene makes no pair with itself.

    Args:
        weights: `(n_genes, n_genes)`, one direction a cell.
        top: As for `n_pairs_of`.
        symmetry: How both directions become one score: their `mean`, or the `max`.

    Returns:
        Pairs in order of their score; of equal ones the first genes' goes first.
    """
    if symmetry not in SYMMETRY:
        raise InputError(f"symmetry is {symmetry!r}; give {' or '.join(SYMMETRY)}.")
    n = len(weights)
    n_kept = n_pairs_of(n, top)
    scores, places = np.empty(0, np.float32), np.empty(0, np.int64)
    for first in range(0, n, BLOCK):
        # Block by block, so that no second map is needed.
        rows, columns = weights[first : first + BLOCK, first:], weights[first:, first : first + BLOCK].T
        both = (rows + columns) / 2 if symmetry == "mean" else torch.maximum(rows, columns)
        above = torch.ones_like(both, dtype=torch.bool).triu(1)
        found = both[above].cpu().numpy()
        i, j = (x.cpu().numpy() for x in above.nonzero(as_tuple=True))
        scores = np.concatenate([scores, found])
        places = np.concatenate([places, (i + first) * n + j + first])
        if len(scores) > n_kept:
            # Equal scores at the edge are decided by place, whatever the blocks.
            edge = np.partition(scores, len(scores) - n_kept)[len(scores) - n_kept]
            kept = np.flatnonzero(scores >= edge)
            kept = kept[np.lexsort((places[kept], -scores[kept]))[:n_kept]]
            scores, places = scores[kept], places[kept]
    order = np.lexsort((places, -scores))
    genes = np.stack([places // n, places % n], 1)[order]
    return Pairs(genes, scores[order])


def random_pairs(n_genes: int, n_pairs: int, rng: np.random.Generator) -> Pairs:
    """As many pairs drawn evenly, without a score."""
    every = n_genes * (n_genes - 1) // 2
    chosen = np.sort(rng.choice(every, min(n_pairs, every), replace=False))
    # Row i holds the pairs with the later genes.
    begins = np.cumsum(np.arange(n_genes - 1, 0, -1)) - np.arange(n_genes - 1, 0, -1)
    first = np.searchsorted(begins, chosen, side="right") - 1
    genes = np.stack([first, chosen - begins[first] + first + 1], 1).astype(np.int64)
    return Pairs(genes, np.zeros(len(genes), np.float32))


def ablation(
    model: GenomeTransformerForSequenceClassification,
    proteins: torch.Tensor,
    contig_ids: torch.Tensor,
    label: int,
    pairs: Sequence[Sequence[int]] | np.ndarray,
    batch_genes: int = BATCH_GENES,
) -> np.ndarray:
    """What two genes do to a class's logit beyond what each does: f - f(without i) - f(without j) + f(without both).

    Genes are taken away by the attention mask: the others keep their places.

    Args:
        model: In evaluation mode.
        proteins: Vectors of one genome, `(n_genes, protein_size)`.
        contig_ids: `(n_genes,)`.
        label: Number of the class.
        pairs: `(n_pairs, 2)`, places of genes.
        batch_genes: Genes in one pass through the model, copies counted.

    Returns:
        float64 `(n_pairs,)`; positive where the two count together for the class.
    """
    pairs = np.asarray(pairs, np.int64).reshape(-1, 2)
    genes = np.unique(pairs)
    absent = [(), *((gene,) for gene in genes.tolist()), *(tuple(pair) for pair in pairs.tolist())]
    logits = logits_without(model, proteins, contig_ids, label, absent, batch_genes)
    alone = logits[1 : 1 + len(genes)]
    first, second = (alone[np.searchsorted(genes, pairs[:, side])] for side in (0, 1))
    return np.asarray(logits[0] - first - second + logits[1 + len(genes) :])


@torch.no_grad()
def logits_without(
    model: GenomeTransformerForSequenceClassification,
    proteins: torch.Tensor,
    contig_ids: torch.Tensor,
    label: int,
    absent: Sequence[Sequence[int]],
    batch_genes: int = BATCH_GENES,
    check: Callable[[], None] | None = None,
) -> np.ndarray:
    """A class's logit without some genes, float64 `(len(absent),)`.

    Args:
        model: As for `ablation`.
        proteins: As there.
        contig_ids: As there.
        label: As there.
        absent: Places of genes to take away, one set for each logit.
        batch_genes: As there.
        check: Called between passes; what it raises ends the work.
    """
    logits = np.empty(len(absent))
    step = max(batch_genes // len(proteins), 1)
    for begin in range(0, len(absent), step):
        part = absent[begin : begin + step]
        mask = torch.ones(len(part), len(proteins), device=proteins.device)
        for row, gone in enumerate(part):
            mask[row, list(gone)] = 0
        size = (len(part), -1, -1)
        found = model(proteins.expand(*size), mask, contig_ids.expand(*size[:2])).logits[:, label]
        logits[begin : begin + step] = found.double().cpu().numpy()
        if check is not None:
            check()
    return logits


__all__ = ["BATCH_GENES", "SYMMETRY", "Pairs", "ablation", "logits_without", "n_pairs_of", "random_pairs", "top_pairs"]
