"""A protein encoder's stages."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hardware import copy_kernel, inflate_kernel, peak_memory, reset_peak_memory, seconds
from speed_settings import Settings
from speed_shapes import Shape, protein_encoder, random_proteins
from speed_times import Times, figures, peak_shares, peaks, rounded, summary
from transformers import EsmModel

from biomeformer.checkpoints.loading import resolve_device, resolve_dtype
from biomeformer.genomes.proteins import DEFAULT_BATCH_TOKENS, cast_encoder, pack_proteins
from biomeformer.inference.batching import iter_token_batches, map_per_core, to_device
from biomeformer.inference.packed_esm import mean_residue_vectors


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
    peak, products = peaks(settings, shape)
    inflate, copies = inflate_kernel(), copy_kernel(device)
    ratios: dict[str, float] = {}
    by_dtype = {}
    for dtype in settings.dtypes:
        # Made anew each time: float16 of what was bfloat16 would be another model.
        encoder = protein_encoder(settings.shape, device)
        cast_encoder(encoder.model, resolve_dtype(dtype))
        first = seconds(lambda e=encoder: e.embed(proteins[:2], batch_tokens=budget), device)
        times = Times()
        reset_peak_memory(device)
        kept: list[np.ndarray] = []
        total = n * tokens * flops
        for _ in range(settings.rounds):
            work = lambda e=encoder, k=kept: k.append(e.embed(proteins, batch_tokens=budget).vectors)  # noqa: E731
            times.beside("end_to_end", products[dtype], work, amount=total, n=n, device=device, once=True)
        vectors = kept[-1]
        memory = peak_memory(device)
        there = [(ids.to(device), lengths) for ids, lengths, _ in packed]

        @torch.inference_mode()
        def encode(batch: tuple[torch.Tensor, torch.Tensor], model: EsmModel = encoder.model) -> torch.Tensor:
            return mean_residue_vectors(model, *batch)

        n_bytes = sum(ids.nbytes for ids, _, _ in packed)
        for _ in range(settings.rounds):
            tokenise = lambda: pack_proteins(proteins)  # noqa: E731
            times.beside("tokenise", inflate, tokenise, amount=n * tokens, n=n, device=cpu)
            batch_and_copy = lambda: [to_device(ids, device) for ids, _, _ in packed]  # noqa: E731
            times.beside("batch_and_copy", copies, batch_and_copy, amount=n_bytes, n=n, device=device)
            encode_all = lambda e=encode, t=there: list(map_per_core(e, t, device))  # noqa: E731
            times.beside("encode", products[dtype], encode_all, amount=total, n=n, device=device)
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
        ratios |= {f"{stage}.{dtype}": ratio for stage, ratio in times.ratios().items()}
        del encoder, encode
    return figures("proteins", n, tokens, flops, peak, by_dtype, ratios)


def protein_encoder_config(shape: str) -> Any:
    """The config of an ESM-2 by size, without its weights."""
    with torch.device("meta"):
        return protein_encoder(shape, torch.device("meta")).model.config


def _relative(vectors: np.ndarray, exact: np.ndarray) -> float:
    """Largest error of a vector by norm."""
    return rounded(float((np.linalg.norm(vectors - exact, axis=1) / np.linalg.norm(exact, axis=1)).max()))
