"""Genomes of a few kilobases."""

import csv

import numpy as np
import pytest


@pytest.fixture(scope="session")
def genomes(tmp_path_factory):
    """Six genomes of two contigs, each with a base composition of its own."""
    folder = tmp_path_factory.mktemp("genomes")
    rng = np.random.default_rng(0)
    rows = []
    for i in range(6):
        composition = rng.dirichlet([4] * 4)
        contigs = ["".join(rng.choice(list("ACGT"), 3000, p=composition)) for _ in range(2)]
        (folder / f"g{i}.fna").write_text("".join(f">c{j}\n{c}\n" for j, c in enumerate(contigs)))
        rows.append({"genome_id": f"g{i}", "species": f"G{i} s", "genus": f"G{i}", "file": f"g{i}.fna"})
    with (folder / "genomes.tsv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
    return folder
