"""Runs over genomes: each distinct protein once, resumed after any kill, on any number of processes."""

from __future__ import annotations

import signal
import time

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest

from biomeformer.errors import CohortError, InputError, SamplesFailedError, TableError
from biomeformer.genomes.catalog import GenomeCatalog, read_catalog
from biomeformer.genomes.dataset import DatasetGenomes, StreamedGenomes, open_genomes
from biomeformer.genomes.embedding import EmbeddedGenomes, embed_genomes
from biomeformer.genomes.proteins import load_protein_encoder
from biomeformer.genomes.store import ProteinStore, protein_keys
from biomeformer.runs.process_group import ProcessGroup
from factories import tiny_esm, write_protein_genomes
from processes import Job


@pytest.fixture(scope="module")
def encoder_dir(tmp_path_factory):
    return tiny_esm(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Eight genomes of 40 proteins, half of which they share with others."""
    return write_protein_genomes(tmp_path_factory.mktemp("genomes"))


@pytest.fixture(scope="module")
def single(encoder_dir, table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("single") / "run"
    outcome = embed_genomes(load_protein_encoder(encoder_dir), read_catalog(table), folder)
    outcome.raise_for_failures()
    return folder


def run_job(encoder_dir, table, folder):
    with ProcessGroup.from_environment(60) as processes:
        outcome = embed_genomes(load_protein_encoder(encoder_dir), read_catalog(table), folder, processes=processes)
        if processes.is_main:
            outcome.raise_for_failures()
    return 0


def contents(folder):
    """Every protein's vector, and the tables."""
    found = EmbeddedGenomes.read(folder)
    keys = np.unique(np.frombuffer(b"".join(found.genes["key"]), "S16"))
    assert len(found.store) == len(keys)
    return keys, found.store.get(keys), found.genes, found.genomes


def same(a, b, exactly=True):
    for x, y in zip(contents(a)[2:], contents(b)[2:], strict=True):
        assert x.equals(y)
    assert np.array_equal(contents(a)[0], contents(b)[0])
    if exactly:
        assert np.array_equal(contents(a)[1], contents(b)[1])
    else:
        np.testing.assert_allclose(contents(a)[1].astype(float), contents(b)[1].astype(float), atol=2e-3)


def test_vectors_are_those_of_the_encoder(single, encoder_dir, table):
    found, encoder = EmbeddedGenomes.read(single), load_protein_encoder(encoder_dir)
    assert len(found) == 8 and found.metadata["habitat"].tolist() == ["soil", "host"] * 4
    for entry in list(read_catalog(table))[:3]:
        genome = entry.read()
        vectors = encoder.embed([gene.protein for gene in genome.genes]).vectors
        np.testing.assert_allclose(found.vectors(entry.genome_id).astype(float), vectors, atol=2e-3)
        assert found.contig_ids(entry.genome_id).tolist() == genome.contig_ids.tolist()
    assert pq.ParquetFile(single / "genes.parquet").num_row_groups == 8
    distinct = len(set(found.genes["key"]))
    assert found.record["n_distinct_proteins"] == distinct == len(found.store) and distinct < 320
    assert found.hit_rate == pytest.approx(1 - distinct / 320)
    assert found.genes["start"].iloc[1] == 91 and found.genomes["n_genes"].tolist() == [40] * 8


def test_each_distinct_protein_is_embedded_once(encoder_dir, table, tmp_path, monkeypatch):
    encoder, seen = load_protein_encoder(encoder_dir), []
    embed = type(encoder).embed

    def watched(self, proteins, **options):
        seen.extend(proteins)
        return embed(self, proteins, **options)

    monkeypatch.setattr(type(encoder), "embed", watched)
    # Its callbacks are those of version 0.1, which had no units.
    residues, finished = [], []
    with pytest.warns(DeprecationWarning, match="methods of an observer"):
        embed_genomes(
            encoder,
            read_catalog(table),
            tmp_path / "run",
            store=tmp_path / "store",
            progress=lambda name, n_done, n_total: residues.append((name, n_done <= n_total)),
            on_genome=lambda name, reason: finished.append((name, reason)),
        ).raise_for_failures()
    assert dict(finished) == {name: None for name, _ in residues} and all(fits for _, fits in residues)
    assert len(finished) == 8 and len(seen) == len(set(seen)) > 200
    n = len(seen)
    again = embed_genomes(encoder, read_catalog(table), tmp_path / "other", store=tmp_path / "store")
    assert len(seen) == n and again.result.record["store"] == "../store"


def test_as_a_dataset(single, tmp_path):
    found = EmbeddedGenomes.read(single)
    whole = found.to_dataset()
    whole.save_to_disk(tmp_path / "d")
    other = open_genomes(tmp_path / "d")
    assert isinstance(other, DatasetGenomes) and isinstance(open_genomes(single), EmbeddedGenomes)
    assert len(other) == 8 and other.preprocessing == found.preprocessing and other.metadata.equals(found.metadata)
    assert other.n_genes.tolist() == found.n_genes.tolist() == [40] * 8
    for name in ("g3", "g0"):
        np.testing.assert_array_equal(other.vectors(name), found.vectors(name))
        rows = np.array([7, 2, 39])
        for genomes in (found, other):
            np.testing.assert_array_equal(genomes.vectors(name, rows), found.vectors(name)[rows])
        assert other.vectors(name).dtype == np.float16
        np.testing.assert_array_equal(other.contig_ids(name), found.contig_ids(name))
    whole.to_parquet(tmp_path / "p" / "train-0.parquet", batch_size=1)
    whole.select(range(5)).to_parquet(tmp_path / "q" / "train-0.parquet", batch_size=2)
    whole.select(range(5, 8)).to_parquet(tmp_path / "q" / "data" / "train-1.parquet")
    for name in ("p", "q"):
        streamed = open_genomes(tmp_path / name)
        assert (
            isinstance(streamed, StreamedGenomes)
            and len(streamed) == 8
            and streamed.preprocessing == found.preprocessing
        )
        assert streamed.metadata.sort_index().equals(found.metadata)
        for genome in ("g7", "g0", "g5", "g6"):
            assert streamed.vectors(genome).dtype == np.float16
            np.testing.assert_array_equal(streamed.vectors(genome), found.vectors(genome))
            np.testing.assert_array_equal(streamed.vectors(genome, np.array([4, 1])), found.vectors(genome)[[4, 1]])
            np.testing.assert_array_equal(streamed.contig_ids(genome), found.contig_ids(genome))
    with pytest.raises(TableError, match="no Parquet files"):
        StreamedGenomes([], open, "d")
    with pytest.raises(TableError, match="lacks the column n_genes"):
        DatasetGenomes(whole.remove_columns("n_genes"), "d")
    with pytest.raises(TableError, match="the genome 'g0' twice"):
        DatasetGenomes(datasets.concatenate_datasets([whole, whole]), "d")
    (tmp_path / "empty").mkdir()
    for place, streaming in ((tmp_path / "empty", False), ("nobody/nothing", False), ("nobody/nothing", True)):
        with pytest.raises(TableError, match="holds no embedded genomes"):
            open_genomes(place, streaming=streaming)


def test_two_processes_write_the_same_vectors(single, encoder_dir, table, tmp_path):
    job = Job(tmp_path / "text", 2, run_job, encoder_dir, table, tmp_path / "run")
    assert job.wait() == [0, 0], job.text()
    found = EmbeddedGenomes.read(tmp_path / "run")
    same(tmp_path / "run", single, exactly=False)
    assert len(list((tmp_path / "run" / "store" / "segments").glob("*.keys.npy"))) > 4 and len(found) == 8


def test_killed_at_ten_moments_then_resumed(single, encoder_dir, table, tmp_path):
    rng, folder = np.random.default_rng(0), tmp_path / "run"
    n_killed = 0
    for i in range(10):
        job = Job(tmp_path / f"text{i}", 1, run_job, encoder_dir, table, folder)
        deadline = time.monotonic() + 60
        wanted = min(len(list(folder.glob("run/parts/[!.]*"))) + int(rng.integers(0, 2)), 7)
        while len(list(folder.glob("run/parts/[!.]*"))) < wanted and job.processes[0].is_alive():
            assert time.monotonic() < deadline, job.text()
            time.sleep(0.001)
        time.sleep(float(rng.uniform(0, 0.02)))
        job.signal(signal.SIGKILL)
        n_killed += job.wait() == [-9]
    assert n_killed >= 5
    job = Job(tmp_path / "last", 1, run_job, encoder_dir, table, folder)
    assert job.wait() == [0], job.text()
    same(folder, single)


def test_a_genome_that_fails_does_not_stop_the_others(encoder_dir, table, tmp_path):
    catalog = tmp_path / "genomes.csv"
    (tmp_path / "bad.faa").write_text(">a\nMK7\n")
    rows = [f"g{i},{table.parent}/g{i}.faa" for i in range(2)]
    catalog.write_text("\n".join(["genome_id,proteins", *rows, "bad,bad.faa"]) + "\n")
    outcome = embed_genomes(load_protein_encoder(encoder_dir), read_catalog(catalog), tmp_path / "run")
    assert list(outcome.failed) == ["bad"] and "'7' is no residue" in outcome.failed["bad"]
    assert len(outcome.result) == 2
    with pytest.raises(SamplesFailedError):
        outcome.raise_for_failures()


def test_other_encoders_are_refused(single, encoder_dir, table, tmp_path):
    encoder = load_protein_encoder(encoder_dir)
    other = type(encoder)(encoder.model, "other", max_residues=30)
    with pytest.raises(InputError, match="max_residues"):
        embed_genomes(other, read_catalog(table), single)
    with pytest.raises(InputError, match="another encoder"):
        ProteinStore(single / "store", other.preprocessing)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(InputError, match="holds something else"):
        ProteinStore(tmp_path / "full", encoder.preprocessing)
    with pytest.raises(TableError, match="holds no embedded genomes"):
        EmbeddedGenomes.read(tmp_path)


def test_a_store_by_hand(tmp_path):
    preprocessing = {"hidden_size": 3}
    store, other = (
        ProteinStore(tmp_path / "s", preprocessing),
        ProteinStore(tmp_path / "s", preprocessing),
    )
    keys = protein_keys(["MK", "MV", "MA"])
    assert not store.find(keys).any()
    store.add(keys[:2], np.arange(6).reshape(2, 3))
    other.add(keys[1:], 10 + np.arange(6).reshape(2, 3))
    store.refresh()
    assert store.find(keys).all() and len(store) == 3 and store.get(keys)[:, 0].tolist()[::2] == [0, 13]
    assert store.get(keys[1:2])[0, 0] in (3, 10) and store.get(keys[[2, 0, 2]])[:, 0].tolist() == [13, 0, 13]
    with pytest.raises(KeyError, match="lacks 1 of 2"):
        store.get(protein_keys(["MK", "MX"]))
    for bad in (np.full((1, 3), np.nan), np.full((1, 3), 1e6)):
        with pytest.raises(InputError, match="float16"):
            store.add(protein_keys(["MC"]), bad)
    # What a killed writer left is not seen.
    (tmp_path / "s" / "segments" / "0a.vectors.npy").write_bytes(b"half")
    (tmp_path / "s" / "segments" / ".1.partial.0a.keys.npy").write_bytes(b"half")
    assert len(ProteinStore(tmp_path / "s", preprocessing)) == 3


def test_a_store_that_several_open_at_once(tmp_path, monkeypatch):
    preprocessing = {"hidden_size": 3}
    # Another one is writing the record, or was killed while it did.
    (tmp_path / "a" / "segments").mkdir(parents=True)
    (tmp_path / "a" / ".1.partial.store.json").write_bytes(b"{")
    ProteinStore(tmp_path / "a", preprocessing)
    # Another one has written it between our look and our writing.
    found, first = ProteinStore._create, []

    def late(self, record):
        if not first:
            first.append(self)
            ProteinStore(tmp_path / "b", preprocessing).add(protein_keys(["MK"]), np.ones((1, 3)))
        found(self, record)

    monkeypatch.setattr(ProteinStore, "_create", late)
    assert len(ProteinStore(tmp_path / "b", preprocessing)) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("genome_id,habitat\na,soil\n", "lack genome_id or where the genomes lie"),
        ("name,fasta\na,g.fna\n", "lack genome_id"),
        ("genome_id,fasta\na,none.fna\n", "line 2, column fasta: there is no file"),
        ("genome_id,fasta\na,g.fna\na,g.fna\n", "line 3, column genome_id: 'a' stands on line 2"),
        ("genome_id,fasta\na/b,g.fna\n", "column genome_id: 'a/b' holds '/'"),
        ("genome_id,fasta,proteins\na,g.fna,g.fna\n", "fasta and proteins are filled"),
        ("genome_id,fasta,proteins\na,,\n", "none are filled"),
        ("genome_id,fasta\na\n", "1 fields where the header has 2"),
        ("genome_id,fasta\n", "no genomes"),
        ("", "is empty"),
    ],
)
def test_bad_catalogs_are_refused(tmp_path, text, message):
    (tmp_path / "g.fna").write_text(">a\nACGT\n")
    (tmp_path / "genomes.csv").write_text(text)
    with pytest.raises(CohortError, match=message):
        read_catalog(tmp_path / "genomes.csv")


def test_catalogs_of_files(tmp_path):
    for name in ("a.fna", "a.faa"):
        (tmp_path / name).write_text(">a\nACGT\n")
    assert [g.genome_id for g in GenomeCatalog.from_files([tmp_path / "a.fna"])] == ["a"]
    with pytest.raises(InputError, match="are both called 'a'"):
        GenomeCatalog.from_files([tmp_path / "a.fna", tmp_path / "a.faa"])
    with pytest.raises(InputError, match="no such file"):
        GenomeCatalog.from_files([tmp_path / "b.fna"])
    with pytest.warns(DeprecationWarning, match="from_files"):
        assert len(GenomeCatalog.of_files([tmp_path / "a.fna"])) == 1
