"""Genomes of a few tens of kilobases with genes in them."""

from __future__ import annotations

import numpy as np
import pytest

CODONS = "GCT GGT CTG AAA GAA GAC ATC GTT CGT CCG TCT ACC AAC CAG TTC TAC CAC ATG".split()


def random_gene(rng, n_codons=200):
    return "ATG" + "".join(rng.choice(CODONS, n_codons)) + "TAA"


def random_contig(rng, n_genes=40):
    """Genes on both strands with ribosome binding sites before them."""
    parts = []
    for _ in range(n_genes):
        gene = "TTAGGAGGATTAACA" + random_gene(rng, int(rng.integers(80, 260)))
        parts.append(gene if rng.random() < 0.6 else reverse(gene))
        parts.append("".join(rng.choice(list("ACGT"), int(rng.integers(20, 90)))))
    return "".join(parts)


def reverse(bases):
    return bases[::-1].translate(str.maketrans("ACGT", "TGCA"))


@pytest.fixture(scope="session")
def contigs():
    """Two contigs of some 25 kb each."""
    rng = np.random.default_rng(0)
    return {"one": random_contig(rng), "two": random_contig(rng)}


@pytest.fixture(scope="session")
def genome_file(contigs, tmp_path_factory):
    path = tmp_path_factory.mktemp("genome") / "strain_1.v2.fna"
    path.write_text("".join(f">{name} of a strain\n{bases}\n" for name, bases in contigs.items()))
    return path
