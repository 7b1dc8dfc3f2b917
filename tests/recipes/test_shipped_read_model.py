"""The shipped read model is what its config makes, has not seen what was held out, and beats 4-mers there."""

import csv
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from benchmarks.read_encoder_quality import HELD_OUT, as_model, four_mers, read_vectors
from recipes.pretrain_read_encoder import RecipeConfig
from sklearn.metrics import normalized_mutual_info_score

import biomeformer
from biomeformer.checkpoints import resolve_checkpoint
from biomeformer.metagenomes import run_kmeans
from biomeformer.reads import GenomeSet
from biomeformer.training.config import build_config

ROOT = Path(__file__).resolve().parents[2]
MINI = Path(resolve_checkpoint("metagenbert-mini"))
COLLECTIONS = ("genomes", "genomes2")
RECORD = json.loads((MINI / "training_record.json").read_text())


def test_the_config_is_the_one_that_made_it():
    config = RecipeConfig.from_yaml(ROOT / "recipes" / "configs" / "pretrain_read_encoder" / "mini.yaml")
    recorded = {RecipeConfig.renamed.get(name, name): value for name, value in RECORD["config"].items()}
    # Fields that the recipe has got since have their defaults.
    assert asdict(config) == asdict(build_config(RecipeConfig, recorded, "training_record.json"))
    assert (config.markers, config.centroids.marker_reads_per_genus) == (None, 0)
    assert set(RECORD["held_out_genera"]) == set(HELD_OUT.read_text().split()) and len(RECORD["held_out_genera"]) == 19
    assert RECORD["metrics"]["1 species"]["n_steps"] == config.stages[0].n_steps


def test_held_out_genomes_were_not_seen(shared_data):
    genera: dict[str, str] = {}
    for folder in COLLECTIONS:
        with (shared_data / folder / "genomes.tsv").open() as handle:
            genera |= {row["genome_id"]: row["genus"] for row in csv.DictReader(handle, delimiter="\t")}
    assert len(genera) == 218 and len(RECORD["genomes"]) == 178
    seen = {genera[genome["genome_id"]] for genome in RECORD["genomes"]}
    assert not seen & set(HELD_OUT.read_text().split())
    assert set(genera.values()) - seen == set(RECORD["held_out_genera"])


@pytest.mark.parametrize("seed", [0, 1])
def test_reads_of_unseen_genera_cluster_better_than_by_four_mers(unseen, seed):
    model = biomeformer.load("metagenbert-mini")
    models = [as_model(model.encoder, model.processor.tokenizer, spherical=True), four_mers()]
    scores = []
    for judged in models:
        vectors, species = read_vectors(judged, unseen, 100, seed)
        spherical = judged.config.normalize_embeddings
        kmeans = run_kmeans(vectors, int(species.max()) + 1, seed=seed, spherical=spherical)
        clusters = ((kmeans.centroids**2).sum(1) - 2 * vectors @ kmeans.centroids.T).argmin(1)
        scores.append(normalized_mutual_info_score(species, clusters))
    assert scores[0] > scores[1] + 0.02, scores


@pytest.fixture(scope="module")
def unseen(shared_data):
    folders = [shared_data / folder for folder in COLLECTIONS]
    genomes = GenomeSet.load(folders, set(RECORD["held_out_genera"]), only_held_out=True)
    assert len(np.unique(genomes.species)) == 37
    return genomes
