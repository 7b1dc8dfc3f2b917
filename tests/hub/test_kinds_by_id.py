"""Genome models, classifiers of sequences, and models that bring their code, loaded by id over HTTP."""

import gzip
import shutil
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from biomeformer import GenomeTransformerForSequenceClassification, MetagenBertModel, SequenceClassifier
from biomeformer.checkpoints import resolve_checkpoint
from biomeformer.errors import InputError
from biomeformer.hub.contents import model_contents
from biomeformer.hub.entry import write_entry
from biomeformer.hub.generated import write_generated
from biomeformer.hub.manifest import load_entry
from biomeformer.hub.remote_code import export_remote_code
from biomeformer.phenotypes import FeatureTable, PhenotypePredictor
from factories import random_contig, random_sequences, tiny_metagenbert
from hub_factories import fill_in, predictor_checkpoint, sequence_checkpoint, small_table

# An editable install is not seen by an interpreter that reads no .pth files, so this one has not got the package.
WITHOUT_PACKAGE = """
import importlib.util, sys
sys.path.extend(sys.argv[2].split(":"))
assert importlib.util.find_spec("biomeformer") is None
import torch
from transformers import AutoModel, AutoProcessor
torch.set_num_threads(1)
model = AutoModel.from_pretrained("lab/x", trust_remote_code=True)
processor = AutoProcessor.from_pretrained("lab/x", trust_remote_code=True)
with torch.no_grad():
    found = model(**processor(sys.argv[1].split()))
assert type(model).__module__.startswith("transformers_modules.")
print("clusters", *found.cluster_ids.tolist())
"""


def published(hub, folder, repo_id):
    """Put a folder's files into a repository, as publishing would."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "card.toml"]
    return hub.commit(repo_id, {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths})


def use_genome_model(name, genome):
    from transformers import pipeline

    from biomeformer import GenomeTransformerForSequenceClassification

    model = GenomeTransformerForSequenceClassification.from_pretrained(name)
    by_pipeline = pipeline("genome-classification", model=name)(genome)
    return model.predict(genome), {one["label"]: one["score"] for one in by_pipeline}, model.config._commit_hash


def use_classifier(name, sequences, revision):
    from biomeformer import SequenceClassifier

    return SequenceClassifier.load(name, revision=revision).predict(sequences)


def test_a_genome_model_with_its_protein_encoder(hub, hub_process, tmp_path):
    folder = Path(resolve_checkpoint("genome-transformer-mini"))
    commit = published(hub, folder, "lab/genomes")
    genome = tmp_path / "genome.fna.gz"
    with gzip.open(genome, "wt") as handle:
        handle.write(f">c\n{random_contig(np.random.default_rng(0))}\n")
    expected = GenomeTransformerForSequenceClassification.from_pretrained(folder).predict(genome)
    found = hub_process(use_genome_model, "lab/genomes", genome)
    assert found.check() == (expected, expected, commit)
    again = hub_process(use_genome_model, "lab/genomes", genome, cache=found.cache, offline=True)
    assert again.check() == found.value


def test_a_classifier_of_sequences(hub, hub_process, tmp_path):
    folder = sequence_checkpoint(tmp_path / "enhancers")
    write_entry(folder, "lab/enhancers", "cc-by-4.0")
    fill_in(folder)
    write_generated(folder, load_entry(folder))
    first = published(hub, folder, "lab/enhancers")
    sequences = random_sequences(5)
    expected = SequenceClassifier.load(folder).predict(sequences)
    assert np.array_equal(hub_process(use_classifier, "lab/enhancers", sequences, first).check(), expected)
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    hub.commit("lab/enhancers", {"model.safetensors": bytes(weights)})
    found = hub_process(use_classifier, "lab/enhancers", sequences, None)
    assert found.error.startswith("CheckpointError") and "is not the file that SHA256SUMS" in found.error


def use_predictor(name, table, metadata, revision=None):
    from biomeformer.phenotypes import PhenotypePredictor

    predictor = PhenotypePredictor.from_pretrained(name, revision=revision)
    return predictor.predict({"vectors": table}, metadata).frame, predictor.revision, predictor.needs


@pytest.mark.usefixtures("forked_load_check")
def test_a_predictor_of_vectors_and_covariates_is_published_and_predicts_by_its_id(hub, hub_process, tmp_path):
    folder = predictor_checkpoint(tmp_path / "model")
    write_entry(folder, "lab/disease", "cc-by-4.0")
    fill_in(folder)
    (folder / "notes.txt").write_text("mine")
    write_generated(folder, load_entry(folder))
    with pytest.raises(InputError, match=r"notes.txt is not named by the manifest"):
        model_contents(folder)
    (folder / "notes.txt").unlink()
    contents = model_contents(folder)
    assert set(contents.files) == {"README.md", "SHA256SUMS", "config.json", "estimator.skops", "training_record.json"}
    card = (folder / "README.md").read_text()
    assert (
        "| Needs covariates | age (a number) |" in card and "| Needs vectors |" in card and "gradient-boosted" in card
    )
    assert (
        "clusters of `lab/centroids`" in card and "| ROC-AUC |" in card and "PhenotypePredictor.from_pretrained" in card
    )
    commit = hub.commit("lab/disease", {name: path.read_bytes() for name, path in contents.files.items()})
    table = small_table()
    vectors = FeatureTable.from_abundance(table)
    expected = PhenotypePredictor.from_pretrained(folder).predict({"vectors": vectors}, table.metadata).frame
    found = hub_process(use_predictor, "lab/disease", vectors, table.metadata)
    frame, revision, needs = found.check()
    pd.testing.assert_frame_equal(frame, expected)
    assert revision == commit and needs == "vectors and covariates (age)"
    again = hub_process(use_predictor, "lab/disease", vectors, table.metadata, cache=found.cache, offline=True)
    pd.testing.assert_frame_equal(again.check()[0], expected)
    # What was changed on the Hub is refused, and the commit before still loads.
    content = bytearray((folder / "estimator.skops").read_bytes())
    content[len(content) // 2] ^= 1
    hub.commit("lab/disease", {"estimator.skops": bytes(content)})
    changed = hub_process(use_predictor, "lab/disease", vectors, table.metadata)
    assert (
        changed.error.startswith("CheckpointError") and "estimator.skops does not match its checksum" in changed.error
    )
    pinned = hub_process(use_predictor, "lab/disease", vectors, table.metadata, commit)
    pd.testing.assert_frame_equal(pinned.check()[0], expected)


@pytest.mark.usefixtures("forked_load_check")
def test_without_the_package(hub, hub_command, tmp_path):
    folder = tmp_path / "model"
    tiny_metagenbert().save_pretrained(folder)
    export_remote_code(folder)
    write_entry(folder, "lab/x", "cc-by-4.0")
    fill_in(folder)
    text = (folder / "card.toml").read_text()
    (folder / "card.toml").write_text("remote_code = true\n" + text)
    write_generated(folder, load_entry(folder))
    contents = model_contents(folder)
    hub.commit("lab/x", {name: path.read_bytes() for name, path in contents.files.items()})
    reads = random_sequences(12)
    model = MetagenBertModel.from_pretrained(folder)
    with torch.no_grad():
        expected = model(**model.processor(reads)).cluster_ids.tolist()
    packages = ":".join(dict.fromkeys(sysconfig.get_paths()[kind] for kind in ("purelib", "platlib")))
    code = tmp_path / "code.txt"
    code.write_text(WITHOUT_PACKAGE)
    words = [sys.executable, "-I", "-S", str(shutil.copy(code, tmp_path / "use")), " ".join(reads), packages]
    result = hub_command(words)
    assert result.exit_code == 0, result.output
    assert f"clusters {' '.join(map(str, expected))}" in result.output
