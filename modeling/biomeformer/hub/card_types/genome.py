"""Card of a genome transformer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...io.markdown import grid
from ...sinks import markdown, markdown_code
from ..folder import CheckpointFolder
from .card_type import CardType, Rows, target, versions

ON_GENOMES = """\
Balanced accuracy on genomes of genera used neither for training nor for early stopping ({protocol}; means with
95 % intervals of the corrected resampled t-test), compared with logistic regressions and random forests on simpler
features of the same genomes and folds. *mean protein* is the mean of the same protein vectors. The shipped model was
then trained on all these genomes; the folds estimate how well it generalises."""
DIFFERENCE = """Paired by fold, this model minus {reference}, the better of both on 4-mers: {span}. {verdict}"""
HELD_OUT = """\
On {n_genomes} genomes of {n_groups} genera that were left out of the folds and of all training, also of the protein
encoder's (95 % intervals of a bootstrap over genera):"""
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
        encoder = f"ESM-2 architecture, {_count(encoder_config['num_hidden_layers'], 'layer')}, hidden size "
        encoder += f"{encoder_config['hidden_size']}"
    return {
        "Predicts": f"{markdown(config['label_name'])}: {', '.join(map(markdown, folder.labels))}",
        "Transformer": f"{_count(config['num_hidden_layers'], 'layer')}, hidden size {config['hidden_size']}, "
        f"{_count(heads, 'head')}, up to {config['max_genes']:,} genes",
        "Gene order": {"none": "not used", "contig": "within contigs", "genome": "within the genome"}[
            config["positions"]
        ],
        "Pooling": config["pooling"],
        "Protein encoder": f"{encoder}, {_residues(preprocessing)}",
        **folder.weight_lines(),
    }


def training(folder: CheckpointFolder) -> Rows:
    """Return the rows that describe the training."""
    record = folder.record
    rows = target(record)
    if "n_epochs" in record:
        rows["Epochs"] = record["n_epochs"]
    if "calibration" in record:
        calibration = record["calibration"]
        rows["Calibration"] = (
            f"temperature {calibration['temperature']:.3g}; log-loss of the test folds {calibration['log_loss']:.3f}, "
            f"calibrated {calibration['log_loss_calibrated']:.3f}"
        )
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
    parts = [ON_GENOMES.format(protocol=protocol), _comparison(results["balanced_accuracy"], name)]
    own = f"transformer: {name}"
    # Results of version 0.1 have neither.
    if "differences" in results:
        reference = results["reference"]
        mean, low, high = results["differences"][own][reference]
        verdict = "The interval excludes 0." if low > 0 or high < 0 else "The interval includes 0: no difference shown."
        span = f"{mean:+.3f} ({low:.3f} to {high:.3f})"
        parts.append(DIFFERENCE.format(reference=reference, span=span, verdict=verdict))
    if "held_out" in results:
        held_out = results["held_out"]
        parts.append(HELD_OUT.format(n_genomes=held_out["n_genomes"], n_groups=len(held_out["groups"])))
        parts.append(_comparison(held_out["balanced_accuracy"], name))
    accuracy = folder.record.get("accuracy")
    if accuracy:
        parts += [CONFUSION, _confusion(accuracy, folder.config["label_name"])]
    return "\n\n".join(parts)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _residues(preprocessing: Mapping[str, Any]) -> str:
    n_residues = preprocessing["max_residues"]
    if preprocessing.get("protein_pooling") == "mean over residues of all windows":
        return f"all residues, in windows of up to {n_residues}"
    return f"first {n_residues} residues per protein"


def _comparison(scores: Mapping[str, Sequence[float]], name: str) -> str:
    own = f"transformer: {name}"
    rows = [
        ["this model" if features == own else features, f"{mean:.3f} ({low:.3f}-{high:.3f})"]
        for features, (mean, low, high) in scores.items()
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
