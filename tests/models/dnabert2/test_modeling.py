"""Behaviour of the native DNABERT-2 that needs no reference vectors."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from biomeformer.checkpoints.conversion_dnabert2 import convert_checkpoint
from biomeformer.models.dnabert2 import (
    DnaBert2Config,
    DnaBert2ForMaskedLM,
    DnaBert2ForSequenceClassification,
    DnaBert2Model,
)
from biomeformer.models.dnabert2.modeling_dnabert2 import PackedLayout, alibi_slopes

PUBLISHED = {
    "model_type": "bert",
    "auto_map": {"AutoModel": "bert_layers.BertModel"},
    "alibi_starting_size": 512,
    "vocab_size": 64,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "pad_token_id": 0,
}


@pytest.fixture
def config():
    sizes = {key: value for key, value in PUBLISHED.items() if key not in ("model_type", "auto_map", "pad_token_id")}
    return DnaBert2Config(**sizes)


@pytest.fixture
def model(config):
    torch.manual_seed(0)
    return DnaBert2Model(config).eval()


def tokens(lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(5, 64, (n,), generator=generator) for n in lengths]


def padded(sequences, width, left=False):
    ids = torch.full((len(sequences), width), 3)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        where = slice(width - len(sequence), width) if left else slice(0, len(sequence))
        ids[row, where], mask[row, where] = sequence, 1
    return ids, mask


def test_alibi_slopes_are_those_of_the_paper():
    assert alibi_slopes(8) == pytest.approx([2.0**-i for i in range(1, 9)])
    twelve = alibi_slopes(12)
    assert twelve[:8] == pytest.approx(alibi_slopes(8))
    assert twelve[8:] == pytest.approx([2 ** (-0.5 - i) for i in range(4)])


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_vector_depends_on_the_read_alone(config, attention):
    torch.manual_seed(0)
    model = DnaBert2Model._from_config(config, attn_implementation=attention).eval()
    sequences = tokens([7, 3, 12, 7, 1, 30])
    with torch.no_grad():
        alone = torch.stack([model(s[None]).last_hidden_state[0].mean(0) for s in sequences])
        for left in (False, True):
            ids, mask = padded(sequences, 40, left)
            hidden = model(ids, attention_mask=mask).last_hidden_state
            assert hidden[mask == 0].abs().max() == 0
            means = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
            torch.testing.assert_close(means, alone, atol=1e-6, rtol=0)
        order = [4, 0, 5, 2, 1, 3]
        packed = model.embed_packed(
            torch.cat([sequences[i] for i in order]), torch.tensor([len(sequences[i]) for i in order])
        )
    torch.testing.assert_close(packed, alone[order], atol=1e-6, rtol=0)


def test_longer_than_the_alibi_starting_size(config):
    config.alibi_starting_size = 8
    torch.manual_seed(0)
    short = DnaBert2Model(config).eval()
    config.alibi_starting_size = 2048
    torch.manual_seed(0)
    long = DnaBert2Model(config).eval()
    (sequence,) = tokens([700])
    with torch.no_grad():
        assert torch.equal(short(sequence[None]).last_hidden_state, long(sequence[None]).last_hidden_state)


def test_hidden_states_and_attentions(model):
    ids, mask = padded(tokens([5, 9, 5]), 10)
    with torch.no_grad():
        plain = model(ids, attention_mask=mask)
        full = model(ids, attention_mask=mask, output_hidden_states=True, output_attentions=True)
    assert plain.hidden_states is None and plain.attentions is None
    assert len(full.hidden_states) == 3 and len(full.attentions) == 2
    torch.testing.assert_close(full.hidden_states[-1], plain.last_hidden_state, atol=1e-6, rtol=0)
    assert full.attentions[0].shape == (3, 3, 10, 10)
    rows = full.attentions[1].sum(-1)
    torch.testing.assert_close(rows, mask[:, None, :].expand_as(rows).float(), atol=1e-6, rtol=0)
    # By hand: layer 0, head 0 of the second sequence.
    state = full.hidden_states[0][1, :9]
    attention = model.encoder.layer[0].attention.self
    query, key, _ = attention.Wqkv(state).view(9, 3, 3, 8)[:, :, 0].unbind(1)
    distance = (torch.arange(9)[:, None] - torch.arange(9)).abs()
    expected = torch.softmax(query @ key.T / math.sqrt(8) - alibi_slopes(3)[0] * distance, -1)
    torch.testing.assert_close(full.attentions[0][1, 0, :9, :9], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("layer", [0, 1])
def test_mixup_mixes_at_the_input_of_a_layer(model, layer):
    lengths, partners = [7, 4, 7, 9, 3], [1, 3, 2, 0, 4]
    weights = torch.tensor([0.7, 0.6, 0.9, 0.5, 1.0])
    sequences = tokens(lengths)
    with torch.no_grad():
        mixed = model.embed_packed_mixed(
            torch.cat(sequences), torch.tensor(lengths), torch.tensor(partners), weights, layer
        )
        # One read at a time: the states of the two at the layer's input, mixed, then the rest of the layers.
        states = [model(sequence[None], output_hidden_states=True).hidden_states[layer][0] for sequence in sequences]
        for i, partner in enumerate(partners):
            shared = min(lengths[i], lengths[partner])
            hidden = weights[i] * states[i][:shared] + (1 - weights[i]) * states[partner][:shared]
            layout = PackedLayout.from_sorted_lengths([shared])
            bias = model.encoder.alibi_bias(shared, hidden.device, hidden.dtype)
            for module in model.encoder.layer[layer:]:
                hidden = module(hidden, layout, bias)
            torch.testing.assert_close(mixed[i], hidden.mean(0), atol=1e-5, rtol=0)
        plain = model.embed_packed(torch.cat(sequences), torch.tensor(lengths))
    torch.testing.assert_close(mixed[2], plain[2], atol=1e-5, rtol=0)
    torch.testing.assert_close(mixed[4], plain[4], atol=1e-5, rtol=0)
    assert model.num_mixup_layers == 2


def test_mask_with_a_gap_is_refused(model):
    ids = torch.ones(2, 4, dtype=torch.long)
    with pytest.raises(ValueError, match="row 1 has padding between tokens"):
        model(ids, attention_mask=torch.tensor([[1, 1, 1, 0], [1, 0, 1, 0]]))
    with pytest.raises(ValueError, match="row 0 has no token"):
        model(ids, attention_mask=torch.tensor([[0, 0, 0, 0], [1, 1, 1, 0]]))


@pytest.mark.parametrize("cls", [DnaBert2Model, DnaBert2ForMaskedLM, DnaBert2ForSequenceClassification])
def test_saved_and_reloaded_is_equal(cls, config, tmp_path):
    torch.manual_seed(1)
    model = cls(config).eval()
    model.save_pretrained(tmp_path)
    again = cls.from_pretrained(tmp_path)
    assert not any(p.is_meta for p in again.parameters())
    state, state_again = model.state_dict(), again.state_dict()
    assert state.keys() == state_again.keys()
    assert all(torch.equal(state[key], state_again[key]) for key in state)
    buffers, buffers_again = dict(model.named_buffers()), dict(again.named_buffers())
    assert buffers.keys() == buffers_again.keys()
    assert all(torch.equal(buffers[key], buffers_again[key]) for key in buffers)
    ids, mask = padded(tokens([6, 4]), 6)
    with torch.no_grad():
        assert torch.equal(model(ids, attention_mask=mask)[0], again(ids, attention_mask=mask)[0])
    with torch.device("meta"):
        meta = cls(config)
    assert {k: v.shape for k, v in meta.state_dict().items()} == {k: v.shape for k, v in state.items()}


def published_folder(folder, config, with_pooler, prefix, name="model.safetensors", drop=(), add=()):
    torch.manual_seed(2)
    model = DnaBert2Model(config, add_pooling_layer=with_pooler)
    state = {f"{prefix}{key}": value for key, value in model.state_dict().items() if key not in drop}
    state.update({key: torch.zeros(2) for key in add})
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(PUBLISHED))
    if name.endswith(".bin"):
        torch.save(state, folder / name)
    else:
        save_file(state, folder / name, metadata={"format": "pt"})
    return model.eval()


@pytest.mark.parametrize("prefix", ["", "bert."])
@pytest.mark.parametrize("with_pooler", [True, False])
def test_published_layouts_load(prefix, with_pooler, config, tmp_path):
    original = published_folder(tmp_path / "m", config, with_pooler, prefix)
    loaded = DnaBert2Model.from_pretrained(tmp_path / "m")
    assert loaded.config.model_type == "dnabert2" and not hasattr(loaded.config, "auto_map")
    assert (loaded.pooler is not None) == with_pooler
    state = loaded.state_dict()
    assert set(state) == set(original.state_dict())
    assert all(torch.equal(value, state[key]) for key, value in original.state_dict().items())
    (sequence,) = tokens([9])
    with torch.no_grad():
        expected, got = original(sequence[None]), loaded(sequence[None])
    # Weights in a mapped file are aligned otherwise, and a product may be added up in another order.
    torch.testing.assert_close(got.last_hidden_state, expected.last_hidden_state, rtol=0, atol=1e-6)
    if with_pooler:
        torch.testing.assert_close(got.pooler_output, expected.pooler_output, rtol=0, atol=1e-6)
    else:
        assert got.pooler_output is None


def test_missing_and_unexpected_weights_are_errors(config, tmp_path):
    published_folder(tmp_path / "a", config, True, "", drop=("encoder.layer.1.mlp.wo.weight",))
    with pytest.raises(ValueError, match=r"1 missing \(encoder.layer.1.mlp.wo.weight\)"):
        DnaBert2Model.from_pretrained(tmp_path / "a")
    published_folder(tmp_path / "b", config, True, "", add=("position_embeddings.weight",))
    with pytest.raises(ValueError, match=r"1 unexpected \(position_embeddings.weight\)"):
        DnaBert2Model.from_pretrained(tmp_path / "b")


def test_stock_bert_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 24}))
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="not a DNABERT-2 checkpoint"):
        DnaBert2Model.from_pretrained(tmp_path)


def test_bin_is_refused_and_converts(config, tmp_path):
    original = published_folder(tmp_path / "upstream", config, False, "bert.", name="pytorch_model.bin")
    with pytest.raises(OSError, match="biomeformer convert"):
        DnaBert2Model.from_pretrained(tmp_path / "upstream")
    converted = convert_checkpoint(tmp_path / "upstream", tmp_path / "converted")
    assert sorted(p.name for p in converted.iterdir()) == ["config.json", "model.safetensors"]
    expected = {f"bert.{key}": value for key, value in original.state_dict().items()}
    stored = load_file(converted / "model.safetensors")
    assert stored.keys() == expected.keys() and all(torch.equal(stored[k], expected[k]) for k in stored)
    loaded = DnaBert2Model.from_pretrained(converted)
    assert loaded.pooler is None and loaded.config.model_type == "dnabert2"
    with pytest.raises(OSError, match="not an empty folder"):
        convert_checkpoint(tmp_path / "upstream", converted)


def test_conversion_runs_no_pickled_code(config, tmp_path):
    published_folder(tmp_path / "m", config, False, "bert.", name="pytorch_model.bin")

    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"bert.x": Trap()}, tmp_path / "m" / "pytorch_model.bin")
    with pytest.raises(ValueError, match="cannot be read as plain tensors"):
        convert_checkpoint(tmp_path / "m", tmp_path / "out")
    assert not (tmp_path / "sprung").exists() and not (tmp_path / "out").exists()


def test_masked_lm_trains_and_stays_tied(config):
    torch.manual_seed(0)
    model = DnaBert2ForMaskedLM(config)
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    model.gradient_checkpointing_enable()
    ids, mask = padded(tokens([8, 6]), 8)
    labels = ids.masked_fill(mask == 0, -100)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(12):
        loss = model.train()(ids, attention_mask=mask, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_sequence_classification_losses(config):
    config.num_labels = 3
    model = DnaBert2ForSequenceClassification(config).eval()
    ids, mask = padded(tokens([8, 6]), 8)
    outputs = model(ids, attention_mask=mask, labels=torch.tensor([0, 2]))
    expected = torch.nn.functional.cross_entropy(outputs.logits, torch.tensor([0, 2]))
    assert outputs.logits.shape == (2, 3)
    torch.testing.assert_close(outputs.loss, expected)
