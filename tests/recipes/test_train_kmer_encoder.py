"""The k-mer encoder's recipe, on genomes of a few kilobases."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from recipes.train_kmer_encoder import RecipeConfig
from safetensors.torch import load_file

import biomeformer
from biomeformer.reads import GenomeSet

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "recipes" / "configs" / "train_kmer_encoder"


@pytest.fixture(scope="module")
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


def run(genomes, output, config=CONFIGS / "smoke.yaml"):
    command = [sys.executable, "recipes/train_kmer_encoder.py", "--config", config, "--genomes", genomes]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "modeling"), "OMP_NUM_THREADS": "1"}
    subprocess.run([*map(str, command), "--output", str(output)], check=True, cwd=ROOT, env=env, capture_output=True)
    return json.loads((output / "training_record.json").read_text())


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configs_are_valid(path):
    config = RecipeConfig.from_yaml(path)
    assert config.n_steps > 0 and config.read_length[0] >= config.k
    if config.held_out_genera:
        assert len((path.parent / config.held_out_genera).read_text().split()) == 15


def test_unknown_field_is_refused(tmp_path):
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump({"learning_rte": 1}))
    with pytest.raises(ValueError, match="unknown field learning_rte"):
        RecipeConfig.from_yaml(tmp_path / "bad.yaml")


def test_reads_come_from_their_genome_on_both_strands(genomes):
    loaded = GenomeSet.load(genomes, {"G5"})
    assert loaded.ids == ["g0", "g1", "g2", "g3", "g4"]
    which = np.array([3, 0, 3, 1, 4, 3, 0, 2] * 5)
    flat, offsets = loaded.draw(which, (30, 60), 0.0, np.random.default_rng(0))
    complement = str.maketrans("ACGT", "TGCA")
    strands = []
    for i, genome in enumerate(which):
        read = flat[offsets[i] : offsets[i + 1]].tobytes().decode()
        text = loaded.sequences[genome].tobytes().decode()
        strands.append(read in text)
        assert 30 <= len(read) <= 60 and (read in text or read.translate(complement)[::-1] in text)
    assert 5 < sum(strands) < 35
    with pytest.raises(ValueError, match="no genus Elsewhere"):
        GenomeSet.load(genomes, {"Elsewhere"})


def test_smoke_run_learns_and_repeats(genomes, tmp_path):
    first, again = run(genomes, tmp_path / "a"), run(genomes, tmp_path / "b")
    assert first["metrics"]["final_loss"] < 0.7 * first["metrics"]["first_loss"]
    assert first["metrics"]["species_accuracy"] > 2 / 6
    assert first["metrics"] == again["metrics"] and len(first["genomes"]) == 6
    weights, weights_again = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert all(torch.equal(weights[key], weights_again[key]) for key in weights)
    model = biomeformer.load(tmp_path / "a")
    assert model.config.n_clusters == 8 and model.config.normalize_embeddings
    torch.testing.assert_close(model.centroids.norm(dim=1), torch.ones(8))
