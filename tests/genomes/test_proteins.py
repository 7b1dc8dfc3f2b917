"""Proteins to vectors: as fair-esm's ESM-2, whatever the batch; checkpoints of fair-esm converted."""

from __future__ import annotations

import argparse

import esm
import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, EsmForMaskedLM, EsmModel

from biomeformer.errors import CheckpointError, InputError
from biomeformer.genomes.conversion_fair_esm import convert_fair_esm
from biomeformer.genomes.proteins import (
    ALPHABET,
    ProteinEncoder,
    batches_by_length,
    encode_proteins,
    esm_config,
    esm_tokenizer,
    load_protein_encoder,
)

PROTEINS = ["MKTAYIAKQR", "MXBZUO" + "ACDEFGHIKLMNPQRSTVWY" * 3, "M", "MKTAYIAKQRQISFVK"]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """fair-esm's ESM-2 with random weights, and its file, as published ones are laid out."""
    torch.manual_seed(0)
    alphabet = esm.data.Alphabet.from_architecture("ESM-1b")
    model = esm.model.esm2.ESM2(3, 40, 4, alphabet, token_dropout=True).eval()
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.2)
    arguments = argparse.Namespace(
        encoder_layers=3, encoder_embed_dim=40, encoder_attention_heads=4, token_dropout=True
    )
    plain = ("lm_head", "contact_head")
    state = {
        ("encoder." if name.startswith(plain) else "encoder.sentence_encoder.") + name: value
        for name, value in model.state_dict().items()
    }
    file = tmp_path_factory.mktemp("fair") / "esm2_t3_tiny.pt"
    torch.save({"cfg": {"model": arguments}, "model": state}, file)
    return model, alphabet, file


@pytest.fixture(scope="module")
def folder(published, tmp_path_factory):
    return convert_fair_esm(published[2], tmp_path_factory.mktemp("converted") / "esm2")


def tiny(**sizes):
    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, **sizes}
    return ProteinEncoder(EsmModel(esm_config(**sizes), add_pooling_layer=False).eval(), "tiny")


def test_equals_fair_esm(published, folder):
    model, alphabet, _ = published
    _, _, tokens = alphabet.get_batch_converter()([(str(i), protein) for i, protein in enumerate(PROTEINS)])
    assert torch.equal(torch.from_numpy(encode_proteins(PROTEINS)), tokens)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert torch.equal(tokenizer(PROTEINS, padding=True, return_tensors="pt").input_ids, tokens)
    with torch.no_grad():
        reference = model(tokens, repr_layers=[3])
    hidden = reference["representations"][3]
    means = np.stack([hidden[i, 1 : len(p) + 1].mean(0).numpy() for i, p in enumerate(PROTEINS)])
    found = load_protein_encoder(folder).embed(PROTEINS)
    np.testing.assert_allclose(found.vectors, means, atol=1e-5)
    head = EsmForMaskedLM.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = head(input_ids=tokens, attention_mask=(tokens != 1).long()).logits
    for i, protein in enumerate(PROTEINS):
        n = len(protein) + 2
        torch.testing.assert_close(logits[i, :n], reference["logits"][i, :n], atol=1e-5, rtol=1e-5)


def test_a_vector_does_not_depend_on_its_batch():
    encoder = tiny()
    together = encoder.embed(PROTEINS).vectors
    for budget in (1, 40, 100):
        np.testing.assert_allclose(encoder.embed(PROTEINS, batch_tokens=budget).vectors, together, atol=1e-6)
    order = [2, 0, 3, 1]
    np.testing.assert_allclose(encoder.embed([PROTEINS[i] for i in order]).vectors, together[order], atol=1e-6)
    assert not np.allclose(together[0], together[3], atol=1e-3)


def test_long_proteins_lose_their_end_and_are_counted():
    encoder = ProteinEncoder(tiny().model, "tiny", max_residues=12)
    found = encoder.embed(PROTEINS)
    assert found.n_truncated == 2
    np.testing.assert_allclose(found.vectors[1], encoder.embed([PROTEINS[1][:12]]).vectors[0], atol=1e-6)
    assert encoder.contract["max_residues"] == 12 and encoder.contract != tiny().contract
    # Without a word, as many as it was trained on.
    assert tiny().max_residues == 1022 and tiny(max_residues=40).max_residues == 40


def test_batches_hold_every_row_once_within_the_budget():
    lengths = np.random.default_rng(0).integers(1, 50, 200)
    batches = batches_by_length(lengths, 100)
    assert sorted(np.concatenate(batches).tolist()) == list(range(200))
    assert all(lengths[rows].max() * len(rows) <= 100 for rows in batches)
    assert [rows.tolist() for rows in batches_by_length(np.array([500]), 100)] == [[0]]


def test_progress_and_stops():
    seen = []
    tiny().embed(PROTEINS, batch_tokens=20, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (93, 93) and [done for done, _ in seen] == sorted(done for done, _ in seen)

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny().embed(PROTEINS, check=stop)


@pytest.mark.parametrize(
    ("proteins", "options", "message"),
    [
        (["MKJ"], {}, "protein 0 has the letter 'J'"),
        (["MK", "mk"], {}, "the letter 'm'"),
        (["MK", ""], {}, "protein 1 is empty"),
        (["MK"], {"batch_tokens": 0}, "batch_tokens is 0"),
    ],
)
def test_bad_proteins(proteins, options, message):
    with pytest.raises(InputError, match=message):
        tiny().embed(proteins, **options)


def test_what_is_no_esm2(tmp_path, published):
    for name, content, message in (
        ("a.pt", b"nothing", "cannot be read as a fair-esm checkpoint"),
        ("none.pt", None, "no such file"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            convert_fair_esm(tmp_path / name, tmp_path / "out")
    torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "b.pt")
    with pytest.raises(CheckpointError, match="holds no ESM-2"):
        convert_fair_esm(tmp_path / "b.pt", tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(CheckpointError, match="is not an empty folder"):
        convert_fair_esm(published[2], tmp_path / "full")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*"))
    with pytest.raises(CheckpointError, match="model_type 'metagenbert'"):
        load_protein_encoder("metagenbert-mini")


def test_the_vocabulary_is_esm2s(shared_data, tmp_path):
    tokens = (shared_data / "esm2" / "vocab.txt").read_text().split()
    assert tokens[4 : 4 + len(ALPHABET)] == list(ALPHABET)
    esm_tokenizer(tmp_path)
    assert (tmp_path / "vocab.txt").read_text().split() == tokens
