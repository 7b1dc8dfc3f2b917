"""A read encoder's stages, and whole samples."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hardware import (
    Kernel,
    copy_kernel,
    inflate_kernel,
    lookup_kernel,
    peak_memory,
    reset_peak_memory,
    seconds,
    stolen_time,
)
from speed_settings import HOST_READS, Settings
from speed_shapes import (
    EncoderParts,
    Shape,
    flat,
    random_reads,
    read_encoder,
    with_centroids,
    without_centroids,
    write_large_fastq,
    write_random_fastq,
)
from speed_times import Times, figures, peak_shares, peaks, rounded, summary, torch_dtype

from biomeformer.checkpoints.loading import FLOAT8, resolve_device
from biomeformer.inference.batching import check_batch_tokens, iter_token_batches, map_per_core, to_device
from biomeformer.inference.compiling import compile_encoder
from biomeformer.inference.float8 import use_float8
from biomeformer.inference.kernels import record_kernels
from biomeformer.metagenomes.sample import embed_sample
from biomeformer.models.metagenbert import MetagenBertModel
from biomeformer.models.metagenbert.modeling_metagenbert import TIE_TOLERANCE
from biomeformer.reads import ReadBatch, SampleReader, SampleReads

# Of a batch of `SampleReader`.
READER_READS = 8_192
WARM_UP_READS = 64
# Of a round's reads: more than one, so that there is a median.
TOKENISED_PARTS = 6
STAGES = ("parse", "tokenise", "batch_and_copy", "encode", "assign")


@dataclass(frozen=True)
class Work:
    """What a read gives an encoder to do.

    Attributes:
        kernel: Fixed kernel that encoding is compared with: a matrix product, or rows that are looked up and added.
        amount: What a read costs, in the kernel's unit.
    """

    kernel: Kernel
    amount: float


def measure_reads(settings: Settings) -> dict[str, Any]:
    """A read encoder's stages.

    Returns:
        `matrix_peak` by precision; `tokens_per_read`, `mflop_per_token`; and by precision the stages' rates and
        shares, `end_to_end`, warm-up, memory, share of the matrix peak, flips; and `ratios`, the median of each
        stage's rate beside a fixed kernel that ran before and after it, and on a CPU how much of a sample's time the
        threads ran (`busy`).
    """
    device = resolve_device(settings.device)
    parts = load_encoder(settings)
    shape = Shape.of(parts[0].config)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Before the device has done anything else, and so before there are centroids.
        warm = {"float32": warm_up(without_centroids(*parts, settings.clusters), settings, folder)}
        model = with_centroids(*parts, settings.clusters, settings.lengths)
        peak, products = peaks(settings, shape)
        tokens, flops = cost_of_a_read(device_batches(model, settings, folder), shape)
        work = {
            dtype: Work(products[dtype], tokens * flops)
            if shape.n_layers
            else Work(lookup_kernel(device, torch_dtype(dtype)), tokens)
            for dtype in settings.dtypes
        }
        # Before batches and vectors are held, so that memory is the sample's.
        whole = {
            dtype: end_to_end(*made(model, dtype, settings), work[dtype], settings, folder, warm.get(dtype))
            for dtype in settings.dtypes
        }
        host = host_times(model, settings, folder)
        batches = device_batches(model, settings, folder)
        exact = nearest(model, batches)
        ratios: dict[str, float] = host.ratios()
        by_dtype = {}
        for dtype in settings.dtypes:
            other, _ = made(model, dtype, settings)
            times: Times = whole[dtype].pop("times")
            device_times(other, batches, times, work[dtype], products["float32"], settings)
            ratios |= {f"{stage}.{dtype}": ratio for stage, ratio in times.ratios().items()}
            times.rounds |= host.rounds
            busy = times.busy("end_to_end")
            if busy is not None:
                ratios[f"busy.{dtype}"] = busy
            rates = {stage: tokens / times.best(stage) for stage in ("encode", "end_to_end")}
            by_dtype[dtype] = {
                **summary(times, STAGES, tokens),
                **whole[dtype],
                "share_of_matrix_peak": peak_shares(rates, flops, peak[dtype]) if shape.n_layers else None,
                "flips": None if dtype == "float32" else flips(exact, nearest(other, batches)),
            }
    return figures("reads", settings.n_reads, tokens, flops, peak, by_dtype, ratios)


def load_encoder(settings: Settings) -> EncoderParts:
    """The read encoder in float32; see `speed_shapes.read_encoder`."""
    return read_encoder(settings.shape, resolve_device(settings.device), settings.tokenizer, settings.max_length)


def build(settings: Settings) -> MetagenBertModel:
    """The read model in float32, with centroids."""
    return with_centroids(*load_encoder(settings), settings.clusters, settings.lengths)


def in_dtype(model: MetagenBertModel, dtype: str) -> MetagenBertModel:
    """The model with a copy of its encoder in another precision."""
    encoder = model.encoder if dtype == "float32" else copy.deepcopy(model.encoder).to(torch_dtype(dtype))
    other = MetagenBertModel.from_encoder_and_centroids(
        encoder,
        model.centroids.detach().cpu().numpy(),
        processor=model.processor,
        normalize_embeddings=model.config.normalize_embeddings,
    )
    if dtype == FLOAT8:
        use_float8(other)
    return other


def made(model: MetagenBertModel, dtype: str, settings: Settings) -> tuple[MetagenBertModel, float | None]:
    """The model as it is measured, and the seconds that compiling took."""
    other = in_dtype(model, dtype)
    return other, rounded(compile_encoder(other)) if settings.compile else None


Batches = list[tuple[torch.Tensor, torch.Tensor]]


def cost_of_a_read(batches: Batches, shape: Shape) -> tuple[float, float]:
    """Tokens of a read and operations a token, on average."""
    n_tokens = sum(len(ids) for ids, _ in batches)
    flops = shape.flops_per_token(sum(int((lengths**2).sum()) for _, lengths in batches) / n_tokens)
    return n_tokens / sum(len(lengths) for _, lengths in batches), flops


def end_to_end(
    model: MetagenBertModel,
    compile_s: float | None,
    work: Work,
    settings: Settings,
    folder: Path,
    warm: float | None,
) -> dict[str, Any]:
    """From FASTQ.gz to counts: `times`, and of the JSON what is measured there."""
    device, n = model.device, settings.n_reads
    first = warm_up(model, settings, folder) if warm is None else warm
    times, path = Times(), folder / "sample.fastq.gz"
    memory: dict[str, float | None] = {}
    for number in range(settings.rounds):
        write_random_fastq(path, n, settings.lengths, seed=100 + number)
        sample = SampleReads.single(path)
        reset_peak_memory(device)
        embed = lambda s=sample: embed_sample(model, s, batch_tokens=settings.batch_tokens)  # noqa: E731
        times.beside("end_to_end", work.kernel, embed, amount=n * work.amount, n=n, device=device, once=True)
        for kind, value in peak_memory(device).items():
            memory[kind] = None if value is None else max(value, memory.get(kind) or 0.0)
    return {
        "times": times,
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


def host_times(model: MetagenBertModel, settings: Settings, folder: Path) -> Times:
    """Parsing and tokenising, each by itself and over new reads each round, beside zlib on one core."""
    assert model.processor is not None
    processor, times, kernel = model.processor, Times(), inflate_kernel()
    n = max(settings.n_reads, settings.host_reads)
    cpu = torch.device("cpu")
    path = folder / "host.fastq.gz"
    for number in range(settings.rounds):
        n_bytes = write_random_fastq(path, n, settings.lengths, seed=200 + number)
        sample = SampleReads.single(path)
        parse = lambda s=sample: sum(len(batch) for batch in SampleReader(s, kernels=record_kernels))  # noqa: E731
        times.beside("parse", kernel, parse, amount=n_bytes, n=n, device=cpu)
        # Once, since a tokenizer remembers reads.
        for part in in_parts(list(SampleReader(sample)), TOKENISED_PARTS):
            n_part, n_bases = sum(map(len, part)), sum(len(batch.sequence) for batch in part)
            tokenise = lambda p=part: [processor.encode_reads(one.sequence, one.offsets) for one in p]  # noqa: E731
            times.beside("tokenise", kernel, tokenise, amount=n_bases, n=n_part, device=cpu, once=True)
    return times


def in_parts(batches: list[ReadBatch], n_parts: int) -> list[list[ReadBatch]]:
    """Batches in so many parts, or as many as there are batches."""
    n_parts = min(n_parts, len(batches))
    return [batches[len(batches) * i // n_parts : len(batches) * (i + 1) // n_parts] for i in range(n_parts)]


def device_batches(model: MetagenBertModel, settings: Settings, folder: Path) -> Batches:
    """Tokens of a sample in the engine's batches, on the CPU: `input_ids`, `lengths`."""
    assert model.processor is not None
    path = folder / "batches.fastq.gz"
    write_random_fastq(path, settings.n_reads, settings.lengths, seed=300)
    budget = check_batch_tokens(settings.batch_tokens, model)
    token_batches: Batches = []
    for batch in SampleReader(SampleReads.single(path)):
        packed = model.processor.encode_reads(batch.sequence, batch.offsets)
        token_batches += [(ids, lengths) for ids, lengths, _ in iter_token_batches(packed, budget)]
    return token_batches


@torch.inference_mode()
def device_times(
    model: MetagenBertModel, batches: Batches, times: Times, work: Work, float32: Kernel, settings: Settings
) -> None:
    """Batching with the copy to the device, encoding and assigning, each by itself.

    Args:
        model: Of one precision.
        batches: Of `device_batches`.
        times: Takes the stages' times.
        work: Of encoding.
        float32: A product, as distances are.
        settings: What and how.
    """
    assert model.processor is not None
    device, copies = model.device, copy_kernel(model.device)
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
                to_device(ids, device)

    @torch.inference_mode()
    def encode(one: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return model.embed_packed(*one)

    @torch.inference_mode()
    def assign(one: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return model.assign_packed(*one)

    there = [(ids.to(device), lengths) for ids, lengths in batches]
    vectors = [model.embed_packed(ids, lengths) for ids, lengths in there]
    n_bytes = sum(batch.input_ids.nbytes for batch in packed)
    distances = 2 * model.config.n_clusters * model.config.hidden_size
    for _ in range(settings.rounds):
        times.beside("batch_and_copy", copies, batch_and_copy, amount=n_bytes, n=n_cut, device=device)
        encode_all = lambda: list(map_per_core(encode, there, device))  # noqa: E731
        times.beside("encode", work.kernel, encode_all, amount=n * work.amount, n=n, device=device)
        with known_vectors(model, there, vectors):
            assign_all = lambda: list(map_per_core(assign, there, device))  # noqa: E731
            times.beside("assign", float32, assign_all, amount=n * distances, n=n, device=device)


@contextmanager
def known_vectors(model: MetagenBertModel, batches: Batches, vectors: list[torch.Tensor]) -> Iterator[None]:
    """Within, these batches' vectors are known, so that assigning is all that is left: near ties included."""
    known = {id(ids): vector for (ids, _), vector in zip(batches, vectors, strict=True)}
    embed = model.embed_packed

    def embed_packed(input_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        vector = known.get(id(input_ids))
        return embed(input_ids, lengths) if vector is None else vector

    model.embed_packed = embed_packed  # type: ignore[method-assign]
    try:
        yield
    finally:
        del model.embed_packed


@torch.inference_mode()
def nearest(model: MetagenBertModel, batches: Batches) -> tuple[np.ndarray, np.ndarray]:
    """Nearest centroid of each read, int64 `(n_reads,)`, and whether another is as near within the tie tolerance."""
    assigned, tied = [], []
    for ids, lengths in batches:
        ids = ids.to(model.device)
        vectors = model.embed_packed(ids, lengths).double()
        centroids = model.centroids.double()
        squared = torch.cdist(vectors, centroids, compute_mode="donot_use_mm_for_euclid_dist").square()
        two = squared.topk(min(2, squared.shape[1]), dim=1, largest=False).values
        scale = vectors.square().sum(1) + centroids.square().sum(1).max()
        assigned.append(model.assign_packed(ids, lengths).cpu().numpy())
        tied.append((two[:, -1] - two[:, 0] <= TIE_TOLERANCE * scale).cpu().numpy())
    return np.concatenate(assigned), np.concatenate(tied)


def flips(exact: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    """Share of reads whose nearest centroid differs: of all, and of those that float32 tells apart."""
    differs = exact[0] != other[0]
    clear = ~exact[1]
    return {
        "of_all": rounded(float(differs.mean())),
        "of_clear": rounded(float(differs[clear].mean())) if clear.any() else 0.0,
        "tied": rounded(float(exact[1].mean())),
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


def flatness(settings: Settings, sizes: list[int]) -> list[dict[str, Any]]:
    """Throughput and peak memory of samples of growing size, in the first precision asked for."""
    model = in_dtype(build(settings), settings.dtypes[0])
    rows = []
    with tempfile.TemporaryDirectory() as name:
        warm_up(model, settings, Path(name))
        for n_reads in sizes:
            path = Path(name) / "large.fastq.gz"
            write_large_fastq(path, n_reads, settings.lengths, seed=600)
            sample = SampleReads.single(path)
            reset_peak_memory(model.device)
            row: dict[str, Any] = {"n_reads": n_reads, "dtype": settings.dtypes[0]}
            with stolen_time(row):
                embed = lambda s=sample: embed_sample(model, s, batch_tokens=settings.batch_tokens)  # noqa: E731
                row["reads_per_second"] = rounded(n_reads / seconds(embed, model.device))
            rows.append({**row, **peak_memory(model.device)})
    return rows
