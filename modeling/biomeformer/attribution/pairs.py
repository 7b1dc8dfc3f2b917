"""Select the strongest pairs of genes of a map, and measure the effect of removing pairs (ablation)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import InputError
from ..models.genome_transformer import GenomeTransformerForSequenceClassification

# Rows of a map that are compared at once.
BLOCK = 512
# Genes per pass through the model, counting every copy of a genome.
BATCH_GENES = 16_384
# How the scores of both directions of a pair are combined.
SYMMETRY = ("mean", "max")


@dataclass(frozen=True)
class Pairs:
    """Pairs of one genome's genes, the strongest first.

    Attributes:
        genes: int64 `(n_pairs, 2)`, indices of genes within the genome, the lower one first.
        scores: `(n_pairs,)`, float32 from maps, float64 from ablation.
    """

    genes: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def strongest(self, n: int) -> Pairs:
        """Return the first `n` pairs."""
        return Pairs(self.genes[:n], self.scores[:n])


def count_pairs(n_genes: int, top: int | float) -> int:
    """Return the number of pairs to select from a genome.

    Args:
        n_genes: Number of genes of the genome.
        top: Number of pairs, or a fraction of all pairs if below 1.

    Returns:
        `top`, at least one and at most all pairs.

    Raises:
        InputError: `top` is neither a positive whole number nor a fraction between 0 and 1.
    """
    n_pairs = n_genes * (n_genes - 1) // 2
    if isinstance(top, float) and 0 < top < 1:
        return min(max(round(top * n_pairs), 1), n_pairs)
    if top < 1 or int(top) != top:
        raise InputError(f"top is {top}; give a number of pairs, or a share of all pairs between 0 and 1.")
    return min(int(top), n_pairs)


def symmetrise(forward: torch.Tensor, backward: torch.Tensor, symmetry: str) -> torch.Tensor:
    """Combine the scores of both directions of pairs.

    Args:
        forward: Scores of one direction, of any shape.
        backward: Scores of the other direction, of the same shape.
        symmetry: `mean` or `max`.
    """
    return (forward + backward) / 2 if symmetry == "mean" else torch.maximum(forward, backward)


def top_pairs(weights: torch.Tensor, top: int | float, symmetry: str = "mean") -> Pairs:
    """Select the strongest pairs of a map. A gene is never paired with itself.

    Args:
        weights: `(n_genes, n_genes)`, one direction of a pair per entry.
        top: As for `count_pairs`.
        symmetry: How the scores of both directions are combined: `mean` or `max`.

    Returns:
        Pairs in descending order of their score, ties in ascending order of their genes.

    Raises:
        InputError: `top` or `symmetry` is out of range.
    """
    if symmetry not in SYMMETRY:
        raise InputError(f"symmetry is {symmetry!r}; give {' or '.join(SYMMETRY)}.")
    n = len(weights)
    n_selected = count_pairs(n, top)
    # A pair (i, j) is held as the flat index i * n + j of the map.
    scores, flat_indices = np.empty(0, np.float32), np.empty(0, np.int64)
    for first in range(0, n, BLOCK):
        # Block by block, so that no second map of the same size is needed.
        rows, columns = weights[first : first + BLOCK, first:], weights[first:, first : first + BLOCK].T
        symmetric = symmetrise(rows, columns, symmetry)
        above = torch.ones_like(symmetric, dtype=torch.bool).triu(1)
        i, j = (index.cpu().numpy() for index in above.nonzero(as_tuple=True))
        scores = np.concatenate([scores, symmetric[above].cpu().numpy()])
        flat_indices = np.concatenate([flat_indices, (i + first) * n + j + first])
        if len(scores) > n_selected:
            # Ties at the threshold are broken by index, so that the selection does not depend on the blocks.
            threshold = np.partition(scores, len(scores) - n_selected)[len(scores) - n_selected]
            selected = np.flatnonzero(scores >= threshold)
            selected = selected[np.lexsort((flat_indices[selected], -scores[selected]))[:n_selected]]
            scores, flat_indices = scores[selected], flat_indices[selected]
    order = np.lexsort((flat_indices, -scores))
    genes = np.stack([flat_indices // n, flat_indices % n], 1)[order]
    return Pairs(genes, scores[order])


def random_pairs(n_genes: int, n_pairs: int, rng: np.random.Generator) -> Pairs:
    """Draw different pairs uniformly, with scores of zero.

    Args:
        n_genes: Number of genes of the genome.
        n_pairs: Number of pairs to draw; at most all pairs are returned.
        rng: Source of randomness.
    """
    n_all = n_genes * (n_genes - 1) // 2
    drawn = np.sort(rng.choice(n_all, min(n_pairs, n_all), replace=False))
    # Pairs are numbered row by row of the upper triangle, where row i has n_genes - 1 - i entries.
    row_sizes = np.arange(n_genes - 1, 0, -1)
    row_starts = np.cumsum(row_sizes) - row_sizes
    first = np.searchsorted(row_starts, drawn, side="right") - 1
    genes = np.stack([first, drawn - row_starts[first] + first + 1], 1).astype(np.int64)
    return Pairs(genes, np.zeros(len(genes), np.float32))


def ablation(
    model: GenomeTransformerForSequenceClassification,
    proteins: torch.Tensor,
    contig_ids: torch.Tensor,
    label: int,
    pairs: Sequence[Sequence[int]] | np.ndarray,
    batch_genes: int = BATCH_GENES,
) -> np.ndarray:
    """Measure the interaction of two genes on a class's logit: f - f(without i) - f(without j) + f(without both).

    Genes are removed with the attention mask, so the others keep their positions.

    Args:
        model: Model in evaluation mode.
        proteins: Vectors of one genome, `(n_genes, protein_size)`.
        contig_ids: `(n_genes,)`, contig index of each gene.
        label: Index of the class.
        pairs: `(n_pairs, 2)`, indices of genes.
        batch_genes: Genes per pass through the model, counting every copy of the genome.

    Returns:
        float64 `(n_pairs,)`; positive where the two genes support the class together more than they do separately.
    """
    pairs = np.asarray(pairs, np.int64).reshape(-1, 2)
    genes = np.unique(pairs)
    removed = [(), *((gene,) for gene in genes.tolist()), *(tuple(pair) for pair in pairs.tolist())]
    logits = logits_without(model, proteins, contig_ids, label, removed, batch_genes)
    without_gene = logits[1 : 1 + len(genes)]
    first, second = (without_gene[np.searchsorted(genes, pairs[:, side])] for side in (0, 1))
    return np.asarray(logits[0] - first - second + logits[1 + len(genes) :])


@torch.no_grad()
def logits_without(
    model: GenomeTransformerForSequenceClassification,
    proteins: torch.Tensor,
    contig_ids: torch.Tensor,
    label: int,
    removed: Sequence[Sequence[int]],
    batch_genes: int = BATCH_GENES,
    check: Callable[[], None] | None = None,
) -> np.ndarray:
    """Compute a class's logit of a genome without given genes.

    Args:
        model: Model in evaluation mode.
        proteins: Vectors of one genome, `(n_genes, protein_size)`.
        contig_ids: `(n_genes,)`, contig index of each gene.
        label: Index of the class.
        removed: Indices of the genes to remove, one set per logit; an empty set is the complete genome.
        batch_genes: Genes per pass through the model, counting every copy of the genome.
        check: Called between passes; an exception it raises stops the work.

    Returns:
        float64 `(len(removed),)`.
    """
    logits = np.empty(len(removed))
    step = max(batch_genes // len(proteins), 1)
    for begin in range(0, len(removed), step):
        batch = removed[begin : begin + step]
        mask = torch.ones(len(batch), len(proteins), device=proteins.device)
        for row, genes in enumerate(batch):
            mask[row, list(genes)] = 0
        # The copies of the genome are views: only the mask differs.
        copies = proteins.expand(len(batch), -1, -1)
        class_logits = model(copies, mask, contig_ids.expand(len(batch), -1)).logits[:, label]
        logits[begin : begin + step] = class_logits.double().cpu().numpy()
        if check is not None:
            check()
    return logits


__all__ = [
    "BATCH_GENES",
    "SYMMETRY",
    "Pairs",
    "ablation",
    "count_pairs",
    "logits_without",
    "random_pairs",
    "symmetrise",
    "top_pairs",
]
