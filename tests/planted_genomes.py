"""Two genomes of distinct composition and one of both, with genes of known function, and centroids fitted on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from biomeformer.checkpoints.loading import load
from biomeformer.inference.batching import embed_vectors
from biomeformer.metagenomes import run_kmeans
from biomeformer.models.metagenbert import MetagenBertModel
from biomeformer.reads import ReadBatch
from factories import random_gene

# Share of G and C outside of genes.
GENOMES = {"low": 0.25, "high": 0.75, "both": None}
TAXA = {"low": ("Lowella alta", "Lowella"), "high": ("Highella rara", "Highella"), "both": ("Lowella mixta", "Lowella")}
FUNCTIONS = ("transport of iron", "synthesis; of walls", "")


def _bases(rng: np.random.Generator, gc: float, n: int) -> str:
    return "".join(rng.choice(list("ACGT"), n, p=[(1 - gc) / 2, gc / 2, gc / 2, (1 - gc) / 2]))


def planted_genome(name: str) -> tuple[dict[str, str], list[tuple[str, int, int, str, str]]]:
    """Contigs, and genes: contig, first base (from 1), last base, strand, and function."""
    rng = np.random.default_rng(sorted(GENOMES).index(name))
    contigs, genes = {}, []
    for number in range(2):
        gc = GENOMES[name] if GENOMES[name] is not None else (0.25, 0.75)[number]
        text = _bases(rng, gc, 1500)
        for function in FUNCTIONS:
            gene = random_gene(rng, 500)
            genes.append((f"c{number}", len(text) + 1, len(text) + len(gene), "+", function))
            text += gene + _bases(rng, gc, 1500)
        # Reads with ambiguous bases are never cut.
        contigs[f"c{number}"] = text + "N" * 50 + _bases(rng, gc, 1500)
    return contigs, genes


def write_catalog(folder: Path) -> Path:
    """A catalog of the genomes as GFF3 with the sequence, and columns species and genus."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["genome_id,gff,species,genus"]
    for name in GENOMES:
        contigs, genes = planted_genome(name)
        lines = ["##gff-version 3"]
        for i, (contig, start, end, strand, function) in enumerate(genes):
            product = f";product={function.replace(';', '%3B')}" if function else ""
            lines.append(f"{contig}\tx\tCDS\t{start}\t{end}\t.\t{strand}\t0\tID=g{i}{product}")
        lines += ["##FASTA", *(f">{contig}\n{text}" for contig, text in contigs.items())]
        (folder / f"{name}.gff").write_text("\n".join(lines) + "\n")
        rows.append(f"{name},{name}.gff,{','.join(TAXA[name])}")
    (folder / "genomes.csv").write_text("\n".join(rows) + "\n")
    return folder / "genomes.csv"


def planted_model(n_clusters: int = 3) -> MetagenBertModel:
    """The shipped encoder with centroids fitted on reads of the genomes."""
    shipped = load("metagenbert-mini")
    rng = np.random.default_rng(5)
    contigs = [text.replace("N", "") for name in GENOMES for text in planted_genome(name)[0].values()]
    starts = [rng.integers(0, len(text) - 150, 60) for text in contigs]
    reads = [text[i : i + 150] for text, row in zip(contigs, starts, strict=True) for i in row]
    vectors, _ = embed_vectors(shipped, shipped.processor, ReadBatch.from_strings(reads))
    centroids = run_kmeans(vectors, n_clusters, spherical=True).centroids
    return MetagenBertModel.from_encoder_and_centroids(
        shipped.encoder, centroids, processor=shipped.processor, normalize_embeddings=True
    )
