"""Counts and vectors of reads: the same whatever the batch, from run to run, and as on the CPU."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from speed_shapes import flat, random_reads

import biomeformer
from biomeformer.inference.batching import default_batch_tokens
from biomeformer.inference.float8 import CAPABILITY, use_float8

# Far from the default, and none a multiple of another.
BATCH_TOKENS = (2_000, 20_001, 70_003)
READ_LENGTHS = [50, 76, 101, 150, 151, 250]


def on_device(model, device):
    return copy.deepcopy(model).to(device)


def moved(a, b) -> int:
    """Reads in another cluster, at least."""
    return int(np.abs(a - b).sum()) // 2


def tokens_of(model, n_reads: int):
    """Tokens and lengths of random reads, on the CPU."""
    packed = model.processor.encode_reads(*flat(random_reads(n_reads, READ_LENGTHS, seed=4)))
    return torch.from_numpy(packed.input_ids), torch.from_numpy(packed.lengths)


def test_counts_do_not_depend_on_the_batch_or_the_run(read_model, many_reads, device, record_property):
    model = on_device(read_model, device)
    counts = {"default": model.embed_sample(many_reads).counts}
    counts |= {str(n): model.embed_sample(many_reads, batch_tokens=n).counts for n in BATCH_TOKENS}
    counts |= {f"{n} again": model.embed_sample(many_reads, batch_tokens=n).counts for n in BATCH_TOKENS}
    counts["default again"] = model.embed_sample(many_reads).counts
    differences = {name: moved(values, counts["default"]) for name, values in counts.items()}
    record_property("reads", int(counts["default"].sum()))
    record_property("moved", differences)
    assert not any(differences.values()), differences


def test_counts_are_those_of_the_cpu(read_model, few_reads, device, record_property):
    want = read_model.embed_sample(few_reads).counts
    got = on_device(read_model, device).embed_sample(few_reads).counts
    record_property("moved", moved(got, want))
    assert want.sum() == 300 and np.array_equal(got, want)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_vectors_are_those_of_the_cpu(read_model, device, attention, record_property):
    ids, lengths = tokens_of(read_model, 300)
    model = on_device(read_model, device)
    if read_model.config.encoder_config.model_type == "dnabert2":
        model.encoder.set_attn_implementation(attention)
    with torch.inference_mode():
        want = read_model.embed_packed(ids, lengths)
        got = model.embed_packed(ids.to(device), lengths).cpu()
    error = ((got - want).abs().max() / want.abs().max()).item()
    record_property("error_of_scale", error)
    assert torch.isfinite(got).all() and error < 1e-4


@pytest.mark.parametrize("dtype", ["bfloat16", "float8"])
def test_vectors_of_lower_precision(read_model, device, dtype, record_property):
    if read_model.config.encoder_config.model_type != "dnabert2":
        pytest.skip("an encoder that looks vectors up has no matrix products")
    if dtype == "float8" and device.type == "cuda" and torch.cuda.get_device_capability(device) < CAPABILITY:
        pytest.skip("the card has no products in float8")
    exact, model = on_device(read_model, device), on_device(read_model, device)
    model.encoder.to(torch.bfloat16)
    if dtype == "float8":
        if read_model.config.hidden_size % 16:
            pytest.skip("the small encoder is no multiple of 16 wide")
        use_float8(model)
    ids, lengths = tokens_of(read_model, 300)
    # Numbers of tokens that are no multiples of what matrix units work in.
    for n_reads in (1, 3, 97, 300):
        n_tokens = int(lengths[:n_reads].sum())
        with torch.inference_mode():
            want = exact.embed_packed(ids[:n_tokens].to(device), lengths[:n_reads])
            got = model.embed_packed(ids[:n_tokens].to(device), lengths[:n_reads])
        cosine = torch.nn.functional.cosine_similarity(got, want).min().item()
        record_property(f"least_cosine_of_{n_reads}", cosine)
        assert torch.isfinite(got).all() and cosine > 0.98


def test_tokens_arrive_as_they_were_sent(read_model, device):
    """Copies from pinned memory run beside the computation; none may be read before it is there."""
    from biomeformer.inference.batching import to_device

    ids, _ = tokens_of(read_model, 2_000)
    sent = []
    for first in range(0, len(ids) - 1000, 997):
        sent.append((first, to_device(ids[first : first + 1000].clone(), device)))
        if device.type == "cuda":
            torch.randn(512, 512, device=device) @ torch.randn(512, 512, device=device)
    assert all(torch.equal(there.cpu(), ids[first : first + 1000]) for first, there in sent)


def test_a_card_by_its_number(few_reads, device):
    name = "cuda:0" if device.type == "cuda" else str(device)
    model = biomeformer.load("metagenbert-mini", device=name)
    assert model.device == torch.device(name)
    if device.type == "cuda":
        assert torch.cuda.current_device() == 0
        assert biomeformer.load("metagenbert-mini", device="auto").device == torch.device("cuda", 0)
    want = biomeformer.load("metagenbert-mini").embed_sample(few_reads).counts
    assert np.array_equal(model.embed_sample(few_reads).counts, want)


def test_the_last_card_is_not_mistaken_for_the_first(few_reads, device):
    n_cards = torch.cuda.device_count() if device.type == "cuda" else 1
    if n_cards < 2:
        pytest.skip("needs two CUDA cards")
    last = biomeformer.load("metagenbert-mini", device=f"cuda:{n_cards - 1}")
    # Another library may make the first one current again.
    torch.cuda.set_device(0)
    want = biomeformer.load("metagenbert-mini").embed_sample(few_reads).counts
    assert np.array_equal(last.embed_sample(few_reads).counts, want)


def test_memory_that_does_not_suffice(read_model, many_reads, device, monkeypatch, record_property):
    """The batch is halved with a warning; nothing is lost or counted twice."""
    if read_model.config.encoder_config.model_type != "dnabert2":
        pytest.skip("an encoder that looks vectors up needs little memory")
    model = on_device(read_model, device)
    want = model.embed_sample(many_reads, batch_tokens=2_000).counts
    model = on_device(read_model, device)
    n_tokens = default_batch_tokens(model)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        allowed = torch.cuda.memory_reserved(device) + (1 << 30)
        torch.cuda.set_per_process_memory_fraction(allowed / torch.cuda.mem_get_info(device)[1], device)
    else:
        n_tokens, embed = 8_000, model.embed_packed

        def embed_few(input_ids, lengths):
            if len(input_ids) > 3_000:
                raise torch.OutOfMemoryError("no memory")
            return embed(input_ids, lengths)

        monkeypatch.setattr(model, "embed_packed", embed_few)
    try:
        with pytest.warns(UserWarning, match="has no memory for") as warned:
            got = model.embed_sample(many_reads, batch_tokens=n_tokens).counts
    finally:
        if device.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(1.0, device)
            torch.cuda.empty_cache()
    record_property("warnings", [str(warning.message) for warning in warned])
    assert np.array_equal(got, want)
