"""Find the pairs of genes that a prediction depends on by removing them, after screening genes for candidates."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import torch

from ..models.genome_transformer import GenomeTransformerForSequenceClassification
from .pairs import Pairs, ablation, logits_without

# Steps of the sum that approximates the integral.
N_STEPS = 16


def integrated_gradients(
    model: GenomeTransformerForSequenceClassification,
    proteins: torch.Tensor,
    contig_ids: torch.Tensor,
    label: int,
    n_steps: int = N_STEPS,
) -> np.ndarray:
    """Compute each gene's contribution to a class's logit by integrated gradients (arXiv 1703.01365, equation 1).

    The baseline is the genome with every gene's vector replaced by their mean, in which no gene differs from another;
    the integral is approximated by a midpoint sum.

    Args:
        model: Model in evaluation mode.
        proteins: Vectors of one genome, `(n_genes, protein_size)`.
        contig_ids: `(n_genes,)`, contig index of each gene.
        label: Index of the class.
        n_steps: Number of steps of the sum.

    Returns:
        float64 `(n_genes,)`; their sum is the difference between the genome's logit and that of the baseline, up to the
        error of the sum.
    """
    baseline = proteins.mean(0, keepdim=True)
    total = torch.zeros_like(proteins)
    for step in range(n_steps):
        point = torch.lerp(baseline, proteins, (step + 0.5) / n_steps).detach().requires_grad_(True)
        with torch.enable_grad():
            logit = model(point[None], contig_ids=contig_ids[None]).logits[0, label]
            (gradient,) = torch.autograd.grad(logit, point)
        total += gradient
    contributions: np.ndarray = ((proteins - baseline) * total / n_steps).sum(1).double().cpu().numpy()
    return contributions


def ablated_pairs(
    model: GenomeTransformerForSequenceClassification,
    proteins: torch.Tensor,
    contig_ids: torch.Tensor,
    label: int,
    n_screened: int,
    n_candidates: int,
    check: Callable[[], None] | None = None,
) -> Pairs:
    """Find the pairs of genes with the largest `ablation`.

    Removing every pair of thousands of genes is not feasible, so genes are screened in two steps: those with the
    largest integrated gradients are removed one by one, and of those that change the logit most every pair is removed.
    A pair of genes without an effect of their own is therefore missed. Pairs with a negative interaction, such as genes
    that substitute for each other, are left out.

    Args:
        model: Model in evaluation mode.
        proteins: Vectors of one genome, `(n_genes, protein_size)`.
        contig_ids: `(n_genes,)`, contig index of each gene.
        label: Index of the class.
        n_screened: Number of genes that are removed one by one; all, if the genome has no more.
        n_candidates: Number of genes of which every pair is removed.
        check: Called between passes; an exception it raises stops the work.

    Returns:
        Pairs of candidates with a positive `ablation` in descending order; if none is positive, the largest only.
    """
    check = check or (lambda: None)
    screened = np.arange(len(proteins))
    if len(proteins) > n_screened:
        contributions = np.abs(integrated_gradients(model, proteins, contig_ids, label))
        screened = np.sort(np.argsort(-contributions, kind="stable")[:n_screened])
        check()
    removed = [(), *((gene,) for gene in screened.tolist())]
    logits = logits_without(model, proteins, contig_ids, label, removed, check=check)
    change = np.abs(logits[0] - logits[1:])
    candidates = np.sort(screened[np.argsort(-change, kind="stable")[:n_candidates]])
    genes = np.array(list(combinations(candidates.tolist(), 2)), np.int64).reshape(-1, 2)
    scores = ablation(model, proteins, contig_ids, label, genes)
    order = np.argsort(-scores, kind="stable")[: max(int((scores > 0).sum()), 1)]
    return Pairs(genes[order], scores[order])


__all__ = ["ablated_pairs", "integrated_gradients"]
