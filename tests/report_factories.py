"""Made-up results to report."""

from __future__ import annotations

import numpy as np
import pandas as pd

from biomeformer.attribution import GeneInteractionNetwork
from biomeformer.metagenomes.cluster_reads import ClusterReads
from biomeformer.metrics.probabilities import METRICS, score
from biomeformer.phenotypes import FeatureTable, Study, Target
from biomeformer.phenotypes.evaluation import Evaluation, interval
from biomeformer.phenotypes.study import _comparisons
from biomeformer.reports.phenotype import discriminative_clusters

PROVENANCE = {
    "model": "a <model>",
    "weights_sha256": "0123456789abcdef" * 4,
    "dtype": "float32",
    "n_clusters": 30,
    "read_fraction": 1.0,
    "seed": 3,
    "contract": {"pooling": "mean", "min_read_length": 32, "max_length": 42},
    "versions": {"biomeformer": "0"},
}
LONG = "Clostridium_sp._of_a_name_that_goes_on_and_on"


def target(n_classes=2, n=60):
    classes = ("healthy controls", "ill with a disease of a long name & <more>", "c", "d", "e")[:n_classes]
    ids = tuple(f"sample {i}" for i in range(n))
    return Target("state $of$ <the> host", ids, classes, np.arange(n) % n_classes, n_missing=2)


def evaluation(rng, labels, features, model, shift, n_classes):
    scores = rng.normal(size=(len(labels), n_classes))
    scores[np.arange(len(labels)), labels] += shift
    probabilities = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    folds = np.array_split(np.arange(len(labels)), 4)
    found = [score(labels[rows], probabilities[rows]) for rows in folds]
    fold_scores = {metric: np.array([one[metric] for one in found]) for metric in METRICS}
    return Evaluation(
        features,
        model,
        "clr" if model == "l1" else "none",
        {metric: interval(values, 0.5).clipped() for metric, values in fold_scores.items()},
        fold_scores,
        probabilities,
        0.5,
        1,
        4,
        rng.uniform(0.3, 0.7, 9),
        {"cluster_3": 0.75} if model == "l1" else {},
        zeros=("sq", "fixed") if model == "l1" else (),
    )


def study(n_classes=2, sets=("vectors", "species", "both"), models=("l1", "forest", "boosting"), inputs=None):
    goal, rng = target(n_classes), np.random.default_rng(0)
    found = [
        evaluation(rng, goal.labels, name, model, 1 + i, n_classes) for i, name in enumerate(sets) for model in models
    ]
    sources = {name: f"/data/{name}.tsv" for name in sets}
    return Study(goal, tuple(found), tuple(_comparisons(found)), 4, 1, 9, 7, sources, inputs or {})


def depth_study():
    fractions = {"100 %": 1.0, "50 %": 0.5, "10 %": 0.1, "5 %": 0.05, "1 %": 0.01}
    return study(sets=tuple(fractions), inputs={"read_fractions": fractions})


def tables(n_classes=2):
    goal, rng = target(n_classes), np.random.default_rng(1)
    counts = rng.poisson(20, (60, 30)).astype(float)
    counts[:, 3] += 40 * goal.labels
    counts[:, 5] *= goal.labels
    vectors = FeatureTable(goal.sample_ids, tuple(f"cluster_{i}" for i in range(30)), counts, PROVENANCE)
    names = tuple(f"k__Bacteria|g__X|s__{LONG}_{i}" for i in range(20))
    return {"vectors": vectors, "species": FeatureTable(goal.sample_ids, names, rng.dirichlet(np.ones(20), 60))}


def cluster_reads():
    rng = np.random.default_rng(2)
    reads = ["".join(rng.choice(list("ACGT"), 150)) for _ in range(3)]
    clusters = discriminative_clusters(tables()["vectors"], study())
    full = [
        ClusterReads(cluster, 200, rng.beta(20, 20, 200), rng.integers(75, 151, 200), tuple(reads))
        for cluster in clusters[:-1]
    ]
    return [*full, ClusterReads(clusters[-1], 0, np.empty(0), np.empty(0, int), ())]


def made_up(n_families: int, n_pairs: int, seed: int = 0) -> GeneInteractionNetwork:
    """Pairs of families drawn at random, with names that must be escaped."""
    rng = np.random.default_rng(seed)
    ends = np.sort(np.stack([rng.permutation(n_families)[:2] for _ in range(n_pairs)]), 1)
    genomes = rng.integers(0, 40, n_pairs)
    pairs = pd.DataFrame(
        {
            "genome_id": [f"g{i}" for i in genomes],
            "class": np.where(genomes % 2, "host", "soil"),
            "true_class": np.where(genomes % 2, "host", "soil"),
            "attention": rng.random(n_pairs),
            "rollout": rng.random(n_pairs),
            "ablation": rng.normal(size=n_pairs),
            "cluster": np.where(ends[:, 0] < 30, ends[:, 0] % 6, -1),
            "x": rng.normal(size=n_pairs),
            "y": rng.normal(size=n_pairs),
        }
    )
    for side in (0, 1):
        pairs[f"gene_{side + 1}"] = [f"gene{i}_{row}" for row, i in enumerate(ends[:, side])]
        pairs[f"family_{side + 1}"] = [f"F{i:04d}" for i in ends[:, side]]
        pairs[f"annotation_{side + 1}"] = [
            f"<b>kinase</b> & $co_{i}$ </script>" if i % 3 else "" for i in ends[:, side]
        ]
    names = sorted({*pairs["genome_id"]}, key=lambda name: int(name[1:]))
    rows = pd.DataFrame({"genome_id": names, "n_genes": 3000, "n_pseudo_genes": 100, "pseudo_class": "soil"})
    rows["class"] = rows["true_class"] = ["host" if int(name[1:]) % 2 else "soil" for name in names]
    rows["correct"], rows["ablation"], rows["random_ablation"] = True, 0.2, 0.01
    clusters = pd.DataFrame(
        {
            "cluster": range(6),
            "n_pairs": 9,
            "n_genomes": 5,
            "n_taxa": 3,
            "classes": "host 3; soil 2",
            "mean_distance": 0.2,
            "mean_distance_shuffled": 1.1,
            "p_coherence": 0.005,
            "common_annotations": "<b>kinase</b>",
        }
    )
    enrichment = pd.DataFrame(
        [[0, "product", "<i>kinase</i>", 5, 9, 40, 90000, 30.0, 1e-6, 1e-4]],
        columns=[
            "cluster",
            "kind",
            "term",
            "n_in_cluster",
            "n_cluster",
            "n_background",
            "n_all",
            "odds_ratio",
            "p",
            "q",
        ],
    )
    spans = {name: [0.5, 0.4, 0.6] for name in ("accuracy", "balanced_accuracy", "pseudo_examples_minus_this")}
    record = {
        "model": {"name": "m", "weights_sha256": "0" * 64, "label": "habitat", "classes": ["host", "soil"]},
        "settings": {"method": "attention", "beside": ["rollout"], "top": 100, "symmetry": "mean", "n_ablated": 20,
                     "n_controls": 5, "seed": 0},
        "clustering": {"eps": None, "min_samples": 5, "n_directions": 64, "n_shuffles": 200},
        "figures": {"n_genomes": 40, "n_correct": 40, "labels_known": True, "n_pairs": n_pairs, "n_clusters": 6,
                    "n_pairs_of_correct": n_pairs, "n_pairs_in_clusters": 9, "n_families": n_families, "eps": 0.5,
                    "family_distance": 0.3, "variance_kept": 0.9, "taxon": "genus"},
        "pseudo_examples": [{"from": "whole genomes", "genes": 3000.0, **spans}],
    }  # fmt: skip
    return GeneInteractionNetwork(pairs, clusters, pd.DataFrame(), rows, enrichment, record)
