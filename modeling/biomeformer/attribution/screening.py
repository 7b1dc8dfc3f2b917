"""The pairs of genes that a model itself is found to need: by taking genes away, after a screen for which to try."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import torch

from ..models.genome_transformer import GenomeTransformerForSequenceClassification
from .pairs import Pairs, ablation, logits_without

N_STEPS = 16


def integrated_gradients(
    model: GenomeTransformerForSequenceClassification,
    proteins: torch.Tensor,
    contig_ids: torch.Tensor,
    label: int,
    n_steps: int = N_STEPS,
) -> np.ndarray:
    """What each gene adds to a class's logit, by integrated gradients (arXiv 1703.01365, equation 1).

    The path goes from a genome all of whose genes have its mean vector, which has nothing that tells genes apart, to
    the genome itself; the integral is a midpoint sum.

    Args:
        model: In evaluation mode.
        proteins: Vectors of one genome, `(n_genes, protein_size)`.
        contig_ids: `(n_genes,)`.
        label: Number of the class.
        n_steps: Of the sum.

    Returns:
        float64 `(n_genes,)`; their sum is the logit less that of the mean genome, but for the sum's error.
    """
    start = proteins.mean(0, keepdim=True)
    total = torch.zeros_like(proteins)
    for step in range(n_steps):
        on_the_way = torch.lerp(start, proteins, (step + 0.5) / n_steps).detach().requires_grad_(True)
        with torch.enable_grad():
            logit = model(on_the_way[None], contig_ids=contig_ids[None]).logits[0, label]
            (gradient,) = torch.autograd.grad(logit, on_the_way)
        total += gradient
    found: np.ndarray = ((proteins - start) * total / n_steps).sum(1).double().cpu().numpy()
    return found


def ablated_pairs(
    model: GenomeTransformerForSequenceClassification,
    proteins: torch.Tensor,
    contig_ids: torch.Tensor,
    label: int,
    n_screened: int,
    n_candidates: int,
    check: Callable[[], None] | None = None,
) -> Pairs:
    """Pairs whose genes do most together, beyond what each does alone.

    To take every pair of thousands of genes away is out of reach, so genes are screened: those with the largest
    integrated gradients are taken away one by one, and of those that change the logit most every pair is. A pair whose
    genes do little alone is missed. Pairs that do less together than apart, such as genes that stand in for each other,
    are left out.

    Args:
        model: In evaluation mode.
        proteins: Vectors of one genome, `(n_genes, protein_size)`.
        contig_ids: `(n_genes,)`.
        label: Number of the class.
        n_screened: Genes that are taken away one by one; a genome of no more has all of them taken away.
        n_candidates: Genes of which every pair is taken away.
        check: Called between passes; what it raises ends the work.

    Returns:
        The candidates' pairs with an `ablation` above zero, the largest first; the largest alone if none is above zero.
    """
    check = check or (lambda: None)
    screened = np.arange(len(proteins))
    if len(proteins) > n_screened:
        size = np.abs(integrated_gradients(model, proteins, contig_ids, label))
        screened = np.sort(np.argsort(-size, kind="stable")[:n_screened])
        check()
    absent = [(), *((gene,) for gene in screened.tolist())]
    logits = logits_without(model, proteins, contig_ids, label, absent, check=check)
    change = np.abs(logits[0] - logits[1:])
    candidates = np.sort(screened[np.argsort(-change, kind="stable")[:n_candidates]])
    genes = np.array(list(combinations(candidates.tolist(), 2)), np.int64).reshape(-1, 2)
    together = ablation(model, proteins, contig_ids, label, genes)
    order = np.argsort(-together, kind="stable")[: max(int((together > 0).sum()), 1)]
    return Pairs(genes[order], together[order])


__all__ = ["ablated_pairs", "integrated_gradients"]
