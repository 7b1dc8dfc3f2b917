"""What a card says of a checkpoint, by its class, and which files such a checkpoint has."""

from __future__ import annotations

from ...errors import InputError
from . import encoder, genome, metagenbert, phenotype, sequences
from .kind import CardType

KINDS: dict[str, CardType] = {
    "MetagenBertModel": metagenbert.KIND,
    "MetagenBertForPhenotypeClassification": phenotype.KIND,
    "GenomeTransformerForSequenceClassification": genome.KIND,
    "DnaBert2ForSequenceClassification": sequences.KIND,
    "KmerEncoderForSequenceClassification": sequences.KIND,
    "SequenceCnnForSequenceClassification": sequences.KIND,
    "DnaBert2Model": encoder.KIND,
    "DnaBert2ForMaskedLM": encoder.KIND,
    "KmerEncoderModel": encoder.KIND,
}


def kind_of(class_name: str, where: str) -> CardType:
    """The kind of a class.

    Raises:
        InputError: There are no cards of it.
    """
    if class_name not in KINDS:
        raise InputError(f"{where}: its class {class_name!r} is unknown; there are cards of {', '.join(KINDS)}.")
    return KINDS[class_name]


__all__ = ["KINDS", "Kind", "kind_of"]
