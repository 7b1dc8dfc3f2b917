"""Aggregate the gene pairs of many genomes: clusters of pairs, gene families, and enrichment."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import softmax

from ..errors import InputError
from ..genomes.embedding import EmbeddedGenomes
from .clusters import MIN_EPS, GeneSpace, choose_eps, dbscan, gene_families, k_distances, knee, pair_vectors
from .enrichment import annotation_terms, enrich
from .explanation import ABLATION, AttributionSettings, Explanation
from .pair_map import pair_map

# Points drawn to find the knee, whose cost is quadratic.
MAX_KNEE = 20_000
# Pairs drawn from a cluster for its coherence, whose cost is quadratic.
MAX_COHERENCE = 200
# Returns an iterator over each genome's id and explanation. It is called several times, so that the explanations of all
# genomes need not be in memory at once.
Explanations = Callable[[], Iterator[tuple[str, Explanation]]]
# Taxonomic ranks looked for among the metadata columns, the finest first.
TAXA = ("species", "genus", "family", "order", "phylum")
# Annotations that can name a gene, the most readable first.
NAME_KEYS = ("product", "Description", "Preferred_name", "gene", "name")


@dataclass(frozen=True)
class ClusterSettings:
    """Settings of clusters of pairs and of gene families.

    Attributes:
        eps: Largest distance between neighbouring pairs in DBSCAN; by default `choose_eps` on at most 20,000 pairs.
        min_samples: Smallest number of neighbours of a core pair, itself included; at least 2.
        family_distance: Largest distance of a gene from its family's representative; by default the knee of the
            distances to the nearest gene.
        n_directions: Principal components of the protein vectors in which distances are measured.
        n_shuffles: Draws of shuffled pairs with which a cluster's coherence is compared.
        seed: Seed of all draws.

    Raises:
        InputError: A value is out of range.
    """

    eps: float | None = None
    min_samples: int = 5
    family_distance: float | None = None
    n_directions: int = 64
    n_shuffles: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("eps", "family_distance"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} is {value}; give a distance above 0.")
        for name, least in (("min_samples", 2), ("n_directions", 1), ("n_shuffles", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least {least}.")

    @property
    def record(self) -> dict[str, Any]:
        """The settings as values that JSON can hold."""
        return asdict(self)


@dataclass(frozen=True)
class Collected:
    """Tables of a `GeneInteractionNetwork`, which documents them, and summary figures for its record."""

    pairs: pd.DataFrame
    clusters: pd.DataFrame
    families: pd.DataFrame
    genomes: pd.DataFrame
    enrichment: pd.DataFrame
    figures: dict[str, Any]


def collect(
    explanations: Explanations,
    genomes: EmbeddedGenomes,
    classes: list[str],
    true_classes: dict[str, str],
    settings: AttributionSettings,
    clustering: ClusterSettings,
    check: Callable[[], None] | None = None,
) -> Collected:
    """Aggregate the pairs of all genomes.

    Memory grows with the number of pairs, not of genes: vectors are read genome by genome.

    Args:
        explanations: Returns an iterator over the genomes' ids and explanations, in the same order at every call.
        genomes: Source of vectors and annotations.
        classes: Names of the model's classes, in the order of its logits.
        true_classes: True class by genome id, where it is known. A genome without one counts as correctly classified.
        settings: Settings with which the pairs were found.
        clustering: Settings of clusters and families.
        check: Called between steps; an exception it raises stops the work.

    Returns:
        The tables. Clusters are of pairs of correctly classified genomes; families are of all genes.

    Raises:
        InputError: No genome is classified correctly.
    """
    check = check or (lambda: None)
    table, genome_table = _tables(explanations, genomes, classes, true_classes, settings)
    is_correct = table["correct"].to_numpy(bool)
    if not is_correct.any():
        raise InputError(
            f"none of {len(genome_table)} genomes is classified as its label says, so there is nothing to attribute; "
            "give a model that was trained on this label."
        )
    space = GeneSpace.fit(
        (genomes.vectors(name, np.unique(explanation.genes)) for name, explanation in explanations()),
        clustering.n_directions,
    )
    check()
    points = np.concatenate(
        [space.project(genomes.vectors(name, explanation.genes.ravel())) for name, explanation in explanations()]
    )
    # Genes were raveled pair by pair.
    first, second = points[0::2], points[1::2]
    check()

    family_1, family_2, family_distance = _families(table, first, second, clustering)
    table["family_1"], table["family_2"] = family_1, family_2
    orientations = pair_vectors(first[is_correct], second[is_correct])
    eps = clustering.eps
    if eps is None:
        sample = np.random.default_rng(clustering.seed).permutation(orientations.shape[1])[:MAX_KNEE]
        eps = choose_eps(np.ascontiguousarray(orientations[:, np.sort(sample)]), clustering.min_samples, check)
    labels = np.full(len(table), -1, np.int64)
    labels[is_correct], _ = dbscan(orientations, eps, clustering.min_samples, check)
    table["cluster"] = labels
    table["x"], table["y"] = np.nan, np.nan
    table.loc[is_correct, ["x", "y"]] = pair_map(orientations, clustering.seed, check)

    taxon = next((name for name in TAXA if name in genomes.metadata.columns), None)
    coherence = _coherence(orientations, labels[is_correct], clustering, check)
    enrichment, common = _enrichment(table, genome_table, genomes, check)
    clusters = _cluster_table(table, genomes.metadata, taxon, coherence, common, settings.method)
    figures = {
        "n_genomes": len(genome_table),
        "n_correct": int(genome_table["correct"].sum()),
        "labels_known": bool(true_classes),
        "n_pairs": len(table),
        "n_pairs_of_correct": int(is_correct.sum()),
        "n_clusters": len(clusters),
        "n_pairs_in_clusters": int((labels >= 0).sum()),
        "n_families": int(pd.concat([table["family_1"], table["family_2"]]).nunique()),
        "eps": float(eps),
        "family_distance": family_distance,
        "variance_kept": space.explained_variance,
        "taxon": taxon,
    }
    return Collected(
        table.drop(columns=["correct", "index_1", "index_2"]),
        clusters,
        _family_table(table),
        genome_table,
        enrichment,
        figures,
    )


def _tables(
    explanations: Explanations,
    genomes: EmbeddedGenomes,
    classes: list[str],
    true_classes: dict[str, str],
    settings: AttributionSettings,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables of pairs and of genomes, without clusters and families.

    The table of pairs also has `correct`, and the index of each gene within its genome (`index_1`, `index_2`).
    """
    pairs, rows = [], []
    for name, explanation in explanations():
        genes = genomes.gene_table(name)
        true = true_classes.get(name, "")
        predicted = classes[explanation.label]
        correct = not true or true == predicted
        frame = pd.DataFrame(
            {"genome_id": name, "class": predicted, "true_class": true, "correct": correct},
            index=range(len(explanation.genes)),
        )
        for side in (0, 1):
            side_genes = genes.iloc[explanation.genes[:, side]]
            frame[f"gene_{side + 1}"] = side_genes["gene_id"].to_numpy()
            frame[f"index_{side + 1}"] = explanation.genes[:, side]
            frame[f"contig_{side + 1}"] = side_genes["contig"].to_numpy()
            frame[f"start_{side + 1}"] = side_genes["start"].to_numpy()
            frame[f"annotation_{side + 1}"] = [_display_name(text) for text in side_genes["annotations"]]
        for i, method in enumerate((*settings.methods, ABLATION)):
            frame[method] = explanation.scores[:, i]
        pairs.append(frame)
        row: dict[str, Any] = {"genome_id": name, "class": predicted, "true_class": true, "correct": correct}
        probabilities = softmax(explanation.logits)
        row |= {f"probability {label}": value for label, value in zip(classes, probabilities, strict=True)}
        row |= {"n_genes": len(genes), "n_pseudo_genes": explanation.n_pseudo_genes}
        row["n_random_pair_genes"] = explanation.n_random_pair_genes
        row["pseudo_class"] = classes[int(explanation.pseudo.argmax())]
        reference = classes.index(true) if true in classes else explanation.label
        controls = {"random_genes": explanation.random_genes, "random_pairs": explanation.random_pairs}
        for control, logits in controls.items():
            # Fraction of the draws that are classified correctly.
            row[f"{control}_right"] = float((logits.argmax(1) == reference).mean()) if len(logits) else np.nan
        row["ablation"] = float(np.nanmean(explanation.scores[:, -1])) if settings.n_ablated else np.nan
        random_ablation = explanation.random_ablation
        row["random_ablation"] = float(random_ablation.mean()) if len(random_ablation) else np.nan
        rows.append(row)
    return pd.concat(pairs, ignore_index=True), pd.DataFrame(rows)


def _display_name(annotations: str) -> str:
    """Return the most readable of a gene's annotations, given as JSON; empty if there is none."""
    values = json.loads(annotations) if annotations else {}
    for key in NAME_KEYS:
        if values.get(key) not in (None, "", "-"):
            return str(values[key])
    return ""


def _families(
    table: pd.DataFrame, first: np.ndarray, second: np.ndarray, clustering: ClusterSettings
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the family names of each pair's first and second gene, and the distance within a family.

    Args:
        table: Pairs as `_tables` returns them.
        first: `(n_pairs, n_components)`, point of each pair's first gene.
        second: `(n_pairs, n_components)`, point of its second gene.
        clustering: Settings of families.
    """
    # A gene is known by its genome and its index; gene ids are unique within a genome only.
    keys = np.concatenate(
        [(table["genome_id"] + "\t" + table[f"index_{side}"].astype(str)).to_numpy(str) for side in (1, 2)]
    )
    points = np.concatenate([first, second])
    # Each gene once, in the order of its first pair: genes of strong pairs become representatives.
    _, first_rows = np.unique(keys, return_index=True)
    order = np.sort(first_rows)
    genes = points[order]
    distance = clustering.family_distance
    if distance is None:
        rng = np.random.default_rng(clustering.seed)
        sample = np.sort(rng.permutation(len(genes))[:MAX_KNEE])
        distance = max(knee(k_distances(np.ascontiguousarray(genes[sample])[None], 1)), MIN_EPS)
    labels = dict(zip(keys[order].tolist(), gene_families(genes, distance).tolist(), strict=True))
    # Padded with zeros, so that names sort as numbers do.
    width = len(str(max(labels.values())))
    names = np.array([f"F{labels[key]:0{width}d}" for key in keys.tolist()])
    return names[: len(table)], names[len(table) :], float(distance)


def _family_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per family: its sizes, most common annotation and classes."""
    columns = ["genome_id", "class"]
    sides = [
        table[[*columns, f"family_{side}", f"gene_{side}", f"annotation_{side}"]].set_axis(
            [*columns, "family", "gene", "annotation"], axis=1
        )
        for side in (1, 2)
    ]
    genes = pd.concat(sides)
    n_pairs = genes["family"].value_counts()
    genes = genes.drop_duplicates(["genome_id", "gene"])
    rows = []
    for family, members in genes.groupby("family", sort=True):
        rows.append(
            {
                "family": family,
                "n_genes": len(members),
                "n_genomes": members["genome_id"].nunique(),
                "n_pairs": int(n_pairs[family]),
                "annotation": _most_common(members["annotation"], 1),
                "classes": _counts(members.drop_duplicates("genome_id")["class"]),
            }
        )
    return pd.DataFrame(rows)


def _most_common(values: pd.Series, n: int) -> str:
    """Return the `n` most common values that are not empty, joined by semicolons."""
    return "; ".join(name for name, _ in Counter(value for value in values if value).most_common(n))


def _counts(values: pd.Series) -> str:
    """Return each value with its count, the most common first, joined by semicolons."""
    counts = Counter(values)
    return "; ".join(f"{name} {n}" for name, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _coherence(
    orientations: np.ndarray, labels: np.ndarray, clustering: ClusterSettings, check: Callable[[], None]
) -> dict[int, tuple[float, float, float]]:
    """Compare each cluster with random pairs of the same genes' background.

    Args:
        orientations: `(2, n_pairs, 2 * size)`.
        labels: `(n_pairs,)`, cluster of each pair.
        clustering: Settings of the draws.
        check: Called after each cluster.

    Returns:
        By cluster: the mean distance of its pairs, the mean distance of as many shuffled pairs, and the permutation
        p-value: how often shuffled pairs are at least as close.
    """
    rng = np.random.default_rng([clustering.seed, 1])
    size, n_pairs = orientations.shape[2] // 2, orientations.shape[1]
    coherence = {}
    for cluster in range(labels.max() + 1 if len(labels) else 0):
        rows = np.flatnonzero(labels == cluster)
        rows = np.sort(rng.permutation(rows)[:MAX_COHERENCE])
        within = _mean_distance(orientations[0, rows], orientations[1, rows])
        shuffled = []
        for _ in range(clustering.n_shuffles):
            # Both genes of a shuffled pair are real, but drawn from different pairs.
            first = orientations[0, rng.choice(n_pairs, len(rows)), :size]
            second = orientations[0, rng.choice(n_pairs, len(rows)), size:]
            shuffled.append(_mean_distance(*pair_vectors(first, second)))
        # One is added to both counts, since the observed value is one of the permutations.
        p = (1 + sum(value <= within for value in shuffled)) / (1 + len(shuffled))
        coherence[cluster] = (within, float(np.mean(shuffled)), p)
        check()
    return coherence


def _mean_distance(pairs: np.ndarray, reversed_pairs: np.ndarray) -> float:
    """Return the mean distance between pairs, given in both orientations `(n_pairs, 2 * size)`; 0 of a single pair."""
    squares = (pairs**2).sum(1)
    nearest = np.minimum(
        *(squares[:, None] + squares[None] - 2 * pairs @ others.T for others in (pairs, reversed_pairs))
    )
    above = np.triu_indices(len(pairs), 1)
    return float(np.sqrt(nearest[above].clip(min=0)).mean()) if len(above[0]) else 0.0


def _enrichment(
    table: pd.DataFrame, genome_table: pd.DataFrame, genomes: EmbeddedGenomes, check: Callable[[], None]
) -> tuple[pd.DataFrame, dict[int, str]]:
    """Test clusters for classes, against all correctly classified genomes, and for functions, against all their genes.

    Returns:
        One row per cluster and term, classes first; and by cluster its most common annotations.
    """
    clustered = table[table["cluster"] >= 0]
    # Clusters of each gene, by genome and gene id.
    clusters_of: dict[str, dict[str, set[int]]] = {}
    for row in clustered.itertuples():
        for gene in (row.gene_1, row.gene_2):
            clusters_of.setdefault(row.genome_id, {}).setdefault(gene, set()).add(int(row.cluster))
    background: Counter[tuple[str, str]] = Counter()
    members: dict[int, list[list[tuple[str, str]]]] = {}
    n_genes = 0
    correct = genome_table[genome_table["correct"]]
    for name in correct["genome_id"]:
        genes = genomes.gene_table(name)
        n_genes += len(genes)
        clustered_genes = clusters_of.get(name, {})
        for gene, text in zip(genes["gene_id"], genes["annotations"], strict=True):
            terms = annotation_terms(json.loads(text)) if text else []
            background.update(terms)
            for cluster in clustered_genes.get(gene, ()):
                members.setdefault(cluster, []).append(terms)
        check()
    functions = enrich(members, background, n_genes)
    class_background = Counter(("class", name) for name in correct["class"])
    class_members = {
        int(cluster): [[("class", name)] for name in rows.drop_duplicates("genome_id")["class"]]
        for cluster, rows in clustered.groupby("cluster")
    }
    classes = enrich(class_members, class_background, len(correct))
    common = {
        int(cluster): _most_common(pd.concat([rows["annotation_1"], rows["annotation_2"]]), 3)
        for cluster, rows in clustered.groupby("cluster")
    }
    return pd.concat([classes, functions], ignore_index=True), common


def _cluster_table(
    table: pd.DataFrame,
    metadata: pd.DataFrame,
    taxon: str | None,
    coherence: dict[int, tuple[float, float, float]],
    common: dict[int, str],
    method: str,
) -> pd.DataFrame:
    """Return one row per cluster.

    Args:
        table: All pairs, with their clusters.
        metadata: Metadata by genome id.
        taxon: Its column with taxa, if any.
        coherence: What `_coherence` returned.
        common: Most common annotations by cluster.
        method: Column with the scores that ranked the pairs.
    """
    rows = []
    for number, members in table[table["cluster"] >= 0].groupby("cluster"):
        cluster_genomes = members.drop_duplicates("genome_id")
        within, shuffled, p = coherence[int(number)]
        taxa = [] if taxon is None else metadata.loc[cluster_genomes["genome_id"], taxon].tolist()
        rows.append(
            {
                "cluster": int(number),
                "n_pairs": len(members),
                "n_genomes": len(cluster_genomes),
                "n_taxa": len(set(taxa)) if taxon is not None else np.nan,
                "n_classes": cluster_genomes["class"].nunique(),
                "classes": _counts(cluster_genomes["class"]),
                "taxa": _counts(pd.Series(taxa, dtype=str)) if taxa else "",
                "score": float(members[method].mean()),
                "mean_distance": within,
                "mean_distance_shuffled": shuffled,
                "p_coherence": p,
                "common_annotations": common[int(number)],
            }
        )
    columns = ["cluster", "n_pairs", "n_genomes", "n_taxa", "n_classes", "classes", "taxa", "score", "mean_distance"]
    columns += ["mean_distance_shuffled", "p_coherence", "common_annotations"]
    return pd.DataFrame(rows, columns=columns)


__all__ = ["ClusterSettings", "Collected", "collect"]
