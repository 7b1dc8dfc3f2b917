"""From a genome's file to its label."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import CheckpointError, InputError
from ..models.genome_transformer import GenomeTransformerForSequenceClassification
from .genome import Genome
from .proteins import PROTEIN_ENCODER, ProteinEncoder, load_protein_encoder
from .reading import read_genome


@dataclass(frozen=True)
class GenomePrediction:
    """What a model says of a genome.

    Attributes:
        genome: As it was read.
        probabilities: Of each class, by its name.
        n_cut: Genes beyond the model's limit, which it did not see.
        n_truncated: Proteins that lost their end.
    """

    genome: Genome
    probabilities: dict[str, float]
    n_cut: int
    n_truncated: int

    @property
    def label(self) -> str:
        """The likeliest class."""
        return max(self.probabilities, key=self.probabilities.__getitem__)


def protein_encoder_of(model: GenomeTransformerForSequenceClassification) -> ProteinEncoder:
    """The protein encoder a model was trained with: in a folder of its checkpoint, or by the name it was trained with.

    It is loaded once and kept with the model. That of a Hub model comes from the commit that the model came from.

    Raises:
        CheckpointError: It cannot be found, or is another one.
        InputError: The model has no processor, which names it.
    """
    kept = getattr(model, "_protein_encoder", None)
    if kept is None:
        if model.processor is None:
            raise InputError(
                "the model has no processor, so its protein encoder is unknown; load it with from_pretrained."
            )
        name, is_own = _place(model, model.processor.protein_encoder)
        kept = load_protein_encoder(name, device=str(model.device), **(model.hub_options if is_own else {}))
        check_encoder(model, {"name": kept.name, **kept.preprocessing})
        object.__setattr__(model, "_protein_encoder", kept)
    return kept


def _place(model: GenomeTransformerForSequenceClassification, named: str) -> tuple[str, bool]:
    """Where a model's protein encoder is, and whether that is the model's own repository on the Hub."""
    place = model.name_or_path
    if place and (Path(place) / PROTEIN_ENCODER).is_dir():
        return str(Path(place) / PROTEIN_ENCODER), False
    if named != PROTEIN_ENCODER:
        return named, False
    if not place or Path(place).is_dir():
        raise CheckpointError(
            f"{place or 'the model'}: its protein encoder should lie beside its weights, in {PROTEIN_ENCODER}/, and is "
            "not there; fetch the whole checkpoint again, or give the protein encoder."
        )
    return f"{place}/{PROTEIN_ENCODER}", True


def check_encoder(
    model: GenomeTransformerForSequenceClassification, preprocessing: Mapping[str, Any], source: str | Path = ""
) -> None:
    """See that a model was trained on an encoder's vectors.

    Args:
        model: With or without its processor, which knows the encoder.
        preprocessing: `name`, `weights_sha256` and `hidden_size` of the encoder at hand.
        source: Where its vectors are, for the message.

    Raises:
        CheckpointError: It was not.
    """
    processor, digest = model.processor, preprocessing["weights_sha256"]
    where = f"{source}: " if source else ""
    if processor is not None and processor.protein_encoder_sha256 not in ("", digest):
        raise CheckpointError(
            f"{where}the model reads vectors of the protein encoder {processor.protein_encoder!r} (weights "
            f"{processor.protein_encoder_sha256[:12]}…), and {preprocessing['name']!r} has weights {digest[:12]}…; "
            "give the encoder it was trained with."
        )
    if model.config.protein_size != preprocessing["hidden_size"]:
        raise CheckpointError(
            f"{where}the model reads vectors of {model.config.protein_size} numbers and the protein encoder "
            f"{preprocessing['name']!r} gives {preprocessing['hidden_size']}; give the encoder it was trained with."
        )


@torch.no_grad()
def predict_genome(
    model: GenomeTransformerForSequenceClassification,
    path: str | Path,
    *,
    protein_encoder: ProteinEncoder | None = None,
    threads: int = 1,
    batch_tokens: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> GenomePrediction:
    """Read a genome, call its genes where it has none, embed its proteins, and classify it.

    Args:
        model: With its processor, on the device to use.
        path: FASTA, GenBank, GFF3, or FASTA of proteins.
        protein_encoder: The one the model was trained with; found by itself by default.
        threads: For calling genes.
        batch_tokens: Token budget of one pass through the protein encoder.
        progress: Called after each batch with residues done and in all.
        **options: `kind`, `fasta` and `annotations` of `read_genome`.

    Raises:
        GenomeError: The file cannot be read, or has no gene.
        CheckpointError: The protein encoder cannot be found, or is another one.
    """
    encoder = protein_encoder or protein_encoder_of(model)
    check_encoder(model, {"name": encoder.name, **encoder.preprocessing})
    processor = model.processor
    assert processor is not None
    if encoder.max_residues != processor.max_residues:
        encoder = replace(encoder, max_residues=processor.max_residues)
    genome = read_genome(path, translation_table=processor.translation_table, threads=threads, **options)
    # Genes beyond the limit need not be embedded.
    seen = genome.genes[: processor.max_genes]
    found = encoder.embed([gene.protein for gene in seen], batch_tokens=batch_tokens, progress=progress)
    # Trained on vectors as the store keeps them.
    batch = processor(found.vectors.astype(np.float16).astype(np.float32), genome.contig_ids[: len(seen)])
    was_training = model.training
    model.eval()
    logits = model(**{name: value.to(model.device) for name, value in batch.items()}).logits[0]
    model.train(was_training)
    values = logits.double().softmax(0).tolist()
    return GenomePrediction(
        genome,
        {model.config.id2label[i]: value for i, value in enumerate(values)},
        len(genome) - len(seen),
        found.n_truncated,
    )


__all__ = ["PROTEIN_ENCODER", "GenomePrediction", "check_encoder", "predict_genome", "protein_encoder_of"]
