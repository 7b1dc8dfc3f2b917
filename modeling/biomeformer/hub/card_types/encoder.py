"""Card of a read encoder without centroids."""

from __future__ import annotations

from ...sinks import markdown
from ..folder import CheckpointFolder
from .card_type import CardType, Rows
from .metagenbert import TOKENIZER_FILES
from .metagenbert import training as pretraining


def usage(model_id: str) -> str:
    """Return code that loads encoder and tokenizer."""
    return f"""\
import biomeformer

encoder, tokenizer = biomeformer.load_read_encoder("{model_id}")"""


def facts(folder: CheckpointFolder) -> Rows:
    """Return the rows that describe the model."""
    config = folder.config
    rows = {"Architecture": markdown(config["model_type"]), "Hidden size": config["hidden_size"]}
    for field, name in {"k": "k-mers of", "num_hidden_layers": "Layers", "num_attention_heads": "Heads"}.items():
        if field in config:
            rows[name] = config[field]
    return rows | folder.weight_lines()


CARD_TYPE = CardType(
    pipeline_tag="feature-extraction",
    title="A read encoder",
    tags=("biology", "dna", "metagenomics"),
    papers=("2306.15006",),
    files=TOKENIZER_FILES,
    usage=usage,
    usage_note="Centroids are learnt on a cohort's reads with `biomeformer fit-centroids COHORT.csv --read-encoder`.",
    facts=facts,
    training=pretraining,
    task="vectors of reads",
)
