"""Read encoders of any kind, by folder."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertModel

from biomeformer import load, load_read_encoder
from biomeformer.errors import CheckpointError, InputError
from biomeformer.models.dnabert2 import DnaBert2Model
from biomeformer.models.kmer_encoder import KmerEncoderModel, KmerTokenizer
from factories import bpe_tokenizer, tiny_bert, tiny_dnabert2, tiny_metagenbert


def save(folder, encoder):
    encoder.save_pretrained(folder)
    bpe_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("encoder", "cls"), [(tiny_dnabert2, DnaBert2Model), (tiny_bert, BertModel)])
def test_any_encoder_loads_with_its_tokenizer(tmp_path, encoder, cls):
    loaded, tokenizer = load_read_encoder(save(tmp_path, encoder()))
    assert type(loaded) is cls and not loaded.training
    assert tokenizer("ACGTACGT")["input_ids"] == bpe_tokenizer()("ACGTACGT")["input_ids"]
    state, expected = loaded.state_dict(), encoder().state_dict()
    assert all(torch.equal(state[key], expected[key]) for key in expected)


def test_encoder_of_a_metagenbert_checkpoint(tmp_path):
    model = tiny_metagenbert()
    model.save_pretrained(tmp_path)
    encoder, tokenizer = load_read_encoder(tmp_path)
    assert isinstance(encoder, DnaBert2Model) and tokenizer.vocab_size == 120
    encoder, tokenizer = load_read_encoder("metagenbert-mini")
    assert isinstance(encoder, KmerEncoderModel) and isinstance(tokenizer, KmerTokenizer)


def test_missing_weights_are_errors(tmp_path):
    save(tmp_path, tiny_bert())
    state = load_file(tmp_path / "model.safetensors")
    pooler = {key for key in state if key.startswith("pooler.")}
    assert pooler
    without = {key: value for key, value in state.items() if key not in pooler}
    save_file(without, tmp_path / "model.safetensors", metadata={"format": "pt"})
    load_read_encoder(tmp_path)
    del without["encoder.layer.0.attention.self.query.weight"]
    save_file(without, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 missing \(encoder.layer.0.attention.self.query"):
        load_read_encoder(tmp_path)


def test_weights_of_another_shape_are_named(tmp_path):
    save(tmp_path, tiny_dnabert2())
    state = load_file(tmp_path / "model.safetensors")
    key = next(key for key in state if key.endswith("word_embeddings.weight"))
    state[key] = torch.zeros(7, 24)
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 of another shape \(embeddings.word_embeddings.weight\)"):
        load_read_encoder(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"device": "cuda:7"}, "'cuda:7'"), ({"device": "abacus"}, "'abacus'"), ({"dtype": "int4"}, "'int4' is unknown")],
)
def test_absent_device_and_unknown_type(options, message):
    with pytest.raises(InputError, match=message):
        load("metagenbert-mini", **options)


def test_low_precision_counts_every_read(tmp_path):
    tiny_metagenbert().save_pretrained(tmp_path)
    model = load(tmp_path, dtype="bfloat16")
    batch = model.processor(["ACGTTGCATGCATTTGACA", "TTGACATTGGCA"])
    with torch.no_grad():
        outputs = model(**batch)
    assert outputs.squared_distances.dtype == torch.float32 and np.isfinite(outputs.squared_distances.numpy()).all()
