"""What a GPU's passes must not do: mix devices, wait for the CPU, or read a copy before it has ended."""

from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import EsmModel

from biomeformer.genomes.proteins import esm_config
from biomeformer.inference import batching as engine
from biomeformer.inference.packed_esm import mean_residue_vectors
from biomeformer.models.dnabert2 import modeling_dnabert2
from biomeformer.models.kmer_encoder import KmerEncoderConfig, KmerEncoderModel, modeling_kmer_encoder
from biomeformer.models.metagenbert.exact_batches import by_length
from factories import tiny_dnabert2, tiny_metagenbert

META = torch.device("meta")
SORTED, UNSORTED = torch.tensor([3, 3, 5, 5, 9, 12]), torch.tensor([5, 3, 9, 3, 12, 5])


def tensors(values):
    return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]


class NeverWaits(TorchDispatchMode):
    """Meta tensors stand for those on a GPU; their values, as a GPU's, are not known to the CPU without waiting."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = {tensor.device.type for tensor in tensors((args, kwargs)) if tensor.dim()}
        assert len(given) < 2, f"{func} mixes {given}"
        result = func(*args, **kwargs)
        made = {tensor.device.type for tensor in tensors(result)}
        if given and made - given:
            assert made == {"meta"} and kwargs.get("non_blocking"), f"{func} copies from {given} to {made} and waits"
        return result


def ids(lengths, dtype=torch.int64):
    return torch.zeros(int(lengths.sum()), dtype=dtype, device=META)


def kmer_encoder(**sizes):
    return KmerEncoderModel(KmerEncoderConfig(k=4, hidden_size=16, **sizes)).eval()


@torch.inference_mode()
@pytest.mark.parametrize("pooling", ["mean", "mean_over_max_length"])
@pytest.mark.parametrize("lengths", [SORTED, UNSORTED])
@pytest.mark.parametrize("make", [tiny_dnabert2, kmer_encoder, lambda: kmer_encoder(num_gate_heads=2)])
def test_encoders_neither_mix_devices_nor_wait(make, lengths, pooling):
    encoder = make().to(META)
    with NeverWaits():
        for dtype in (torch.int64, torch.int32):
            vectors = encoder.embed_packed(ids(lengths, dtype), lengths, pooling=pooling, max_length=20)
    assert vectors.shape == (6, encoder.config.hidden_size) and vectors.device == META


@torch.inference_mode()
@pytest.mark.parametrize("make", [tiny_dnabert2, kmer_encoder])
def test_mixup_neither_mixes_devices_nor_waits(make):
    encoder = make().to(META)
    with NeverWaits():
        mixed = (ids(UNSORTED), UNSORTED, torch.tensor([1, 0, 3, 2, 5, 4]), torch.full((6,), 0.7))
        assert encoder.embed_packed_mixed(*mixed, 0).device == META


@torch.inference_mode()
def test_nearest_centroids_neither_mix_devices_nor_wait():
    model = tiny_metagenbert().to(META)
    with NeverWaits():
        cluster_ids, near_tie, vectors = model.nearest_packed(ids(UNSORTED), UNSORTED)
        assert model.nearest_exactly(vectors).shape == cluster_ids.shape == near_tie.shape == (6,)
        reads = [tokens.shape for _, tokens in by_length(ids(SORTED), SORTED, torch.tensor([0, 1, 5, 2]))]
    assert reads == [(2, 3), (1, 5), (1, 12)]


@torch.inference_mode()
def test_proteins_neither_mix_devices_nor_wait():
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    model = EsmModel(esm_config(**sizes), add_pooling_layer=False).eval().to(META)
    with NeverWaits():
        assert mean_residue_vectors(model, ids(SORTED), SORTED).shape == (6, 24)


def test_what_goes_to_a_gpu_goes_from_pinned_memory_and_is_not_waited_for():
    for send in (engine.to_device, modeling_dnabert2.to_device, modeling_kmer_encoder.to_device):
        calls = []
        pinned = SimpleNamespace(to=lambda device, non_blocking, c=calls: c.append(("to", str(device), non_blocking)))
        tensor = SimpleNamespace(device=torch.device("cpu"), pin_memory=lambda c=calls, p=pinned: c.append("pin") or p)
        send(tensor, torch.device("cuda:1"))
        assert calls == ["pin", ("to", "cuda:1", True)]


class OnSecondGpu(torch.Tensor):
    """A tensor that says it is on a second GPU."""

    device = torch.device("cuda:1")


def test_a_copy_is_awaited_on_the_stream_of_the_tensors_own_gpu(monkeypatch):
    calls = []
    empty = torch.empty

    class Event:
        def record(self, stream=None):
            calls.append(("record", stream))

        def synchronize(self):
            calls.append("synchronize")

    def pinned(*args, pin_memory, **kwargs):
        calls.append(("empty", pin_memory))
        return empty(*args, **kwargs)

    monkeypatch.setattr(torch, "empty", pinned)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: f"current stream of {device}")
    fetched = engine.fetch(torch.tensor([True, False, True]).as_subclass(OnSecondGpu))
    assert calls == [("empty", True), ("record", "current stream of cuda:1")]
    assert fetched.wait().tolist() == [True, False, True] and calls[2:] == ["synchronize"]
    assert engine.fetch(torch.arange(3)).wait().tolist() == [0, 1, 2] and len(calls) == 3
