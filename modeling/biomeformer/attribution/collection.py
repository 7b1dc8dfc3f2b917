"""From the pairs of each genome to clusters, families and enrichment over all of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import InputError
from ..genomes.embedding import EmbeddedGenomes
from .clusters import LEAST_EPS, GeneSpace, choose_eps, dbscan, families, k_distances, knee, pair_vectors
from .enrichment import enrich, terms_of
from .explanation import ABLATION, AttributionSettings, Explanation
from .pair_map import pair_map

MAX_KNEE = 20_000
MAX_COHERENCE = 200
Explanations = Callable[[], Iterator[tuple[str, Explanation]]]
TAXA = ("species", "genus", "family", "order", "phylum")


@dataclass(frozen=True)
class ClusterSettings:
    """What decides clusters and families.

    Attributes:
        eps: Pairs within this distance are neighbours; by default `choose_eps` on at most 20,000 pairs.
        min_samples: Neighbours that make a pair the core of a cluster, itself counted.
        family_distance: Of a gene from its family's representative at most; by default the knee of distances to the
            nearest gene.
        n_directions: Main directions of protein vectors in which distances are measured.
        n_shuffles: Draws of shuffled pairs that a cluster's coherence is set against.
        seed: Of the draws.
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
        """In values JSON can hold."""
        return asdict(self)


@dataclass(frozen=True)
class Collected:
    """Tables of a `GeneInteractionNetwork`, and figures for its record."""

    pairs: pd.DataFrame
    clusters: pd.DataFrame
    families: pd.DataFrame
    genomes: pd.DataFrame
    enrichment: pd.DataFrame
    figures: dict[str, Any]


def collect(
    found: Explanations,
    genomes: EmbeddedGenomes,
    classes: list[str],
    true_classes: dict[str, str],
    settings: AttributionSettings,
    clustering: ClusterSettings,
    check: Callable[[], None] | None = None,
) -> Collected:
    """Bring the pairs of all genomes together.

    Memory grows with the number of pairs, not of genes: vectors are read genome by genome.

    Args:
        found: Gives each genome's explanation, in an order that stays the same; called several times.
        genomes: Where vectors and annotations come from.
        classes: Names of the model's classes.
        true_classes: By genome, where they are known.
        settings: With which pairs were found.
        clustering: What decides clusters and families.
        check: Called between steps; what it raises ends the work.

    Raises:
        InputError: No genome is classified correctly.
    """
    check = check or (lambda: None)
    table, genome_rows = _tables(found, genomes, classes, true_classes, settings)
    usable = table["correct"].to_numpy(bool)
    if not usable.any():
        raise InputError(
            f"none of {len(genome_rows)} genomes is classified as its label says, so there is nothing to attribute; "
            "give a model that was trained on this label."
        )
    space = GeneSpace.fit(
        (genomes.vectors(name, np.unique(one.genes)) for name, one in found()), clustering.n_directions
    )
    check()
    places = np.concatenate([space.place(genomes.vectors(name, one.genes.ravel())) for name, one in found()])
    first, second = places[0::2], places[1::2]
    check()

    family_1, family_2, family_distance = _families(table, first, second, clustering)
    table["family_1"], table["family_2"] = family_1, family_2
    ways = pair_vectors(first[usable], second[usable])
    eps = clustering.eps
    if eps is None:
        sample = np.random.default_rng(clustering.seed).permutation(ways.shape[1])[:MAX_KNEE]
        eps = choose_eps(np.ascontiguousarray(ways[:, np.sort(sample)]), clustering.min_samples, check)
    labels = np.full(len(table), -1, np.int64)
    labels[usable], _ = dbscan(ways, eps, clustering.min_samples, check)
    table["cluster"] = labels
    table["x"], table["y"] = np.nan, np.nan
    table.loc[usable, ["x", "y"]] = pair_map(ways, clustering.seed, check)

    taxon = next((name for name in TAXA if name in genomes.metadata.columns), None)
    coherence = _coherence(ways, labels[usable], clustering, check)
    enrichment, common = _enrichment(table, genome_rows, genomes, check)
    clusters = _clusters(table, genomes.metadata, taxon, coherence, common, settings.method)
    figures = {
        "n_genomes": len(genome_rows),
        "n_correct": int(genome_rows["correct"].sum()),
        "labels_known": bool(true_classes),
        "n_pairs": len(table),
        "n_pairs_of_correct": int(usable.sum()),
        "n_clusters": len(clusters),
        "n_pairs_in_clusters": int((labels >= 0).sum()),
        "n_families": int(pd.concat([table["family_1"], table["family_2"]]).nunique()),
        "eps": float(eps),
        "family_distance": family_distance,
        "variance_kept": space.kept,
        "taxon": taxon,
    }
    return Collected(
        table.drop(columns=["correct", "place_1", "place_2"]),
        clusters,
        _family_table(table),
        genome_rows,
        enrichment,
        figures,
    )


def _tables(
    found: Explanations,
    genomes: EmbeddedGenomes,
    classes: list[str],
    true_classes: dict[str, str],
    settings: AttributionSettings,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pairs and genomes, without clusters and families."""
    pairs, rows = [], []
    for name, one in found():
        genes = genomes.gene_table(name)
        true = true_classes.get(name, "")
        predicted = classes[one.label]
        correct = not true or true == predicted
        frame = pd.DataFrame(
            {"genome_id": name, "class": predicted, "true_class": true, "correct": correct}, index=range(len(one.genes))
        )
        for side in (0, 1):
            chosen = genes.iloc[one.genes[:, side]]
            frame[f"gene_{side + 1}"] = chosen["gene_id"].to_numpy()
            frame[f"place_{side + 1}"] = one.genes[:, side]
            frame[f"contig_{side + 1}"] = chosen["contig"].to_numpy()
            frame[f"start_{side + 1}"] = chosen["start"].to_numpy()
            frame[f"annotation_{side + 1}"] = [_name(text) for text in chosen["annotations"]]
        for i, method in enumerate((*settings.methods, ABLATION)):
            frame[method] = one.scores[:, i]
        pairs.append(frame)
        row: dict[str, Any] = {"genome_id": name, "class": predicted, "true_class": true, "correct": correct}
        row |= {f"probability {label}": value for label, value in zip(classes, _softmax(one.logits), strict=True)}
        row |= {"n_genes": len(genes), "n_pseudo_genes": one.n_pseudo_genes}
        row["n_random_pair_genes"] = one.n_random_pair_genes
        row["pseudo_class"] = classes[int(one.pseudo.argmax())]
        for kind, logits in (("random_genes", one.random_genes), ("random_pairs", one.random_pairs)):
            taken = logits.argmax(1) if len(logits) else np.empty(0, np.int64)
            wanted = classes.index(true) if true in classes else one.label
            # Share of the draws from which the class is told right.
            row[f"{kind}_right"] = float((taken == wanted).mean()) if len(taken) else np.nan
        row["ablation"] = float(np.nanmean(one.scores[:, -1])) if settings.n_ablated else np.nan
        row["random_ablation"] = float(one.random_ablation.mean()) if len(one.random_ablation) else np.nan
        rows.append(row)
    return pd.concat(pairs, ignore_index=True), pd.DataFrame(rows)


def _softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits - logits.max())
    return np.asarray(shares / shares.sum())


def _name(annotations: str) -> str:
    """What to call a gene by its annotations."""
    values = json.loads(annotations) if annotations else {}
    for key in ("product", "Description", "Preferred_name", "gene", "name"):
        if values.get(key) not in (None, "", "-"):
            return str(values[key])
    return ""


def _families(
    table: pd.DataFrame, first: np.ndarray, second: np.ndarray, clustering: ClusterSettings
) -> tuple[np.ndarray, np.ndarray, float]:
    """Name of each pair's two families, and the distance within one."""
    names = np.concatenate(
        [(table["genome_id"] + "\t" + table[f"place_{side}"].astype(str)).to_numpy(str) for side in (1, 2)]
    )
    points = np.concatenate([first, second])
    # The genes of the strongest pairs are taken first.
    _, at = np.unique(names, return_index=True)
    order = np.sort(at)
    genes = points[order]
    distance = clustering.family_distance
    if distance is None:
        rng = np.random.default_rng(clustering.seed)
        sample = np.sort(rng.permutation(len(genes))[:MAX_KNEE])
        distance = max(knee(k_distances(np.ascontiguousarray(genes[sample])[None], 1)), LEAST_EPS)
    labels = dict(zip(names[order].tolist(), families(genes, distance).tolist(), strict=True))
    width = len(str(max(labels.values())))
    found = np.array([f"F{labels[name]:0{width}d}" for name in names.tolist()])
    return found[: len(table)], found[len(table) :], float(distance)


def _family_table(table: pd.DataFrame) -> pd.DataFrame:
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
    return "; ".join(name for name, _ in Counter(value for value in values if value).most_common(n))


def _counts(values: pd.Series) -> str:
    counts = Counter(values)
    return "; ".join(f"{name} {n}" for name, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _coherence(
    ways: np.ndarray, labels: np.ndarray, clustering: ClusterSettings, check: Callable[[], None]
) -> dict[int, tuple[float, float, float]]:
    """Mean distance within each cluster, of as many shuffled pairs, and how often these are as close."""
    rng = np.random.default_rng([clustering.seed, 1])
    size = ways.shape[2] // 2
    found = {}
    for cluster in range(labels.max() + 1 if len(labels) else 0):
        rows = np.flatnonzero(labels == cluster)
        rows = np.sort(rng.permutation(rows)[:MAX_COHERENCE])
        own = _mean_distance(ways[0, rows], ways[1, rows])
        shuffled = []
        for _ in range(clustering.n_shuffles):
            # First genes keep their number, second genes come from any pair.
            first = ways[0, rng.choice(ways.shape[1], len(rows)), :size]
            second = ways[0, rng.choice(ways.shape[1], len(rows)), size:]
            shuffled.append(_mean_distance(*pair_vectors(first, second)))
        p = (1 + sum(value <= own for value in shuffled)) / (1 + len(shuffled))
        found[cluster] = (own, float(np.mean(shuffled)), p)
        check()
    return found


def _mean_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Of pairs of pairs, each by the better of both ways."""
    squares = (one**2).sum(1)
    nearest = np.minimum(*(squares[:, None] + squares[None] - 2 * one @ way.T for way in (one, other)))
    above = np.triu_indices(len(one), 1)
    return float(np.sqrt(nearest[above].clip(min=0)).mean()) if len(above[0]) else 0.0


def _enrichment(
    table: pd.DataFrame, genome_rows: pd.DataFrame, genomes: EmbeddedGenomes, check: Callable[[], None]
) -> tuple[pd.DataFrame, dict[int, str]]:
    """Functions against all genes of the genomes, classes against all genomes; and common names."""
    clustered = table[table["cluster"] >= 0]
    wanted: dict[str, dict[str, set[int]]] = {}
    for row in clustered.itertuples():
        for gene in (row.gene_1, row.gene_2):
            wanted.setdefault(row.genome_id, {}).setdefault(gene, set()).add(int(row.cluster))
    background: Counter[tuple[str, str]] = Counter()
    members: dict[int, list[list[tuple[str, str]]]] = {}
    n_genes = 0
    for name in genome_rows[genome_rows["correct"]]["genome_id"]:
        genes = genomes.gene_table(name)
        n_genes += len(genes)
        mine = wanted.get(name, {})
        for gene, text in zip(genes["gene_id"], genes["annotations"], strict=True):
            terms = terms_of(json.loads(text)) if text else []
            background.update(terms)
            for cluster in mine.get(gene, ()):
                members.setdefault(cluster, []).append(terms)
        check()
    functions = enrich(members, background, n_genes)
    right = genome_rows[genome_rows["correct"]]
    classes = Counter(("class", name) for name in right["class"])
    of_clusters = {
        int(number): [[("class", name)] for name in rows.drop_duplicates("genome_id")["class"]]
        for number, rows in clustered.groupby("cluster")
    }
    by_class = enrich(of_clusters, classes, len(right))
    common = {
        int(number): _most_common(pd.concat([rows["annotation_1"], rows["annotation_2"]]), 3)
        for number, rows in clustered.groupby("cluster")
    }
    return pd.concat([by_class, functions], ignore_index=True), common


def _clusters(
    table: pd.DataFrame,
    metadata: pd.DataFrame,
    taxon: str | None,
    coherence: dict[int, tuple[float, float, float]],
    common: dict[int, str],
    method: str,
) -> pd.DataFrame:
    rows = []
    for number, members in table[table["cluster"] >= 0].groupby("cluster"):
        own = members.drop_duplicates("genome_id")
        within, shuffled, p = coherence[int(number)]
        taxa = [] if taxon is None else metadata.loc[own["genome_id"], taxon].tolist()
        rows.append(
            {
                "cluster": int(number),
                "n_pairs": len(members),
                "n_genomes": len(own),
                "n_taxa": len(set(taxa)) if taxon is not None else np.nan,
                "n_classes": own["class"].nunique(),
                "classes": _counts(own["class"]),
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
