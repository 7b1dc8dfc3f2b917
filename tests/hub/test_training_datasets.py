"""Prepared sequences and embedded genomes are published with a card, and trained from by their id."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from accelerate.state import AcceleratorState

from biomeformer import prepare_sequences
from biomeformer.errors import InputError
from biomeformer.genomes.catalog import read_catalog
from biomeformer.genomes.dataset import open_genomes, write_genome_dataset
from biomeformer.genomes.embedding import EmbeddedGenomes, embed_genomes
from biomeformer.genomes.proteins import load_protein_encoder
from biomeformer.hub.contents import dataset_contents
from biomeformer.hub.entry import write_entry
from biomeformer.hub.generated import write_generated
from biomeformer.hub.manifest import load_entry
from biomeformer.io.records import DamagedFileError
from biomeformer.sequences.training_data import read_training_data
from factories import random_sequences, tiny_esm, write_protein_genomes
from hub_factories import fill_in
from processes import recipe


def carded(folder, repo_id="lab/x"):
    write_entry(folder, repo_id, "cc-by-4.0")
    fill_in(folder)
    write_generated(folder, load_entry(folder))
    return folder


@pytest.fixture
def sequences(tmp_path):
    for name, seed in (("enhancer", 1), ("other", 2)):
        bases = random_sequences(30, 60, 90, seed)
        (tmp_path / f"{name}.fa").write_text("".join(f">{name}{i}\n{s}\n" for i, s in enumerate(bases)))
    inputs = [f"{name}={tmp_path / name}.fa" for name in ("enhancer", "other")]
    prepare_sequences(inputs, tmp_path / "prepared", read_encoder=None)
    return carded(tmp_path / "prepared", "lab/enhancers")


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("genomes")
    catalog = read_catalog(write_protein_genomes(folder, 16))
    embed_genomes(load_protein_encoder(tiny_esm(folder / "esm")), catalog, folder / "out").raise_for_failures()
    return EmbeddedGenomes.read(folder / "out")


@pytest.fixture
def genomes(embedded, tmp_path):
    write_genome_dataset(embedded, tmp_path / "dataset")
    return carded(tmp_path / "dataset", "lab/genomes")


def train(name, arguments, output):
    """Run a recipe as a client of the Hub; returns its exit code and the losses of its first stage."""
    AcceleratorState._reset_state(True)
    code = recipe(name).main([*arguments, "--output", str(output), "--cpu", "--config", "smoke", "n_epochs=2"])
    with (output / "history.csv").open() as file:
        return code, [row["training_loss"] for row in csv.DictReader(file)]


def publish(folder, repo_id):
    from biomeformer.hub.publishing import plan_upload, push

    return push(plan_upload(dataset_contents(folder), repo_id)).n_sent


def test_sequences_are_published_and_trained_from_by_id(hub, hub_process, sequences, tmp_path):
    local = train("finetune_sequence_classifier", ["--data", str(sequences)], tmp_path / "local")
    assert hub_process(publish, sequences, "lab/enhancers", token="hf_ada").check() == len(
        dataset_contents(sequences).files
    )
    result = hub_process(train, "finetune_sequence_classifier", ["--data", "lab/enhancers"], tmp_path / "run")
    assert result.check() == local and local[0] == 0
    text = (sequences / "README.md").read_text()
    assert "license: cc-by-4.0" in text and "| train | 48 |" in text and "Words of whoever made it." in text


def test_genomes_are_published_and_trained_from_by_id(hub, hub_process, embedded, genomes, tmp_path):
    options = ["--target", "habitat", "--group", "genus"]
    local = train("train_genome_transformer", ["--genomes", str(embedded.folder), *options], tmp_path / "local")
    assert hub_process(publish, genomes, "lab/genomes", token="hf_ada").check() == 2
    options = ["--genomes", "lab/genomes", "--streaming", *options]
    result = hub_process(train, "train_genome_transformer", options, tmp_path / "run")
    assert result.check() == local and local[0] == 0
    text = (genomes / "README.md").read_text()
    assert "of the catalog: host, soil" in text and "float16 `(n_genes, 24)`" in text


def test_a_written_dataset_has_the_genomes_and_one_per_row_group(embedded, genomes):
    import pyarrow.parquet as pq

    (file,) = (genomes / "data").iterdir()
    assert pq.ParquetFile(file).num_row_groups == 16
    read = open_genomes(genomes)
    for name in ("g0", "g15"):
        assert np.array_equal(read.vectors(name), embedded.vectors(name))


def test_what_may_not_be_public_is_refused(sequences, genomes, embedded):
    (sequences / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"notes.txt is not named by the manifest"):
        dataset_contents(sequences)
    (sequences / "notes.txt").unlink()
    file = next((sequences / "data").iterdir())
    file.write_bytes(file.read_bytes() + b"0")
    with pytest.raises(DamagedFileError, match="does not match its checksum"):
        dataset_contents(sequences)
    (genomes / "README.md").write_text("other")
    with pytest.raises(InputError, match="is not what its files and its entry say now"):
        dataset_contents(genomes)


def test_genomes_with_a_column_about_persons_need_it_to_be_named(embedded, tmp_path):
    from dataclasses import replace

    table = embedded.genomes.assign(**{"metadata.patient": [f"p{i}" for i in range(len(embedded))]})
    write_genome_dataset(replace(embedded, genomes=table), tmp_path / "dataset")
    folder = carded(tmp_path / "dataset")
    with pytest.raises(InputError, match=r"patient: its name says 'patient'"):
        dataset_contents(folder)
    entry = folder / "card.toml"
    entry.write_text('personal_columns = ["patient"]\n' + entry.read_text())
    write_generated(folder, load_entry(folder))
    assert len(dataset_contents(folder).files) == 2


def test_labels_of_several_per_sequence_are_found_by_id(hub, hub_process, tmp_path):
    rows = [f"{s},{'a;b' if i % 3 == 0 else 'ab'[i % 2]}" for i, s in enumerate(random_sequences(40, 50, 60, 3))]
    (tmp_path / "labels.csv").write_text("sequence,label\n" + "\n".join(rows) + "\n")
    from biomeformer.sequences import PreparationSettings

    settings = PreparationSettings(task="multi_label")
    prepare_sequences([str(tmp_path / "labels.csv")], tmp_path / "prepared", settings, read_encoder=None)
    folder = carded(tmp_path / "prepared", "lab/labels")
    hub_process(publish, folder, "lab/labels", token="hf_ada").check()
    assert hub_process(label_names, "lab/labels").check() == ("a", "b")


def label_names(name):
    return read_training_data(name).label_names
