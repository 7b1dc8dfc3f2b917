"""`pipeline("read-embedding")`, and `pipeline("feature-extraction")` of a MetagenBERT."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import FeatureExtractionPipeline, pipeline

import biomeformer
from biomeformer import MetagenBertProcessor
from biomeformer.errors import InputError
from biomeformer.models.kmer_encoder import KmerEncoderConfig, KmerEncoderModel, KmerTokenizer
from factories import (
    bpe_tokenizer,
    random_genome_transformer,
    random_sequences,
    tiny_bert,
    tiny_dnabert2,
    tiny_metagenbert,
)

READS = random_sequences(5, 40, 150)
# Lower case is unknown to a BPE tokenizer, which has the reads only after the preprocessing config.
UNUSUAL = [READS[0].lower(), READS[1].replace("T", "U"), READS[2][:20] + "R" + READS[2][20:]]


def metagenbert(**options):
    return tiny_metagenbert(max_length=20, pooling="mean_over_max_length", **options)


def own_vectors(model, reads):
    """Vectors as those by which samples are embedded: reads packed together, without padding."""
    sequence = np.frombuffer("".join(reads).encode(), np.uint8)
    packed = model.processor.encode_reads(sequence, np.cumsum([0, *map(len, reads)]))
    with torch.no_grad():
        return model.embed_packed(torch.from_numpy(packed.input_ids), torch.from_numpy(packed.lengths)).numpy()


@pytest.mark.parametrize("task", ["read-embedding", "feature-extraction"])
def test_a_metagenbert_gives_the_vectors_by_which_it_counts_reads(task, tmp_path):
    model = metagenbert()
    model.save_pretrained(tmp_path)
    run = pipeline(task, model=str(tmp_path))
    expected = own_vectors(model, READS + UNUSUAL)
    vectors = [np.array(vector).reshape(-1) for vector in run(READS + UNUSUAL)]
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    batched = [np.array(vector).reshape(-1) for vector in run(READS + UNUSUAL, batch_size=3)]
    np.testing.assert_allclose(batched, expected, atol=1e-6)
    assert np.shape(run(READS[0])) == ((model.config.hidden_size,) if task == "read-embedding" else (1, 24))


@pytest.mark.parametrize("task", ["read-embedding", "feature-extraction"])
def test_reads_without_a_vector_are_refused(task, tmp_path):
    metagenbert(min_read_length=8).save_pretrained(tmp_path)
    run = pipeline(task, model=str(tmp_path))
    for read in ("NNNNNNNNNNNN", "ACGT", ""):
        with pytest.raises(InputError, match="gives no token"):
            run(read)
    with pytest.raises(InputError, match="is no read"):
        run([READS[0], 7])
    with pytest.raises(InputError, match="the preprocessing config decides"):
        run(READS[0], truncation=True)


def test_reads_in_windows_have_no_vector(tmp_path):
    model = metagenbert()
    model.processor = model.processor.replace(truncation="windows")
    with pytest.raises(InputError, match="cuts reads into windows"):
        pipeline("read-embedding", model=model)(READS[0])


def kmer_encoder(**options):
    torch.manual_seed(0)
    config = KmerEncoderConfig(k=3, hidden_size=8, initializer_range=0.5, **options)
    return KmerEncoderModel(config).eval(), KmerTokenizer(k=3, canonical=not config.num_gate_heads)


ENCODERS = {
    "dnabert2": lambda: (tiny_dnabert2(), bpe_tokenizer()),
    "k-mers": kmer_encoder,
    "gated k-mers": lambda: kmer_encoder(num_gate_heads=2),
    "bert": lambda: (tiny_bert().eval(), bpe_tokenizer()),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_alone_gives_the_vectors_of_which_centroids_are_made(name, tmp_path):
    encoder, tokenizer = ENCODERS[name]()
    encoder.save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    run = pipeline("read-embedding", model=str(tmp_path / "encoder"))
    with torch.no_grad():
        if name == "bert":
            # transformers' own class: the mean of the token vectors of a read by itself.
            ids = [torch.tensor([tokenizer(read)["input_ids"]]) for read in READS]
            expected = np.stack([encoder(one).last_hidden_state[0].mean(0).numpy() for one in ids])
        else:
            ids = [torch.tensor(tokenizer(read)["input_ids"]) for read in READS]
            expected = encoder.embed_packed(torch.cat(ids), torch.tensor(list(map(len, ids)))).numpy()
    np.testing.assert_allclose(run(READS), expected, atol=1e-6)
    np.testing.assert_allclose(run(READS, batch_size=2), expected, atol=1e-6)
    given = pipeline("read-embedding", model=encoder, processor=MetagenBertProcessor(tokenizer, max_length=256))
    np.testing.assert_allclose(given(READS), expected, atol=1e-6)
    run.save_pretrained(tmp_path / "again")
    again = pipeline("read-embedding", model=str(tmp_path / "again"))
    np.testing.assert_array_equal(again(READS[0]), run(READS[0]))


def test_what_is_no_read_encoder_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"has no processor.* processor=MetagenBertProcessor\(tokenizer\)"):
        pipeline("read-embedding", model=tiny_dnabert2())
    random_genome_transformer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="tokenizer"):
        pipeline("read-embedding", model=str(tmp_path))
    model = metagenbert()
    with pytest.raises(InputError, match=r"pooling: no options of this pipeline"):
        pipeline("read-embedding", model=model, pooling="cls")


def test_other_models_are_featured_as_by_transformers(tmp_path):
    tiny_bert().save_pretrained(tmp_path)
    bpe_tokenizer().save_pretrained(tmp_path)
    run = pipeline("feature-extraction", model=str(tmp_path))
    theirs = FeatureExtractionPipeline(run.model, tokenizer=run.tokenizer)
    assert run(READS[0], truncation=True) == theirs(READS[0], truncation=True)


def test_shipped_names_reach_no_hub(monkeypatch):
    """Neither the model's name nor that of one of its files is asked for there."""
    model = biomeformer.load("metagenbert-mini")

    def refuse(*arguments, **options):
        raise AssertionError(f"the Hub was asked for {arguments} {options}")

    monkeypatch.setattr("huggingface_hub.file_download.hf_hub_download", refuse)
    monkeypatch.setattr("transformers.utils.hub.hf_hub_download", refuse)
    for arguments, options in (
        (("read-embedding", "metagenbert-mini"), {}),
        (("feature-extraction",), {"model": "metagenbert-mini"}),
    ):
        vector = np.array(pipeline(*arguments, **options)(READS[0])).reshape(-1)
        np.testing.assert_array_equal(vector, own_vectors(model, READS[:1])[0])
