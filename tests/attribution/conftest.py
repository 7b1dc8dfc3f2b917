"""Small genomes, embedded, and a model of random weights."""

from __future__ import annotations

import pytest

from biomeformer import GenomeTransformerProcessor
from biomeformer.genomes.catalog import read_catalog
from biomeformer.genomes.embedding import EmbeddedGenomes, embed_genomes
from biomeformer.genomes.proteins import load_protein_encoder
from factories import random_genome_transformer, tiny_esm, write_protein_genomes


@pytest.fixture(scope="session")
def embedded(tmp_path_factory) -> EmbeddedGenomes:
    """Twelve genomes of 40 genes."""
    folder = tmp_path_factory.mktemp("attributed")
    encoder = load_protein_encoder(tiny_esm(folder / "esm"))
    catalog = read_catalog(write_protein_genomes(folder, 12))
    embed_genomes(encoder, catalog, folder / "out").raise_for_failures()
    return EmbeddedGenomes.read(folder / "out")


@pytest.fixture(scope="session")
def model(embedded):
    """A model that reads their vectors."""
    found = random_genome_transformer()
    digest = embedded.preprocessing["weights_sha256"]
    found.processor = GenomeTransformerProcessor(protein_size=24, max_genes=60, protein_encoder_sha256=digest)
    return found
