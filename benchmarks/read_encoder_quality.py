"""Evaluate how a read encoder separates species and phenotypes, against 4-mers, an untrained encoder and the truth.

Genera that no shipped encoder has seen are listed in `recipes/configs/held_out_genera.txt`; everything is measured on
genomes of seen and of unseen genera.

* Per read (150 bp, 0.5 % errors): NMI and ARI of k-means with as many clusters as species; accuracy of a linear probe
  with 1, 5 and 20 reads per species; recall of the nearest species mean.
* Per cohort: **simulated** reads of real species tables (a simulator given with --simulator), centroids learnt on the
  cohort's reads, and the 10-fold ROC-AUC of a random forest and an L1 logistic regression on the abundance vector. The
  true species abundances are the ceiling; the gap closed is (ours - 4-mers) / (truth - 4-mers), by random forest.

    python benchmarks/read_encoder_quality.py --genomes GENOMES --models metagenbert-mini \
        --simulator simulate_cohort.py --cohorts COHORTS --names cirrhosis ibd --seeds 0 1 2

The first model's own centroids are judged too; further models are compared with it.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import platform
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from simulation import simulated_cohort
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import biomeformer
from biomeformer.checkpoints import resolve_checkpoint
from biomeformer.inference.batching import embed_vectors
from biomeformer.metagenomes import embed_cohort, fit_centroids, run_kmeans
from biomeformer.models.kmer_encoder import KmerEncoderConfig, KmerEncoderModel, KmerTokenizer
from biomeformer.models.metagenbert import MetagenBertModel, MetagenBertProcessor
from biomeformer.reads import GenomeSet, ReadBatch

ROOT = Path(__file__).resolve().parents[1]
HELD_OUT = ROOT / "recipes" / "configs" / "held_out_genera.txt"
READ_LENGTH, ERROR_RATE = (150, 150), 0.005


def four_mers() -> MetagenBertModel:
    """Canonical 4-mer frequencies, as an encoder whose k-mer vectors are unit vectors."""
    encoder = KmerEncoderModel(KmerEncoderConfig(k=4, hidden_size=136))
    encoder.embeddings.weight.data = torch.eye(137)[:, 1:].contiguous()
    return as_model(encoder, KmerTokenizer(k=4), spherical=False)


def untrained(model: MetagenBertModel) -> MetagenBertModel:
    """The architecture of `model` with random weights."""
    torch.manual_seed(0)
    assert model.processor is not None
    encoder = type(model.encoder)(model.encoder.config).eval()
    return as_model(encoder, model.processor.tokenizer, spherical=model.config.normalize_embeddings)


def as_model(encoder: Any, tokenizer: Any, *, spherical: bool) -> MetagenBertModel:
    """An encoder as a model whose centroids are yet to be learnt."""
    return MetagenBertModel.from_encoder_and_centroids(
        encoder,
        np.zeros((1, encoder.config.hidden_size)),
        processor=MetagenBertProcessor(tokenizer),
        normalize_embeddings=spherical,
    )


def read_vectors(model: MetagenBertModel, genomes: GenomeSet, n_reads: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of `n_reads` reads of each species, with species numbers."""
    names = sorted(set(genomes.species))
    species = np.array([names.index(name) for name in genomes.species])
    first = np.array([np.flatnonzero(species == i)[0] for i in range(len(names))])
    which = np.repeat(first, n_reads)
    sequence, offsets = genomes.draw(which, READ_LENGTH, ERROR_RATE, np.random.default_rng(seed))
    batch = ReadBatch(sequence, offsets, np.arange(len(which)))
    assert model.processor is not None
    vectors, packed = embed_vectors(model, model.processor, batch)
    return vectors, species[which][packed.rows]


def per_read(model: MetagenBertModel, genomes: GenomeSet, n_reads: int, seed: int) -> dict[str, float]:
    """Clustering, few-shot and nearest-mean figures on one set of genomes."""
    vectors, species = read_vectors(model, genomes, n_reads, seed)
    n_species = int(species.max()) + 1
    spherical = model.config.normalize_embeddings
    kmeans = run_kmeans(vectors, n_species, n_iterations=30, seed=seed, spherical=spherical)
    clusters = (((kmeans.centroids**2).sum(1)) - 2 * vectors @ kmeans.centroids.T).argmin(1)
    figures = {
        "nmi": float(normalized_mutual_info_score(species, clusters)),
        "ari": float(adjusted_rand_score(species, clusters)),
    }
    train, train_species = read_vectors(model, genomes, 100, seed + 1000)
    for shots in (1, 5, 20):
        rows = np.concatenate([np.flatnonzero(train_species == i)[:shots] for i in range(n_species)])
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
        probe.fit(train[rows], train_species[rows])
        figures[f"probe_{shots}"] = float((probe.predict(vectors) == species).mean())
    means = np.stack([train[train_species == i].mean(0) for i in range(n_species)])
    nearest = ((means**2).sum(1) - 2 * vectors @ means.T).argmin(1)
    figures["nearest_mean"] = float((nearest == species).mean())
    return figures


def simulated(args: argparse.Namespace, name: str, genera: str, seed: int, genomes: list[str]) -> Path:
    """Folder of a simulated cohort, made unless it was kept."""
    return simulated_cohort(
        args.cache / f"{name}-{genera}-{seed}-{args.reads}",
        simulator=args.simulator,
        cohorts=args.cohorts,
        name=name,
        genomes=args.genomes,
        genome_ids=genomes,
        n_reads=args.reads,
        seed=seed,
    )


def auc(features: np.ndarray, labels: np.ndarray, seed: int) -> dict[str, float]:
    """10-fold ROC-AUC of a random forest and an L1 logistic regression."""
    folds = StratifiedKFold(10, shuffle=True, random_state=seed)
    forest = RandomForestClassifier(500, random_state=seed, n_jobs=-1)
    linear = make_pipeline(StandardScaler(), LogisticRegression(l1_ratio=1, solver="liblinear", C=0.1))
    scores = {}
    for name, classifier in (("forest", forest), ("l1", linear)):
        guesses = cross_val_predict(classifier, features, labels, cv=folds, method="predict_proba")[:, 1]
        scores[name] = float(roc_auc_score(labels, guesses))
    return scores


def per_cohort(
    models: dict[str, MetagenBertModel], shipped: MetagenBertModel, args: argparse.Namespace, folder: Path, seed: int
) -> dict[str, dict[str, float]]:
    """AUCs of every encoder and of the truth on one simulated cohort."""
    results = {}
    cohort = biomeformer.read_cohort(folder / "cohort.csv")
    labels = cohort.metadata()["label"].astype(int).to_numpy()
    for encoder, model in models.items():
        assert model.processor is not None
        fit = fit_centroids(
            cohort,
            model.encoder,
            model.processor,
            n_clusters=args.n_clusters,
            reads_per_sample=1000,
            seed=seed,
            spherical=model.config.normalize_embeddings,
        )
        results[encoder] = auc(embed_cohort(fit.model, cohort).abundance, labels, seed)
    results["shipped centroids"] = auc(embed_cohort(shipped, cohort).abundance, labels, seed)
    with gzip.open(folder / "truth.tsv.gz", "rt") as handle:
        truth = np.array([line.split("\t")[1:] for line in handle.read().splitlines()[1:]], float)
    results["truth"] = auc(truth, labels, seed)
    return results


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genomes", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=["metagenbert-mini"], help="names or folders")
    parser.add_argument("--simulator", type=Path)
    parser.add_argument("--cohorts", type=Path)
    parser.add_argument("--names", nargs="*", default=["cirrhosis", "ibd"])
    parser.add_argument("--compare-on", nargs="*", help="cohorts for the models after the first; default all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--reads", type=int, default=4000, help="reads a simulated sample")
    parser.add_argument("--n-clusters", type=int, default=1024)
    parser.add_argument("--cache", type=Path, help="keep simulated cohorts here; default a temporary folder")
    parser.add_argument("--reads-per-species", type=int, default=200)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "read_encoder_quality.json")
    args = parser.parse_args()

    # One read a species is few-shot learning, not regression.
    warnings.filterwarnings("ignore", message="The number of unique classes", category=UserWarning)
    if args.cache is None:
        with tempfile.TemporaryDirectory() as temporary:
            args.cache = Path(temporary)
            measure(args)
    else:
        measure(args)


def measure(args: argparse.Namespace) -> None:
    """Measure, print, write."""
    start = time.monotonic()
    loaded = {Path(name).name if Path(name).is_dir() else name: biomeformer.load(name) for name in args.models}
    first = next(iter(loaded))
    shipped = loaded[first]
    held_out = set(HELD_OUT.read_text().split())
    sets = {
        "seen": GenomeSet.load(args.genomes, held_out),
        "unseen": GenomeSet.load(args.genomes, held_out, only_held_out=True),
    }
    models = {
        name: as_model(model.encoder, model.processor.tokenizer, spherical=model.config.normalize_embeddings)
        for name, model in loaded.items()
        if model.processor is not None
    }
    models |= {"untrained": untrained(shipped), "4-mers": four_mers()}
    console = Console()
    reads: dict[str, Any] = {}
    for genera, genomes in sets.items():
        reads[genera] = {"n_species": len(set(genomes.species))}
        for encoder, model in models.items():
            runs = [per_read(model, genomes, args.reads_per_species, seed) for seed in args.seeds]
            reads[genera][encoder] = {key: round(float(np.mean([run[key] for run in runs])), 4) for key in runs[0]}
        table = Table("encoder", *reads[genera][first], title=f"150-bp reads, {genera} genera")
        for encoder in models:
            table.add_row(encoder, *(f"{value:.3f}" for value in reads[genera][encoder].values()))
        console.print(table)

    cohorts: dict[str, Any] = {}
    for name in args.names if args.simulator else []:
        for genera, genomes in sets.items():
            folders = [simulated(args, name, genera, seed, genomes.ids) for seed in args.seeds]
            here = models
            if args.compare_on is not None and name not in args.compare_on:
                here = {encoder: model for encoder, model in models.items() if encoder not in list(loaded)[1:]}
            runs = [
                per_cohort(here, shipped, args, folder, seed) for seed, folder in zip(args.seeds, folders, strict=True)
            ]
            mean = {
                encoder: {
                    key: round(float(np.mean([run[encoder][key] for run in runs])), 4) for key in ("forest", "l1")
                }
                for encoder in runs[0]
            }
            room = mean["truth"]["forest"] - mean["4-mers"]["forest"]
            for scores in mean.values():
                scores["gap_closed"] = round((scores["forest"] - mean["4-mers"]["forest"]) / room, 3)
            cohorts[f"{name}, {genera}"] = {"mean": mean, "runs": runs}
            table = Table("encoder", "forest", "L1", "gap closed", title=f"{name}, simulated reads, {genera} genera")
            for encoder, scores in mean.items():
                table.add_row(encoder, *(f"{scores[key]:.3f}" for key in ("forest", "l1", "gap_closed")))
            console.print(table)
    result = {
        "model": first,
        "model_sha256": {
            label: hashlib.sha256((Path(resolve_checkpoint(name)) / "model.safetensors").read_bytes()).hexdigest()
            for label, name in zip(loaded, args.models, strict=True)
        },
        "reads": reads,
        "cohorts": cohorts,
        "settings": {
            "seeds": args.seeds,
            "reads_per_sample": args.reads,
            "n_clusters": args.n_clusters,
            "reads_per_species": args.reads_per_species,
        },
        "wall_time_s": round(time.monotonic() - start, 1),
        "device": f"cpu, {os.cpu_count()} cores",
        "versions": {
            "biomeformer": biomeformer.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(result, indent=1) + "\n")
    console.print(f"Written to {args.output}")


if __name__ == "__main__":
    main()
