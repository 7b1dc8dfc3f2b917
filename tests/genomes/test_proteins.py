"""Proteins to vectors: as fair-esm's ESM-2, whatever the batch; checkpoints of fair-esm converted."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from itertools import pairwise

import esm
import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, EsmForMaskedLM, EsmModel

from biomeformer.checkpoints.conversion_fair_esm import convert_fair_esm
from biomeformer.checkpoints.esm2 import FAIR_ESM_SIZES, hub_name
from biomeformer.errors import CheckpointError, InputError, RunError
from biomeformer.genomes import proteins as proteins_module
from biomeformer.genomes.proteins import (
    ALPHABET,
    ProteinEncoder,
    cast_encoder,
    esm_config,
    esm_tokenizer,
    load_protein_encoder,
    pack_proteins,
    pad_proteins,
)

PROTEINS = ["MKTAYIAKQR", "MXBZUO" + "ACDEFGHIKLMNPQRSTVWY" * 3, "M", "MKTAYIAKQRQISFVK"]


def write_fair_esm(folder, n_layers=3, width=40, n_heads=4, std=0.2):
    """fair-esm's ESM-2 with random weights, its alphabet, and its file, as published ones are laid out."""
    torch.manual_seed(0)
    alphabet = esm.data.Alphabet.from_architecture("ESM-1b")
    model = esm.model.esm2.ESM2(n_layers, width, n_heads, alphabet, token_dropout=True).eval()
    for name, value in model.named_parameters():
        torch.nn.init.normal_(value, std=std)
        if "layer_norm" in name and name.endswith("weight"):
            # Gains around one, so that what differs between proteins is not lost over many layers.
            value.data += 1
    arguments = argparse.Namespace(
        encoder_layers=n_layers, encoder_embed_dim=width, encoder_attention_heads=n_heads, token_dropout=True
    )
    plain = ("lm_head", "contact_head")
    state = {
        ("encoder." if name.startswith(plain) else "encoder.sentence_encoder.") + name: value
        for name, value in model.state_dict().items()
    }
    file = folder / "esm2_t3_tiny.pt"
    torch.save({"cfg": {"model": arguments}, "model": state}, file)
    return model, alphabet, file


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return write_fair_esm(tmp_path_factory.mktemp("fair"))


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
    assert torch.equal(torch.from_numpy(pad_proteins(pack_proteins(PROTEINS))), tokens)
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


@pytest.mark.parametrize(
    ("name", "width"),
    # One at its real size; of the others the layers and heads are real and the heads narrow.
    [("esm2_t6_8M_UR50D", None), *((name, 8) for name in list(FAIR_ESM_SIZES)[1:5])],
)
def test_each_published_layout_equals_fair_esm(tmp_path, name, width):
    n_layers, hidden_size, n_heads = FAIR_ESM_SIZES[name]
    size = hidden_size if width is None else width * n_heads
    model, alphabet, file = write_fair_esm(tmp_path, n_layers, size, n_heads, std=size**-0.5)
    encoder = load_protein_encoder(convert_fair_esm(file, tmp_path / "converted"))
    config = encoder.model.config
    assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads) == (n_layers, size, n_heads)
    assert config.intermediate_size == 4 * size
    _, _, tokens = alphabet.get_batch_converter()([(str(i), protein) for i, protein in enumerate(PROTEINS)])
    with torch.no_grad():
        hidden = model(tokens, repr_layers=[n_layers])["representations"][n_layers]
    means = np.stack([hidden[i, 1 : len(p) + 1].mean(0).numpy() for i, p in enumerate(PROTEINS)])
    assert means.std(0).mean() > 0.1
    np.testing.assert_allclose(encoder.embed(PROTEINS).vectors, means, atol=2e-5 * np.abs(means).max())


def test_the_layouts_are_those_that_fair_esm_publishes():
    assert set(FAIR_ESM_SIZES) == {name for name in dir(esm.pretrained) if re.fullmatch(r"esm2_t\d+_.*_UR50D", name)}
    for name, (n_layers, _, _) in FAIR_ESM_SIZES.items():
        assert name.startswith(f"esm2_t{n_layers}_")


def test_names_of_fair_esm_are_hub_ids_unless_a_folder_has_that_name(tmp_path, monkeypatch):
    assert hub_name("esm2_t36_3B_UR50D") == "facebook/esm2_t36_3B_UR50D"
    assert hub_name("lab/esm2_t36_3B_UR50D") == "lab/esm2_t36_3B_UR50D"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "esm2_t36_3B_UR50D").mkdir()
    assert hub_name("esm2_t36_3B_UR50D") == "esm2_t36_3B_UR50D"
    with pytest.raises(CheckpointError, match=r"is a pickle of fair-esm; convert it once with: biomeformer convert"):
        load_protein_encoder(tmp_path / "esm2_t6_8M_UR50D.pt")


def test_a_vector_does_not_depend_on_its_batch():
    encoder = tiny()
    together = encoder.embed(PROTEINS).vectors
    for budget in (1, 40, 100):
        np.testing.assert_allclose(encoder.embed(PROTEINS, batch_tokens=budget).vectors, together, atol=1e-6)
    order = [2, 0, 3, 1]
    np.testing.assert_allclose(encoder.embed([PROTEINS[i] for i in order]).vectors, together[order], atol=1e-6)
    assert not np.allclose(together[0], together[3], atol=1e-3)


@pytest.mark.parametrize("positions", ["rotary", "absolute"])
def test_an_encoder_without_layers_is_as_transformers_has_it_and_equal_in_any_batch(positions):
    sizes = {"hidden_size": 20, "num_hidden_layers": 0, "num_attention_heads": 1, "intermediate_size": 20}
    torch.manual_seed(0)
    config = esm_config(**sizes)
    config.position_embedding_type = positions
    with pytest.warns(UserWarning, match="zero-element"):
        model = EsmModel(config, add_pooling_layer=False).eval()
    torch.nn.init.normal_(model.encoder.emb_layer_norm_after.weight)
    rng = np.random.default_rng(0)
    proteins = ["".join(rng.choice(list(ALPHABET), n)) for n in (1, 2, 2, 30, 30, 30, 31, 700, 1022, 1022, 1500)]
    encoder = ProteinEncoder(model, "bare")
    vectors = encoder.embed(proteins).vectors
    packed = pack_proteins([protein[: encoder.max_residues] for protein in proteins])
    ids = torch.from_numpy(pad_proteins(packed))
    with torch.no_grad():
        hidden = model(ids, attention_mask=(ids != model.config.pad_token_id).long()).last_hidden_state
    means = [hidden[i, 1 : n - 1].mean(0).numpy() for i, n in enumerate(packed.lengths)]
    np.testing.assert_allclose(vectors, np.stack(means), atol=1e-5)
    for budget in (1, 1_024, 4_000):
        assert np.array_equal(encoder.embed(proteins, batch_tokens=budget).vectors, vectors)


@pytest.mark.parametrize("sizes", [{}, {"token_dropout": False}, {"emb_layer_norm_before": True}])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_equals_the_padded_forward_pass_of_transformers(sizes, attention):
    torch.manual_seed(1)
    config = tiny().model.config
    for name, value in sizes.items():
        setattr(config, name, value)
    encoder = ProteinEncoder(EsmModel(config, add_pooling_layer=False).eval(), "tiny")
    encoder.model.set_attn_implementation(attention)
    packed = pack_proteins(PROTEINS)
    ids = torch.from_numpy(pad_proteins(packed))
    with torch.no_grad():
        hidden = encoder.model(input_ids=ids, attention_mask=(ids != 1).long()).last_hidden_state
    means = [hidden[i, 1 : n - 1].mean(0).numpy() for i, n in enumerate(packed.lengths)]
    np.testing.assert_allclose(encoder.embed(PROTEINS).vectors, np.stack(means), atol=2e-6)


def test_learnt_positions_as_in_esm1b():
    torch.manual_seed(2)
    config = esm_config(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48)
    config.position_embedding_type = "absolute"
    encoder = ProteinEncoder(EsmModel(config, add_pooling_layer=False).eval(), "absolute")
    ids = torch.from_numpy(pad_proteins(pack_proteins(PROTEINS)))
    with torch.no_grad():
        hidden = encoder.model(input_ids=ids, attention_mask=(ids != 1).long()).last_hidden_state
    expected = hidden[1, 1 : len(PROTEINS[1]) + 1].mean(0).numpy()
    np.testing.assert_allclose(encoder.embed(PROTEINS).vectors[1], expected, atol=2e-6)


def test_positions_stay_exact_in_bfloat16():
    protein = ["ACDEFGHIKLMNPQRSTVWY" * 40]
    exact = tiny(hidden_size=64, num_attention_heads=2).embed(protein).vectors
    encoder = tiny(hidden_size=64, num_attention_heads=2)
    frequencies = encoder.model.rotary_embeddings.inv_freq.clone()
    cast_encoder(encoder.model, torch.bfloat16)
    assert encoder.model.dtype == torch.bfloat16
    assert torch.equal(encoder.model.rotary_embeddings.inv_freq, frequencies)
    np.testing.assert_allclose(encoder.embed(protein).vectors, exact, atol=0.03)


def test_a_full_device_halves_batches_and_loses_nothing(monkeypatch):
    encoder = tiny()
    expected = encoder.embed(PROTEINS).vectors
    real = proteins_module.mean_residue_vectors

    def full(model, input_ids, lengths):
        if len(input_ids) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(model, input_ids, lengths)

    limit = 70
    monkeypatch.setattr(proteins_module, "mean_residue_vectors", full)
    with pytest.warns(UserWarning, match="continuing with"):
        found = encoder.embed(PROTEINS).vectors
    np.testing.assert_allclose(found, expected, atol=1e-6)
    limit = 50
    with pytest.raises(RunError, match="a protein of 68 tokens does not fit into the memory of cpu"):
        tiny().embed([PROTEINS[1]])


def test_long_proteins_lose_their_end_and_are_counted():
    encoder = ProteinEncoder(tiny().model, "tiny", max_residues=12)
    found = encoder.embed(PROTEINS)
    assert found.n_truncated == 2
    np.testing.assert_allclose(found.vectors[1], encoder.embed([PROTEINS[1][:12]]).vectors[0], atol=1e-6)
    assert encoder.preprocessing["max_residues"] == 12 and encoder.preprocessing != tiny().preprocessing
    # Without a word, as many as it was trained on.
    assert tiny().max_residues == 1022 and tiny(max_residues=40).max_residues == 40


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
def test_proteins_that_cannot_be_embedded_are_refused(proteins, options, message):
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


def test_windows_average_over_all_residues_of_a_long_protein():
    encoder = replace(tiny(max_residues=50), long_proteins="windows")
    rng = np.random.default_rng(0)
    proteins = ["".join(rng.choice(list(ALPHABET[:20]), n)) for n in (50, 51, 173, 7)]
    embedded = encoder.embed(proteins)
    assert embedded.n_truncated == 0

    def residue_states(piece):
        with torch.no_grad():
            return encoder.model(torch.from_numpy(pack_proteins([piece]).input_ids)[None])[0][0, 1:-1]

    # 173 residues are four windows of 43 or 44, 51 residues are two of 25 and 26.
    for protein, vector, bounds in zip(
        proteins, embedded.vectors, ([0, 50], [0, 25, 51], [0, 43, 86, 129, 173], [0, 7]), strict=True
    ):
        states = torch.cat([residue_states(protein[a:b]) for a, b in pairwise(bounds)])
        assert len(states) == len(protein)
        np.testing.assert_allclose(vector, states.mean(0).numpy(), atol=2e-6)
    truncated = replace(encoder, long_proteins="truncate")
    assert truncated.embed(proteins).n_truncated == 2
    assert truncated.preprocessing["pooling"] != encoder.preprocessing["pooling"]


def test_windows_are_a_property_of_the_checkpoint(tmp_path):
    encoder = tiny(max_residues=50, long_proteins="windows")
    encoder.model.save_pretrained(tmp_path)
    assert load_protein_encoder(tmp_path).long_proteins == "windows" == encoder.long_proteins
    assert tiny(max_residues=50).long_proteins == "truncate"
    with pytest.raises(CheckpointError, match="this version knows truncate, windows"):
        tiny(long_proteins="skip")


def test_no_protein_gives_no_vector_with_windows():
    assert tiny(long_proteins="windows").embed([]).vectors.shape == tiny().embed([]).vectors.shape == (0, 32)
