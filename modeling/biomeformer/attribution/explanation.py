"""Explain the prediction of one genome: its strongest gene pairs, and predictions from their genes alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..models.genome_transformer import GenomeTransformerForSequenceClassification
from .maps import METHODS
from .pairs import SYMMETRY, Pairs, ablation, count_pairs, random_pairs, symmetrise, top_pairs
from .screening import ablated_pairs

ABLATION = "ablation"


@dataclass(frozen=True)
class AttributionSettings:
    """Settings of the selection and scoring of gene pairs.

    Attributes:
        method: Method that selects the pairs: `attention` (the one of the paper), `attention_gradient`,
            `score_gradient`, `rollout` or `ablation`.
        beside: Further methods that score the selected pairs, for comparison; `ablation` always does.
        top: Number of pairs to select per genome; a fraction below 1 is a fraction of all its pairs.
        symmetry: How the scores of both directions of a pair are combined: `mean` or `max`.
        n_ablated: Number of the strongest pairs, and of random pairs, whose genes are removed to measure their effect.
        n_screened: With `method="ablation"`, number of genes that are removed one by one: those with the largest
            integrated gradients.
        n_candidates: With `method="ablation"`, number of genes of which every pair is removed: those whose own removal
            changes the logit most.
        n_controls: Number of draws of random genes, and of random pairs, with which pseudo-examples are compared.
        seed: Seed of all draws.

    Raises:
        InputError: A value is unknown or out of range.
    """

    method: str = "attention"
    beside: tuple[str, ...] = ("attention", "attention_gradient", "score_gradient", "rollout")
    top: int | float = 100
    symmetry: str = "mean"
    n_ablated: int = 20
    n_screened: int = 256
    n_candidates: int = 24
    n_controls: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in ((self.method, (*METHODS, ABLATION)), *((name, tuple(METHODS)) for name in self.beside)):
            if name not in known:
                raise InputError(f"method {name!r} is unknown; give {', '.join(known)}.")
        if self.symmetry not in SYMMETRY:
            raise InputError(f"symmetry is {self.symmetry!r}; give {' or '.join(SYMMETRY)}.")
        count_pairs(2, self.top)
        for name, least in (("n_ablated", 0), ("n_controls", 0), ("n_screened", 2), ("n_candidates", 2)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least {least}.")

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods that score pairs by a map of gene by gene, the selecting one first; `ablation` is not among them."""
        first = () if self.method == ABLATION else (self.method,)
        return (*first, *(name for name in self.beside if name != self.method))

    @property
    def record(self) -> dict[str, Any]:
        """The settings as values that JSON can hold."""
        return {**asdict(self), "beside": list(self.beside)}


@dataclass(frozen=True)
class Explanation:
    """The gene pairs that mattered most in one genome, and controls.

    A pseudo-example is a genome reduced to the genes of its selected pairs, in random order and without contigs.

    Attributes:
        logits: float64 `(n_classes,)`, of the complete genome.
        genes: int64 `(n_pairs, 2)`, indices of each pair's genes within the genome, the strongest pair first.
        scores: float64 `(n_pairs, n_methods + 1)`, columns in the order of `AttributionSettings.methods`, followed by
            `ablation`, which is NaN for pairs that were not ablated.
        pseudo: float64 `(n_classes,)`, logits of the pseudo-example.
        random_genes: float64 `(n_controls, n_classes)`, logits of as many genes, drawn uniformly.
        random_pairs: float64 `(n_controls, n_classes)`, logits of the genes of as many pairs, drawn uniformly.
        random_ablation: float64 `(n_ablated,)`, ablation of random pairs.
        n_pseudo_genes: Number of genes of the pseudo-example.
        n_random_pair_genes: Number of genes of the random pairs, mean over draws.
    """

    logits: np.ndarray
    genes: np.ndarray
    scores: np.ndarray
    pseudo: np.ndarray
    random_genes: np.ndarray
    random_pairs: np.ndarray
    random_ablation: np.ndarray
    n_pseudo_genes: int
    n_random_pair_genes: float

    @property
    def label(self) -> int:
        """Index of the most likely class."""
        return int(self.logits.argmax())


def explain_genome(
    model: GenomeTransformerForSequenceClassification,
    vectors: np.ndarray,
    contig_ids: np.ndarray,
    settings: AttributionSettings | None = None,
    check: Callable[[], None] | None = None,
) -> Explanation:
    """Find the gene pairs that matter most for a genome's predicted class.

    Args:
        model: Model in evaluation mode, on the device to use.
        vectors: Protein vectors of the genome, `(n_genes, protein_size)`; genes beyond `config.max_genes` are ignored,
            as in prediction.
        contig_ids: `(n_genes,)`, contig index of each gene.
        settings: Settings of the selection; the defaults if not given.
        check: Called between steps; an exception it raises stops the work.

    Returns:
        Pairs, scores and controls.

    Raises:
        InputError: The genome has fewer than two genes, or the model is in training mode.
    """
    settings = settings or AttributionSettings()
    if model.training:
        raise InputError("the model is in training mode, in which dropout changes attention; call eval() first.")
    check = check or (lambda: None)
    limit = model.config.max_genes
    proteins = torch.from_numpy(np.asarray(vectors[:limit], np.float32)).to(model.device)
    contigs = torch.from_numpy(np.asarray(contig_ids[:limit], np.int64)).to(model.device)
    if len(proteins) < 2:
        raise InputError(f"the genome has {len(proteins)} gene, so it has no pair of genes; leave it out.")
    logits = _logits(model, proteins, contigs)
    label = int(logits.argmax())
    columns = []
    pairs: Pairs | None = None
    if settings.method == ABLATION:
        pairs = ablated_pairs(
            model, proteins, contigs, label, settings.n_screened, settings.n_candidates, check
        ).strongest(count_pairs(len(proteins), settings.top))
    for method in settings.methods:
        weights = METHODS[method](model, proteins, contigs, label)
        if pairs is None:
            pairs = top_pairs(weights, settings.top, settings.symmetry)
        genes = torch.from_numpy(pairs.genes).to(weights.device)
        scores = symmetrise(weights[genes[:, 0], genes[:, 1]], weights[genes[:, 1], genes[:, 0]], settings.symmetry)
        columns.append(scores.double().cpu().numpy())
        # A map of 4,096 genes is 64 MB: free it before the next one is computed.
        del weights
        check()
    assert pairs is not None
    # A generator per genome, so that results do not depend on the order or the process in which genomes are explained.
    rng = np.random.default_rng([settings.seed, len(proteins)])
    ablation_scores, random_ablation = np.full(len(pairs), np.nan), np.empty(0)
    ablated = pairs.genes[: settings.n_ablated]
    if settings.method == ABLATION:
        ablation_scores = pairs.scores.astype(float)
    elif len(ablated):
        ablation_scores[: len(ablated)] = ablation(model, proteins, contigs, label, ablated)
        check()
    if len(ablated):
        control = random_pairs(len(proteins), len(ablated), rng)
        random_ablation = ablation(model, proteins, contigs, label, control.genes)
        check()

    def pseudo_example_logits(genes: np.ndarray) -> np.ndarray:
        shuffled = torch.from_numpy(rng.permutation(genes)).to(model.device)
        check()
        return _logits(model, proteins[shuffled], torch.zeros_like(shuffled))

    pair_genes = np.unique(pairs.genes)
    random_genes = [rng.choice(len(proteins), len(pair_genes), replace=False) for _ in range(settings.n_controls)]
    random_pair_genes = [
        np.unique(random_pairs(len(proteins), len(pairs), rng).genes) for _ in range(settings.n_controls)
    ]
    empty = np.empty((0, len(logits)))
    return Explanation(
        logits=logits,
        genes=pairs.genes,
        scores=np.stack([*columns, ablation_scores], 1),
        pseudo=pseudo_example_logits(pair_genes),
        random_genes=np.stack([pseudo_example_logits(genes) for genes in random_genes]) if random_genes else empty,
        random_pairs=(
            np.stack([pseudo_example_logits(genes) for genes in random_pair_genes]) if random_pair_genes else empty
        ),
        random_ablation=random_ablation,
        n_pseudo_genes=len(pair_genes),
        n_random_pair_genes=float(np.mean([len(genes) for genes in random_pair_genes])) if random_pair_genes else 0.0,
    )


@torch.no_grad()
def _logits(
    model: GenomeTransformerForSequenceClassification, proteins: torch.Tensor, contigs: torch.Tensor
) -> np.ndarray:
    """Return the logits of one genome, float64 `(n_classes,)`."""
    logits: np.ndarray = model(proteins[None], contig_ids=contigs[None]).logits[0].double().cpu().numpy()
    return logits


__all__ = ["ABLATION", "AttributionSettings", "Explanation", "explain_genome"]
