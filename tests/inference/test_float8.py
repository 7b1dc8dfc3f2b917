"""Products in float8: their error, what they are refused for, and that a table tells of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import biomeformer
from biomeformer.errors import InputError
from biomeformer.inference.batching import embed_vectors
from biomeformer.inference.float8 import Float8Linear, precision, to_float8, use_float8
from biomeformer.metagenomes import embed_sample
from biomeformer.models.dnabert2 import DnaBert2Config, DnaBert2Model
from biomeformer.models.metagenbert import MetagenBertModel
from biomeformer.reads import ReadBatch, SampleReads
from factories import random_sequences, tiny_metagenbert, write_fastq


def wide_model(dtype=torch.bfloat16, **sizes):
    """DNABERT-2 whose Linears are multiples of 16 wide."""
    torch.manual_seed(0)
    processor = tiny_metagenbert().processor
    sizes = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48, "num_hidden_layers": 2, **sizes}
    config = DnaBert2Config(vocab_size=4096, add_pooling_layer=False, **sizes)
    encoder = DnaBert2Model(config).eval().to(dtype)
    centroids = np.random.default_rng(0).normal(size=(5, config.hidden_size))
    return MetagenBertModel.from_encoder_and_centroids(encoder, centroids, processor=processor)


def test_rows_come_back_within_the_rounding_of_float8():
    rows = torch.randn(6, 40) * torch.tensor([1e-4, 1.0, 30.0, 1e3, 1.0, 0.0])[:, None]
    values, scale = to_float8(rows)
    assert values.dtype == torch.float8_e4m3fn and scale.shape == (6, 1)
    # Three bits of mantissa: half of the last is a sixteenth.
    assert ((values.float() * scale - rows).abs() <= rows.abs() / 16 + scale * 2**-9).all()
    assert torch.isfinite(values.float()).all()


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_in_float8(bias):
    torch.manual_seed(0)
    linear = nn.Linear(64, 48, bias=bias).to(torch.bfloat16)
    inputs = torch.randn(3, 7, 64, dtype=torch.bfloat16)
    with torch.no_grad():
        expected, found = linear(inputs).float(), Float8Linear(linear)(inputs)
    assert found.dtype == torch.bfloat16 and found.shape == (3, 7, 48)
    error = (found.float() - expected).norm() / expected.norm()
    assert 0 < error < 0.06


@pytest.mark.parametrize("n_rows", [1, 37, 256, 300])
def test_scales_lie_in_memory_that_a_kernel_may_read_by_256(n_rows, monkeypatch):
    seen, real = [], torch._scaled_mm
    monkeypatch.setattr(
        torch, "_scaled_mm", lambda *args, **given: seen.append(given["scale_a"]) or real(*args, **given)
    )
    linear = nn.Linear(64, 48).to(torch.bfloat16)
    inputs = torch.randn(n_rows, 64, dtype=torch.bfloat16)
    with torch.no_grad():
        Float8Linear(linear)(inputs)
    (scale,) = seen
    assert scale.shape == (n_rows, 1) and scale.is_contiguous() and scale.storage_offset() == 0
    assert torch.equal(scale, to_float8(inputs)[1]) and scale.untyped_storage().nbytes() % (4 * 256) == 0


def test_vectors_and_counts(tmp_path):
    reads = random_sequences(60, seed=3)
    exact, other = wide_model(), wide_model()
    use_float8(other)
    assert precision(exact.encoder) == "bfloat16" and precision(other.encoder) == "float8"
    assert exact.weights_sha256 != other.weights_sha256
    batch = ReadBatch.from_strings(reads)
    vectors, _ = embed_vectors(exact, exact.processor, batch)
    found, _ = embed_vectors(other, other.processor, batch)
    assert 0 < np.linalg.norm(found - vectors) < 0.1 * np.linalg.norm(vectors)
    fastq = write_fastq(tmp_path / "reads.fastq", reads)
    assert embed_sample(other, SampleReads.single(fastq)).counts.sum() == 60


def test_what_float8_is_refused_for():
    with pytest.raises(InputError, match="in bfloat16 whose Linears are multiples of 16"):
        use_float8(wide_model(torch.float32))
    with pytest.raises(InputError, match="multiples of 16"):
        use_float8(wide_model(hidden_size=24, intermediate_size=40))
    with pytest.raises(InputError, match="use bfloat16"):
        biomeformer.load("metagenbert-mini", dtype="float8")
