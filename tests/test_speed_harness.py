from __future__ import annotations

import gzip
import json
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from benchmarks.regression import best, fallen, settings_of
from benchmarks.speed import DOCS, RESULTS, main
from benchmarks.speed_docs import HEADER, load, load_parts, render
from benchmarks.speed_reads import STAGES, covered, flips
from benchmarks.speed_shapes import DNABERT2, PROTEIN_SHAPES, Shape, random_reads, write_large_fastq
from benchmarks.speed_times import Times
from torch.utils.flop_counter import FlopCounterMode

from biomeformer.errors import InputError
from biomeformer.models.dnabert2 import DnaBert2Config, DnaBert2Model
from biomeformer.models.kmer_encoder import KmerEncoderConfig


def products_of(model: torch.nn.Module, input_ids: torch.Tensor) -> int:
    """Operations of matrix products that torch counts in a forward pass."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids)
    return counter.get_total_flops()


def test_flops_of_dnabert2():
    shape = Shape.of(DnaBert2Config(**DNABERT2))
    assert 226e6 <= shape.flops_per_token(0) <= 227e6
    assert shape.flops_per_token(34) == shape.flops_per_token(0) + 12 * 4 * 34 * 768
    assert 226e6 <= shape.flops_per_token(34) < 228e6


def test_flops_are_those_torch_counts():
    config = DnaBert2Config(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        add_pooling_layer=False,
    )
    # torch counts no operations of its fused CPU kernel.
    config._attn_implementation = "eager"
    model = DnaBert2Model(config).eval()
    assert products_of(model, torch.randint(5, 50, (3, 17))) == 3 * 17 * Shape.of(config).flops_per_token(17)


def test_flops_of_other_encoders():
    layers, hidden_size, _ = PROTEIN_SHAPES["esm2-3b"]
    weights = Shape(hidden_size, layers, 4 * hidden_size).flops_per_token(0) / 2
    assert weights == pytest.approx(2.83e9, rel=0.01)
    gated = KmerEncoderConfig(k=6, hidden_size=128, num_gate_heads=8)
    assert Shape.of(gated).flops_per_token(145) == 2 * (128 + 8)


@pytest.fixture(scope="module", autouse=True)
def short_moments():
    """Kernels and stages run for a glimpse."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hardware.KERNEL_MOMENT", 0.01)
        patch.setattr("hardware.PEAK_SECONDS", 0.01)
        patch.setattr("speed_times.MOMENT", 0.01)
        yield


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> dict:
    """The whole of `speed.py` on a tiny shape, written and read again."""
    output = tmp_path_factory.mktemp("speed") / "speed.tiny.cpu.json"
    n_threads = torch.get_num_threads()
    arguments = "--shape tiny --threads 1 --reads 48 --host-reads 80 --clusters 8 --rounds 2 --lengths 60,90".split()
    main([*arguments, "--flatness", "40", "80", "--output", str(output)])
    torch.set_num_threads(n_threads)
    return json.loads(output.read_text())


def test_a_run_has_every_field(measured):
    assert set(measured["dtypes"]) == {"float32", "bfloat16"} == set(measured["matrix_peak"])
    for found in measured["dtypes"].values():
        assert tuple(found["stages"]) == STAGES
        assert sum(stage["share"] for stage in found["stages"].values()) == pytest.approx(1, abs=1e-3)
        assert all(rates["reads_per_second"] > 0 for rates in [*found["stages"].values(), found["end_to_end"]])
        assert found["memory_mib"]["rss"] > 0 and found["warm_up_s"] > 0 and found["compile_s"] is None
    assert measured["dtypes"]["float32"]["flips"] is None
    assert 0 <= measured["dtypes"]["bfloat16"]["flips"]["of_all"] <= 1
    by_dtype = {f"{s}.{d}" for s in ("batch_and_copy", "encode", "assign", "end_to_end") for d in measured["dtypes"]}
    busy = {f"busy.{dtype}" for dtype in measured["dtypes"]}
    assert set(measured["ratios"]) == {"parse", "tokenise"} | by_dtype | busy
    assert [sample["n_reads"] for sample in measured["flatness"]] == [40, 80]
    assert all(0 <= (found["stolen_share"] or 0) < 1 for found in [measured, *measured["flatness"]])
    assert {"avx512_bf16", "amx_tile"} <= set(measured["bf16_instructions"])
    assert measured["processor"] and measured["versions"]["torch"] == torch.__version__
    assert measured["settings"]["lengths"] == [60, 90] and "date" not in measured


def test_a_run_is_rendered_and_can_be_repeated(measured):
    page = render([measured])
    assert "## tiny, cpu" in page and "| bfloat16 |" in page and "Samples of growing size, float32" in page
    settings = settings_of(measured)
    assert settings.reads == 48 and settings.shape == "tiny" and settings.rounds == 2
    with_tokenizer = {**measured, "settings": {**measured["settings"], "tokenizer": "tokenizer.json"}}
    with pytest.raises(InputError, match="--tokenizer"):
        settings_of(with_tokenizer)


def test_proteins_are_measured(tmp_path):
    n_threads = torch.get_num_threads()
    arguments = "--shape esm2-tiny --threads 1 --reads 3 --rounds 1".split()
    found = main([*arguments, "--output", str(tmp_path / "speed.esm2-tiny.cpu.json")])
    torch.set_num_threads(n_threads)
    assert found is not None and found["kind"] == "proteins"
    assert 0 < found["dtypes"]["bfloat16"]["relative_error"] < 0.2
    assert "relative error of vectors" in render([found])


def test_performance_page_is_current():
    assert DOCS.read_text() == render(load(RESULTS), *load_parts(RESULTS)), (
        "run python benchmarks/speed.py --write-docs"
    )
    assert DOCS.read_text().startswith(HEADER)


def test_a_slower_machine_is_no_slower_stage(monkeypatch):
    # The machine halves its speed within the second round.
    rates, took = iter([10.0, 10.0, 5.0, 5.0]), iter([1.0, 4 / 3, 2.0])
    monkeypatch.setattr("benchmarks.speed_times.costs", lambda work, device: (next(took),) * 2)
    monkeypatch.setattr("benchmarks.speed_times.MOMENTS", 3)
    times = Times()
    kernel = SimpleNamespace(rate=lambda: next(rates))
    times.beside("parse", kernel, list, amount=5, n=10, device=torch.device("cpu"))
    assert times.ratios() == {"parse": pytest.approx(0.5)}
    assert times.best("parse") == 0.1 and len(times.rounds["parse"]) == 3


def test_threads_that_wait_are_not_busy():
    device, n_threads = torch.device("cpu"), torch.get_num_threads()
    kernel = SimpleNamespace(rate=lambda: 1.0)
    torch.set_num_threads(1)
    times = Times()
    times.beside("waits", kernel, lambda: time.sleep(0.2), amount=1, n=1, device=device, once=True)
    # Where other programs take the processor, a thread that works waits too: one undisturbed round is enough.
    for attempt in range(8):
        times.beside(f"works {attempt}", kernel, lambda: sum(range(10**7)), amount=1, n=1, device=device, once=True)
        if times.busy(f"works {attempt}") > 0.5:
            break
    torch.set_num_threads(n_threads)
    assert times.busy("waits") < 0.2 < 0.5 < times.busy(f"works {attempt}")
    assert times.busy("parse") is None


def test_throughput_that_fell_beyond_tolerance_is_named():
    before = {"parse": 0.5, "encode.float32": 0.8}
    assert fallen(before, {"parse": 0.5 * 0.91, "encode.float32": 0.9}, 0.1) == []
    (line,) = fallen(before, {"parse": 0.5 * 0.89, "encode.float32": 0.8}, 0.1)
    assert line.startswith("parse: fell by 11.0%")
    assert len(fallen(before, {"parse": 0.5}, 0.1)) == 1
    assert fallen(before, best({"parse": 0.3, "encode.float32": 0.8}, {"parse": 0.5, "encode.float32": 0.3}), 0.1) == []


def test_flips_count_reads_and_leave_ties_out():
    exact = np.array([0, 1, 2, 3]), np.array([False, True, False, False])
    found = flips(exact, (np.array([0, 2, 2, 1]), np.zeros(4, bool)))
    assert found == {"of_all": 0.5, "of_clear": 0.3333, "tied": 0.25}


def test_covered_counts_overlaps_once():
    assert covered([(0, 2), (1, 3), (5, 6), (5.5, 5.7)]) == 4


def test_large_files_are_gzip_members_of_one_block(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.speed_shapes.BLOCK_READS", 10)
    write_large_fastq(tmp_path / "x.fastq.gz", 25, [30, 40], seed=1)
    lines = gzip.decompress((tmp_path / "x.fastq.gz").read_bytes()).splitlines()
    assert len(lines) == 100
    block = random_reads(10, [30, 40], seed=1)
    assert [line for line in lines[1::4]] == (block * 3)[:25] and len(set(block)) == 10
