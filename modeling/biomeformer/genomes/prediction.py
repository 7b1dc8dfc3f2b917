"""Predict a genome's label from its file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..errors import CheckpointError, InputError
from ..io.html_repr import count, html_table
from ..io.short_repr import short_repr
from ..models.genome_transformer import GenomeTransformerForSequenceClassification
from ..moved import renamed
from .genome import Genome
from .proteins import POOLING, PROTEIN_ENCODER, ProteinEncoder, load_protein_encoder
from .reading import read_genome
from .training_range import outside_range

LONG_PROTEINS_OF = {pooling: long_proteins for long_proteins, pooling in POOLING.items()}


@dataclass(frozen=True)
class GenomePrediction:
    """A model's prediction for a genome.

    Attributes:
        genome: The genome as it was read.
        probabilities: Probability of each class, by its name; calibrated if the model has a temperature.
        n_dropped_genes: Number of genes beyond the model's limit, which had no part in the prediction.
        n_truncated: Number of proteins that were longer than the protein encoder's limit, and lost their end.
        differences: In what the genome lies outside the range of those the model was trained on, such as its GC; None
            if the model does not know that range.
    """

    genome: Genome
    probabilities: dict[str, float]
    n_dropped_genes: int
    n_truncated: int
    differences: tuple[str, ...] | None = None

    __repr__ = short_repr

    def _repr_html_(self) -> str:
        frame = pd.DataFrame({"probability": self.probabilities}).sort_values("probability", ascending=False)
        title = f"{self.genome.genome_id}, {count(len(self.genome), 'gene')}"
        outside = f"; unlike the training genomes in {', '.join(self.differences)}" if self.differences else ""
        return html_table(self, title + outside, frame)

    n_cut = renamed("n_cut", "n_dropped_genes")

    @property
    def label(self) -> str:
        """The most likely class."""
        return max(self.probabilities, key=self.probabilities.__getitem__)


def protein_encoder_of(model: GenomeTransformerForSequenceClassification) -> ProteinEncoder:
    """Load the protein encoder that a model was trained with.

    It is either part of the model's checkpoint or loaded by the name that the processor holds. It is loaded once and
    cached with the model. If it is part of a Hub checkpoint, it comes from the same commit as the model.

    Args:
        model: Model with its processor.

    Raises:
        CheckpointError: The encoder cannot be found, or is not the one the model was trained with.
        InputError: The model has no processor.
    """
    encoder = getattr(model, "_protein_encoder", None)
    if encoder is None:
        if model.processor is None:
            raise InputError(
                "the model has no processor, so its protein encoder is unknown; load it with from_pretrained."
            )
        name, is_own = _locate_encoder(model, model.processor.protein_encoder)
        encoder = load_protein_encoder(name, device=str(model.device), **(model.hub_options if is_own else {}))
        check_encoder(model, {"name": encoder.name, **encoder.preprocessing})
        # Not by plain assignment, which would register the encoder's weights as weights of the model.
        object.__setattr__(model, "_protein_encoder", encoder)
    return encoder


def _locate_encoder(model: GenomeTransformerForSequenceClassification, name: str) -> tuple[str, bool]:
    """Return where a model's protein encoder is, and whether that is the model's own repository on the Hub.

    Args:
        model: The model.
        name: Name of the encoder in the processor; `PROTEIN_ENCODER` of one that is part of the checkpoint.
    """
    checkpoint = model.name_or_path
    if checkpoint and (Path(checkpoint) / PROTEIN_ENCODER).is_dir():
        return str(Path(checkpoint) / PROTEIN_ENCODER), False
    if name != PROTEIN_ENCODER:
        return name, False
    if not checkpoint or Path(checkpoint).is_dir():
        raise CheckpointError(
            f"{checkpoint or 'the model'}: its protein encoder should lie beside its weights, in {PROTEIN_ENCODER}/, "
            "and is not there; fetch the whole checkpoint again, or give the protein encoder."
        )
    return f"{checkpoint}/{PROTEIN_ENCODER}", True


def check_encoder(
    model: GenomeTransformerForSequenceClassification, preprocessing: Mapping[str, Any], source: str | Path = ""
) -> None:
    """Check that a model was trained on the vectors of an encoder.

    Args:
        model: The model; without its processor, which names the encoder, only the vectors' width is checked.
        preprocessing: `name`, `weights_sha256` and `hidden_size` of the encoder.
        source: Where its vectors are stored, for the message.

    Raises:
        CheckpointError: The model was trained with another encoder.
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


def predict_genome(
    model: GenomeTransformerForSequenceClassification,
    path: str | Path,
    *,
    protein_encoder: ProteinEncoder | None = None,
    threads: int = 1,
    translation_table: int | None = None,
    batch_tokens: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> GenomePrediction:
    r"""Read a genome, call its genes if its file has none, embed its proteins, and classify it.

    Args:
        model: Model with its processor, on the device to use.
        path: FASTA, GenBank, GFF3, or FASTA of proteins.
        protein_encoder: The encoder the model was trained with; loaded by `protein_encoder_of` by default.
        threads: Number of contigs in which genes are called at a time.
        translation_table: NCBI's number, of genes without one of their own; the one the model was trained with by
            default.
        batch_tokens: Token budget of one pass through the protein encoder.
        progress: Called after each batch with the numbers of residues done and in total.
        **options: `kind`, `fasta` and `annotations` of `read_genome`.

    Raises:
        GenomeError: The file cannot be read, or has no gene.
        CheckpointError: The protein encoder cannot be found, or is not the one the model was trained with.
        InputError: The model has no processor.

    Examples:
        >>> from importlib.resources import files
        >>> checkpoint = files("biomeformer") / "checkpoints" / "genome-transformer-mini"
        >>> model = GenomeTransformerForSequenceClassification.from_pretrained(checkpoint)
        >>> _ = Path("few.faa").write_text(">a\nMKTAYIAKQRQISFVKSHFSRQ\n>b\nMSDNELLKAIRDQ\n")
        >>> prediction = predict_genome(model, "few.faa")
        >>> sorted(prediction.probabilities), bool(prediction.differences)
        (['aquatic', 'host', 'soil'], True)
    """
    encoder = _trained_encoder(model, protein_encoder)
    assert model.processor is not None
    table = model.processor.translation_table if translation_table is None else translation_table
    genome = read_genome(path, translation_table=table, threads=threads, **options)
    return classify_genome(model, genome, protein_encoder=encoder, batch_tokens=batch_tokens, progress=progress)


@torch.no_grad()
def classify_genome(
    model: GenomeTransformerForSequenceClassification,
    genome: Genome,
    *,
    protein_encoder: ProteinEncoder | None = None,
    batch_tokens: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> GenomePrediction:
    """Embed the proteins of a genome that was read, and classify it, as `predict_genome` does.

    Args:
        model: Model with its processor, on the device to use.
        genome: The genome.
        protein_encoder: The encoder the model was trained with; loaded by `protein_encoder_of` by default.
        batch_tokens: Token budget of one pass through the protein encoder.
        progress: Called after each batch with the numbers of residues done and in total.

    Raises:
        CheckpointError: The protein encoder cannot be found, or is not the one the model was trained with.
        InputError: The model has no processor.
    """
    encoder = _trained_encoder(model, protein_encoder)
    processor = model.processor
    assert processor is not None
    # The processor would drop genes beyond the limit, so they need not be embedded.
    used = genome.genes[: processor.max_genes]
    embedded = encoder.embed([gene.protein for gene in used], batch_tokens=batch_tokens, progress=progress)
    # The model was trained on vectors from the store, which are float16.
    vectors = embedded.vectors.astype(np.float16).astype(np.float32)
    batch = processor(vectors, genome.contig_ids[: len(used)])
    was_training = model.training
    model.eval()
    logits = model(**{name: value.to(model.device) for name, value in batch.items()}).logits[0]
    model.train(was_training)
    probabilities = (logits.double() / model.config.temperature).softmax(0).tolist()
    known = model.config.training_range
    differences = None if known is None else outside_range(known, genome.gc, len(genome), vectors.mean(0))
    return GenomePrediction(
        genome,
        probabilities={model.config.id2label[i]: value for i, value in enumerate(probabilities)},
        n_dropped_genes=len(genome) - len(used),
        n_truncated=embedded.n_truncated,
        differences=differences,
    )


def _trained_encoder(
    model: GenomeTransformerForSequenceClassification, encoder: ProteinEncoder | None
) -> ProteinEncoder:
    """Return a model's protein encoder, or the one given if it is that, with the settings of the model's processor."""
    encoder = encoder or protein_encoder_of(model)
    check_encoder(model, {"name": encoder.name, **encoder.preprocessing})
    processor = model.processor
    assert processor is not None
    long_proteins = LONG_PROTEINS_OF[processor.protein_pooling]
    if (encoder.max_residues, encoder.long_proteins) != (processor.max_residues, long_proteins):
        encoder = replace(encoder, max_residues=processor.max_residues, long_proteins=long_proteins)
    return encoder


__all__ = [
    "PROTEIN_ENCODER",
    "GenomePrediction",
    "check_encoder",
    "classify_genome",
    "predict_genome",
    "protein_encoder_of",
]
