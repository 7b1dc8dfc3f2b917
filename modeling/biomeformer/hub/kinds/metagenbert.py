"""What a card says of a MetagenBERT checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .markdown import file_line, grid, pairs

TEMPLATE, PIPELINE_TAG, BENCHMARK = "model_card.md", "feature-extraction", "benchmarks/read_encoder_quality.py"
READ_FIGURES = {
    "nmi": "NMI",
    "ari": "ARI",
    "probe_1": "probe, 1 read",
    "probe_5": "5 reads",
    "probe_20": "20 reads",
    "nearest_mean": "nearest species",
}


def _tokens(encoder: dict[str, Any]) -> str:
    if encoder.get("num_gate_heads"):
        return f"{encoder['k']}-mers of six reading frames, weighed by {encoder['num_gate_heads']} heads"
    return f"canonical {encoder['k']}-mers"


def _reads_table(evaluation: dict[str, Any], name: str) -> str:
    rows = []
    for genera, results in evaluation["reads"].items():
        for encoder in (name, "4-mers", "untrained"):
            values = [f"{results[encoder][key]:.3f}" for key in READ_FIGURES]
            rows.append([f"{genera} ({results['n_species']} species)", encoder, *values])
    return grid(["genera", "encoder", *READ_FIGURES.values()], rows)


def _cohorts_table(evaluation: dict[str, Any], name: str) -> str:
    rows = []
    for cohort, results in evaluation["cohorts"].items():
        labels = {
            name: f"{name}, centroids of the cohort",
            "shipped centroids": f"{name}, its own centroids",
            "4-mers": "4-mers",
            "untrained": "untrained",
            "truth": "true species abundances",
        }
        for encoder, label in labels.items():
            scores = results["mean"][encoder]
            rows.append([cohort, label, *(f"{scores[key]:.3f}" for key in ("forest", "l1", "gap_closed"))])
    return grid(["cohort, genera", "features", "random forest", "L1 logistic", "gap closed"], rows)


def _protocol(evaluation: dict[str, Any]) -> str:
    settings = evaluation["settings"]
    return (
        f"{settings['reads_per_sample']:,} reads a sample, {settings['n_clusters']} clusters, "
        f"seeds {', '.join(map(str, settings['seeds']))}"
    )


def evaluated_sha256(evaluation: dict[str, Any], name: str) -> str | None:
    """SHA-256 of the weights that were evaluated."""
    found: str | None = evaluation["model_sha256"].get(name)
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
    encoder = config["encoder_config"]
    space = "unit" if config["normalize_embeddings"] else "raw"
    model = {
        "Read encoder": f"{encoder['model_type']}, hidden size {encoder['hidden_size']}"
        + (f", {_tokens(encoder)}" if "k" in encoder else ""),
        "Centroids": f"{config['n_clusters']} (k-means, {space} vectors)",
        "Pooling": config["pooling"],
        "Shortest read": f"{contract['min_read_length']} bases",
        "Longest read": "no limit" if config["max_length"] is None else f"{config['max_length']} tokens",
        "`model.safetensors`": file_line(checkpoint / "model.safetensors"),
    }
    training = {
        "Genomes": f"{len(record['genomes'])} (identifiers and SHA-256 in `training_record.json`)",
        "Genera held out": ", ".join(record["held_out_genera"]) or "none",
        "Reads drawn": f"{record['n_reads']:,}",
        "Seed": record["seed"],
        "Wall time": f"{record['wall_time_s'] / 60:.1f} min",
        "Device": record["device"],
        "Versions": ", ".join(f"{package} {version}" for package, version in record["versions"].items()),
    }
    metrics = {f"{stage}: {key}": value for stage, found in record["metrics"].items() for key, value in found.items()}
    return {
        "facts": pairs(model),
        "training": pairs(training),
        "metrics": pairs(metrics),
        "reads": _reads_table(evaluation, name),
        "cohorts": _cohorts_table(evaluation, name),
        "protocol": _protocol(evaluation),
    }
