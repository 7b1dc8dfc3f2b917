"""Card of a genome transformer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...io.markdown import grid
from ...sinks import markdown, markdown_code
from ..folder import CheckpointFolder
from .card_type import CardType, Rows, target, versions

ON_GENOMES = """\
Balanced accuracy on genomes of genera used neither for training nor for early stopping ({protocol}; means with
95 % intervals of the corrected resampled t-test), compared with logistic regressions on simpler features of the same
genomes and folds. *mean protein* is the mean of the same protein vectors. The shipped model was then trained on all
genomes; the folds estimate how well it generalises."""
CONFUSION = "Predictions on the test folds, pooled over all repeats:"


def usage(model_id: str) -> str:
    """Return code that predicts the probability of each class from a genome file."""
    return f"""\
from biomeformer import GenomeTransformerForSequenceClassification

model = GenomeTransformerForSequenceClassification.from_pretrained("{model_id}")
probabilities = model.predict("genome.fna.gz")"""


def facts(folder: CheckpointFolder) -> Rows:
    """Return the rows that describe the model."""
    config, preprocessing = folder.config, folder.preprocessing
    heads = config["num_attention_heads"]
    own_encoder = folder.path / preprocessing["protein_encoder"]
    name, digest = preprocessing["protein_encoder"], preprocessing["protein_encoder_sha256"]
    encoder = f"{markdown_code(name)} (weights {markdown_code(f'{digest[:12]}…')})"
    if (own_encoder / "config.json").is_file():
        encoder_config = json.loads((own_encoder / "config.json").read_text(encoding="utf-8"))
        encoder = f"ESM-2 architecture, {encoder_config['num_hidden_layers']} layers, hidden size "
        encoder += f"{encoder_config['hidden_size']}"
    return {
        "Predicts": f"{markdown(config['label_name'])}: {', '.join(map(markdown, folder.labels))}",
        "Transformer": f"{config['num_hidden_layers']} layers, hidden size {config['hidden_size']}, "
        f"{heads} {'head' if heads == 1 else 'heads'}, up to {config['max_genes']:,} genes",
        "Gene order": {"none": "not used", "contig": "within contigs", "genome": "within the genome"}[
            config["positions"]
        ],
        "Pooling": config["pooling"],
        "Protein encoder": f"{encoder}, first {preprocessing['max_residues']} residues per protein",
        **folder.weight_lines(),
    }


def training(folder: CheckpointFolder) -> Rows:
    """Return the rows that describe the training."""
    record = folder.record
    rows = target(record)
    if "n_epochs" in record:
        rows["Epochs"] = record["n_epochs"]
    if "wall_time_s" in record:
        rows["Wall time"] = f"{record['wall_time_s'] / 60:.1f} min, including cross-validation"
    return rows | versions(record)


def evaluated_sha256(evaluation: Mapping[str, Any], name: str) -> str | None:
    """Return the SHA-256 of the evaluated weights; None if the checkpoint was not evaluated."""
    sha256: str | None = evaluation["runs"].get(name, {}).get("model_sha256")
    return sha256


def evaluation(results: Mapping[str, Any], name: str, folder: CheckpointFolder) -> str:
    """Return the results of `benchmarks/habitat.py` as Markdown."""
    protocol = (
        f"{results['n_genomes']} genomes of {results['n_groups']} genera, {results['n_splits']} folds, "
        f"{results['n_repeats']} repeats, each genus in one fold"
    )
    parts = [ON_GENOMES.format(protocol=protocol), _comparison(results, name)]
    accuracy = folder.record.get("accuracy")
    if accuracy:
        parts += [CONFUSION, _confusion(accuracy, folder.config["label_name"])]
    return "\n\n".join(parts)


def _comparison(results: Mapping[str, Any], name: str) -> str:
    own = f"transformer: {name}"
    rows = [
        ["this model" if features == own else features, f"{mean:.3f} ({low:.3f}-{high:.3f})"]
        for features, (mean, low, high) in results["balanced_accuracy"].items()
        if features == own or not features.startswith("transformer: ")
    ]
    return grid(["features", "balanced accuracy"], rows)


def _confusion(accuracy: Mapping[str, Any], label: str) -> str:
    rows = [
        [markdown(name), f"{accuracy['by_class'][name]:.3f}", *map(str, row.values())]
        for name, row in accuracy["confusion"].items()
    ]
    predicted = (f"predicted as {markdown(name)}" for name in accuracy["confusion"])
    return grid([markdown(label), "accuracy", *predicted], rows)


CARD_TYPE = CardType(
    pipeline_tag="other",
    title="Labels of genomes",
    tags=("biology", "genomics", "proteins", "microbiome"),
    papers=("2405.05998",),
    files=("protein_encoder/config.json", "protein_encoder/training_record.json"),
    parts=("protein_encoder",),
    usage=usage,
    usage_note="Genes are called if the file has none. GenBank, GFF3 with its FASTA, and protein FASTA are read too.",
    facts=facts,
    training=training,
    task="label of a genome",
    benchmark="benchmarks/habitat.py",
    evaluated_sha256=evaluated_sha256,
    evaluation=evaluation,
)
