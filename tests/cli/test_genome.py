"""`biomeformer genome`: from a catalog to vectors; errors in one line."""

from __future__ import annotations

import datasets
import pytest

from biomeformer.genomes.embedding import EmbeddedGenomes
from factories import tiny_esm, write_protein_genomes


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("genomes")
    tiny_esm(folder / "esm")
    write_protein_genomes(folder, 4)
    return folder


def test_embed(place, run, tmp_path):
    arguments = ["genome", "embed", place / "genomes.csv", "-e", place / "esm", "-o", tmp_path / "out"]
    result = run([*arguments, "--format", "datasets", "--threads", 1])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("4 genomes, 160 genes, 1") and "of the genes share theirs" in lines[0]
    assert lines[1].startswith("0 proteins longer than 1022 residues lost their end; left out 0 pseudogenes")
    assert lines[-1] == f"dataset  {tmp_path / 'out' / 'dataset'}"
    assert "4 genomes" in result.stderr and "4 g3: embedded" in result.stderr
    found = EmbeddedGenomes.read(tmp_path / "out")
    assert found.vectors("g2").shape == (40, 24)
    assert len(datasets.load_from_disk(tmp_path / "out" / "dataset")) == 4
    again = run([*arguments, "--threads", 1])
    assert again.exit_code == 0 and "4 were done before" in again.stderr and "embedded" not in again.stderr


def test_a_genome_that_fails(place, run, tmp_path):
    (tmp_path / "bad.faa").write_text(">a\nMK7\n")
    rows = [f"g0,{place}/g0.faa", "bad,bad.faa"]
    (tmp_path / "genomes.csv").write_text("\n".join(["genome_id,proteins", *rows]) + "\n")
    result = run(["genome", "embed", tmp_path / "genomes.csv", "-e", place / "esm", "-o", tmp_path / "out"])
    assert result.exit_code == 1 and "failed  bad: " in result.stderr and "'7' is no residue" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: 1 of 2 samples failed (bad)")


@pytest.mark.parametrize(
    ("catalog", "encoder", "fragments"),
    [
        ("none.csv", "esm", ["none.csv", "no such cohort table"]),
        ("g0.faa", "esm", ["g0.faa", "is a FASTA file", "genome_id and fasta"]),
        ("genomes.csv", "metagenbert-mini", ["model_type 'metagenbert'", "ESM-2"]),
        ("genomes.csv", "nowhere", ["nowhere", "no folder"]),
    ],
)
def test_bad_input(place, run, tmp_path, catalog, encoder, fragments):
    model = place / encoder if encoder == "esm" else encoder
    result = run(["genome", "embed", place / catalog, "-e", model, "-o", tmp_path / "out"])
    assert result.exit_code == 2, result.output
    line = result.stderr.splitlines()[-1]
    assert line.startswith("error: ") and all(fragment in line for fragment in fragments), line
    assert not (tmp_path / "out").exists()
