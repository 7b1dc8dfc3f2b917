"""Runs over genomes: resumable, on several processes, and what they come to."""

from __future__ import annotations

import json
import signal
import time

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch

from biomeformer import GenomeTransformerForSequenceClassification, GenomeTransformerProcessor
from biomeformer.attribution import (
    AttributionSettings,
    ClusterSettings,
    GeneInteractionNetwork,
    attribute,
    explain_genome,
)
from biomeformer.attribution.network import FILES
from biomeformer.attribution.pseudo_examples import pseudo_table
from biomeformer.errors import CheckpointError, InputError, TableError
from biomeformer.genomes.embedding import EmbeddedGenomes
from biomeformer.runs.control import CallbackObserver
from biomeformer.runs.process_group import ProcessGroup
from factories import random_genome_transformer
from processes import Job

SETTINGS = AttributionSettings(top=20, n_ablated=4, n_controls=2)
CLUSTERING = ClusterSettings(min_samples=3, n_shuffles=20)


@pytest.fixture(scope="module")
def folder(embedded, model, tmp_path_factory):
    place = tmp_path_factory.mktemp("single") / "out"
    attribute(model, embedded, place, settings=SETTINGS, clustering=CLUSTERING)
    return place


@pytest.fixture(scope="module")
def network(folder):
    return GeneInteractionNetwork.load(folder)


@pytest.fixture(scope="module")
def model_dir(model, tmp_path_factory):
    place = tmp_path_factory.mktemp("model")
    model.save_pretrained(place)
    return place


def run_job(model_dir, genomes, folder):
    with ProcessGroup.from_environment(60) as processes:
        model = GenomeTransformerForSequenceClassification.from_pretrained(model_dir).eval()
        options = {"settings": SETTINGS, "clustering": CLUSTERING, "processes": processes}
        attribute(model, EmbeddedGenomes.read(genomes), folder, **options)
    return 0


def same(a, b):
    for name in FILES:
        # Attention is made by other kernels on other threads.
        pd.testing.assert_frame_equal(
            getattr(GeneInteractionNetwork.load(a), name), getattr(GeneInteractionNetwork.load(b), name), rtol=1e-4
        )


def test_pairs_are_those_of_each_genome(network, embedded, model):
    assert network.pairs["genome_id"].value_counts().to_dict() == dict.fromkeys(map(str, embedded.genomes.index), 20)
    for name in ("g0", "g7"):
        own = network.pairs[network.pairs["genome_id"] == name]
        found = explain_genome(model, embedded.vectors(name), embedded.contig_ids(name), SETTINGS)
        genes = embedded.gene_table(name)["gene_id"].to_numpy()
        assert own[["gene_1", "gene_2"]].to_numpy().tolist() == genes[found.genes].tolist()
        np.testing.assert_allclose(own["attention"], found.scores[:, 0], rtol=1e-5)
        np.testing.assert_allclose(own["ablation"], found.scores[:, 3], rtol=1e-4, atol=1e-6)
        row = network.genomes.set_index("genome_id").loc[name]
        assert row["class"] == model.config.id2label[found.label] and row["n_pseudo_genes"] == found.n_pseudo_genes
        assert row["true_class"] == embedded.metadata.loc[name, "habitat"]
        assert row["correct"] == (row["class"] == row["true_class"])
    figures = network.record["figures"]
    assert figures["n_pairs"] == 240 and figures["labels_known"] and figures["taxon"] == "genus"
    assert figures["n_correct"] == network.genomes["correct"].sum() > 0


def test_clusters_are_of_genomes_told_right(network):
    clustered = network.pairs[network.pairs["cluster"] >= 0]
    assert len(clustered) and (clustered["class"] == clustered["true_class"]).all()
    assert clustered["cluster"].value_counts().sort_index().tolist() == network.clusters["n_pairs"].tolist()
    assert network.clusters["n_genomes"].tolist() == clustered.groupby("cluster")["genome_id"].nunique().tolist()
    assert ((network.clusters["p_coherence"] > 0) & (network.clusters["p_coherence"] <= 1)).all()
    assert np.isfinite(network.pairs.loc[clustered.index, ["x", "y"]]).all().all()


def test_equal_proteins_are_one_family(network, embedded):
    keys = {
        (name, gene): key
        for name in map(str, embedded.genomes.index)
        for gene, key in embedded.gene_table(name)[["gene_id", "key"]].itertuples(index=False)
    }
    families = {}
    for side in (1, 2):
        for row in network.pairs[["genome_id", f"gene_{side}", f"family_{side}"]].itertuples(index=False):
            families.setdefault(keys[row[0], row[1]], set()).add(row[2])
    assert all(len(names) == 1 for names in families.values()) and len(families) > 20
    assert network.families["n_genes"].is_monotonic_decreasing
    assert set(network.families["family"]) == set.union(*families.values())


def test_networks_of_families_and_genes_count_the_pairs(network):
    whole = network.to_networkx()
    assert isinstance(whole, nx.Graph) and nx.number_of_selfloops(whole) == 0
    pairs = network.pairs[network.pairs["family_1"] != network.pairs["family_2"]]
    assert sum(data["n_pairs"] for _, _, data in whole.edges(data=True)) == len(pairs)
    first, second, data = next(iter(whole.edges(data=True)))
    rows = pairs[
        ((pairs["family_1"] == first) & (pairs["family_2"] == second))
        | ((pairs["family_1"] == second) & (pairs["family_2"] == first))
    ]
    assert data["n_genomes"] == rows["genome_id"].nunique()
    assert data["score"] == pytest.approx(rows["attention"].mean())
    assert all(name in data["provenance"] for name in rows["genome_id"])
    by_class = rows.drop_duplicates("genome_id")["class"].value_counts().to_dict()
    assert {key.removeprefix("class "): n for key, n in data.items() if key.startswith("class ")} == by_class
    genes = network.to_networkx(level="gene", genome="g0")
    assert set(genes) == {f"g0|{gene}" for side in (1, 2) for gene in network.select(genome="g0")[f"gene_{side}"]}
    assert genes.number_of_edges() == 20 and {d["n_genomes"] for _, d in genes.nodes(data=True)} == {1}
    one = network.to_networkx(cluster=0)
    assert {data["cluster"] for _, _, data in one.edges(data=True)} == {0}
    hubs = network.hubs(3)
    assert hubs["degree"].tolist() == sorted((d for _, d in whole.degree()), reverse=True)[:3]
    with pytest.raises(InputError, match="no pair has the genome_id 'nobody'"):
        network.to_networkx(genome="nobody")
    with pytest.raises(InputError, match="level is 'operon'"):
        network.to_networkx(level="operon")
    with pytest.raises(InputError, match="lower min_genomes"):
        network.to_networkx(min_genomes=1000)


def test_network_is_saved_and_read_back_and_opens_in_networkx(network, folder, tmp_path):
    graph = nx.read_graphml(folder / "network.graphml")
    assert (
        set(graph) == set(network.to_networkx()) and graph.number_of_edges() == network.to_networkx().number_of_edges()
    )
    network.save(tmp_path / "again")
    same(tmp_path / "again", folder)
    assert json.loads((folder / "network.json").read_text())["settings"]["top"] == 20
    assert network.plot(tmp_path / "n.svg").axes and (tmp_path / "n.svg").stat().st_size > 1000
    (folder.parent / "empty").mkdir(exist_ok=True)
    with pytest.raises(TableError, match="holds no network of gene pairs"):
        GeneInteractionNetwork.load(folder.parent / "empty")


def test_without_a_folder_the_pairs_are_the_same(embedded, model, folder):
    found = attribute(model, embedded, settings=SETTINGS, clustering=CLUSTERING)
    pd.testing.assert_frame_equal(found.pairs, GeneInteractionNetwork.load(folder).pairs, rtol=1e-5)


def test_two_processes_write_the_same_network(folder, embedded, model_dir, tmp_path):
    job = Job(tmp_path / "text", 2, run_job, model_dir, embedded.folder, tmp_path / "out")
    assert job.wait() == [0, 0], job.text()
    same(tmp_path / "out", folder)


def test_killed_then_resumed(folder, embedded, model_dir, tmp_path):
    out = tmp_path / "out"
    for n_parts in (2, 7):
        job = Job(tmp_path / f"text{n_parts}", 1, run_job, model_dir, embedded.folder, out)
        deadline = time.monotonic() + 60
        while len(list(out.glob("run/parts/[!.]*"))) < n_parts and job.processes[0].is_alive():
            assert time.monotonic() < deadline, job.text()
            time.sleep(0.001)
        job.signal(signal.SIGKILL)
        job.wait()
    seen = []
    model = GenomeTransformerForSequenceClassification.from_pretrained(model_dir).eval()
    options = {"settings": SETTINGS, "clustering": CLUSTERING, "on_genome": lambda name, reason: seen.append(name)}
    attribute(model, embedded, out, **options)
    assert len(seen) <= 5
    same(out, folder)


def test_without_true_labels_the_predicted_classes_are_used(embedded, model):
    other = random_genome_transformer()
    other.config.label_name = "phylum"
    other.processor = model.processor
    found = attribute(other, embedded, settings=AttributionSettings(top=5, n_ablated=0, n_controls=0, beside=()))
    assert not found.record["figures"]["labels_known"] and found.record["figures"]["n_correct"] == 12
    assert list(found.pairs.filter(like="attention").columns) == ["attention"]
    assert [row["from"] for row in found.record["pseudo_examples"]] == [
        "whole genomes",
        "genes of the strongest pairs",
    ]


def test_attribute_refuses_wrong_labels_encoders_and_settings(embedded, model, tmp_path):
    with pytest.raises(InputError, match="has no column 'colour'"):
        attribute(model, embedded, tmp_path / "a", label_column="colour")
    with pytest.raises(InputError, match="is no class of the model"):
        attribute(model, embedded, tmp_path / "a", label_column="genus")
    other = random_genome_transformer()
    other.processor = GenomeTransformerProcessor(protein_size=24, max_genes=60, protein_encoder_sha256="0" * 64)
    with pytest.raises(CheckpointError, match="give the encoder it was trained with"):
        attribute(other, embedded, tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"reads vectors of 8 numbers and the protein encoder '.*' gives 24"):
        attribute(random_genome_transformer(protein_size=8), embedded, tmp_path / "a")
    wrong = random_genome_transformer()
    with torch.no_grad():
        # Everything is of a class that nothing is of.
        wrong.classifier.weight.zero_()
        wrong.classifier.bias.copy_(torch.tensor([0.0, 1.0]))
    wrong.config.id2label = {0: "soil", 1: "host"}
    none = embedded.metadata["habitat"].eq("host").sum()
    found = attribute(wrong, embedded, settings=SETTINGS, clustering=CLUSTERING)
    assert found.record["figures"]["n_correct"] == none
    assert not (tmp_path / "a").exists()
    for bad in ({"eps": 0.0}, {"min_samples": 1}, {"family_distance": -1.0}, {"n_shuffles": 0}):
        with pytest.raises(InputError, match=next(iter(bad))):
            ClusterSettings(**bad)


def test_pseudo_examples_are_counted():
    genomes = pd.DataFrame(
        {
            "class": ["a", "a", "b", "b"],
            "true_class": ["a", "b", "b", "b"],
            "pseudo_class": ["a", "a", "a", "b"],
            "random_genes_right": [0.0, 0.5, 1.0, 0.5],
            "random_pairs_right": [1.0, 1.0, 1.0, 1.0],
            "n_genes": 10,
            "n_pseudo_genes": 3,
            "n_random_pair_genes": 4.0,
        }
    )
    rows = {row["from"]: row for row in pseudo_table(genomes, 0)}
    assert [row["accuracy"][0] for row in rows.values()] == [0.75, 0.5, 0.5, 1.0]
    # Of class b one of three is told right from the strongest pairs, of class a all.
    assert rows["genes of the strongest pairs"]["balanced_accuracy"][0] == pytest.approx(2 / 3, abs=1e-4)
    assert rows["genes of as many random pairs"]["pseudo_examples_minus_this"][0] == -0.5
    assert all(low <= middle <= high for row in rows.values() for middle, low, high in [row["accuracy"]])
    # Without a true class, the whole genome's prediction stands for it.
    unknown = pseudo_table(genomes.assign(true_class=""), 0)
    assert unknown[0]["accuracy"] == [1.0, 1.0, 1.0]


def record_of(folder, names):
    """A checkpoint whose record lists the genomes it was trained on."""
    file = folder / "training_record.json"
    record = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(record | {"training_genomes": names}))


@pytest.fixture
def trained(model, tmp_path):
    """The model from a folder whose record lists eight of the twelve genomes."""
    model.save_pretrained(tmp_path / "model")
    record_of(tmp_path / "model", [f"g{i}" for i in range(8)])
    return GenomeTransformerForSequenceClassification.from_pretrained(tmp_path / "model").eval()


@pytest.mark.parametrize(
    ("subset", "expected"),
    [("held_out", range(8, 12)), ("training", range(8)), ("all", range(12))],
)
def test_genomes_that_the_model_saw_are_told_apart(embedded, trained, subset, expected):
    options = {} if subset == "held_out" else {"subset": subset}
    settings = AttributionSettings(top=5, n_ablated=1)
    network = attribute(trained, embedded, settings=settings, **options)
    names = [f"g{i}" for i in expected]
    assert network.genomes["genome_id"].tolist() == names
    assert network.genomes["trained_on"].tolist() == [int(name[1:]) < 8 for name in names]
    assert network.record["genomes"]["subset"] == subset
    assert network.record["genomes"]["n_trained_on"] == sum(int(name[1:]) < 8 for name in names)
    assert set(network.pairs["genome_id"]) == set(names)


def test_no_genome_left_is_an_error_and_an_unknown_past_is_said(embedded, model, trained, tmp_path):
    record_of(tmp_path / "model", [f"g{i}" for i in range(12)])
    with pytest.raises(InputError, match="the model was trained on each of the 12 genomes"):
        attribute(trained, embedded)
    remarks = []
    observer = CallbackObserver(on_remark=remarks.append)
    settings = AttributionSettings(top=5, n_ablated=1)
    network = attribute(model, embedded, settings=settings, observer=observer)
    assert len(network.genomes) == 12 and "trained_on" not in network.genomes
    assert network.record["genomes"]["subset"] == "all" and network.record["genomes"]["n_trained_on"] is None
    assert len(remarks) == 1 and "does not list the genomes it was trained on" in remarks[0]
