"""How fast reads become cluster counts and proteins vectors, stage by stage, beside what the machine can do.

One run measures one shape on one device:

* the matrix peak of the machine by precision, and the instructions for bfloat16 it has;
* reads a second of each stage by itself (parse, tokenise, batch and copy, encode, assign) and end to end, from FASTQ.gz
  to counts; the share of the matrix peak; peak memory; the first small sample apart, as warm-up;
* reads whose nearest centroid is another one than in float32;
* with --reference and --reference-model the published scripts on the same weights and reads, in turn with ours;
* with --flatness samples of growing size, for memory and throughput.

Reads are random and new in every round, since a tokenizer remembers reads. Stages are the best of the rounds. The JSON
goes to results/speed.SHAPE.DEVICE.json; --write-docs makes docs/performance.md of all of them.

    python benchmarks/speed.py --shape metagenbert-mini
    python benchmarks/speed.py --shape dnabert2 --device cuda --reads 200000
    python benchmarks/speed.py --write-docs
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hardware import (
    copy_rate,
    describe,
    inflate_rate,
    lookup_rate,
    matrix_peak,
    peak_memory,
    reset_peak_memory,
    seconds,
)
from rich.console import Console
from rich.table import Table
from speed_docs import write_docs
from speed_reference import Reference, compare
from speed_shapes import (
    PROTEIN_SHAPES,
    READ_SHAPES,
    SHAPES,
    EncoderParts,
    Shape,
    flat,
    protein_encoder,
    random_proteins,
    random_reads,
    read_encoder,
    with_centroids,
    without_centroids,
    write_large_fastq,
    write_random_fastq,
)
from transformers import EsmModel

from biomeformer.embedding.compiling import compile_encoder
from biomeformer.embedding.engine import check_batch_tokens, iter_token_batches, on_each_core, send
from biomeformer.embedding.float8 import precision, use_float8
from biomeformer.embedding.sample import embed_sample
from biomeformer.genomes.packed_esm import mean_residue_vectors
from biomeformer.genomes.proteins import DEFAULT_BATCH_TOKENS, in_precision, pack_proteins
from biomeformer.loading import FLOAT8, resolve_device, resolve_dtype
from biomeformer.metagenbert import MetagenBertModel
from biomeformer.metagenbert.modeling_metagenbert import TIE_TOLERANCE
from biomeformer.reads import SampleReader, SampleReads

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parent.parent / "docs" / "performance.md"
# Reads (or proteins) of a round that take some seconds, on a CPU and on a GPU.
DEFAULT_READS = {
    "metagenbert-mini": (200_000, 1_000_000),
    "dnabert2": (256, 100_000),
    "tiny": (64, 64),
    "esm2-3b": (4, 2_000),
    "esm2-650m": (16, 4_000),
    "esm2-8m": (256, 8_000),
    "esm2-tiny": (4, 4),
}
# For tests, which have no time for large matrices.
TINY_SHAPES = ("tiny", "esm2-tiny")
HOST_READS = 50_000
# Seconds that a stage is repeated for within a round.
MOMENT = 0.3
# Of a batch of `SampleReader`.
READER_READS = 8_192
WARM_UP_READS = 64
# Rows of a model's products in the matrix peak.
PEAK_TOKENS = {"cpu": 4_096, "cuda": 65_536}
STAGES = ("parse", "tokenise", "batch_and_copy", "encode", "assign")


@dataclass(frozen=True)
class Settings:
    """What is measured, and how.

    Attributes:
        shape: One of `SHAPES`, or a checkpoint's name or folder.
        device: `cpu` or `cuda`.
        dtypes: Precisions of the encoder.
        threads: Of torch, on the CPU.
        reads: Reads (or proteins) of a round; the default of the shape where 0.
        host_reads: Reads that are parsed and tokenised where `reads` are fewer.
        lengths: Read lengths in bases, as many reads of each.
        clusters: Centroids, each the vector of a random read.
        rounds: Times that everything is done.
        batch_tokens: Token budget of a batch; the engine's own where None.
        max_length: With it, the contract of the published scripts.
        tokenizer: A `tokenizer.json`; one is learnt on random DNA where None.
        compile: Whether read encoders are compiled.
    """

    shape: str
    device: str = "cpu"
    dtypes: list[str] = field(default_factory=lambda: ["float32", "bfloat16"])
    threads: int = 1
    reads: int = 0
    host_reads: int = HOST_READS
    lengths: list[int] = field(default_factory=lambda: [150])
    clusters: int = 1024
    rounds: int = 3
    batch_tokens: int | None = None
    max_length: int | None = None
    tokenizer: Path | None = None
    compile: bool = False

    def as_json(self) -> dict[str, Any]:
        """For a results file: of the tokenizer the name alone."""
        return {**asdict(self), "tokenizer": self.tokenizer.name if self.tokenizer else None}

    @property
    def n_reads(self) -> int:
        """Reads or proteins of a round."""
        default = DEFAULT_READS.get(self.shape, DEFAULT_READS["dnabert2"])
        return self.reads or default[self.device != "cpu"]


class Times:
    """Seconds an item, by stage, of several rounds."""

    def __init__(self) -> None:
        self.rounds: dict[str, list[float]] = {}

    def add(self, stage: str, took: float, n: int) -> None:
        """Record that `n` items took so many seconds."""
        self.rounds.setdefault(stage, []).append(took / n)

    def repeat(self, stage: str, work: Callable[[], Any], device: torch.device, n: int) -> None:
        """Record as many runs over `n` items as fill a moment, so that a short stage is not a single glimpse."""
        spent = 0.0
        while spent < MOMENT:
            took = seconds(work, device)
            self.add(stage, took, n)
            spent += took

    def best(self, stage: str) -> float:
        """Fewest seconds an item."""
        return min(self.rounds[stage])

    def summary(self, stages: tuple[str, ...], tokens: float) -> dict[str, dict[str, float]]:
        """Reads and tokens a second of each stage by itself, and its share of the stages' time together."""
        total = sum(self.best(stage) for stage in stages)
        return {
            stage: {
                "reads_per_second": _round(1 / self.best(stage)),
                "tokens_per_second": _round(tokens / self.best(stage)),
                "share": round(self.best(stage) / total, 4),
            }
            for stage in stages
        }


def measure(settings: Settings) -> dict[str, Any]:
    """All of a shape's figures but the comparison with the published scripts and the growing samples.

    Args:
        settings: What and how.

    Returns:
        What the JSON holds; see `measure_reads` and `measure_proteins`.
    """
    torch.set_num_threads(settings.threads)
    device = resolve_device(settings.device)
    found = measure_proteins(settings) if settings.shape in PROTEIN_SHAPES else measure_reads(settings)
    return {"shape": settings.shape, "settings": settings.as_json(), **describe(device, settings.threads), **found}


def load_encoder(settings: Settings) -> EncoderParts:
    """The read encoder in float32; see `speed_shapes.read_encoder`."""
    return read_encoder(settings.shape, resolve_device(settings.device), settings.tokenizer, settings.max_length)


def build(settings: Settings) -> MetagenBertModel:
    """The read model in float32, with centroids."""
    return with_centroids(*load_encoder(settings), settings.clusters, settings.lengths)


def in_dtype(model: MetagenBertModel, dtype: str) -> MetagenBertModel:
    """The model with a copy of its encoder in another precision."""
    encoder = model.encoder if dtype == "float32" else copy.deepcopy(model.encoder).to(_torch_dtype(dtype))
    other = MetagenBertModel.from_encoder_and_centroids(
        encoder,
        model.centroids.detach().cpu().numpy(),
        processor=model.processor,
        normalize_embeddings=model.config.normalize_embeddings,
    )
    if dtype == FLOAT8:
        use_float8(other)
    return other


def _torch_dtype(dtype: str) -> torch.dtype:
    """What a precision computes in, products in float8 apart."""
    return resolve_dtype("bfloat16" if dtype == FLOAT8 else dtype)


def peaks(settings: Settings, shape: Shape) -> dict[str, Any]:
    """Matrix peak of each precision, in TFLOP/s; float32's always, since distances are in it; float8 has bfloat16's."""
    device, found = resolve_device(settings.device), {}
    products = shape.products(PEAK_TOKENS[device.type])
    squares = (256,) if settings.shape in TINY_SHAPES else None
    for dtype in dict.fromkeys(["float32", *settings.dtypes]):
        best, each = matrix_peak(device, _torch_dtype(dtype), products, squares)
        found[dtype] = {
            "tflops": _round(best / 1e12),
            "products": {name: _round(rate / 1e12) for name, rate in each.items()},
        }
    return found


def measure_reads(settings: Settings) -> dict[str, Any]:
    """A read encoder's stages.

    Returns:
        `matrix_peak` by precision; `tokens_per_read`, `mflop_per_token`; and by precision the stages' rates and
        shares, `end_to_end`, warm-up, memory, share of the matrix peak, flips; and `ratios`, each a stage against a
        fixed kernel of the same run.
    """
    parts = load_encoder(settings)
    shape = Shape.of(parts[0].config)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Before the device has done anything else, and so before there are centroids.
        warm = {"float32": warm_up(without_centroids(*parts, settings.clusters), settings, folder)}
        model = with_centroids(*parts, settings.clusters, settings.lengths)
        # Before batches and vectors are held, so that memory is the sample's.
        whole = {
            dtype: end_to_end(*made(model, dtype, settings), settings, folder, warm.get(dtype))
            for dtype in settings.dtypes
        }
        host = host_times(model, settings, folder)
        batches = device_batches(model, settings, folder)
        peak = peaks(settings, shape)
        n_tokens = sum(len(ids) for ids, _ in batches)
        tokens = n_tokens / sum(len(lengths) for _, lengths in batches)
        flops = shape.flops_per_token(sum(int((lengths**2).sum()) for _, lengths in batches) / n_tokens)
        exact = nearest(model, batches)
        ratios: dict[str, float] = {**host["ratios"]}
        by_dtype = {}
        for dtype in settings.dtypes:
            other, _ = made(model, dtype, settings)
            times: Times = whole[dtype].pop("times")
            times.rounds.update(host["times"].rounds)
            lookup = whole[dtype].pop("lookup_rate")
            kernels = device_times(other, batches, times, settings, peak)
            rates = {stage: tokens / times.best(stage) for stage in ("encode", "end_to_end")}
            by_dtype[dtype] = {
                **summary(times, STAGES, tokens),
                **whole[dtype],
                "share_of_matrix_peak": None,
                "flips": None if dtype == "float32" else flips(exact, nearest(other, batches)),
            }
            if shape.n_layers:
                by_dtype[dtype]["share_of_matrix_peak"] = peak_shares(rates, flops, peak[dtype])
                top = peak[dtype]["tflops"] * 1e12 / flops
            else:
                top = max(kernels["lookup"], lookup)
            ratios |= {f"{stage}.{dtype}": rate / top for stage, rate in rates.items()}
            compared = 2 * settings.clusters * shape.hidden_size / times.best("assign")
            ratios[f"assign.{dtype}"] = compared / (peak["float32"]["tflops"] * 1e12)
            copied = batches[0][0].element_size() * tokens / times.best("batch_and_copy")
            ratios[f"batch_and_copy.{dtype}"] = copied / kernels["copy"]
    return {
        "kind": "reads",
        "n_reads": settings.n_reads,
        "tokens_per_read": round(tokens, 2),
        "mflop_per_token": _round(flops / 1e6),
        "matrix_peak": peak,
        "dtypes": by_dtype,
        "ratios": {stage: _round(value) for stage, value in sorted(ratios.items())},
    }


def summary(times: Times, stages: tuple[str, ...], tokens: float) -> dict[str, Any]:
    """Rates of the stages and end to end, for the JSON."""
    return {
        "stages": times.summary(stages, tokens),
        "end_to_end": {
            "reads_per_second": _round(1 / times.best("end_to_end")),
            "tokens_per_second": _round(tokens / times.best("end_to_end")),
            "rounds": [_round(1 / value) for value in times.rounds["end_to_end"]],
        },
    }


def peak_shares(rates: dict[str, float], flops: float, peak: dict[str, Any]) -> dict[str, float]:
    """Shares of the matrix peak, of tokens a second and operations a token."""
    return {stage: _round(rate * flops / (peak["tflops"] * 1e12)) for stage, rate in rates.items()}


def made(model: MetagenBertModel, dtype: str, settings: Settings) -> tuple[MetagenBertModel, float | None]:
    """The model as it is measured, and the seconds that compiling took."""
    other = in_dtype(model, dtype)
    return other, _round(compile_encoder(other)) if settings.compile else None


def end_to_end(
    model: MetagenBertModel, compile_s: float | None, settings: Settings, folder: Path, warm: float | None
) -> dict[str, Any]:
    """From FASTQ.gz to counts: `times`, `lookup_rate`, and of the JSON what is measured there."""
    device = model.device
    first = warm_up(model, settings, folder) if warm is None else warm
    times, path = Times(), folder / "sample.fastq.gz"
    memory: dict[str, float | None] = {}
    lookup = 0.0
    for number in range(settings.rounds):
        write_random_fastq(path, settings.n_reads, settings.lengths, seed=100 + number)
        sample = SampleReads.single(path)
        reset_peak_memory(device)
        took = seconds(lambda s=sample: embed_sample(model, s, batch_tokens=settings.batch_tokens), device)
        times.add("end_to_end", took, settings.n_reads)
        for kind, value in peak_memory(device).items():
            memory[kind] = None if value is None else max(value, memory.get(kind) or 0.0)
        lookup = max(lookup, lookup_rate(device, model.encoder.dtype))
    return {
        "times": times,
        "lookup_rate": lookup,
        "warm_up_s": round(first, 3),
        "compile_s": compile_s,
        "memory_mib": memory,
        "device_idle_share": device_idle(model, path, settings) if device.type == "cuda" else None,
    }


def warm_up(model: MetagenBertModel, settings: Settings, folder: Path) -> float:
    """Seconds of a first small sample."""
    path = folder / "first.fastq.gz"
    write_random_fastq(path, WARM_UP_READS, settings.lengths, seed=50)
    return seconds(lambda: embed_sample(model, SampleReads.single(path)), model.device)


def host_times(model: MetagenBertModel, settings: Settings, folder: Path) -> dict[str, Any]:
    """Parsing and tokenising, each by itself and over new reads each round, beside zlib on one core."""
    assert model.processor is not None
    processor, times = model.processor, Times()
    n = max(settings.n_reads, settings.host_reads)
    cpu = torch.device("cpu")
    path = folder / "host.fastq.gz"
    inflate, n_bytes = 0.0, 0
    for number in range(settings.rounds):
        n_bytes = write_random_fastq(path, n, settings.lengths, seed=200 + number)
        sample = SampleReads.single(path)
        inflate = max(inflate, inflate_rate())
        times.add("parse", seconds(lambda s=sample: sum(len(batch) for batch in SampleReader(s)), cpu), n)
        batches = list(SampleReader(sample))
        took = seconds(
            lambda b=batches: sum(len(processor.encode_reads(part.sequence, part.offsets).rows) for part in b), cpu
        )
        times.add("tokenise", took, n)
    bases = sum(settings.lengths) / len(settings.lengths)
    return {
        "times": times,
        "ratios": {
            "parse": n_bytes / n / times.best("parse") / inflate,
            "tokenise": bases / times.best("tokenise") / inflate,
        },
    }


Batches = list[tuple[torch.Tensor, torch.Tensor]]


def device_batches(model: MetagenBertModel, settings: Settings, folder: Path) -> Batches:
    """Tokens of a sample in the engine's batches, on the CPU: `input_ids`, `lengths`."""
    assert model.processor is not None
    path = folder / "batches.fastq.gz"
    write_random_fastq(path, settings.n_reads, settings.lengths, seed=300)
    budget = check_batch_tokens(settings.batch_tokens, model)
    found: Batches = []
    for batch in SampleReader(SampleReads.single(path)):
        packed = model.processor.encode_reads(batch.sequence, batch.offsets)
        found += [(ids, lengths) for ids, lengths, _ in iter_token_batches(packed, budget)]
    return found


@torch.inference_mode()
def device_times(
    model: MetagenBertModel, batches: Batches, times: Times, settings: Settings, peak: dict[str, Any]
) -> dict[str, float]:
    """Batching with the copy to the device, encoding and assigning, each by itself.

    Fixed kernels run in between, so that stages and kernels meet the machine in the same state.

    Args:
        model: Of one precision.
        batches: Of `device_batches`.
        times: Takes the stages' times.
        settings: What and how.
        peak: Of `peaks`; raised where a product is now faster.

    Returns:
        Rates of the kernels `lookup` and `copy`.
    """
    assert model.processor is not None
    device, dtype = model.device, precision(model.encoder)
    kernels = {"lookup": 0.0, "copy": 0.0}
    budget = check_batch_tokens(settings.batch_tokens, model)
    n = sum(len(lengths) for _, lengths in batches)
    n_cut = max(n, min(settings.host_reads, HOST_READS))
    # As the engine gets them: a reader's batch at a time.
    packed = []
    for part, first in enumerate(range(0, n_cut, READER_READS)):
        reads = random_reads(min(READER_READS, n_cut - first), settings.lengths, seed=400, part=part)
        packed.append(model.processor.encode_reads(*flat(reads)))

    def batch_and_copy() -> None:
        for batch in packed:
            for ids, _, _ in iter_token_batches(batch, budget):
                send(ids, device)

    @torch.inference_mode()
    def encode(one: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return model.embed_packed(*one)

    @torch.inference_mode()
    def assign(one: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return model.assign_packed(*one)

    there = [(ids.to(device), lengths) for ids, lengths in batches]
    vectors = [model.embed_packed(ids, lengths) for ids, lengths in there]
    for _ in range(settings.rounds):
        kernels["copy"] = max(kernels["copy"], copy_rate(device))
        times.repeat("batch_and_copy", batch_and_copy, device, n_cut)
        kernels["lookup"] = max(kernels["lookup"], lookup_rate(device, model.encoder.dtype))
        times.repeat("encode", lambda: list(on_each_core(encode, there, device)), device, n)
        for name in {"float32", dtype}:
            best = max(peak[name]["products"], key=peak[name]["products"].__getitem__)
            rate, _ = matrix_peak(device, _torch_dtype(name), [tuple(map(int, best.split("x")))], squares=())
            peak[name]["tflops"] = max(peak[name]["tflops"], _round(rate / 1e12))
        with known_vectors(model, there, vectors):
            times.repeat("assign", lambda: list(on_each_core(assign, there, device)), device, n)
    return kernels


@contextmanager
def known_vectors(model: MetagenBertModel, batches: Batches, vectors: list[torch.Tensor]) -> Iterator[None]:
    """Within, these batches' vectors are known, so that assigning is all that is left: doubtful reads included."""
    known = {id(ids): found for (ids, _), found in zip(batches, vectors, strict=True)}
    embed = model.embed_packed

    def embed_packed(input_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        found = known.get(id(input_ids))
        return embed(input_ids, lengths) if found is None else found

    model.embed_packed = embed_packed  # type: ignore[method-assign]
    try:
        yield
    finally:
        del model.embed_packed


@torch.inference_mode()
def nearest(model: MetagenBertModel, batches: Batches) -> tuple[np.ndarray, np.ndarray]:
    """Nearest centroid of each read, int64 `(n_reads,)`, and whether another is as near within the tie tolerance."""
    found, tied = [], []
    for ids, lengths in batches:
        ids = ids.to(model.device)
        vectors = model.embed_packed(ids, lengths).double()
        centroids = model.centroids.double()
        squared = torch.cdist(vectors, centroids, compute_mode="donot_use_mm_for_euclid_dist").square()
        two = squared.topk(min(2, squared.shape[1]), dim=1, largest=False).values
        scale = vectors.square().sum(1) + centroids.square().sum(1).max()
        found.append(model.assign_packed(ids, lengths).cpu().numpy())
        tied.append((two[:, -1] - two[:, 0] <= TIE_TOLERANCE * scale).cpu().numpy())
    return np.concatenate(found), np.concatenate(tied)


def flips(exact: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    """Share of reads whose nearest centroid differs: of all, and of those that float32 tells apart."""
    differs = exact[0] != other[0]
    clear = ~exact[1]
    return {
        "of_all": _round(float(differs.mean())),
        "of_clear": _round(float(differs[clear].mean())) if clear.any() else 0.0,
        "tied": _round(float(exact[1].mean())),
    }


def device_idle(model: MetagenBertModel, path: Path, settings: Settings) -> float:
    """Share of a sample's time in which no kernel or copy runs on the GPU.

    The profiler says how long the GPU is busy; how long the sample takes is measured without it, since it slows the
    host.
    """
    sample = SampleReads.single(path)
    wall = seconds(lambda: embed_sample(model, sample, batch_tokens=settings.batch_tokens), model.device)
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        embed_sample(model, sample, batch_tokens=settings.batch_tokens)
        torch.cuda.synchronize(model.device)
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in profile.events()
        if event.device_type == torch.autograd.DeviceType.CUDA
    )
    return round(max(1 - covered(spans) / 1e6 / wall, 0.0), 4)


def covered(spans: list[tuple[float, float]]) -> float:
    """Length of the union of spans `(start, end)`, in order of their starts."""
    total, reached = 0.0, float("-inf")
    for start, end in spans:
        total += max(end - max(start, reached), 0.0)
        reached = max(reached, end)
    return total


@torch.inference_mode()
def measure_proteins(settings: Settings) -> dict[str, Any]:
    """A protein encoder's stages; as `measure_reads`, a protein for a read, without files and centroids."""
    device = resolve_device(settings.device)
    proteins = random_proteins(settings.n_reads, seed=0)
    n = len(proteins)
    real = np.array([len(protein) for protein in proteins]) + 2
    tokens = float(real.mean())
    budget = settings.batch_tokens or DEFAULT_BATCH_TOKENS[device.type]
    packed = list(iter_token_batches(pack_proteins(proteins), budget))
    stages = ("tokenise", "batch_and_copy", "encode")
    cpu = torch.device("cpu")
    exact: np.ndarray | None = None
    shape = Shape.of(protein_encoder_config(settings.shape))
    flops = shape.flops_per_token(float((real**2).sum() / real.sum()))
    peak = peaks(settings, shape)
    ratios: dict[str, float] = {}
    by_dtype = {}
    for dtype in settings.dtypes:
        # Made anew each time: float16 of what was bfloat16 would be another model.
        encoder = protein_encoder(settings.shape, device)
        in_precision(encoder.model, resolve_dtype(dtype))
        first = seconds(lambda e=encoder: e.embed(proteins[:2], batch_tokens=budget), device)
        times = Times()
        reset_peak_memory(device)
        kept: list[np.ndarray] = []
        for _ in range(settings.rounds):
            work = lambda e=encoder, k=kept: k.append(e.embed(proteins, batch_tokens=budget).vectors)  # noqa: E731
            times.add("end_to_end", seconds(work, device), n)
        vectors = kept[-1]
        memory = peak_memory(device)
        there = [(ids.to(device), lengths) for ids, lengths, _ in packed]

        @torch.inference_mode()
        def encode(batch: tuple[torch.Tensor, torch.Tensor], model: EsmModel = encoder.model) -> torch.Tensor:
            return mean_residue_vectors(model, *batch)

        for _ in range(settings.rounds):
            times.add("tokenise", seconds(lambda: pack_proteins(proteins), cpu), n)
            times.add("batch_and_copy", seconds(lambda: [send(ids, device) for ids, _, _ in packed], device), n)
            times.add("encode", seconds(lambda e=encode, t=there: list(on_each_core(e, t, device)), device), n)
        exact = vectors if dtype == "float32" else exact
        rates = {stage: tokens / times.best(stage) for stage in ("encode", "end_to_end")}
        shares = peak_shares(rates, flops, peak[dtype])
        by_dtype[dtype] = {
            **summary(times, stages, tokens),
            "warm_up_s": round(first, 3),
            "memory_mib": memory,
            "device_idle_share": None,
            "share_of_matrix_peak": shares,
            "flips": None,
            "relative_error": None if exact is None or dtype == "float32" else _relative(vectors, exact),
        }
        ratios |= {f"{stage}.{dtype}": share for stage, share in shares.items()}
        ratios["tokenise"] = max(tokens / times.best("tokenise") / inflate_rate(), ratios.get("tokenise", 0.0))
        del encoder, encode
    return {
        "kind": "proteins",
        "n_reads": n,
        "tokens_per_read": round(tokens, 2),
        "mflop_per_token": _round(flops / 1e6),
        "matrix_peak": peak,
        "dtypes": by_dtype,
        "ratios": {stage: _round(value) for stage, value in sorted(ratios.items())},
    }


def protein_encoder_config(shape: str) -> Any:
    """The config of an ESM-2 by size, without its weights."""
    with torch.device("meta"):
        return protein_encoder(shape, torch.device("meta")).model.config


def _relative(vectors: np.ndarray, exact: np.ndarray) -> float:
    """Largest error of a vector by norm."""
    return _round(float((np.linalg.norm(vectors - exact, axis=1) / np.linalg.norm(exact, axis=1)).max()))


def flatness(settings: Settings, sizes: list[int]) -> list[dict[str, Any]]:
    """Throughput and peak memory of samples of growing size, in the first precision asked for."""
    model = in_dtype(build(settings), settings.dtypes[0])
    found = []
    with tempfile.TemporaryDirectory() as name:
        warm_up(model, settings, Path(name))
        for n_reads in sizes:
            path = Path(name) / "large.fastq.gz"
            write_large_fastq(path, n_reads, settings.lengths, seed=600)
            sample = SampleReads.single(path)
            reset_peak_memory(model.device)
            took = seconds(lambda s=sample: embed_sample(model, s, batch_tokens=settings.batch_tokens), model.device)
            rate = _round(n_reads / took)
            memory = peak_memory(model.device)
            found.append({"n_reads": n_reads, "dtype": settings.dtypes[0], "reads_per_second": rate, **memory})
    return found


def against_reference(settings: Settings, args: argparse.Namespace) -> dict[str, Any]:
    """The published scripts beside ours; see `speed_reference.compare`."""
    model = build(settings)
    assert model.processor is not None and settings.max_length is not None
    batch = args.reference_batch or (64 if settings.device == "cpu" else 2048)
    reference = Reference(
        args.reference, args.reference_model, model.encoder, model.processor.tokenizer, settings.max_length, batch
    )
    models = {dtype: made(model, dtype, settings)[0] for dtype in settings.dtypes}
    with tempfile.TemporaryDirectory() as name:
        for other in models.values():
            warm_up(other, settings, Path(name))
        return compare(
            reference,
            models,
            n_reads=args.reference_reads or settings.n_reads,
            lengths=settings.lengths,
            rounds=settings.rounds,
            folder=Path(name),
        )


def report(result: dict[str, Any]) -> None:
    """Print a result."""
    console = Console()
    thing = "proteins" if result["kind"] == "proteins" else "reads"
    for dtype, found in result["dtypes"].items():
        peak = result["matrix_peak"][dtype]["tflops"]
        title = f"{result['shape']}, {dtype}, {result['device']}, {result['threads']} threads; peak {peak} TFLOP/s"
        table = Table("stage", f"{thing}/s", "tokens/s", "share", title=title)
        for stage, rates in found["stages"].items():
            each = f"{rates['reads_per_second']:,.4g}", f"{rates['tokens_per_second']:,.4g}"
            table.add_row(stage.replace("_", " "), *each, f"{rates['share']:.1%}")
        whole = found["end_to_end"]
        table.add_row("end to end", f"{whole['reads_per_second']:,.4g}", f"{whole['tokens_per_second']:,.4g}", "")
        console.print(table)
        console.print({k: v for k, v in found.items() if k not in ("stages", "end_to_end")})
    for part in ("reference", "flatness"):
        if result.get(part):
            console.print({part: result[part]})


def _round(value: float, digits: int = 4) -> float:
    """To so many significant digits."""
    return float(f"{value:.{digits}g}")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="metagenbert-mini", choices=SHAPES)
    parser.add_argument("--model", help="a checkpoint's name or folder, instead of a shape")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtypes", default="float32,bfloat16", help="precisions, by commas; float8 is one on a GPU")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--reads", type=int, default=0, help="reads (proteins) of a round; 0: some seconds' worth")
    parser.add_argument("--host-reads", type=int, default=HOST_READS, help="least reads to parse and tokenise")
    parser.add_argument("--lengths", default="150", help="bases of a read; several by commas")
    parser.add_argument("--clusters", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-tokens", type=int)
    parser.add_argument("--compile", action="store_true", help="compile the read encoder first")
    parser.add_argument(
        "--tokenizer", type=Path, help="tokenizer.json of DNABERT-2, instead of one learnt on random DNA"
    )
    parser.add_argument("--reference", type=Path, help="folder of the published embed_assign.py")
    parser.add_argument("--reference-model", type=Path, help="folder of the published bert_layers.py")
    parser.add_argument("--reference-max-length", type=int, default=60, help="tokens that they pad every read to")
    parser.add_argument("--reference-batch", type=int, help="reads a batch of theirs: 64 on a CPU, 2048 on a GPU")
    parser.add_argument("--reference-reads", type=int, help="reads of a paired round; as --reads by default")
    parser.add_argument(
        "--flatness", type=int, nargs="+", default=[], metavar="READS", help="sizes of samples to grow by"
    )
    parser.add_argument("--output", type=Path, help="default results/speed.SHAPE.DEVICE.json")
    parser.add_argument("--write-docs", action="store_true", help="write docs/performance.md and measure nothing")
    args = parser.parse_args(arguments)
    if (args.reference is None) != (args.reference_model is None):
        parser.error("--reference and --reference-model go together")
    if args.reference is not None and (args.model or args.shape not in READ_SHAPES):
        parser.error(f"the published scripts are compared with --shape {' or '.join(READ_SHAPES)}")
    if args.flatness and args.shape in PROTEIN_SHAPES and not args.model:
        parser.error("--flatness is of reads")
    return args


def main(arguments: list[str] | None = None) -> dict[str, Any] | None:
    """Measure, print, write; returns the result."""
    args = parse_arguments(arguments)
    if args.write_docs:
        write_docs(RESULTS, DOCS)
        return None
    # Before the first tokenizer starts its threads.
    os.environ.setdefault("RAYON_NUM_THREADS", str(args.threads))
    settings = Settings(
        shape=args.model or args.shape,
        device=args.device,
        dtypes=args.dtypes.split(","),
        threads=args.threads,
        reads=args.reads,
        host_reads=args.host_reads,
        lengths=[int(length) for length in args.lengths.split(",")],
        clusters=args.clusters,
        rounds=args.rounds,
        batch_tokens=args.batch_tokens,
        max_length=args.reference_max_length if args.reference is not None else None,
        tokenizer=args.tokenizer,
        compile=args.compile,
    )
    result = measure(settings)
    result["reference"] = against_reference(settings, args) if args.reference is not None else None
    result["flatness"] = flatness(settings, args.flatness) if args.flatness else None
    report(result)
    way = "compiled." if args.compile else ""
    name = f"speed.{Path(settings.shape).name}.{way}{torch.device(args.device).type}.json"
    output = args.output or RESULTS / name
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(f"Written to {output}")
    return result


if __name__ == "__main__":
    main()
