"""What the packed attention asks of a GPU's kernels."""

import pytest
import torch
from transformers import AttentionInterface, EsmModel

from biomeformer.genomes.proteins import esm_config
from biomeformer.inference import packed_esm
from biomeformer.models.dnabert2 import DnaBert2Config, DnaBert2Model, modeling_dnabert2
from biomeformer.models.dnabert2.modeling_dnabert2 import alibi_slopes, without_cudnn_attention
from factories import tiny_dnabert2

GPU, CPU = torch.device("cuda:1"), torch.device("cpu")
KERNELS = ("cudnn", "flash", "mem_efficient", "math")


def enabled():
    return {kernel for kernel in KERNELS if getattr(torch.backends.cuda, f"{kernel}_sdp_enabled")()}


@pytest.fixture
def chosen():
    """Enables some kernels, and all again at the end."""

    def choose(kernels):
        for kernel in KERNELS:
            getattr(torch.backends.cuda, f"enable_{kernel}_sdp")(kernel in kernels)

    yield choose
    choose(KERNELS)


@pytest.mark.parametrize(
    ("hosts", "within"),
    [
        (set(KERNELS), {"flash", "mem_efficient", "math"}),
        ({"cudnn", "math"}, {"math"}),
        ({"flash"}, {"flash"}),
        ({"cudnn"}, {"cudnn"}),
    ],
)
def test_cudnn_is_left_out_on_gpus_and_the_hosts_choice_kept(chosen, hosts, within):
    chosen(hosts)
    with without_cudnn_attention(CPU):
        assert enabled() == hosts
    with without_cudnn_attention(GPU), without_cudnn_attention(GPU):
        assert enabled() == within
    assert enabled() == hosts
    with pytest.raises(KeyError), without_cudnn_attention(GPU):
        raise KeyError
    assert enabled() == hosts


@pytest.mark.parametrize("kind", ["dnabert2", "esm"])
def test_every_group_of_a_packed_pass_is_attended_without_cudnn(monkeypatch, kind):
    seen = []

    def attend(module, query, key, value, mask, **kwargs):
        seen.append(enabled())
        return query.transpose(1, 2), None

    monkeypatch.setitem(AttentionInterface._global_mapping, "watched", attend)
    for module in (modeling_dnabert2, packed_esm):
        monkeypatch.setattr(module, "without_cudnn_attention", lambda device: without_cudnn_attention(GPU))
    lengths = torch.tensor([3, 3, 5, 8])
    ids = torch.full((19,), 5)
    if kind == "esm":
        config = esm_config(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
        model = EsmModel(config, add_pooling_layer=False).eval()
        model.config._attn_implementation = "watched"
        packed_esm.mean_residue_vectors(model, ids, lengths)
    else:
        model = tiny_dnabert2()
        model.config._attn_implementation = "watched"
        model.embed_packed(ids, lengths)
    assert len(seen) == 2 * 3 and all("cudnn" not in kernels and "flash" in kernels for kernels in seen)
    assert "cudnn" in enabled()


@pytest.mark.parametrize("length", [1, 7, 35, 64, 65, 500, 513])
def test_rows_of_the_alibi_bias_begin_where_attention_takes_them_without_a_copy(length):
    encoder = DnaBert2Model(DnaBert2Config(num_hidden_layers=1)).encoder
    for asked in (length, max(length - 3, 1)):
        bias = encoder.alibi_bias(asked, CPU, torch.bfloat16)
        # As `aligned_tensor<8>` in torch's aten/src/ATen/native/transformers/attention.cpp asks.
        expanded = bias.expand(4, -1, -1, -1)
        assert expanded.stride(-1) == 1 and not any(stride % 8 for stride in expanded.stride()[:-1])
        position = torch.arange(asked)
        distance = (position[None] - position[:, None]).abs()
        expected = (-torch.tensor(alibi_slopes(12))[:, None, None] * distance).to(torch.bfloat16)[None]
        assert torch.equal(bias, expected)
