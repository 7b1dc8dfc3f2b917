"""From FASTQ to counts: every read once, whatever the batches."""

import threading

import numpy as np
import pytest
import torch

import biomeformer
from biomeformer.errors import InputError, ReadFileError, TableError
from biomeformer.inference.batching import embed_vectors, in_threads, iter_token_batches, map_per_core
from biomeformer.metagenomes import READ_STATS, AbundanceTable, embed_sample
from biomeformer.metagenomes.distances import count_far
from biomeformer.models.metagenbert import MetagenBertModel, PackedReads
from biomeformer.reads import ReadBatch, SampleReads
from biomeformer.runs.prefetch import prefetch
from factories import random_sequences, tiny_bert, tiny_dnabert2, tiny_metagenbert, write_cohort, write_fastq


def packed_reads(lengths):
    lengths = np.asarray(lengths, np.int64)
    ids = np.concatenate([np.full(n, i) for i, n in enumerate(lengths)]) if len(lengths) else np.empty(0, np.int64)
    return PackedReads(ids.astype(np.int64), lengths, np.arange(len(lengths)), {})


@pytest.mark.parametrize("budget", [1, 7, 20, 1000])
def test_token_batches_hold_every_read_once(budget):
    lengths = [5, 3, 9, 3, 12, 1, 5]
    seen = []
    for ids, part, places in iter_token_batches(packed_reads(lengths), budget):
        assert len(ids) == part.sum() and (len(ids) <= budget or len(part) == 1)
        assert ids.tolist() == [int(p) for p, n in zip(places, part, strict=True) for _ in range(n)]
        seen += places.tolist()
    assert sorted(seen) == list(range(7))
    assert list(iter_token_batches(packed_reads([]), budget)) == []


def test_prefetch_passes_items_and_errors_on():
    def items():
        yield from range(10)
        raise ReadFileError("broken at record 11")

    got = []
    with pytest.raises(ReadFileError, match="record 11"):
        for item in prefetch(items()):
            got.append(item)
    assert got == list(range(10))


@pytest.mark.parametrize("encoder", [tiny_dnabert2, tiny_bert])
def test_counts_do_not_depend_on_batches(tmp_path, encoder):
    reads = random_sequences(300, 5, 150)
    path = write_fastq(tmp_path / "r.fastq.gz", reads)
    model = tiny_metagenbert(encoder(), min_read_length=10)
    whole = model.embed_sample(path)
    for budget in (1, 500, 10_000):
        again = model.embed_sample(path, batch_tokens=budget)
        assert np.array_equal(whole.counts, again.counts) and whole.read_stats == again.read_stats
    assert whole.counts.dtype == np.int64
    n_short = sum(len(r) < 10 for r in reads)
    assert list(whole.read_stats) == list(READ_STATS)
    assert whole.read_stats["n_reads"] == whole.read_stats["n_selected"] == 300
    assert whole.read_stats["n_too_short"] == n_short > 0
    assert whole.counts.sum() == whole.read_stats["n_used"] == 300 - n_short
    assert whole.abundance.sum() == pytest.approx(1)
    # By the plain way: padded forward over all usable reads.
    with torch.no_grad():
        ids = model(**model.processor([r for r in reads if len(r) >= 10])).cluster_ids
    assert np.array_equal(np.bincount(ids, minlength=7), whole.counts)


def test_paired_and_subsampled(tmp_path):
    model = tiny_metagenbert()
    r1 = write_fastq(tmp_path / "r1.fastq", random_sequences(200, seed=1), mate=1)
    r2 = write_fastq(tmp_path / "r2.fastq", random_sequences(200, seed=2), mate=2)
    pair, first, second = model.embed_sample(r1, r2), model.embed_sample(r1), model.embed_sample(r2)
    assert np.array_equal(pair.counts, first.counts + second.counts)
    some = model.embed_sample(r1, r2, read_fraction=0.3, seed=4)
    some_1, some_2 = (model.embed_sample(r, read_fraction=0.3, seed=4) for r in (r1, r2))
    assert np.array_equal(some.counts, some_1.counts + some_2.counts)
    assert some.read_stats["n_reads"] == 400 and 60 < some.read_stats["n_selected"] < 180
    other = model.embed_sample(r1, r2, read_fraction=0.3, seed=5)
    assert not np.array_equal(some.counts, other.counts)


def test_nothing_usable_is_an_error(tmp_path):
    model = tiny_metagenbert(min_read_length=50)
    path = write_fastq(tmp_path / "short.fastq", ["ACGT"] * 5)
    with pytest.raises(InputError, match=r"none of 5 reads can be used.*5 under 50 bases"):
        model.embed_sample(path)
    with pytest.raises(InputError, match="batch_tokens is 0"):
        model.embed_sample(path, batch_tokens=0)
    model.processor = None
    with pytest.raises(InputError, match="no processor"):
        model.embed_sample(path)


def test_vectors_of_reads_in_memory():
    model = tiny_metagenbert()
    reads = random_sequences(20)
    vectors, packed = embed_vectors(model, model.processor, ReadBatch.from_strings(reads), batch_tokens=100)
    with torch.no_grad():
        expected = model(**model.processor(reads)).read_embeddings.numpy()
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    assert packed.read_stats["n_used"] == 20


def test_cohort_table_round_trip(tmp_path):
    model = tiny_metagenbert()
    cohort = write_cohort(tmp_path)
    calls = []
    table = model.embed_cohort(cohort, read_fraction=0.5, progress=lambda *a: calls.append(a))
    table.write(tmp_path / "abundance.parquet")
    again = AbundanceTable.read(tmp_path / "abundance.parquet")
    assert again.sample_ids == table.sample_ids == ("s0", "s1", "s2")
    assert again.counts.dtype == np.int64 and np.array_equal(again.counts, table.counts)
    assert again.read_stats.equals(table.read_stats) and again.metadata["group"].tolist() == ["a", "b", "a"]
    assert again.provenance == table.provenance
    assert table.provenance["weights_sha256"] == model.weights_sha256
    assert table.provenance["contract"] == model.processor.preprocessing and table.provenance["read_fraction"] == 0.5
    assert {call[0] for call in calls} == {"s0", "s1", "s2"} and calls[-1][2] == calls[-1][3] > 0
    frame = table.to_pandas()
    np.testing.assert_allclose(frame.filter(like="cluster_").sum(axis=1), 1)
    assert sorted(p.name for p in tmp_path.glob("*bundance*")) == ["abundance.parquet"]


def test_tables_that_are_none(tmp_path):
    with pytest.raises(TableError, match="no such file"):
        AbundanceTable.read(tmp_path / "no.parquet")
    (tmp_path / "text.parquet").write_text("sample_id,counts\n")
    with pytest.raises(TableError, match="cannot be read as Parquet"):
        AbundanceTable.read(tmp_path / "text.parquet")
    import pandas as pd

    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(TableError, match="no biomeformer record"):
        AbundanceTable.read(tmp_path / "other.parquet")


def test_on_each_core_is_in_threads_but_under_autocast_which_is_the_callers_own():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        cpu = torch.device("cpu")
        there = list(map_per_core(lambda _: (threading.get_ident(), torch.get_num_threads()), range(3), cpu))
        assert threading.get_ident() not in {thread for thread, _ in there} and {n for _, n in there} == {1}
        with torch.autocast("cpu", torch.bfloat16):
            here = list(map_per_core(lambda _: (threading.get_ident(), torch.is_autocast_enabled("cpu")), [0, 1], cpu))
        assert here == [(threading.get_ident(), True)] * 2
    finally:
        torch.set_num_threads(n_threads)


def test_in_threads_keeps_the_order_and_puts_torch_back():
    torch.set_num_threads(2)
    try:
        gate = threading.Barrier(2, timeout=10)

        def work(item):
            # Two are at work at once, or this would wait in vain.
            gate.wait()
            return item * 10, torch.get_num_threads()

        inner = in_threads(lambda item: item, range(3), 2)
        assert next(inner) == 0
        assert list(in_threads(work, range(6), 2)) == [(item * 10, 1) for item in range(6)]
        # Another one is still at work.
        assert torch.get_num_threads() == 1
        assert list(inner) == [1, 2] and torch.get_num_threads() == 2

        def fail(item):
            raise ValueError(f"item {item}")

        with pytest.raises(ValueError, match="item 0"):
            list(in_threads(fail, range(9), 2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_counts_do_not_depend_on_threads(tmp_path):
    model = biomeformer.load("metagenbert-mini")
    fastq = write_fastq(tmp_path / "reads.fastq", random_sequences(9000, 60, 150, seed=4))
    counts = []
    for n_threads in (1, 2, 3):
        torch.set_num_threads(n_threads)
        try:
            counts.append(model.embed_sample(fastq).counts)
        finally:
            torch.set_num_threads(1)
    assert counts[0].sum() == 9000 and all(np.array_equal(found, counts[0]) for found in counts)


@pytest.mark.parametrize("encoder", [None, tiny_bert()])
@pytest.mark.parametrize("windows", [False, True])
def test_no_read_is_embedded_twice_to_tell_how_far_reads_lie(tmp_path, monkeypatch, encoder, windows):
    limits = {"truncation": "windows", "max_length": 12} if windows else {}
    model = tiny_metagenbert(encoder, min_read_length=10, **limits)
    reads = [*random_sequences(60, 2, 90, seed=4), *["N" * 30] * 5, *random_sequences(1500, 2, 90, seed=5)]
    path = write_fastq(tmp_path / "reads.fastq", reads)
    vectors, packed = embed_vectors(model, model.processor, ReadBatch.from_strings(reads[:1000]))
    distances = np.linalg.norm(vectors[:, None] - model.centroids.detach().numpy(), axis=2).min(1)
    model.config.far_distances = [[float(n), float(n), float(np.median(distances))] for n in (4, 8, 10, 12, 16, 20)]
    expected = count_far(distances, packed.lengths, model.config.far_distances)
    assert 200 < expected[1] < expected[0] < len(distances)
    embedded, embed = [], MetagenBertModel.embed_packed
    near_ties, assign_exact = [], MetagenBertModel.assign_exact
    monkeypatch.setattr(
        MetagenBertModel, "embed_packed", lambda self, ids, n: embedded.append(len(n)) or embed(self, ids, n)
    )
    monkeypatch.setattr(
        MetagenBertModel, "assign_exact", lambda self, reads: near_ties.append(len(reads)) or assign_exact(self, reads)
    )
    for budget in (None, 300):
        embedded.clear(), near_ties.clear()
        stats = model.embed_sample(path, batch_tokens=budget).read_stats
        assert sum(embedded) - sum(near_ties) == stats["n_windows"] and sum(near_ties) < 20
        assert (stats["n_windows"] > stats["n_used"]) == windows
        assert (stats["n_compared"], stats["n_far"]) == expected
    shares = [embed_sample(model, SampleReads.single(path), share=(i, 2)).read_stats for i in range(2)]
    assert [share["n_compared"] for share in shares] == [expected[0], 0]
