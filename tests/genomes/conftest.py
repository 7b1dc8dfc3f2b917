"""Genomes of a few tens of kilobases with genes in them."""

from __future__ import annotations

import numpy as np
import pytest

from factories import random_contig


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
