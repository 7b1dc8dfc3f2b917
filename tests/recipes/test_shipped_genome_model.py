"""The shipped genome model is what its configs make, small, and works without a network."""

import csv
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from biomeformer import GenomeTransformerForSequenceClassification
from biomeformer.checkpoints import resolve_checkpoint
from biomeformer.cli import app
from biomeformer.genomes.prediction import predict_genome, protein_encoder_of
from biomeformer.training.config import build_config, read_yaml
from factories import random_contig
from processes import ROOT, recipe

MINI = Path(resolve_checkpoint("genome-transformer-mini"))
RECORD = json.loads((MINI / "training_record.json").read_text())
ENCODER_RECORD = json.loads((MINI / "protein_encoder" / "training_record.json").read_text())
RESULTS = ROOT / "benchmarks" / "results"


@pytest.mark.parametrize(
    ("name", "record"), [("train_genome_transformer", RECORD), ("pretrain_protein_encoder", ENCODER_RECORD)]
)
def test_the_config_is_the_one_that_made_it(name, record):
    values = read_yaml(ROOT / "recipes" / "configs" / name / "mini.yaml")
    kind = recipe(name).RecipeConfig
    config = build_config(kind, values, name)
    # Fields younger than the record have their defaults.
    assert config == build_config(kind, record["config"], "record")
    assert set(record["config"]) <= set(asdict(config))


def test_it_is_small():
    assert sum(file.stat().st_size for file in MINI.rglob("*") if file.is_file()) < 24e6


def test_its_figures_are_those_of_the_benchmark():
    found = json.loads((RESULTS / "habitat.json").read_text())
    own = found["runs"]["genome-transformer-mini"]
    assert own["accuracy"] == RECORD["accuracy"] and own["config"] == RECORD["config"]
    (score,) = RECORD["scores"]
    assert found["balanced_accuracy"]["transformer: genome-transformer-mini"][0] == pytest.approx(
        score["balanced_accuracy"], abs=1e-4
    )
    assert RECORD["target"]["group_column"] == "genus" and found["n_repeats"] == 3


def test_predict_is_the_default_of_the_command(tmp_path):
    file = tmp_path / "strain.v2.fna"
    file.write_text(f">c\n{random_contig(np.random.default_rng(0))}\n")
    result = CliRunner().invoke(app, ["genome", "predict", str(file)], prog_name="biomeformer")
    assert result.exit_code == 0, result.output
    header, row = (line.split("\t") for line in result.stdout.splitlines())
    assert header == ["genome_id", "habitat", "aquatic", "host", "soil", "n_genes"] and row[0] == "strain.v2"
    model = GenomeTransformerForSequenceClassification.from_pretrained("genome-transformer-mini")
    expected = model.predict(file)
    assert [float(value) for value in row[2:5]] == pytest.approx([expected[name] for name in header[2:5]], abs=1e-5)
    encoder = protein_encoder_of(model)
    assert encoder.max_residues == model.processor.max_residues and encoder.long_proteins == "windows"


def test_it_knows_its_training_range_and_is_calibrated(tmp_path):
    model = GenomeTransformerForSequenceClassification.from_pretrained("genome-transformer-mini")
    assert model.config.temperature == RECORD["calibration"]["temperature"]
    assert RECORD["calibration"]["log_loss_calibrated"] <= RECORD["calibration"]["log_loss"]
    known = model.config.training_range
    assert known["n_genomes"] == sum(RECORD["target"]["classes"].values()) and set(known) >= {"gc", "n_genes"}
    # Real genomes of bacteria and archaea have between 400 and 13,000 genes, and 16 to 75 % GC.
    assert 300 < known["n_genes"][0] < known["n_genes"][2] < 13_000 and 0.16 < known["gc"][0] < known["gc"][2] < 0.76
    file = tmp_path / "short.fna"
    file.write_text(f">c\n{random_contig(np.random.default_rng(0))}\n")
    differences = predict_genome(model, file).differences
    assert differences is not None and any("genes" in text for text in differences)


def test_held_out_genera_were_not_trained_on():
    listed = set((ROOT / "recipes" / "configs" / "held_out_genera.txt").read_text().split())
    assert set(RECORD["held_out"]["groups"]) == set(ENCODER_RECORD["held_out_genera"]) == listed
    results = json.loads((RESULTS / "habitat.json").read_text())["held_out"]
    held_out = RECORD["held_out"]["genomes"]
    assert results["n_genomes"] == len(held_out) and not set(held_out) & set(ENCODER_RECORD["genomes"])
    own = results["balanced_accuracy"]["transformer: genome-transformer-mini"][0]
    assert own == pytest.approx(RECORD["held_out"]["balanced_accuracy"], abs=1e-3)


def test_shipped_genome_model_predicts_real_genomes(shared_data):
    """It was trained on them: what is seen here is that the whole way from a file is the trained one."""
    with (shared_data / "genomes" / "genomes.tsv").open() as handle:
        rows = sorted(csv.DictReader(handle, delimiter="\t"), key=lambda row: int(row["length_bp"]))[:3]
    model = GenomeTransformerForSequenceClassification.from_pretrained("genome-transformer-mini")
    right = 0
    for row in rows:
        found = model.predict(shared_data / "genomes" / row["file"])
        right += max(found, key=found.get) == row["habitat"]
    assert right >= 2
