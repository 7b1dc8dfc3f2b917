"""Card of a classifier of labelled sequences."""

from __future__ import annotations

from ...sinks import markdown
from ..folder import CheckpointFolder
from .card_type import CardType, Rows, started_from, versions
from .metagenbert import TOKENIZER_FILES


def usage(model_id: str) -> str:
    """Return code that predicts the probability of each label from sequences."""
    return f"""\
import biomeformer

classifier = biomeformer.SequenceClassifier.load("{model_id}")
probabilities = classifier.predict(["ACGTTGCAACGTTGCAACGTTGCA"])"""


def facts(folder: CheckpointFolder) -> Rows:
    """Return the rows that describe the model."""
    config = folder.config
    preprocessing = config.get("sequence_classification") or {}
    limit = preprocessing.get("max_tokens")
    rows = {
        "Architecture": markdown(config["model_type"]),
        "Task": markdown(str(preprocessing.get("task", config.get("problem_type"))).replace("_", " ")),
        "Labels": ", ".join(map(markdown, folder.labels)),
        "Maximum length": "no limit" if limit is None else f"{limit} tokens; longer sequences are truncated",
        "Strands": "mean of both" if preprocessing.get("average_strands") else "as given",
    }
    thresholds = preprocessing.get("thresholds")
    if thresholds:
        rows["Thresholds"] = ", ".join(f"{value:.3g}" for value in thresholds) + " (chosen on the validation split)"
    return rows | folder.weight_lines()


def training(folder: CheckpointFolder) -> Rows:
    """Return the rows that describe the fine-tuning."""
    record = folder.record
    rows = started_from(record)
    if "n_sequences" in record:
        rows["Sequences"] = ", ".join(f"{n:,} {markdown(split)}" for split, n in record["n_sequences"].items())
    if "best_epoch" in record:
        rows["Epochs"] = record["best_epoch"]
    if "wall_time_s" in record:
        rows["Wall time"] = f"{record['wall_time_s'] / 60:.1f} min"
    return rows | versions(record)


CARD_TYPE = CardType(
    pipeline_tag="text-classification",
    title="Labels of DNA sequences",
    tags=("biology", "dna", "genomics"),
    papers=("2509.25274",),
    files=TOKENIZER_FILES,
    usage=usage,
    usage_note="One row per sequence, one probability per label.",
    facts=facts,
    training=training,
    task="label of a sequence",
)
