"""The model as one object: encoder, centroids, preprocessing config."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoProcessor

import biomeformer
from biomeformer import MetagenBertConfig, MetagenBertModel, MetagenBertProcessor
from biomeformer.errors import CheckpointError
from biomeformer.models.dnabert2 import DnaBert2Model
from factories import bpe_tokenizer, random_sequences, tiny_bert, tiny_dnabert2, tiny_metagenbert

READS = random_sequences(40, 20, 150, seed=5)


def pack(model, reads):
    sequence = np.frombuffer("".join(reads).encode(), np.uint8)
    packed = model.processor.encode_reads(sequence, np.cumsum([0, *map(len, reads)]))
    return torch.from_numpy(packed.input_ids), torch.from_numpy(packed.lengths)


@pytest.mark.parametrize("encoder", [tiny_dnabert2, tiny_bert])
def test_forward_packed_and_assignment_agree(encoder):
    model = tiny_metagenbert(encoder())
    with torch.no_grad():
        outputs = model(**model.processor(READS))
        vectors = model.embed_packed(*pack(model, READS))
        ids = model.assign_packed(*pack(model, READS))
    assert outputs.read_embeddings.shape == (40, 24) and outputs.squared_distances.shape == (40, 7)
    torch.testing.assert_close(vectors, outputs.read_embeddings, atol=1e-6, rtol=0)
    assert torch.equal(ids, outputs.cluster_ids)
    exact = torch.cdist(vectors.double(), model.centroids.double()).square()
    torch.testing.assert_close(outputs.squared_distances.double(), exact, atol=1e-4, rtol=0)
    assert torch.equal(ids, exact.argmin(1))
    assert len(ids.unique()) > 1


@pytest.mark.parametrize("pooling", ["mean", "mean_over_max_length", "cls"])
@pytest.mark.parametrize("encoder", [tiny_dnabert2, tiny_bert])
def test_packed_vectors_equal_those_pooled_by_hand(encoder, pooling):
    model = tiny_metagenbert(encoder(), pooling=pooling, max_length=32)
    batch = model.processor(READS)
    with torch.no_grad():
        hidden = model.encoder(**batch).last_hidden_state
        vectors = model.embed_packed(*pack(model, READS))
    mask = batch["attention_mask"][:, :, None]
    total = (hidden * mask).sum(1)
    expected = {"mean": total / mask.sum(1), "mean_over_max_length": total / 32, "cls": hidden[:, 0]}[pooling]
    torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=0)


def test_any_split_gives_equal_clusters():
    model = tiny_metagenbert()
    # Centroids in pairs that differ by less than rounding: the hardest case for equal answers.
    centroids = model.centroids.repeat_interleave(2, 0)
    centroids[1::2] += 1e-7 * torch.randn_like(centroids[1::2])
    model = MetagenBertModel.from_encoder_and_centroids(model.encoder, centroids.numpy(), processor=model.processor)
    with torch.no_grad():
        whole = model.assign_packed(*pack(model, READS))
        one_by_one = torch.cat([model.assign_packed(*pack(model, [read])) for read in READS])
        backwards = model.assign_packed(*pack(model, READS[::-1])).flip(0)
    assert torch.equal(whole, one_by_one) and torch.equal(whole, backwards)


def test_auto_classes_round_trip(tmp_path):
    model = tiny_metagenbert(min_read_length=20, max_length=40)
    model.save_pretrained(tmp_path)
    assert {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json"} <= {
        p.name for p in tmp_path.iterdir()
    }
    again = AutoModel.from_pretrained(tmp_path)
    assert isinstance(again, MetagenBertModel) and isinstance(again.encoder, DnaBert2Model)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), MetagenBertConfig)
    processor = AutoProcessor.from_pretrained(tmp_path)
    assert isinstance(processor, MetagenBertProcessor) and processor.preprocessing == model.processor.preprocessing
    assert again.processor.preprocessing == model.processor.preprocessing
    state, state_again = model.state_dict(), again.state_dict()
    assert state.keys() == state_again.keys()
    assert all(torch.equal(state[key], state_again[key]) for key in state)
    assert again.weights_sha256 == model.weights_sha256 and not again.centroids.requires_grad
    with torch.no_grad():
        assert torch.equal(model.assign_packed(*pack(model, READS)), again.assign_packed(*pack(again, READS)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_centroids_stay_float32(tmp_path, dtype):
    model = tiny_metagenbert()
    model.save_pretrained(tmp_path)
    exact = model.centroids.detach().clone()
    loaded = MetagenBertModel.from_pretrained(tmp_path, dtype=dtype)
    cast = MetagenBertModel.from_pretrained(tmp_path).to(dtype)
    for low in (loaded, cast):
        assert low.centroids.dtype == torch.float32 and torch.equal(low.centroids, exact)
        assert next(low.encoder.parameters()).dtype == dtype
        with torch.no_grad():
            outputs = low(**low.processor(READS[:4]))
        assert outputs.read_embeddings.dtype == torch.float32 and outputs.squared_distances.dtype == torch.float32


def test_published_centroids_on_their_scale(tmp_path):
    centroids = np.random.default_rng(0).normal(size=(5, 24)).astype(np.float32)
    np.save(tmp_path / "centroids.npy", centroids)
    model = MetagenBertModel.from_encoder_and_centroids(
        tiny_dnabert2(),
        tmp_path / "centroids.npy",
        tokenizer=bpe_tokenizer(),
        pooling="mean_over_max_length",
        max_length=42,
    )
    assert model.config.pooling == "mean_over_max_length" and model.config.max_length == 42
    assert np.array_equal(model.centroids.numpy(), centroids)
    with pytest.raises(ValueError, match="hidden_size is 24"):
        MetagenBertModel.from_encoder_and_centroids(tiny_dnabert2(), centroids[:, :20])
    with pytest.raises(ValueError, match="NaN"):
        MetagenBertModel.from_encoder_and_centroids(tiny_dnabert2(), np.full((2, 24), np.nan))


def test_contract_is_checked_at_load(tmp_path):
    tiny_metagenbert(max_length=40).save_pretrained(tmp_path / "good")
    for field, value, message in [
        ("pooling", "cls", "processor_config.json and config.json"),
        ("max_length", 50, "says max_length 50"),
        ("case", "sideways", "case is 'sideways'"),
    ]:
        shutil.copytree(tmp_path / "good", tmp_path / field)
        file = tmp_path / field / "processor_config.json"
        preprocessing = json.loads(file.read_text())
        preprocessing[field] = value
        file.write_text(json.dumps(preprocessing))
        with pytest.raises(CheckpointError, match=message):
            biomeformer.load(tmp_path / field)
    shutil.copytree(tmp_path / "good", tmp_path / "none")
    (tmp_path / "none" / "processor_config.json").unlink()
    with pytest.raises(CheckpointError, match="has no processor_config"):
        biomeformer.load(tmp_path / "none")


def test_wrong_weights_are_errors(tmp_path):
    tiny_metagenbert().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    centroids = state.pop("centroids")
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 missing \(centroids\)"):
        biomeformer.load(tmp_path)
    save_file(
        {**state, "centroids": centroids, "more": centroids.clone()},
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(CheckpointError, match=r"1 unexpected \(more\)"):
        biomeformer.load(tmp_path)


def test_pooling_equals_the_reference_vectors(shared_data):
    """`mean_over_max_length` through the whole model equals the reference vectors."""
    spec = json.loads((shared_data / "golden" / "dnabert2_tiny.json").read_text())
    expected = load_file(shared_data / "golden" / "dnabert2_tiny.outputs.safetensors")
    state = load_file(shared_data / "golden" / "dnabert2_tiny.model_layout.safetensors")
    config = biomeformer.models.dnabert2.DnaBert2Config.from_dict(spec["config"])
    encoder = DnaBert2Model(config).eval()
    encoder.load_state_dict(state)
    model = MetagenBertModel.from_encoder_and_centroids(
        encoder, np.zeros((1, 48)), pooling="mean_over_max_length", max_length=spec["max_length"]
    )
    with torch.no_grad():
        outputs = model(expected["input_ids"], attention_mask=expected["attention_mask"])
    torch.testing.assert_close(outputs.read_embeddings, expected["mean_over_max_length"], atol=1e-5, rtol=0)
