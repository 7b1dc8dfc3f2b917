"""A genome model's own protein encoder, by Hub id: from the cache of the real client, at the model's revision."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from transformers import EsmModel, pipeline
from typer.testing import CliRunner

from biomeformer import GenomeTransformerForSequenceClassification, GenomeTransformerProcessor
from biomeformer.checkpoints.esm2 import esm_tokenizer
from biomeformer.checkpoints.loading import load as load_checkpoint
from biomeformer.cli import app
from biomeformer.errors import CheckpointError, InputError
from biomeformer.genomes.prediction import protein_encoder_of
from biomeformer.genomes.proteins import esm_config, load_protein_encoder
from factories import random_genome_transformer, random_sequences, tiny_esm, write_fastq, write_protein_genomes

MAIN, OLD, OTHER = "a" * 40, "b" * 40, "c" * 40
SIZES = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def checkpoint(folder: Path, encoder: Path | None, named: str = "protein_encoder") -> Path:
    """A genome model whose preprocessing config names an encoder, beside which that may lie."""
    model = random_genome_transformer()
    digest = "" if encoder is None else load_protein_encoder(encoder).weights_sha256
    model.processor = GenomeTransformerProcessor(named, digest, protein_size=24, max_genes=60)
    model.save_pretrained(folder)
    if encoder is not None and named == "protein_encoder":
        shutil.copytree(encoder, folder / named)
    return folder


def cached(cache: Path, repo: str, commits: dict[str, Path], **refs: str) -> Path:
    """A repository in the Hub's cache as the client leaves it."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    for commit, files in commits.items():
        shutil.copytree(files, folder / "snapshots" / commit)
    for name, commit in refs.items():
        (folder / "refs" / name).write_text(commit)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    write_protein_genomes(folder, 2)
    torch.manual_seed(5)
    EsmModel(esm_config(**SIZES), add_pooling_layer=False).save_pretrained(folder / "old_esm")
    checkpoint(folder / "new", tiny_esm(folder / "esm"))
    checkpoint(folder / "old", folder / "old_esm")
    checkpoint(folder / "by_id", folder / "esm", "lab/esm")
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache in the place of the user's."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def load(name, **options):
    return GenomeTransformerForSequenceClassification.from_pretrained(name, **options)


def test_comes_from_the_models_repository(place, cache):
    cached(cache, "lab/x", {MAIN: place / "new"}, main=MAIN)
    model, genome = load("lab/x"), place / "g0.faa"
    assert model.predict(genome) == load(place / "new").predict(genome)
    encoder = protein_encoder_of(model)
    assert encoder.name == "lab/x/protein_encoder"
    assert encoder.weights_sha256 == load_protein_encoder(place / "esm").weights_sha256
    # Kept with the model: the repository is not asked again.
    shutil.rmtree(cache)
    assert protein_encoder_of(model) is encoder and model.predict(genome)


@pytest.mark.parametrize("revision", ["v1", OLD])
def test_at_the_models_revision(place, cache, revision):
    cached(cache, "lab/x", {MAIN: place / "new", OLD: place / "old"}, main=MAIN, v1=OLD)
    genome = place / "g0.faa"
    old, new = load("lab/x", revision=revision), load("lab/x")
    expected = {"old": load(place / "old").predict(genome), "new": load(place / "new").predict(genome)}
    assert expected["old"] != expected["new"]
    assert old.predict(genome) == expected["old"] and new.predict(genome) == expected["new"]
    assert old.config._commit_hash == OLD and new.config._commit_hash == MAIN


def test_main_has_moved_since_the_model_was_loaded(place, cache):
    folder = cached(cache, "lab/x", {OLD: place / "old"}, main=OLD)
    model = load("lab/x")
    shutil.copytree(place / "new", folder / "snapshots" / MAIN)
    (folder / "refs" / "main").write_text(MAIN)
    assert model.predict(place / "g0.faa") == load(place / "old").predict(place / "g0.faa")


def test_another_encoder_is_refused(place, cache):
    folder = cached(cache, "lab/x", {MAIN: place / "new"}, main=MAIN)
    shutil.rmtree(folder / "snapshots" / MAIN / "protein_encoder")
    shutil.copytree(place / "old_esm", folder / "snapshots" / MAIN / "protein_encoder")
    with pytest.raises(
        CheckpointError, match=r"'lab/x/protein_encoder' has weights .* give the encoder it was trained"
    ):
        load("lab/x").predict(place / "g0.faa")


def test_an_encoder_that_is_not_there(place, cache, tmp_path):
    folder = cached(cache, "lab/x", {MAIN: place / "new"}, main=MAIN)
    shutil.rmtree(folder / "snapshots" / MAIN / "protein_encoder")
    with pytest.raises(
        CheckpointError, match=r"'lab/x/protein_encoder': it is no folder here .* the Hub and its cache gave"
    ):
        load("lab/x").predict(place / "g0.faa")
    local = shutil.copytree(place / "new", tmp_path / "model")
    shutil.rmtree(local / "protein_encoder")
    with pytest.raises(CheckpointError, match="should lie beside its weights, in protein_encoder/, and is not there"):
        load(local).predict(place / "g0.faa")
    with pytest.raises(InputError, match="the model has no processor"):
        random_genome_transformer().predict(place / "g0.faa")


def test_an_encoder_under_another_id(place, cache):
    """As the preprocessing config names it, at the main revision of its own repository."""
    cached(cache, "lab/esm", {OTHER: place / "esm"}, main=OTHER)
    cached(cache, "lab/x", {MAIN: place / "by_id", OLD: place / "by_id"}, main=MAIN, v1=OLD)
    expected = load(place / "new").predict(place / "g0.faa")
    model = load("lab/x", revision="v1")
    assert model.predict(place / "g0.faa") == expected and protein_encoder_of(model).name == "lab/esm"
    assert load(place / "by_id").predict(place / "g0.faa") == expected


def test_pipeline_takes_the_protein_encoder_of_the_models_revision(place, tmp_path):
    """Which also knows the cache that the model came from."""
    cached(tmp_path, "lab/x", {MAIN: place / "new", OLD: place / "old"}, main=MAIN, v1=OLD)
    options = {"model": "lab/x", "model_kwargs": {"cache_dir": str(tmp_path)}}
    for revision, folder in (("v1", "old"), (None, "new")):
        classify = pipeline("genome-classification", revision=revision, **options)
        expected = load(place / folder).predict(place / "g0.faa")
        assert {one["label"]: one["score"] for one in classify(place / "g0.faa")} == expected
        assert not Path(classify.model.name_or_path).exists()
    shutil.rmtree(tmp_path / "models--lab--x" / "snapshots" / MAIN / "protein_encoder")
    with pytest.raises(CheckpointError, match="'lab/x/protein_encoder': it is no folder here"):
        pipeline("genome-classification", **options)
    model = load("lab/x", revision="v1", cache_dir=tmp_path)
    assert model.predict(place / "g0.faa") == load(place / "old").predict(place / "g0.faa")


def test_default_pipeline_and_what_it_refuses(place, tmp_path):
    classify = pipeline("genome-classification", top_k=1)
    named = load("genome-transformer-mini").predict(place / "g0.faa")
    (found,) = classify(place / "g0.faa")
    assert found["label"] == max(named, key=named.get) and found["score"] == named[found["label"]]
    assert classify([]) == []
    for wrong in ((), ("a", "b"), 3):
        with pytest.raises(InputError, match="is no genome; give the path"):
            classify(wrong)
    for options, words in (({"top_k": 0}, "top_k is 0"), ({"batch_size": 2}, "batch_size is 2")):
        with pytest.raises(InputError, match=words):
            classify(place / "g0.faa", **options)
    random_genome_transformer().genome_transformer.save_pretrained(tmp_path / "base")
    with pytest.raises(CheckpointError, match="base holds no classifier of genomes"):
        pipeline("genome-classification", model=str(tmp_path / "base"))


@pytest.mark.parametrize("name", ["lab/esm", "lab/x", "lab/x/protein_encoder"])
def test_load_protein_encoder_by_id(place, cache, name):
    cached(cache, "lab/esm", {OTHER: place / "esm", OLD: place / "old_esm"}, main=OTHER, v1=OLD)
    cached(cache, "lab/x", {MAIN: place / "new", OLD: place / "old"}, main=MAIN, v1=OLD)
    for options, folder in (({}, "esm"), ({"revision": "v1"}, "old_esm"), ({"revision": OLD}, "old_esm")):
        found, expected = load_protein_encoder(name, **options), load_protein_encoder(place / folder)
        assert found.weights_sha256 == expected.weights_sha256
        assert np.array_equal(found.embed(["MKVLAC"]).vectors, expected.embed(["MKVLAC"]).vectors)
    # What the preprocessing config of a newly trained model names can be loaded again.
    assert load_protein_encoder(found.name).name == found.name


def test_load_protein_encoder_of_genome_models(place, tmp_path):
    shipped = load_protein_encoder("genome-transformer-mini")
    assert shipped.weights_sha256 == load("genome-transformer-mini").processor.protein_encoder_sha256
    assert Path(shipped.name).is_dir()
    with pytest.raises(CheckpointError, match="by_id is a genome model without a protein encoder of its own"):
        load_protein_encoder(place / "by_id")
    with pytest.raises(CheckpointError, match=r"'no/such/folder': it is no folder here .* the Hub and its cache gave"):
        load_protein_encoder("no/such/folder")


def test_embed_command_by_id(place, tmp_path):
    """In a fresh interpreter that finds the cache by its environment."""
    cached(tmp_path / "cache", "lab/x", {MAIN: place / "new"}, main=MAIN)
    command = ["-m", "biomeformer", "genome", "embed", place / "genomes.csv", "-e", "lab/x", "-o", tmp_path / "out"]
    environment = {"HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, *command, "--threads", "1"], env=environment, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("2 genomes, 80 genes")
    records = [path.read_text() for path in (tmp_path / "out").rglob("*.json")]
    digest = json.loads((place / "new" / "processor_config.json").read_text())["protein_encoder_sha256"]
    assert any(digest in record and "lab/x/protein_encoder" in record for record in records)


def test_a_name_of_fair_esm_is_found_in_the_cache_of_the_hub(tmp_path, place):
    cached(tmp_path, "facebook/esm2_t36_3B_UR50D", {MAIN: place / "esm"}, main=MAIN)
    encoder = load_protein_encoder("esm2_t36_3B_UR50D", cache_dir=tmp_path, local_files_only=True)
    assert encoder.name == "facebook/esm2_t36_3B_UR50D"
    assert encoder.weights_sha256 == load_protein_encoder(place / "esm").weights_sha256


def test_a_name_of_fair_esm_is_a_read_encoder_of_translated_reads(tmp_path, place, cache):
    shutil.copytree(place / "esm", tmp_path / "esm")
    esm_tokenizer(tmp_path).save_pretrained(tmp_path / "esm")
    cached(cache, "facebook/esm2_t6_8M_UR50D", {MAIN: tmp_path / "esm"}, main=MAIN)
    write_fastq(tmp_path / "a.fastq", random_sequences(40, seed=1))
    (tmp_path / "cohort.csv").write_text("sample_id,fastq\na,a.fastq\n")
    arguments = ["fit-centroids", str(tmp_path / "cohort.csv"), "--translate", "-k", "4", "--device", "cpu"]
    for encoder in ("esm2_t6_8M_UR50D", str(tmp_path / "esm")):
        output = tmp_path / f"of-{Path(encoder).name}"
        result = CliRunner().invoke(app, [*arguments, "--read-encoder", encoder, "--output", str(output)])
        assert result.exit_code == 0, result.output
    by_name, by_folder = (load_checkpoint(tmp_path / f"of-{name}") for name in ("esm2_t6_8M_UR50D", "esm"))
    torch.testing.assert_close(by_name.centroids, by_folder.centroids)
    record = json.loads((tmp_path / "of-esm2_t6_8M_UR50D" / "training_record.json").read_text())
    assert "facebook/esm2_t6_8M_UR50D" in json.dumps(record)
