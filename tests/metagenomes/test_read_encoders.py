"""Any read encoder runs from centroids to predictions, or is refused with the reason when it is loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf

import biomeformer
from biomeformer import load_encoder_with_processor, load_read_encoder
from biomeformer.checkpoints.loading import load_phenotype_model
from biomeformer.inference.batching import embed_vectors
from biomeformer.metagenomes import AbundanceTable, fit_centroids
from biomeformer.models.metagenbert import MetagenBertModel
from biomeformer.phenotypes import make_target, train_checkpoint
from biomeformer.reads import ReadBatch
from factories import random_sequences, write_cohort, write_fastq
from read_encoders import LAYOUTS, Layout


@pytest.fixture(scope="module", params=list(LAYOUTS))
def layout(request) -> Layout:
    return LAYOUTS[request.param]


@pytest.fixture(scope="module")
def folder(layout, tmp_path_factory):
    path = tmp_path_factory.mktemp("encoder") / "encoder"
    layout.write(path)
    return path


def test_the_documentation_lists_the_encoders_that_are_tested():
    text = (Path(__file__).parents[2] / "docs" / "read_encoders.md").read_text()
    rows = text.partition("## Architectures")[2].partition("## ")[0].split("|---|---|---|")[1]
    assert [line.split("|")[1].strip() for line in rows.splitlines() if line.startswith("|")] == list(LAYOUTS)


def by_transformers(folder, texts, max_length) -> np.ndarray:
    """Mean last hidden states, one read at a time, by the library's own classes."""
    model, tokenizer = hf.AutoModel.from_pretrained(folder).eval(), hf.AutoTokenizer.from_pretrained(folder)
    encoder = model.encoder if model.config.is_encoder_decoder else model
    vectors = []
    for text in texts:
        inputs = tokenizer(text, return_tensors="pt", truncation=max_length is not None, max_length=max_length)
        ids = inputs["input_ids"]
        with torch.no_grad():
            output = encoder(input_ids=ids, attention_mask=torch.ones_like(ids))
        vectors.append(output.last_hidden_state[0].mean(0).numpy())
    return np.stack(vectors)


def test_admitted_encoder_gives_the_vectors_of_transformers_in_any_batch(layout, folder, tmp_path):
    encoder, processor = load_encoder_with_processor(folder, **layout.preprocessing)
    assert (processor.max_length, processor.kmer_size) == (layout.max_length, layout.kmer_size)
    # Plain `load_read_encoder` admits it as well.
    assert type(load_read_encoder(folder)[0]) is type(encoder)
    reads = random_sequences(12, 20, 90, seed=5)
    model = MetagenBertModel.from_encoder_and_centroids(
        encoder, np.zeros((1, encoder.config.hidden_size)), processor=processor
    )
    with torch.no_grad():
        padded = model(**processor(reads)).read_embeddings.numpy()
        alone = np.concatenate([model(**processor(read)).read_embeddings.numpy() for read in reads])
    assert np.isfinite(padded).all() and np.unique(padded.round(4), axis=0).shape[0] == len(reads)
    np.testing.assert_allclose(padded, alone, rtol=1e-4, atol=1e-5)
    packed, _ = embed_vectors(model, processor, ReadBatch.from_strings(reads), batch_tokens=150)
    np.testing.assert_allclose(packed, alone, rtol=1e-4, atol=1e-5)
    if processor.translation == "none":
        k = processor.kmer_size
        texts = [read if k is None else " ".join(read[i : i + k] for i in range(len(read) - k + 1)) for read in reads]
        np.testing.assert_allclose(alone, by_transformers(folder, texts, processor.max_length), rtol=1e-4, atol=1e-5)


def test_encoder_runs_from_centroids_to_predictions(layout, folder, tmp_path):
    cohort = write_cohort(tmp_path / "cohort", n_samples=10, n_reads=8)
    # A read of 10,000 bases is longer than most encoders take: it is truncated and counted, or embedded whole.
    n_bases = 10_000 if layout.max_length else 500
    write_fastq(
        tmp_path / "cohort" / "s0.fastq.gz", [*random_sequences(8, seed=10), *random_sequences(1, n_bases, n_bases)]
    )
    encoder, processor = load_encoder_with_processor(folder, **layout.preprocessing)
    fit = fit_centroids(cohort, encoder, processor, n_clusters=3, n_iterations=3, reads_per_sample=20)
    fit.save(tmp_path / "model")
    model = biomeformer.load(tmp_path / "model")
    assert model.weights_sha256 == fit.model.weights_sha256
    assert model.processor.preprocessing == processor.preprocessing
    table = model.embed_cohort(cohort)
    assert table.counts.sum(1).tolist() == [9, *[8] * 9] == table.read_stats["n_used"].tolist()
    alone = model.embed_sample(tmp_path / "cohort" / "s0.fastq.gz", batch_tokens=1)
    assert np.array_equal(table.counts[0], alone.counts)
    expects_truncation = layout.max_length is not None and not layout.preprocessing
    assert (table.read_stats["n_truncated"].iloc[0] > 0) == expects_truncation
    assert (table.read_stats["n_tokens"] > 0).all() and (table.read_stats["n_unknown_tokens"] == 0).all()
    target = make_target(table.metadata, "group", table.sample_ids)
    trained, _ = train_checkpoint(model, table, target, n_splits=2, n_jobs=1, force=True)
    trained.save_pretrained(tmp_path / "phenotype")
    predicted = load_phenotype_model(tmp_path / "phenotype").predict(tmp_path / "cohort" / "s1.fastq.gz")
    assert set(predicted) == {"a", "b"} and sum(predicted.values()) == pytest.approx(1)
    table.write(tmp_path / "abundance.parquet")
    assert AbundanceTable.read(tmp_path / "abundance.parquet").read_stats.equals(table.read_stats)
