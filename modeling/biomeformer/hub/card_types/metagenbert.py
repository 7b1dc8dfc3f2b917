"""Card of a read encoder with centroids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...io.markdown import grid, pairs
from ...metagenomes.cluster_descriptions import NAME as DESCRIPTIONS
from ...metagenomes.cluster_descriptions import ClusterDescriptions
from ...sinks import markdown
from ..folder import CheckpointFolder
from .card_type import CardType, Rows, started_from, versions

READ_FIGURES = {
    "nmi": "NMI",
    "ari": "ARI",
    "probe_1": "probe, 1 read",
    "probe_5": "5 reads",
    "probe_20": "20 reads",
    "nearest_mean": "nearest species",
}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
ON_READS = """\
### Single reads

Single reads of 150 bases with 0.5 % errors, drawn from genomes of genera it was trained on (seen) and of genera held
out of all training (unseen): NMI and ARI of k-means with as many clusters as species; accuracy of a linear probe
trained on 1, 5 or 20 reads per species; share of reads nearest to the mean of their own species. *4-mers* are
canonical 4-mer frequencies; *untrained* is the same architecture with random weights."""
ON_COHORTS = """\
### Cohorts

Cohorts whose reads were **simulated** from real species tables with disease labels. Each species is represented by one
genome, of the seen or of the unseen genera, and the number of species is limited by the genomes available ({protocol},
means).
10-fold ROC-AUC of classifiers on the abundance vector; *gap closed* is (this - 4-mers) / (truth - 4-mers), by random
forest."""
IN_TRAINING = """\
### Metrics during training

{metrics}

Losses are means over the first step and over the last tenth of the steps; `score` is the share of reads of held-out
genera nearest to the mean of their own species; `species_accuracy` is the accuracy on new reads of the training
genomes."""


def usage(model_id: str) -> str:
    """Return code that turns reads into an abundance vector."""
    return f"""\
import biomeformer

model = biomeformer.load("{model_id}")
sample = model.embed_sample("reads_R1.fastq.gz", "reads_R2.fastq.gz")"""


def encoder_facts(folder: CheckpointFolder) -> Rows:
    """Return the rows that describe encoder, centroids and preprocessing config."""
    config, preprocessing = folder.config, folder.preprocessing
    encoder = config["encoder_config"]
    tokens = ""
    if encoder.get("num_gate_heads"):
        tokens = f", {encoder['k']}-mers of six reading frames, weighted by {encoder['num_gate_heads']} heads"
    elif "k" in encoder:
        tokens = f", canonical {encoder['k']}-mers"
    scale = "unit-length" if config.get("normalize_embeddings") else "unscaled"
    return {
        "Read encoder": f"{markdown(encoder['model_type'])}, hidden size {encoder['hidden_size']}{tokens}",
        "Centroids": f"{config['n_clusters']:,} (k-means on {scale} vectors)",
        "Pooling": config["pooling"],
        "Minimum read length": f"{preprocessing['min_read_length']} bases",
        "Maximum read length": "no limit" if config.get("max_length") is None else f"{config['max_length']} tokens",
    }


def facts(folder: CheckpointFolder) -> Rows:
    """Return the rows that describe the model."""
    return encoder_facts(folder) | _described(folder) | folder.weight_lines()


def _described(folder: CheckpointFolder) -> Rows:
    """Return the row on the descriptions of the clusters, if the checkpoint has them."""
    if not (folder.path / DESCRIPTIONS).is_file():
        return {}
    descriptions = ClusterDescriptions.read(folder.path)
    record, frame = descriptions.record, descriptions.frame
    reached = frame[frame["n_reads"] > 0]
    purities = ", ".join(
        f"{(reached[f'{rank}_purity'] * reached['n_reads']).sum() / record['n_reads']:.0%} of {markdown(rank)}"
        for rank in descriptions.ranks
    )
    n_mixed = sum(name.startswith("mixed") for name in descriptions.names)
    settings, catalog = record["settings"], record["catalog"]
    return {
        "Clusters described": f"in `{DESCRIPTIONS}`, by {record['n_reads']:,} reads of {settings['read_length']} bases "
        f"simulated from {catalog['n_genomes']:,} genomes (catalog SHA-256 `{catalog['sha256'][:12]}`, seed "
        f"{settings['seed']}); mean purity {purities}; {n_mixed:,} of {len(frame):,} clusters are mixed: no taxon of "
        "any rank has half of the reads"
    }


def training(folder: CheckpointFolder) -> Rows:
    """Return the rows that describe how encoder and centroids were trained."""
    record = folder.record
    if "genomes" in record:
        return {
            "Genomes": f"{len(record['genomes'])} (identifiers and SHA-256 in `training_record.json`)",
            "Held-out genera": ", ".join(map(markdown, record["held_out_genera"])) or "none",
            "Simulated reads": f"{record['n_reads']:,}",
            "Seed": record["seed"],
            "Wall time": f"{record['wall_time_s'] / 60:.1f} min",
            **versions(record),
        }
    if "kmeans" in record:
        kmeans = record["kmeans"]
        return {
            **started_from(record),
            "Samples": f"{record['n_samples']:,}",
            "Reads used to learn the centroids": f"{record['n_reads_used']:,}",
            "k-means iterations": len(kmeans["objective"]),
            "Mean squared distance to the nearest centroid": f"{kmeans['objective'][-1] / record['n_reads_used']:.4g}",
            "Empty clusters": sum(size == 0 for size in kmeans["cluster_sizes"]),
            **versions(record),
        }
    return versions(record)


def evaluated_sha256(evaluation: Mapping[str, Any], name: str) -> str | None:
    """Return the SHA-256 of the evaluated weights; None if the checkpoint was not evaluated."""
    sha256: str | None = evaluation["model_sha256"].get(name)
    return sha256


def evaluation(results: Mapping[str, Any], name: str, folder: CheckpointFolder) -> str:
    """Return the results of `benchmarks/read_encoder_quality.py` as Markdown."""
    settings, metrics = results["settings"], folder.record.get("metrics", {})
    protocol = (
        f"{settings['reads_per_sample']:,} reads per sample, {settings['n_clusters']} clusters, "
        f"seeds {', '.join(map(str, settings['seeds']))}"
    )
    rows = {f"{stage}: {key}": value for stage, values in metrics.items() for key, value in values.items()}
    sections = [
        ON_READS,
        _reads_table(results, name),
        ON_COHORTS.format(protocol=protocol),
        _cohorts_table(results, name),
    ]
    return "\n\n".join([*sections, IN_TRAINING.format(metrics=pairs(rows))] if rows else sections)


def _reads_table(benchmark: Mapping[str, Any], name: str) -> str:
    rows = []
    for genera, results in benchmark["reads"].items():
        for encoder in (name, "4-mers", "untrained"):
            values = [f"{results[encoder][key]:.3f}" for key in READ_FIGURES]
            rows.append([f"{genera} ({results['n_species']} species)", encoder, *values])
    return grid(["genera", "encoder", *READ_FIGURES.values()], rows)


def _cohorts_table(benchmark: Mapping[str, Any], name: str) -> str:
    rows = []
    for cohort, results in benchmark["cohorts"].items():
        labels = {
            name: f"{name}, centroids of the cohort",
            f"{name}, shipped centroids": f"{name}, its own centroids",
            f"{name}, shipped centroids, 5 iterations": f"{name}, its own centroids refined on the cohort",
            "4-mers": "4-mers",
            "untrained": "untrained",
            "truth": "true species abundances",
        }
        for encoder, label in labels.items():
            scores = results["mean"][encoder]
            rows.append([cohort, label, *(f"{scores[key]:.3f}" for key in ("forest", "l1", "gap_closed"))])
    return grid(["cohort, genera", "features", "random forest", "L1 logistic", "gap closed"], rows)


CARD_TYPE = CardType(
    pipeline_tag="feature-extraction",
    title="Reads to abundance vectors",
    tags=("biology", "dna", "metagenomics", "microbiome"),
    papers=("2601.03295",),
    files=(*TOKENIZER_FILES, DESCRIPTIONS),
    usage=usage,
    usage_note="`sample.abundance` is the share of the sample's reads per cluster; `sample.read_stats` accounts for "
    "every read.",
    facts=facts,
    training=training,
    task="reads to species",
    benchmark="benchmarks/read_encoder_quality.py",
    evaluated_sha256=evaluated_sha256,
    evaluation=evaluation,
)
