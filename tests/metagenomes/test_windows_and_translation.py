"""Long reads in windows, translated reads, and what is said of tokens, truncation and empty clusters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from skbio import DNA, GeneticCode

import biomeformer
from biomeformer import load_encoder_with_processor
from biomeformer.errors import InputError, TableError
from biomeformer.metagenomes import AbundanceTable, fit_centroids
from biomeformer.metagenomes.quality import empty_clusters_remark, table_remarks
from biomeformer.metagenomes.read_assignment import assign_reads
from biomeformer.metagenomes.windows import adopt_windows, use_windows
from biomeformer.phenotypes.checkpoint import check_same_model
from biomeformer.reads import ReadBatch, read_cohort
from factories import random_sequences, tiny_bert, tiny_metagenbert, write_cohort, write_fastq
from read_encoders import LAYOUTS

NEW_COLUMNS = ["n_windows", "n_tokens", "n_unknown_tokens", "n_compared", "n_far"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder") / "bert"
    LAYOUTS["BERT"].write(folder)
    return folder


@pytest.fixture
def cohort(tmp_path):
    """Two samples of short reads, of which the first has three long ones too."""
    path = write_cohort(tmp_path, n_samples=2, n_reads=10)
    write_fastq(tmp_path / "s0.fastq.gz", [*random_sequences(10, 40, 60, seed=1), *random_sequences(3, 4000, 6000)])
    return path


def test_windows_of_long_reads_are_counted_and_nothing_is_truncated(encoder, cohort, tmp_path):
    bert, processor = load_encoder_with_processor(encoder, truncation="windows")
    fit = fit_centroids(cohort, bert, processor, n_clusters=4, n_iterations=3, reads_per_sample=20)
    assert fit.kmeans.n_points > 23 == sum(fit.n_reads_used.values())
    fit.save(tmp_path / "model")
    model = biomeformer.load(tmp_path / "model")
    assert model.processor.truncation == "windows" and model.processor.max_length == 64
    table = model.embed_cohort(cohort, output=tmp_path / "run")
    stats = table.read_stats
    assert stats["n_used"].tolist() == [13, 10] and stats["n_truncated"].tolist() == [0, 0]
    assert table.counts.sum(1).tolist() == stats["n_windows"].tolist()
    # About 5,000 bases in tokens of 3 to 4, 62 in each window.
    assert 60 < stats["n_windows"].iloc[0] < 120 and stats["n_windows"].iloc[1] == 10
    for budget in (1, 100):
        again = model.embed_sample(tmp_path / "s0.fastq.gz", batch_tokens=budget)
        assert np.array_equal(again.counts, table.counts[0])
    # Each window has the vector of the piece of the read that its tokens spell, embedded as a read.
    (long,) = random_sequences(1, 3000, 3000, seed=9)
    with torch.no_grad():
        windows = model(**model.processor(long)).read_embeddings
        tokens = model.processor.tokenizer(long, add_special_tokens=False)["input_ids"]
        n = -(-len(tokens) // 62)
        pieces = [tokens[len(tokens) * i // n : len(tokens) * (i + 1) // n] for i in range(n)]
        alone = [model(torch.tensor([[1, *piece, 2]])).read_embeddings for piece in pieces]
    torch.testing.assert_close(windows, torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_tables_of_windows_and_of_truncated_reads_do_not_join(encoder, cohort, tmp_path):
    bert, processor = load_encoder_with_processor(encoder)
    model = fit_centroids(cohort, bert, processor, n_clusters=3, n_iterations=2, reads_per_sample=20).model
    with pytest.warns(UserWarning, match=r"3 of 23 reads used \(13.0%\) were truncated .* \(--windows\)"):
        truncated = model.embed_cohort(cohort)
    use_windows(model)
    whole = model.embed_cohort(cohort)
    renamed = replace(whole, sample_ids=("t0", "t1"))
    with pytest.raises(TableError, match=r"differ in preprocessing config \(truncation: (keep_head and windows)"):
        AbundanceTable.join([truncated, renamed])
    assert AbundanceTable.join([whole, replace(renamed, source="other")]).counts.sum() == 2 * whole.counts.sum()


def test_a_model_adopts_the_windows_of_its_table(tmp_path):
    cohort = write_cohort(tmp_path, n_samples=2, n_reads=10)
    model = tiny_metagenbert(tiny_bert())
    adopt_windows(model, model.embed_cohort(cohort).provenance)
    assert model.processor.truncation == "keep_head"
    use_windows(model, 30)
    table = model.embed_cohort(cohort)
    again = tiny_metagenbert(tiny_bert())
    adopt_windows(again, table.provenance)
    check_same_model(again, table)
    assert np.array_equal(again.embed_cohort(cohort).counts, table.counts)


def test_windows_need_a_length_that_the_encoder_takes():
    model = tiny_metagenbert(tiny_bert())
    with pytest.raises(InputError, match="has no max_length, so windows have no length; give one"):
        use_windows(model)
    with pytest.raises(InputError, match=r"takes at most 512 tokens .* says max_length 513"):
        use_windows(model, 513)
    with pytest.raises(InputError, match="max_length is 2; it must leave room"):
        use_windows(model, 2)
    assert model.processor.truncation == "keep_head"
    use_windows(model, 100)
    assert model.processor.max_length == model.config.max_length == 100
    scaled = tiny_metagenbert(tiny_bert(), pooling="mean_over_max_length", max_length=200)
    with pytest.raises(InputError, match="sums over max_length 200, which 100 would rescale"):
        use_windows(scaled, 100)


def test_a_read_in_windows_belongs_to_the_cluster_of_most_of_them(encoder, cohort):
    bert, processor = load_encoder_with_processor(encoder, truncation="windows")
    model = fit_centroids(cohort, bert, processor, n_clusters=3, n_iterations=2, reads_per_sample=20).model
    reads = [*random_sequences(2, 2000, 4000, seed=4), *random_sequences(2, 30, 60), ""]
    clusters = assign_reads(model, ReadBatch.from_strings(reads))
    with torch.no_grad():
        votes = [np.bincount(model(**processor(read)).cluster_ids, minlength=3).argmax() for read in reads[:-1]]
    assert clusters.tolist() == [*votes, -1]


def test_translated_reads_have_the_vectors_of_their_proteins(tmp_path):
    LAYOUTS["ESM-2"].write(tmp_path / "esm")
    esm, processor = load_encoder_with_processor(tmp_path / "esm", translation="longest_frame")
    reads = random_sequences(5, 100, 250, seed=2)
    proteins = []
    for read in reads:
        frames = GeneticCode.from_ncbi(11).translate_six_frames(DNA(read).transcribe())
        proteins.append(max((part for frame in frames for part in str(frame).split("*")), key=len))
    with torch.no_grad():
        expected = [
            esm(**processor.tokenizer(protein, return_tensors="pt")).last_hidden_state[0].mean(0)
            for protein in proteins
        ]
    model = biomeformer.MetagenBertModel.from_encoder_and_centroids(esm, np.zeros((1, 24)), processor=processor)
    with torch.no_grad():
        vectors = model(**processor(reads)).read_embeddings
    torch.testing.assert_close(vectors, torch.stack(expected), rtol=1e-4, atol=1e-5)


def test_unknown_tokens_are_counted_in_the_table_and_many_are_remarked_on(tmp_path):
    cohort = write_cohort(tmp_path, n_samples=2, n_reads=10)
    reads = [f"{read[:60]}{'N' * 30}{read[60:]}" for read in random_sequences(10, 100, 100)]
    write_fastq(tmp_path / "s1.fastq.gz", reads)
    model = tiny_metagenbert()
    with pytest.warns(UserWarning, match=r"\d\d% of the reads' tokens are unknown to the tokenizer"):
        table = model.embed_cohort(cohort)
    tokenizer = model.processor.tokenizer
    ids = [token for one in tokenizer(reads, add_special_tokens=False)["input_ids"] for token in one]
    assert table.read_stats["n_tokens"].iloc[1] == len(ids)
    assert table.read_stats["n_unknown_tokens"].tolist() == [0, ids.count(tokenizer.unk_token_id)]
    assert table.read_stats["n_unknown_tokens"].iloc[1] > 0


def test_mostly_empty_clusters_are_remarked_on_if_there_are_enough_reads():
    sizes = np.zeros(10, np.int64)
    sizes[:3] = 100
    assert "7 of 10 clusters are empty with 300 reads counted" in empty_clusters_remark(sizes)
    assert empty_clusters_remark(sizes // 10) is None, "too few reads to fill them"
    assert empty_clusters_remark(np.full(10, 30)) is None
    stats = pd.DataFrame({"n_used": [300], "n_truncated": [0], "n_tokens": [0], "n_unknown_tokens": [0]})
    assert len(table_remarks(sizes[None], stats)) == 1


def test_a_table_of_version_0_1_joins_one_of_now(tmp_path):
    model = tiny_metagenbert()
    cohort = read_cohort(write_cohort(tmp_path, n_samples=2, n_reads=10))
    table = model.embed_cohort(cohort)
    old = replace(table, read_stats=table.read_stats.drop(columns=NEW_COLUMNS))
    old.write(tmp_path / "old.parquet")
    read = AbundanceTable.read(tmp_path / "old.parquet")
    assert not set(NEW_COLUMNS) & set(read.read_stats.columns)
    joined = AbundanceTable.join([read, replace(table, sample_ids=("t0", "t1"))])
    assert joined.read_stats["n_windows"].tolist() == [10] * 4
    # Tokens were not counted then.
    assert joined.read_stats["n_tokens"].tolist()[:2] == [0, 0] and (joined.read_stats["n_tokens"][2:] > 0).all()
    joined.write(tmp_path / "joined.parquet")
