"""What a card says of a genome transformer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .markdown import file_line, grid, pairs

TEMPLATE, PIPELINE_TAG, BENCHMARK = "genome_model_card.md", "other", "benchmarks/habitat.py"


def evaluated_sha256(evaluation: dict[str, Any], name: str) -> str | None:
    """SHA-256 of the weights that were evaluated."""
    found: str | None = evaluation["runs"].get(name, {}).get("model_sha256")
    return found


def facts(
    name: str,
    checkpoint: Path,
    config: dict[str, Any],
    contract: dict[str, Any],
    record: dict[str, Any],
    evaluation: dict[str, Any],
) -> dict[str, str]:
    """Fields of the template."""
    folder = checkpoint / contract["protein_encoder"]
    encoder = json.loads((folder / "config.json").read_text())
    classes = list(config["id2label"].values())
    heads = config["num_attention_heads"]
    model = {
        "Says of a genome": f"its {config['label_name']}: {', '.join(classes)}",
        "Transformer": f"{config['num_hidden_layers']} layers of {config['hidden_size']}, "
        f"{heads} {'head' if heads == 1 else 'heads'}, up to {config['max_genes']:,} genes",
        "Order of genes": {"none": "not used", "contig": "within contigs", "genome": "within the genome"}[
            config["positions"]
        ],
        "Pooling": config["pooling"],
        "Protein encoder": f"ESM-2's architecture, {encoder['num_hidden_layers']} layers of {encoder['hidden_size']}, "
        f"the first {contract['max_residues']} residues of a protein",
        "`model.safetensors`": file_line(checkpoint / "model.safetensors"),
        f"`{folder.name}/model.safetensors`": file_line(folder / "model.safetensors"),
    }
    training = {
        "Genomes": f"{evaluation['n_genomes']} of {evaluation['n_groups']} genera ("
        + ", ".join(f"{n} {label}" for label, n in record["target"]["classes"].items())
        + ")",
        "Epochs": record["n_epochs"],
        "Wall time": f"{record['wall_time_s'] / 60:.1f} min, cross-validation included",
        "Device": record["device"],
        "Versions": ", ".join(f"{package} {version}" for package, version in record["versions"].items()),
    }
    return {
        "facts": pairs(model),
        "training": pairs(training),
        "comparison": _comparison(evaluation, name),
        "confusion": _confusion(record["accuracy"], config["label_name"]),
        "protocol": f"{evaluation['n_splits']} folds, {evaluation['n_repeats']} times, no genus in two folds",
    }


def _comparison(evaluation: dict[str, Any], name: str) -> str:
    own = f"transformer: {name}"
    rows = [
        ["this model" if features == own else features, f"{mean:.3f} ({low:.3f}-{high:.3f})"]
        for features, (mean, low, high) in evaluation["balanced_accuracy"].items()
        if features == own or not features.startswith("transformer: ")
    ]
    return grid(["from", "balanced accuracy"], rows)


def _confusion(accuracy: dict[str, Any], label: str) -> str:
    rows = [
        [name, f"{accuracy['by_class'][name]:.3f}", *map(str, row.values())]
        for name, row in accuracy["confusion"].items()
    ]
    return grid([label, "accuracy", *(f"taken for {name}" for name in accuracy["confusion"])], rows)
