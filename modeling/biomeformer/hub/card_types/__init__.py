"""Types of model card, by the class of the checkpoint: what the card says, and which files the checkpoint has."""

from __future__ import annotations

from ...errors import InputError
from . import encoder, genome, metagenbert, phenotype, predictor, sequences
from .card_type import CardType

CARD_TYPES: dict[str, CardType] = {
    "MetagenBertModel": metagenbert.CARD_TYPE,
    "MetagenBertForPhenotypeClassification": phenotype.CARD_TYPE,
    "PhenotypePredictor": predictor.CARD_TYPE,
    "GenomeTransformerForSequenceClassification": genome.CARD_TYPE,
    "DnaBert2ForSequenceClassification": sequences.CARD_TYPE,
    "KmerEncoderForSequenceClassification": sequences.CARD_TYPE,
    "SequenceCnnForSequenceClassification": sequences.CARD_TYPE,
    "DnaBert2Model": encoder.CARD_TYPE,
    "DnaBert2ForMaskedLM": encoder.CARD_TYPE,
    "KmerEncoderModel": encoder.CARD_TYPE,
}


def card_type_of(class_name: str, where: str) -> CardType:
    """Return the card type of a model class.

    Args:
        class_name: Class that the checkpoint's config names.
        where: Checkpoint, for the error message.

    Raises:
        InputError: No card type covers the class.
    """
    if class_name not in CARD_TYPES:
        raise InputError(f"{where}: its class {class_name!r} is unknown; there are cards of {', '.join(CARD_TYPES)}.")
    return CARD_TYPES[class_name]


__all__ = ["CARD_TYPES", "CardType", "card_type_of"]
