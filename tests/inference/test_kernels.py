"""Compiled kernels against torch's operations and against float64."""

from __future__ import annotations

import itertools
import logging
import platform
import sys

import numpy as np
import pytest
import torch

import biomeformer
from biomeformer.inference import kernels
from biomeformer.inference.kernels import GatedTables, NearestKernel, has_vnni
from biomeformer.models.kmer_encoder import KmerEncoderConfig, KmerEncoderModel, KmerTokenizer
from biomeformer.models.metagenbert import MetagenBertModel
from biomeformer.models.metagenbert.modeling_metagenbert import TIE_TOLERANCE
from factories import random_sequences, write_fastq


def kernels_of_this_process(monkeypatch, n_tokens):
    """Kernels that have seen so many tokens."""
    own = kernels._Kernels()
    own._n_tokens = n_tokens
    monkeypatch.setattr(kernels, "KERNELS", own)
    return own


@pytest.fixture
def in_use(monkeypatch):
    if platform.machine() not in kernels.PROCESSORS:
        pytest.skip(f"there are no kernels for {platform.machine()}")
    own = kernels_of_this_process(monkeypatch, kernels.WORTHWHILE_TOKENS)
    assert own.load() is not None, "numba is a dependency"
    return own


@pytest.fixture
def vnni(in_use):
    if not has_vnni():
        pytest.skip("this CPU has no products of bytes (AVX-512 VNNI)")


def packed(n_reads, vocabulary, seed, empty=False):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0 if empty else 1, 200, n_reads)
    ids = rng.integers(1, vocabulary, lengths.sum()).astype(np.int32)
    ids[rng.random(len(ids)) < 0.02] = 0
    return torch.from_numpy(ids), torch.from_numpy(lengths)


@pytest.mark.parametrize(("k", "hidden_size", "n_heads"), [(6, 128, 8), (3, 64, 4), (4, 96, 2), (2, 320, 10)])
def test_vectors_are_equal_to_the_last_bit(in_use, monkeypatch, k, hidden_size, n_heads):
    torch.manual_seed(k)
    model = KmerEncoderModel(KmerEncoderConfig(k=k, hidden_size=hidden_size, num_gate_heads=n_heads)).eval()
    model.embeddings.weight.data.normal_(), model.gates.weight.data.normal_(std=0.2)
    calls, run = [], GatedTables.run
    monkeypatch.setattr(GatedTables, "run", lambda *args: calls.append(1) or run(*args))
    ids, lengths = packed(700, 4**k + 1, seed=k, empty=True)
    for tokens in (ids, ids.long()):
        for options in ({}, {"pooling": "mean_over_max_length", "max_length": 200}):
            with torch.inference_mode():
                compiled = model.embed_packed(tokens, lengths, **options)
            n_calls = len(calls)
            # Gradients are torch's own.
            plain = model.embed_packed(tokens, lengths, **options).detach()
            assert n_calls == len(calls) > 0
            assert torch.equal(compiled, plain) and (compiled.abs().sum(1) > 0).sum() > 600
    with torch.no_grad():
        model.embeddings.weight.mul_(2)
        assert torch.equal(model.embed_packed(ids, lengths), 2 * model.embed_packed(ids.long(), lengths) / 2)
        assert not torch.equal(model.embed_packed(ids, lengths), compiled)


@pytest.mark.parametrize("sizes", [(128, 32), (64, 2), (48, 3), (24, 2)])
def test_other_sizes_are_left_to_torch(in_use, sizes):
    hidden_size, n_heads = sizes
    model = KmerEncoderModel(KmerEncoderConfig(k=3, hidden_size=hidden_size, num_gate_heads=n_heads)).eval()
    ids, lengths = packed(20, 65, seed=0)
    plain = model.embed_packed(ids, lengths).detach()
    with torch.no_grad():
        assert torch.equal(model.embed_packed(ids, lengths), plain)
    assert GatedTables.fit(*sizes) == (sizes == (64, 2))


@pytest.mark.parametrize("token", [65, -1, 2**30])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_tokens_out_of_range_reach_no_kernel(in_use, token, dtype):
    tables = GatedTables.of(torch.zeros(65, 4), torch.zeros(65, 64), torch.zeros(65, dtype=torch.int64))
    ids = torch.tensor([1, token, 3], dtype=dtype)
    assert tables.embed(ids, torch.tensor([3]), None, None) is None
    for lengths in ([4], [2], [5, -2]):
        assert tables.embed(torch.ones(3, dtype=dtype), torch.tensor(lengths), None, None) is None


def points_near_borders(centroids, n, seed):
    """Random points, and points between two centroids, off the middle by 1e-9 to 0.1."""
    rng = np.random.default_rng(seed)
    first, second = (centroids[rng.integers(0, len(centroids), n)] for _ in range(2))
    towards = 0.5 + rng.choice([-1, 1], n) * 10 ** rng.uniform(-9, -1, n)
    between = first + (second - first) * towards[:, None]
    return np.concatenate([rng.normal(size=(n, centroids.shape[1])), between, centroids]).astype(np.float32)


@pytest.mark.parametrize("n_clusters", [1, 2, 63, 64, 100, 513])
@pytest.mark.parametrize("size", [1, 3, 16, 130])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 300.0])
def test_nearest_is_that_of_float64(vnni, n_clusters, size, scale):
    rng = np.random.default_rng(n_clusters + size)
    centroids = (rng.normal(size=(n_clusters, size)) * scale).astype(np.float32)
    # A centroid that is there twice, and one of zeros.
    centroids[-1] = centroids[0]
    centroids[n_clusters // 2] = 0
    points = points_near_borders(centroids, 101, seed=size)
    ids, ties = (found.numpy() for found in NearestKernel.of(torch.from_numpy(centroids)).find(
        torch.from_numpy(points), TIE_TOLERANCE
    ))  # fmt: skip
    exact = ((points[:, None].astype(np.float64) - centroids) ** 2).sum(2)
    two = np.sort(exact, axis=1)
    gap = two[:, 1] - two[:, 0] if n_clusters > 1 else np.full(len(points), np.inf)
    size_of = (points.astype(np.float64) ** 2).sum(1) + (centroids.astype(np.float64) ** 2).sum(1).max()
    # What is not marked is right, and what is marked are near ties and nothing else.
    assert (ids == exact.argmin(1))[~ties].all()
    assert ties[gap < 0.9 * TIE_TOLERANCE * size_of].all() and not ties[gap > 1.1 * TIE_TOLERANCE * size_of].any()
    assert n_clusters == 1 or ties.any()


@pytest.mark.parametrize("heavy_tails", [False, True])
def test_the_bound_holds(vnni, heavy_tails):
    """Approximate distances by bytes differ from those in float64 by twice the bound at most, and not by far less."""
    rng = np.random.default_rng(3)
    draw = (lambda *shape: rng.standard_t(2, shape)) if heavy_tails else (lambda *shape: rng.normal(size=shape))
    centroids, points = (draw(n, 40).astype(np.float32) for n in (90, 300))
    kernel = NearestKernel.of(torch.from_numpy(centroids))
    codes = kernel.codes.transpose(0, 2, 1, 3).reshape(len(kernel.scales), -1)[:90].astype(np.int64)
    assert np.array_equal(kernel.offsets[:90], 128 * codes.sum(1)) and np.isinf(kernel.norms[90:]).all()
    from biomeformer.inference import kernel_code

    ratios = []
    for point in points:
        row = np.empty(codes.shape[1], np.uint8)
        step, length, lost = kernel_code.quantise(point, row)
        rounded = (row[:40].astype(np.int64) - 128) * float(step)
        assert lost == pytest.approx(np.linalg.norm(point - rounded), rel=1e-4)
        assert length == pytest.approx(np.linalg.norm(point), rel=1e-5)
        products = float(step) * kernel.scales[:90] * (codes @ (row.astype(np.int64) - 128))
        bound = lost * kernel.longest + (length + lost) * kernel.largest_loss
        ratios.append(np.abs(products - centroids.astype(np.float64) @ point).max() / bound)
    assert max(ratios) <= 1
    assert max(ratios) > 0.02


def test_vectors_that_are_not_finite_are_left_to_float64(vnni):
    points = torch.ones(8, 16)
    points[1, 3], points[4, 0], points[6] = torch.nan, torch.inf, 0
    _, ties = NearestKernel.of(torch.eye(16)[:5]).find(points, TIE_TOLERANCE)
    assert ties[1] and ties[4] and ties[6]


LETTERS = [b"ACGT", b"ACGTN", b"ACGTacgtuUN", b"ACGTRYSWKMBDHVN.-", b"NA", bytes(range(256))]


@pytest.mark.parametrize("k", [1, 2, 6, 7, 10])
def test_tokens_are_those_of_numpy(in_use, monkeypatch, k):
    tokenizer, rng = KmerTokenizer(k=2, canonical=False), np.random.default_rng(k)
    # Its k-mers need not be listed here.
    tokenizer.k = k
    calls, run = [], kernels.run_number_kmers
    monkeypatch.setattr(kernels, "run_number_kmers", lambda *args: calls.append(1) or run(*args))
    # Reads that are all shorter than k, of usual lengths, and longer than the kernel takes at once; of unknown bases
    # few and many.
    for longest, share, letters in itertools.product((k, 40, 3000), (0.003, 1.0), LETTERS):
        lengths = rng.integers(0, longest, 20)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        codes = np.where(rng.random(offsets[-1]) < share, rng.integers(0, len(letters), offsets[-1]), 0)
        sequence = np.frombuffer(letters, np.uint8)[codes]
        for bases in (sequence, np.frombuffer(sequence.tobytes(), np.uint8)):
            found = tokenizer.encode_packed(bases, offsets)
            n_calls = len(calls)
            with monkeypatch.context() as context:
                context.setattr(KmerTokenizer, "bridge", None)
                expected = tokenizer.encode_packed(bases, offsets)
            assert n_calls == len(calls) > 0
            for one, other in zip(found, expected, strict=True):
                assert one.dtype == other.dtype and np.array_equal(one, other)


@pytest.mark.parametrize("offsets", [[0], [0, 5], [1, 4], [0, 3, 2, 4], [0, -1, 4]])
def test_offsets_that_do_not_fit_reach_no_kernel(in_use, offsets):
    sequence, codes = np.frombuffer(b"ACGT", np.uint8), np.zeros(256, np.uint8)
    assert kernels.number_kmers(sequence, np.array([0, 4]), codes, 2) is not None
    assert kernels.number_kmers(sequence, np.array(offsets), codes, 2) is None
    assert kernels.number_kmers(sequence, np.array([0, 4]), codes[:5], 2) is None


def test_reads_are_tokenised_by_numpy_until_the_kernels_are_in_use(monkeypatch):
    kernels_of_this_process(monkeypatch, 0)
    assert kernels.number_kmers(np.zeros(4, np.uint8), np.array([0, 4]), np.zeros(256, np.uint8), 2) is None
    assert not kernels.KERNELS._is_loaded


def test_counts_are_those_of_torch(in_use, monkeypatch, tmp_path):
    """From FASTQ to counts with the shipped checkpoint: without kernels, with them from the start, and from midway."""
    model = biomeformer.load("metagenbert-mini")
    reads = random_sequences(9000, 60, 160, seed=5)
    fastq = write_fastq(tmp_path / "reads.fastq", [*reads, *(read[:70] + "N" + read[70:] for read in reads[:200])])
    calls, run = [], NearestKernel.run
    monkeypatch.setattr(NearestKernel, "run", lambda *args: calls.append(1) or run(*args))
    compiled = model.embed_sample(fastq)
    assert bool(calls) == has_vnni()
    for n_tokens in (-(10**12), kernels.WORTHWHILE_TOKENS - 900_000):
        kernels_of_this_process(monkeypatch, n_tokens)
        other = model.embed_sample(fastq)
        assert kernels.KERNELS.is_in_use == (n_tokens > 0)
        assert np.array_equal(other.counts, compiled.counts) and other.read_stats == compiled.read_stats
    assert compiled.counts.sum() == 9200


def test_changed_centroids_are_rounded_again(vnni):
    encoder = KmerEncoderModel(KmerEncoderConfig(k=3, hidden_size=64, num_gate_heads=4))
    encoder.embeddings.weight.data.normal_()
    model = MetagenBertModel.from_encoder_and_centroids(encoder, np.random.default_rng(0).normal(size=(70, 64)) / 8)
    ids, lengths = packed(400, 65, seed=1)
    with torch.inference_mode():
        first = model.assign_packed(ids, lengths)
        model.centroids.data.copy_(model.centroids.flip(0))
        again = model.assign_packed(ids, lengths)
    assert torch.equal(again, 69 - first) and len(first.unique()) > 10


def test_few_reads_load_nothing(monkeypatch):
    own = kernels_of_this_process(monkeypatch, 0)
    monkeypatch.setitem(sys.modules, "numba", None)
    assert own.after(kernels.WORTHWHILE_TOKENS) is None and not own._is_loaded
    assert own.after(1) is None and own._is_loaded


@pytest.mark.parametrize("machine", ["aarch64", "arm64"])
def test_other_processors_use_torch_without_a_word(monkeypatch, caplog, machine):
    own = kernels_of_this_process(monkeypatch, 0)
    monkeypatch.setattr(kernels.platform, "machine", lambda: machine)
    assert own.load() is None and not own.is_in_use and not caplog.records


def test_without_numba_torch_is_used_with_one_warning(monkeypatch, caplog):
    own = kernels_of_this_process(monkeypatch, kernels.WORTHWHILE_TOKENS)
    monkeypatch.setitem(sys.modules, "numba", None)
    model = KmerEncoderModel(KmerEncoderConfig(k=3, hidden_size=64, num_gate_heads=4)).eval()
    ids, lengths = packed(50, 65, seed=2)
    with caplog.at_level(logging.WARNING), torch.inference_mode():
        vectors = [model.embed_packed(ids, lengths) for _ in range(3)]
    assert not own.is_in_use and torch.equal(vectors[0], model.embed_packed(ids, lengths).detach())
    assert [record.message.split(",")[0] for record in caplog.records] == [
        "Reads are embedded without compiled kernels"
    ]


def test_a_folder_that_cannot_be_written_to_only_costs_the_kept_code(in_use, monkeypatch):
    from biomeformer.inference import kernel_code

    def refuse(function, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return function, options

    monkeypatch.setattr(kernel_code, "njit", refuse)
    function, options = kernel_code._compiled(len)
    assert function is len and options["nogil"] and "fastmath" not in options
