"""What a card says of a genome transformer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...io.markdown import grid
from ..folder import CheckpointFolder
from .kind import CardType, Rows, target, versions

ON_GENOMES = """\
Balanced accuracy on genomes of genera that neither the model nor its early stopping has seen ({protocol}; means with
95 % intervals of the corrected resampled t-test), beside logistic regressions on simpler features of the same genomes
and folds. *mean protein* is the mean of the same protein vectors. The model that ships was then trained on all genomes;
how it does on others is what these folds say."""
CONFUSION = "What genomes of the test folds were taken for, all repeats together:"


def usage(model_id: str) -> str:
    """From a genome's file to the probability of each class."""
    return f"""\
from biomeformer import GenomeTransformerForSequenceClassification

model = GenomeTransformerForSequenceClassification.from_pretrained("{model_id}")
probabilities = model.predict("genome.fna.gz")"""


def facts(folder: CheckpointFolder) -> Rows:
    """Rows on the model."""
    config, preprocessing = folder.config, folder.preprocessing
    heads = config["num_attention_heads"]
    own = folder.path / preprocessing["protein_encoder"]
    encoder = f"`{preprocessing['protein_encoder']}` (weights `{preprocessing['protein_encoder_sha256'][:12]}…`)"
    if (own / "config.json").is_file():
        found = json.loads((own / "config.json").read_text())
        encoder = f"ESM-2's architecture, {found['num_hidden_layers']} layers of {found['hidden_size']}"
    return {
        "Says of a genome": f"its {config['label_name']}: {', '.join(folder.labels)}",
        "Transformer": f"{config['num_hidden_layers']} layers of {config['hidden_size']}, "
        f"{heads} {'head' if heads == 1 else 'heads'}, up to {config['max_genes']:,} genes",
        "Order of genes": {"none": "not used", "contig": "within contigs", "genome": "within the genome"}[
            config["positions"]
        ],
        "Pooling": config["pooling"],
        "Protein encoder": f"{encoder}, the first {preprocessing['max_residues']} residues of a protein",
        **folder.weight_lines(),
    }


def training(folder: CheckpointFolder) -> Rows:
    """Rows on how it was trained."""
    record = folder.record
    rows = target(record)
    if "n_epochs" in record:
        rows["Epochs"] = record["n_epochs"]
    if "wall_time_s" in record:
        rows["Wall time"] = f"{record['wall_time_s'] / 60:.1f} min, cross-validation included"
    return rows | versions(record)


def evaluated_sha256(evaluation: Mapping[str, Any], name: str) -> str | None:
    """SHA-256 of the weights that were evaluated."""
    found: str | None = evaluation["runs"].get(name, {}).get("model_sha256")
    return found


def evaluation(found: Mapping[str, Any], name: str, folder: CheckpointFolder) -> str:
    """What `benchmarks/habitat.py` wrote."""
    protocol = (
        f"{found['n_genomes']} genomes of {found['n_groups']} genera, {found['n_splits']} folds, {found['n_repeats']} "
        "times, no genus in two folds"
    )
    parts = [ON_GENOMES.format(protocol=protocol), _comparison(found, name)]
    accuracy = folder.record.get("accuracy")
    if accuracy:
        parts += [CONFUSION, _confusion(accuracy, folder.config["label_name"])]
    return "\n\n".join(parts)


def _comparison(found: Mapping[str, Any], name: str) -> str:
    own = f"transformer: {name}"
    rows = [
        ["this model" if features == own else features, f"{mean:.3f} ({low:.3f}-{high:.3f})"]
        for features, (mean, low, high) in found["balanced_accuracy"].items()
        if features == own or not features.startswith("transformer: ")
    ]
    return grid(["from", "balanced accuracy"], rows)


def _confusion(accuracy: Mapping[str, Any], label: str) -> str:
    rows = [
        [name, f"{accuracy['by_class'][name]:.3f}", *map(str, row.values())]
        for name, row in accuracy["confusion"].items()
    ]
    return grid([label, "accuracy", *(f"taken for {name}" for name in accuracy["confusion"])], rows)


KIND = CardType(
    pipeline_tag="other",
    title="Labels of genomes",
    tags=("biology", "genomics", "proteins", "microbiome"),
    papers=("2405.05998",),
    files=("protein_encoder/config.json", "protein_encoder/*.safetensors", "protein_encoder/training_record.json"),
    usage=usage,
    usage_note="Genes are called where the file has none; GenBank, GFF3 with its FASTA and FASTA of proteins are read "
    "too.",
    facts=facts,
    training=training,
    task="label of a genome",
    benchmark="benchmarks/habitat.py",
    evaluated_sha256=evaluated_sha256,
    evaluation=evaluation,
)
