"""One genome: its strongest pairs by several methods, and what the model makes of their genes alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..models.genome_transformer import GenomeTransformerForSequenceClassification
from .maps import METHODS
from .pairs import SYMMETRY, ablation, n_pairs_of, random_pairs, top_pairs
from .screening import ablated_pairs

ABLATION = "ablation"


@dataclass(frozen=True)
class AttributionSettings:
    """What decides the pairs.

    Attributes:
        method: Whose strongest pairs are taken: `attention` (the paper's), `attention_gradient`, `rollout` or
            `ablation`.
        beside: Methods that score the same pairs too, `ablation` apart.
        top: Pairs of a genome; a fraction below one is a share of all its pairs.
        symmetry: How both directions of a pair become one score: their `mean` or `max`.
        n_ablated: Of a genome's strongest pairs, how many are taken away to see what they do together; and of random
            ones.
        n_screened: Genes that `ablation` takes away one by one, those with the largest integrated gradients.
        n_candidates: Genes of which `ablation` takes every pair away, those that change the logit most alone.
        n_controls: Draws of random genes, and of random pairs, that pseudo-examples are set against.
        seed: Of the draws.
    """

    method: str = "attention"
    beside: tuple[str, ...] = ("attention", "attention_gradient", "rollout")
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
        n_pairs_of(2, self.top)
        for name, least in (("n_ablated", 0), ("n_controls", 0), ("n_screened", 2), ("n_candidates", 2)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least {least}.")

    @property
    def methods(self) -> tuple[str, ...]:
        """Every method that scores pairs by a map, the one whose strongest are taken first."""
        first = () if self.method == ABLATION else (self.method,)
        return (*first, *(name for name in self.beside if name != self.method))

    @property
    def record(self) -> dict[str, Any]:
        """In values JSON can hold."""
        return {**asdict(self), "beside": list(self.beside)}


@dataclass(frozen=True)
class Explanation:
    """What counted in one genome.

    Attributes:
        logits: float64 `(n_classes,)` of the whole genome.
        genes: int64 `(n_pairs, 2)`, places of genes, the strongest pair first.
        scores: float64 `(n_pairs, n_methods + 1)`, in the order of `AttributionSettings.methods`, then of `ablation`:
            NaN where it was not done.
        pseudo: float64 `(n_classes,)`, logits of the pairs' genes alone, their order lost.
        random_genes: float64 `(n_controls, n_classes)`, of equally many genes drawn evenly.
        random_pairs: float64 `(n_controls, n_classes)`, of the genes of equally many pairs drawn evenly.
        random_ablation: float64, ablation of random pairs, as many as of the strongest.
        n_pseudo_genes: Genes of the pairs.
        n_random_pair_genes: Genes of the random pairs, mean over draws.
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
        """Number of the likeliest class."""
        return int(self.logits.argmax())


def explain_genome(
    model: GenomeTransformerForSequenceClassification,
    vectors: np.ndarray,
    contig_ids: np.ndarray,
    settings: AttributionSettings | None = None,
    check: Callable[[], None] | None = None,
) -> Explanation:
    """Find the pairs of genes that count most for a genome's predicted class.

    Args:
        model: In evaluation mode, on the device to use.
        vectors: Of the genome's proteins, `(n_genes, protein_size)`; genes beyond `config.max_genes` are not seen.
        contig_ids: `(n_genes,)`.
        settings: What decides the pairs.
        check: Called between steps; what it raises ends the work.

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
    columns, pairs = [], None
    if settings.method == ABLATION:
        pairs = ablated_pairs(
            model, proteins, contigs, label, settings.n_screened, settings.n_candidates, check
        ).strongest(n_pairs_of(len(proteins), settings.top))
    for method in settings.methods:
        weights = METHODS[method](model, proteins, contigs, label)
        if pairs is None:
            pairs = top_pairs(weights, settings.top, settings.symmetry)
        genes = torch.from_numpy(pairs.genes).to(weights.device)
        both = torch.stack([weights[genes[:, 0], genes[:, 1]], weights[genes[:, 1], genes[:, 0]]])
        found = both.mean(0) if settings.symmetry == "mean" else both.amax(0)
        columns.append(found.double().cpu().numpy())
        del weights
        check()
    assert pairs is not None
    rng = np.random.default_rng([settings.seed, len(proteins)])
    together, by_chance = np.full(len(pairs), np.nan), np.empty(0)
    chosen = pairs.genes[: settings.n_ablated]
    if settings.method == ABLATION:
        together = pairs.scores.astype(float)
    elif len(chosen):
        together[: len(chosen)] = ablation(model, proteins, contigs, label, chosen)
        check()
    if len(chosen):
        by_chance = ablation(model, proteins, contigs, label, random_pairs(len(proteins), len(chosen), rng).genes)
        check()

    def alone(places: np.ndarray) -> np.ndarray:
        # Their order and their contigs are lost.
        shuffled = torch.from_numpy(rng.permutation(places)).to(model.device)
        check()
        return _logits(model, proteins[shuffled], torch.zeros_like(shuffled))

    of_pairs = np.unique(pairs.genes)
    drawn = [rng.choice(len(proteins), len(of_pairs), replace=False) for _ in range(settings.n_controls)]
    paired = [np.unique(random_pairs(len(proteins), len(pairs), rng).genes) for _ in range(settings.n_controls)]
    empty = np.empty((0, len(logits)))
    return Explanation(
        logits=logits,
        genes=pairs.genes,
        scores=np.stack([*columns, together], 1),
        pseudo=alone(of_pairs),
        random_genes=np.stack([alone(places) for places in drawn]) if drawn else empty,
        random_pairs=np.stack([alone(places) for places in paired]) if paired else empty,
        random_ablation=by_chance,
        n_pseudo_genes=len(of_pairs),
        n_random_pair_genes=float(np.mean([len(places) for places in paired])) if paired else 0.0,
    )


@torch.no_grad()
def _logits(
    model: GenomeTransformerForSequenceClassification, proteins: torch.Tensor, contigs: torch.Tensor
) -> np.ndarray:
    found = model(proteins[None], contig_ids=contigs[None]).logits[0]
    values: np.ndarray = found.double().cpu().numpy()
    return values


__all__ = ["ABLATION", "AttributionSettings", "Explanation", "explain_genome"]
