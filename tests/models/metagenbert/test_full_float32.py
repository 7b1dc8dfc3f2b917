"""Full float32 products beside a host program that has set a coarser precision."""

import threading
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from biomeformer.genomes.proteins import load_protein_encoder
from biomeformer.inference import packed_esm
from biomeformer.inference.batching import embed_vectors
from biomeformer.metagenomes import embed_sample
from biomeformer.models.dnabert2 import DnaBert2Config, DnaBert2Model
from biomeformer.models.metagenbert import MetagenBertModel
from biomeformer.models.metagenbert.full_float32 import full_float32_matmul
from biomeformer.reads import ReadBatch, SampleReads
from factories import random_sequences, tiny_esm, tiny_metagenbert, write_fastq

MATMULS = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)


@contextmanager
def torch_as_it_was():
    """Put torch's settings back to those of a fresh process."""
    try:
        yield
    finally:
        torch.backends.fp32_precision = "none"
        torch.backends.cudnn.fp32_precision = "none"
        torch.backends.mkldnn.set_flags(_fp32_precision="none")
        torch.set_float32_matmul_precision("highest")
        for matmul in MATMULS:
            matmul.fp32_precision = "none"


def legacy(precision):
    return lambda: torch.set_float32_matmul_precision(precision)


def legacy_flag():
    torch.backends.cuda.matmul.allow_tf32 = True


def newer():
    torch.backends.cuda.matmul.fp32_precision = "tf32"


def newer_for_all():
    torch.backends.fp32_precision = "tf32"


def newer_on_cpu():
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"


def nothing():
    pass


def state():
    """All that can be asked of torch; the older setting cannot be read beside some of the newer."""
    try:
        older = torch.get_float32_matmul_precision(), torch.backends.cuda.matmul.allow_tf32
    except RuntimeError:
        older = None
    return older, *(matmul.fp32_precision for matmul in MATMULS), torch.backends.fp32_precision


@pytest.mark.parametrize(
    "host", [nothing, legacy("high"), legacy("medium"), legacy_flag, newer, newer_for_all, newer_on_cpu]
)
def test_the_hosts_setting_is_left_out_and_put_back(host):
    with torch_as_it_was():
        host()
        before = state()
        for _ in range(2):
            with full_float32_matmul(), full_float32_matmul():
                assert all(matmul.fp32_precision in ("ieee", "none") for matmul in MATMULS)
                # Neither raises, as they do where torch's two settings contradict each other.
                assert torch.get_float32_matmul_precision() == "highest"
                assert not torch.backends.cuda.matmul.allow_tf32
            assert state() == before
        with pytest.raises(KeyError), full_float32_matmul():
            raise KeyError
        assert state() == before


def test_an_operation_that_follows_the_setting_of_all_goes_on_to_follow_it():
    with torch_as_it_was():
        torch.backends.fp32_precision = "tf32"
        with full_float32_matmul():
            pass
        torch.backends.fp32_precision = "ieee"
        assert torch.backends.cuda.matmul.fp32_precision == "ieee"


def test_several_threads_hold_it_until_the_last_one_leaves():
    with torch_as_it_was():
        torch.set_float32_matmul_precision("high")
        first_is_in, second_is_in = threading.Event(), threading.Event()
        seen = []

        def second():
            first_is_in.wait(10)
            with full_float32_matmul():
                second_is_in.set()
                first.join(10)
                seen.append(torch.get_float32_matmul_precision())

        def begin_and_leave():
            with full_float32_matmul():
                first_is_in.set()
                second_is_in.wait(10)

        first, other = threading.Thread(target=begin_and_leave), threading.Thread(target=second)
        first.start()
        other.start()
        other.join(20)
        assert seen == ["highest"] and torch.get_float32_matmul_precision() == "high"


def test_reads_and_proteins_are_embedded_and_assigned_in_full_float32(monkeypatch, tmp_path):
    model = tiny_metagenbert()
    proteins = load_protein_encoder(tiny_esm(tmp_path / "esm"))
    reads = random_sequences(30, seed=3)
    fastq = write_fastq(tmp_path / "reads.fastq", reads)
    ids, lengths = torch.arange(5, 25), torch.tensor([8, 12])
    seen = []

    def watched(function):
        def watch(*args, **kwargs):
            seen.append(torch.get_float32_matmul_precision())
            return function(*args, **kwargs)

        return watch

    monkeypatch.setattr(model.encoder, "embed_packed", watched(model.encoder.embed_packed))
    monkeypatch.setattr(packed_esm, "_layer", watched(packed_esm._layer))
    monkeypatch.setattr(torch, "addmm", watched(torch.addmm))
    works = {
        "vectors": lambda: embed_vectors(model, model.processor, ReadBatch.from_strings(reads)),
        "sample": lambda: embed_sample(model, SampleReads.single(fastq)),
        "assign": lambda: model.assign_packed(ids, lengths),
        "alone": lambda: model.assign_exact(ids[None]),
        "proteins": lambda: proteins.embed(["MKLV", "AC"]),
    }
    with torch_as_it_was(), torch.inference_mode():
        torch.set_float32_matmul_precision("high")
        for name, work in works.items():
            seen.clear()
            work()
            assert seen and set(seen) == {"highest"}, name
            assert torch.get_float32_matmul_precision() == "high"


def coarse_products():
    """Whether this CPU shortens float32 numbers where it may."""
    a, b = torch.randn(64, 256), torch.randn(256, 64)
    with torch_as_it_was():
        exact = a @ b
        torch.set_float32_matmul_precision("medium")
        return not torch.allclose(a @ b, exact, atol=1e-3)


def test_a_host_that_allows_coarse_products_changes_no_bit(tmp_path):
    if not coarse_products():
        pytest.skip("this CPU multiplies float32 in float32 only")
    torch.manual_seed(0)
    tiny = tiny_metagenbert()
    config = DnaBert2Config(vocab_size=120, hidden_size=256, num_hidden_layers=2, num_attention_heads=4)
    model = MetagenBertModel.from_encoder_and_centroids(
        DnaBert2Model(config).eval(), np.zeros((1, 256)), processor=tiny.processor
    )
    reads = ReadBatch.from_strings(random_sequences(300, 60, 150, seed=6))
    vectors, _ = embed_vectors(model, model.processor, reads)
    model = MetagenBertModel.from_encoder_and_centroids(model.encoder, vectors[:64], processor=tiny.processor)
    fastq = SampleReads.single(write_fastq(tmp_path / "reads.fastq", random_sequences(300, 60, 150, seed=7)))
    counts = embed_sample(model, fastq).counts
    distances = model.squared_distances(torch.from_numpy(vectors))
    with torch_as_it_was():
        torch.set_float32_matmul_precision("medium")
        assert np.array_equal(embed_vectors(model, model.processor, reads)[0], vectors)
        assert np.array_equal(embed_sample(model, fastq).counts, counts)
        assert torch.equal(model.squared_distances(torch.from_numpy(vectors)), distances)
