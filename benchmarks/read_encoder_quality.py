"""Evaluate how a read encoder separates species and phenotypes, against 4-mers, an untrained encoder and the truth.

Genera that no shipped encoder has seen are listed in `recipes/configs/held_out_genera.txt`; everything is measured on
genomes of seen and of unseen genera.

* Per read (--read-length bases, 0.5 % errors): NMI and ARI of k-means with as many clusters as species; accuracy of a
  linear probe with 1, 5 and 20 reads per species; recall of the nearest species mean.
* Per read length: the share of reads far from the first model's centroids (`biomeformer.metagenomes.distances`).
* Per cohort: **simulated** reads of real species tables (a simulator given with --simulator), centroids learnt on the
  cohort's reads, and the 10-fold ROC-AUC of a random forest and an L1 logistic regression on the abundance vector. The
  true species abundances are the ceiling; the gap closed is (ours - 4-mers) / (truth - 4-mers), by random forest.
  Each model's shipped centroids are judged too, as they are and refined on the cohort by a few iterations of k-means;
  models of --more also with further numbers of own centroids, those of --soft also with soft counts, where a read
  counts for its 16 nearest centroids; and 4-mers with centroids of reads of the genomes that the cohort was simulated
  from.

    python benchmarks/read_encoder_quality.py --genomes GENOMES [GENOMES ...] --models metagenbert-mini \
        --simulator simulate_cohort.py --cohorts COHORTS --names cirrhosis ibd --seeds 0 1 2

Results of single cohorts are kept in --cache, so that an interrupted run resumes.
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
from collections.abc import Callable, Sequence
from functools import cache, partial
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
from biomeformer.metagenomes import run_kmeans
from biomeformer.metagenomes.distances import count_far
from biomeformer.metagenomes.kmeans import nearest_centroids, run_distributed_kmeans
from biomeformer.metagenomes.points import Points
from biomeformer.models.kmer_encoder import KmerEncoderConfig, KmerEncoderModel, KmerTokenizer
from biomeformer.models.metagenbert import MetagenBertModel, MetagenBertProcessor
from biomeformer.models.metagenbert.weight_hash import hash_weights
from biomeformer.reads import Cohort, GenomeSet, ReadBatch, SampleReader

ROOT = Path(__file__).resolve().parents[1]
HELD_OUT = ROOT / "recipes" / "configs" / "held_out_genera.txt"
SAME_GENOMES = ", centroids of the same genomes"
FAR_LENGTHS = (75, 100, 150, 250)
ERROR_RATE = 0.005
SOFT = "soft counts"
# A soft count's weights are exp(-d / t) of squared distances d to that many nearest centroids; t as a share of the mean
# squared distance to the nearest.
N_SOFT, SOFT_TEMPERATURE = 16, 0.1


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


def read_vectors(
    model: MetagenBertModel, genomes: GenomeSet, n_reads: int, seed: int, length: int = 150
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of `n_reads` reads of each species, with species numbers."""
    names = sorted(set(genomes.species))
    species = np.array([names.index(name) for name in genomes.species])
    first = np.array([np.flatnonzero(species == i)[0] for i in range(len(names))])
    which = np.repeat(first, n_reads)
    sequence, offsets = genomes.draw(which, (length, length), ERROR_RATE, np.random.default_rng(seed))
    batch = ReadBatch(sequence, offsets, np.arange(len(which)))
    assert model.processor is not None
    vectors, packed = embed_vectors(model, model.processor, batch)
    return vectors, species[which][packed.rows]


def per_read(
    model: MetagenBertModel, genomes: GenomeSet, n_reads: int, seed: int, length: int, shots: Sequence[int]
) -> dict[str, float]:
    """Clustering, few-shot and nearest-mean figures on one set of genomes."""
    vectors, species = read_vectors(model, genomes, n_reads, seed, length)
    n_species = int(species.max()) + 1
    spherical = model.config.normalize_embeddings
    kmeans = run_kmeans(vectors, n_species, n_iterations=30, seed=seed, spherical=spherical)
    clusters = (((kmeans.centroids**2).sum(1)) - 2 * vectors @ kmeans.centroids.T).argmin(1)
    figures = {
        "nmi": float(normalized_mutual_info_score(species, clusters)),
        "ari": float(adjusted_rand_score(species, clusters)),
    }
    train, train_species = read_vectors(model, genomes, 100, seed + 1000, length)
    for n_shots in shots:
        rows = np.concatenate([np.flatnonzero(train_species == i)[:n_shots] for i in range(n_species)])
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
        probe.fit(train[rows], train_species[rows])
        figures[f"probe_{n_shots}"] = float((probe.predict(vectors) == species).mean())
    means = np.stack([train[train_species == i].mean(0) for i in range(n_species)])
    nearest = ((means**2).sum(1) - 2 * vectors @ means.T).argmin(1)
    figures["nearest_mean"] = float((nearest == species).mean())
    return figures


def far_shares(model: MetagenBertModel, genomes: GenomeSet, n_reads: int, seed: int) -> dict[str, float]:
    """Share of reads far from a model's centroids, by read length, over `n_reads` reads of each genome."""
    record = model.config.far_distances
    assert record is not None and model.processor is not None
    centroids = model.centroids.detach()
    which = np.repeat(np.arange(len(genomes.ids)), n_reads)
    shares = {}
    for length in FAR_LENGTHS:
        sequence, offsets = genomes.draw(which, (length, length), ERROR_RATE, np.random.default_rng(seed))
        batch = ReadBatch(sequence, offsets, np.arange(len(which)))
        vectors, packed = embed_vectors(model, model.processor, batch)
        squares, _ = nearest_centroids(torch.from_numpy(vectors), centroids)
        n_compared, n_far = count_far(squares.sqrt().numpy(), packed.lengths, record)
        shares[str(length)] = round(n_far / n_compared, 4)
    return shares


def simulated(args: argparse.Namespace, name: str, genera: str, seed: int, genomes: list[str]) -> Path:
    """Folder of a simulated cohort, made unless it was kept."""
    length = "" if args.read_length == 150 else f"-{args.read_length}bp"
    return simulated_cohort(
        args.cache / f"{name}-{genera}-{seed}-{args.reads}{length}",
        simulator=args.simulator,
        cohorts=args.cohorts,
        name=name,
        genomes=args.genomes,
        genome_ids=genomes,
        n_reads=args.reads,
        seed=seed,
        read_length=args.read_length,
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


def features_of(
    model: MetagenBertModel,
    name: str,
    vectors: Callable[[], list[np.ndarray]],
    genomes: GenomeSet,
    args: argparse.Namespace,
    seed: int,
) -> dict[str, Callable[[], np.ndarray]]:
    """Abundance vectors to judge with a model: by own centroids of the cohort, and by shipped ones.

    Their names are what follows the model's name in the results.
    """
    spherical = model.config.normalize_embeddings

    def first_reads() -> np.ndarray:
        # Reads of a simulated sample are in random order.
        return np.concatenate([sample[: args.fit_reads] for sample in vectors()])

    def fitted(k: int) -> np.ndarray:
        return run_kmeans(first_reads(), k, seed=seed, spherical=spherical).centroids

    def refined(shipped: np.ndarray, n: int) -> np.ndarray:
        points = Points.from_array(first_reads())
        fit = run_distributed_kmeans(points, [len(shipped)], n_iterations=n, spherical=spherical, initial=shipped)
        return fit[0].centroids

    features: dict[str, Callable[[], np.ndarray]] = {}
    for k in args.n_clusters if name in args.more else args.n_clusters[:1]:
        label = "" if k == args.n_clusters[0] else f", K {k}"
        features[label] = lambda k=k: counts_of(vectors(), fitted(k))
    if name in args.soft:
        features[f", {SOFT}"] = lambda: soft_counts_of(vectors(), fitted(args.n_clusters[0]))
    if len(model.centroids) > 1:
        shipped = model.centroids.detach().numpy()
        label = ", shipped centroids"
        features[label] = lambda: counts_of(vectors(), shipped)
        if name in args.soft:
            features[f"{label}, {SOFT}"] = lambda: soft_counts_of(vectors(), shipped)
        for n in args.refine:
            features[f"{label}, {n} iterations"] = lambda n=n: counts_of(vectors(), refined(shipped, n))
    if name == "4-mers":

        def of_genomes() -> np.ndarray:
            reads, _ = read_vectors(model, genomes, 2000, seed, args.read_length)
            return run_kmeans(reads, args.n_clusters[0], seed=seed).centroids

        features[SAME_GENOMES] = lambda: counts_of(vectors(), of_genomes())
    return features


def per_cohort(
    models: dict[str, MetagenBertModel], genomes: GenomeSet, args: argparse.Namespace, folder: Path, seed: int
) -> dict[str, dict[str, float]]:
    """AUCs of every encoder and set of centroids, and of the truth, on one simulated cohort."""
    cohort = biomeformer.read_cohort(folder / "cohort.csv")
    labels = cohort.metadata()["label"].astype(int).to_numpy()
    results: dict[str, dict[str, float]] = {}

    def judge(kept: Path, model: str, features: dict[str, Callable[[], np.ndarray]]) -> None:
        """Score a model's tables of features that were not scored before, and keep the scores."""
        scores = json.loads(kept.read_text()) if kept.is_file() else {}
        for name, make in features.items():
            if name not in scores:
                scores[name] = auc(make(), labels, seed)
                kept.parent.mkdir(exist_ok=True)
                kept.write_text(json.dumps(scores, indent=1))
        results.update({f"{model}{name}": scores[name] for name in features})

    def true_shares() -> np.ndarray:
        with gzip.open(folder / "truth.tsv.gz", "rt") as handle:
            return np.array([line.split("\t")[1:] for line in handle.read().splitlines()[1:]], float)

    judge(args.cache / "results" / f"{folder.parent.name}-truth.json", "truth", {"": true_shares})
    for name, model in models.items():
        # The first K is not in the names of the tables.
        settings = f"{args.n_clusters[0]}-{args.fit_reads}-{hash_weights(model.state_dict())[:12]}"
        kept = args.cache / "results" / f"{folder.parent.name}-{settings}.json"
        # Reads are embedded when the first table needs them.
        vectors = cache(partial(cohort_vectors, model, cohort))
        judge(kept, name, features_of(model, name, vectors, genomes, args, seed))
    return results


def cohort_vectors(model: MetagenBertModel, cohort: Cohort) -> list[np.ndarray]:
    """Vectors of all reads of each sample of a cohort, float32 `(n_reads, hidden_size)`."""
    processor = model.processor
    assert processor is not None
    return [
        np.concatenate([embed_vectors(model, processor, batch)[0] for batch in SampleReader(sample.reads)])
        for sample in cohort.samples
    ]


def counts_of(vectors: list[np.ndarray], centroids: np.ndarray) -> np.ndarray:
    """Share of each sample's reads nearest to each centroid, `(n_samples, n_clusters)`."""
    table = torch.from_numpy(np.ascontiguousarray(centroids, np.float32))
    numbers = (nearest_centroids(torch.from_numpy(sample), table)[1] for sample in vectors)
    return np.stack([np.bincount(nearest, minlength=len(table)) / len(nearest) for nearest in numbers])


def soft_counts_of(vectors: list[np.ndarray], centroids: np.ndarray) -> np.ndarray:
    """Share of each sample's reads by soft assignment to each read's nearest centroids, `(n_samples, n_clusters)`."""
    table = torch.from_numpy(np.ascontiguousarray(centroids, np.float32))
    norms = table.square().sum(1)
    n_nearest = min(N_SOFT, len(table))
    nearest_squares, _ = nearest_centroids(torch.from_numpy(vectors[0]), table)
    temperature = SOFT_TEMPERATURE * float(nearest_squares.mean())
    shares = []
    for sample in vectors:
        sums = torch.zeros(len(table), dtype=torch.float64)
        for reads in torch.from_numpy(sample).split(16384):
            # A read's own norm is the same for all centroids and cancels in the weights.
            squares, numbers = torch.addmm(norms, reads, table.T, alpha=-2).topk(n_nearest, largest=False)
            weights = torch.softmax(-squares / temperature, dim=1)
            sums.index_add_(0, numbers.flatten(), weights.flatten().double())
        shares.append((sums / len(sample)).numpy())
    return np.stack(shares)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genomes", type=Path, nargs="+", required=True)
    parser.add_argument("--models", nargs="+", default=["metagenbert-mini"], help="names or folders")
    parser.add_argument("--baselines", nargs="*", choices=["4-mers", "untrained"], default=["4-mers", "untrained"])
    parser.add_argument("--simulator", type=Path)
    parser.add_argument("--cohorts", type=Path)
    parser.add_argument("--names", nargs="*", default=["cirrhosis", "ibd"])
    parser.add_argument("--compare-on", nargs="*", help="cohorts for the models after the first; default all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--reads", type=int, default=4000, help="reads a simulated sample")
    parser.add_argument("--read-length", type=int, default=150, help="bases of a read")
    parser.add_argument("--genera", nargs="+", choices=["seen", "unseen"], default=["seen", "unseen"])
    parser.add_argument(
        "--n-clusters", type=int, nargs="+", default=[512], help="further ones for the models of --more"
    )
    parser.add_argument("--more", nargs="*", default=[], help="names of models for further K")
    parser.add_argument("--soft", nargs="*", default=[], help="names of models for soft counts")
    parser.add_argument("--refine", type=int, nargs="*", default=[], help="iterations by which to refine centroids")
    parser.add_argument("--fit-reads", type=int, default=1000, help="reads a sample to fit centroids on")
    parser.add_argument("--skip-reads", action="store_true", help="judge cohorts only")
    parser.add_argument("--probes", type=int, nargs="*", default=[1, 5, 20], help="reads per species for linear probes")
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
    held_out = set(HELD_OUT.read_text().split())
    sets = {genera: GenomeSet.load(args.genomes, held_out, only_held_out=genera == "unseen") for genera in args.genera}
    baselines = {"4-mers": four_mers, "untrained": lambda: untrained(loaded[first])}
    models = loaded | {name: make() for name, make in baselines.items() if name in args.baselines}
    console = Console()
    reads: dict[str, Any] = {}
    for genera, genomes in () if args.skip_reads else sets.items():
        reads[genera] = {"n_species": len(set(genomes.species))}
        for encoder, model in models.items():
            runs = [
                per_read(model, genomes, args.reads_per_species, seed, args.read_length, args.probes)
                for seed in args.seeds
            ]
            reads[genera][encoder] = {key: round(float(np.mean([run[key] for run in runs])), 4) for key in runs[0]}
        table = Table("encoder", *reads[genera][first], title=f"{args.read_length}-bp reads, {genera} genera")
        for encoder in models:
            table.add_row(encoder, *(f"{value:.3f}" for value in reads[genera][encoder].values()))
        console.print(table)

    far = {
        genera: far_shares(loaded[first], genomes, args.reads_per_species, args.seeds[0])
        for genera, genomes in sets.items()
        if loaded[first].config.far_distances is not None
    }
    cohorts: dict[str, Any] = {}
    for name in args.names if args.simulator else []:
        for genera, genomes in sets.items():
            folders = [simulated(args, name, genera, seed, genomes.ids) for seed in args.seeds]
            here = models
            if args.compare_on is not None and name not in args.compare_on:
                here = {encoder: model for encoder, model in models.items() if encoder not in list(loaded)[1:]}
            runs = [
                per_cohort(here, genomes, args, folder, seed) for seed, folder in zip(args.seeds, folders, strict=True)
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
        "far": far,
        "cohorts": cohorts,
        "settings": {
            "seeds": args.seeds,
            "reads_per_sample": args.reads,
            "read_length": args.read_length,
            "n_clusters": args.n_clusters[0],
            "fit_reads": args.fit_reads,
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
