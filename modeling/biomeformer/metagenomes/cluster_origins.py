"""Description of clusters by reference genomes: reads are simulated from them and assigned to centroids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd

from ..checkpoints import public_name
from ..errors import InputError
from ..models.metagenbert import MetagenBertModel
from ..reads.reference import ReferenceGenome, simulate_reads
from .cluster_descriptions import FORMAT_VERSION, ClusterDescriptions, DescriptionRecord
from .cohort import computed_by
from .read_assignment import NOT_USED, assign_reads
from .sample import require_processor

N_TOP = 3
N_TOP_FUNCTIONS = 5


def describe_by_genomes(
    model: MetagenBertModel,
    genomes: Callable[[], Iterable[ReferenceGenome]],
    ranks: Sequence[str],
    *,
    catalog_name: str = "",
    read_length: int = 150,
    reads_per_genome: int = 1000,
    proportional: bool = False,
    error_rate: float = 0.005,
    seed: int = 0,
    annotations: str | None = None,
    batch_tokens: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> ClusterDescriptions:
    """Describe each cluster by the genomes whose simulated reads are nearest to its centroid.

    Columns: `cluster`, `n_reads`, and for each rank R: `R` (the taxon with most of the cluster's reads), `R_purity`
    (its share of the cluster's reads), `R_share` (the cluster's share of its reads), `R_lift` (purity over the taxon's
    share of all reads), `R_entropy` (of the taxa of the cluster's reads, in bits) and `R_top` (the first three with
    their purity). With genes: `coding_share` (reads whose middle base lies in a gene), `function` (that of most such
    reads), `function_purity` (its share of the cluster's reads), `function_share`, `function_lift` and `function_top`.
    Reads without a named taxon or function count in the denominators. Of ties the first by name is taken.

    Args:
        model: Model with its processor, on the device to use.
        genomes: Returns the genomes anew at each call; proportional numbers of reads need two.
        ranks: Ranks of `taxa`, from the narrowest.
        catalog_name: Name of the catalog, for the record.
        read_length: Bases of a read.
        reads_per_genome: Reads per genome.
        proportional: Whether genomes give reads in proportion to their lengths, as many in all.
        error_rate: Chance that a base is replaced by a random one.
        seed: Seed of the simulation.
        annotations: Kind of annotations that the functions are, for the record; None if genes were not read.
        batch_tokens: Token budget of one pass through the encoder.
        progress: Called after each genome with the number of genomes done.

    Raises:
        InputError: An argument is out of range, two genomes share an id, there is no genome, or no read can be used.
    """
    if read_length < 1 or reads_per_genome < 1 or not 0 <= error_rate < 1:
        raise InputError(
            f"read length {read_length}, {reads_per_genome} reads per genome and error rate {error_rate} make no "
            "reads; give numbers of at least 1, and a rate from 0 to below 1."
        )
    numbers = _proportional(genomes(), reads_per_genome) if proportional else {}
    n_clusters = model.config.n_clusters
    rows: list[np.ndarray] = []
    taxa: list[dict[str, str]] = []
    coding = np.zeros(n_clusters, np.int64)
    functions: dict[str, np.ndarray] = {}
    digest = hashlib.sha256()
    n_not_used, seen = 0, set()
    for done, genome in enumerate(genomes(), 1):
        if genome.genome_id in seen:
            raise InputError(f"two genomes are called {genome.genome_id!r}; rename one.")
        seen.add(genome.genome_id)
        _digest(digest, genome, ranks)
        n_reads = numbers.get(genome.genome_id, reads_per_genome)
        batch, middles = simulate_reads(genome, n_reads, read_length, error_rate=error_rate, seed=seed)
        clusters = assign_reads(model, batch, batch_tokens)
        used = clusters != NOT_USED
        n_not_used += int((~used).sum())
        rows.append(np.bincount(clusters[used], minlength=n_clusters))
        taxa.append({rank: genome.taxa.get(rank, "") for rank in ranks})
        if annotations is not None:
            genes = genome.gene_of_bases()[middles]
            coding += np.bincount(clusters[used & (genes >= 0)], minlength=n_clusters)
            for cluster, gene in zip(clusters[used].tolist(), genes[used].tolist(), strict=True):
                if gene >= 0 and (function := genome.functions[gene]):
                    functions.setdefault(function, np.zeros(n_clusters, np.int64))[cluster] += 1
        if progress is not None:
            progress(done)
    if not rows:
        raise InputError("there is no genome to simulate reads from; give a catalog of one or more.")
    counts = np.stack(rows)
    n_of_cluster = counts.sum(0)
    if not n_of_cluster.sum():
        minimum = require_processor(model).preprocessing["min_read_length"]
        raise InputError(
            f"none of the {n_not_used:,} simulated reads of {read_length} bases can be used by the model, whose reads "
            f"have at least {minimum} bases; give longer reads."
        )
    columns: dict[str, np.ndarray] = {"cluster": np.arange(n_clusters), "n_reads": n_of_cluster}
    for rank in ranks:
        by_taxon: dict[str, np.ndarray] = {}
        for names, row in zip(taxa, counts, strict=True):
            by_taxon[names[rank]] = by_taxon.get(names[rank], 0) + row
        columns |= _top(rank, by_taxon, n_of_cluster, N_TOP)
    if annotations is not None:
        columns["coding_share"] = coding / np.where(n_of_cluster, n_of_cluster, np.nan)
        columns |= _top("function", functions, n_of_cluster, N_TOP_FUNCTIONS, with_entropy=False)
    record: DescriptionRecord = {
        "format_version": FORMAT_VERSION,
        "model": public_name(model.name_or_path),
        "revision": getattr(model.config, "_commit_hash", None),
        "weights_sha256": model.weights_sha256,
        "contract": require_processor(model).preprocessing,
        "n_clusters": n_clusters,
        "ranks": list(ranks),
        "catalog": {"name": catalog_name, "n_genomes": len(rows), "sha256": digest.hexdigest()},
        "settings": {
            "read_length": read_length,
            "reads_per_genome": reads_per_genome,
            "proportional": proportional,
            "error_rate": error_rate,
            "seed": seed,
            "annotations": annotations,
        },
        "n_reads": int(n_of_cluster.sum()),
        "n_not_used": n_not_used,
        **computed_by(model),  # type: ignore[typeddict-item]
    }
    return ClusterDescriptions(pd.DataFrame(columns), record)


def _proportional(genomes: Iterable[ReferenceGenome], reads_per_genome: int) -> dict[str, int]:
    """Return the number of reads by genome, at least one, in proportion to its length."""
    lengths = {genome.genome_id: len(genome.sequence) for genome in genomes}
    per_base = reads_per_genome * len(lengths) / max(sum(lengths.values()), 1)
    return {name: max(round(length * per_base), 1) for name, length in lengths.items()}


def _digest(digest: hashlib._Hash, genome: ReferenceGenome, ranks: Sequence[str]) -> None:
    """Add to a digest all of a genome that descriptions depend on."""
    named = [genome.genome_id, [genome.taxa.get(rank, "") for rank in ranks], len(genome.sequence), genome.functions]
    digest.update(json.dumps(named).encode())
    digest.update(genome.sequence.data)
    if genome.gene_spans is not None:
        digest.update(np.ascontiguousarray(genome.gene_spans, "<i8").data)


def _top(
    name: str, counts: dict[str, np.ndarray], n_of_cluster: np.ndarray, n_listed: int, *, with_entropy: bool = True
) -> dict[str, np.ndarray]:
    """Return the columns on the taxa, or functions, with most reads of each cluster.

    Args:
        name: Name of the rank, which columns begin with.
        counts: Reads by taxon and cluster; those without a taxon under the empty name.
        n_of_cluster: Reads of each cluster `(n_clusters,)`.
        n_listed: How many taxa are listed.
        with_entropy: Whether each read has one of the names, so that their entropy has a meaning.
    """
    names = sorted(taxon for taxon in counts if taxon)
    k = len(n_of_cluster)
    reads = np.stack([counts[taxon] for taxon in names]) if names else np.zeros((1, k), np.int64)
    texts = names or [""]
    n_of_taxon, n_in_all = reads.sum(1), n_of_cluster.sum()
    order = np.argsort(-reads, axis=0, kind="stable")
    best, clusters = order[0], np.arange(k)
    most = reads[best, clusters]
    has_any = most > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        purity = np.where(n_of_cluster > 0, most / n_of_cluster, np.nan)
        share = np.where(has_any, most / n_of_taxon[best], np.nan)
        lift = np.where(has_any, purity / (n_of_taxon[best] / n_in_all), np.nan)
    listed = []
    for cluster in clusters:
        top = [taxon for taxon in order[:n_listed, cluster] if reads[taxon, cluster]]
        parts = [f"{texts[taxon]} {100 * reads[taxon, cluster] / n_of_cluster[cluster]:.0f} %" for taxon in top]
        listed.append("; ".join(parts))
    columns = {
        name: np.array([texts[taxon] if any_ else "" for taxon, any_ in zip(best, has_any, strict=True)], object),
        f"{name}_purity": purity,
        f"{name}_share": share,
        f"{name}_lift": lift,
        f"{name}_top": np.array(listed, object),
    }
    if with_entropy:
        every = np.vstack([reads, counts.get("", np.zeros(k, np.int64))])
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = every / n_of_cluster
            bits = -np.where(every > 0, shares * np.log2(shares), 0).sum(0)
        columns[f"{name}_entropy"] = np.where(n_of_cluster > 0, np.maximum(bits, 0), np.nan)
    return columns


__all__ = ["describe_by_genomes"]
