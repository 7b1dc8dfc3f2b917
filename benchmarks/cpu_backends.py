"""Measure what stands between ESM-2 or DNABERT-2 on a CPU and the peak of its matrix products.

One thread, by processor time, the median of interleaved rounds, for a batch of 1,024 tokens (`DEFAULT_BATCH_TOKENS`):

* products: a layer's three kinds of linear maps by torch, by oneDNN with weights packed once (through torch), by ONNX
  Runtime (float32) and by OpenVINO, in 10^9 operations per second; how far each is from float64; and whether a row's
  result is equal to the last bit in batches of 1,024 and of 300 rows, as exact batch invariance needs;
* joined: query, key and value by one product instead of three;
* of ESM-2, attention by torch's fused kernel and by plain products with softmax, for proteins of one length; the rest,
  normalisations, GELU, residual sums and rotary positions; and the share of each in a layer;
* encoders: ESM-2 8M whole and four layers of DNABERT-2's shape, by the package and by both runtimes, which pad; how far
  a vector is from float64, and whether it is equal to the last bit alone and in a batch of two lengths;
* sizes: whole encoders of ESM-2 by size, their share of the fastest product of the same rounds, and what attention in
  float32, by plain products, or none at all would change.

ONNX Runtime and OpenVINO are left out, with the reason, if they are not installed. Weights are random.

    pip install openvino
    python benchmarks/cpu_backends.py --shapes esm2-8m esm2-650m dnabert2 --sizes 8M 35M 150M
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from cpu_runtimes import NEEDED, Encoder, missing, onnx_encoder, onnx_linear, openvino_encoder, openvino_linear
from peers import processor
from speed_shapes import Shape
from torch import nn
from transformers import EsmModel, PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from biomeformer.checkpoints.esm2 import FAIR_ESM_SIZES
from biomeformer.genomes.proteins import cast_encoder, esm_config
from biomeformer.inference.packed_esm import mean_residue_vectors, rotate
from biomeformer.models.dnabert2 import DnaBert2Config, DnaBert2Model

RESULTS = Path(__file__).parent / "results" / "cpu_backends.json"
TOKENS, FEW, LENGTH = 1024, 300, 256
# Hidden size, intermediate size (of the first product of the feed-forward part), heads, tokens per sequence.
SHAPES = {
    "esm2-8m": (320, 1280, 20, LENGTH),
    "esm2-650m": (1280, 5120, 20, LENGTH),
    "dnabert2": (768, 6144, 12, 32),
}
ENCODERS = ("esm2-8m", "dnabert2")
DNABERT2_LAYERS = 4
SIZES = {name.split("_")[2]: sizes for name, sizes in FAIR_ESM_SIZES.items()}
DTYPES = ("float32", "bfloat16")
# Sizes of square products, one of which is no power of two.
SQUARES = (1024, 1536)
Linear = Callable[[torch.Tensor], torch.Tensor]
Works = dict[str, Callable[[], Any]]


def median_seconds(works: Works, rounds: int = 5) -> dict[str, float]:
    """Return the median processor time of each work over rounds that do all in turn, after one call to warm up."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for number in range(rounds):
        for name in list(works) if number % 2 else reversed(works):
            began = time.process_time()
            works[name]()
            times[name].append(time.process_time() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def torch_backends(weight: torch.Tensor, bias: torch.Tensor) -> dict[str, Linear]:
    """Return the ways to compute a linear map by torch, by name; those in bfloat16 take bfloat16."""
    half_weight, half_bias = weight.bfloat16(), bias.bfloat16()
    reorder, apply = torch.ops.mkldnn._reorder_linear_weight, torch.ops.mkldnn._linear_pointwise
    packed = reorder(weight, TOKENS)
    half_packed = reorder(half_weight, TOKENS)
    return {
        "torch float32": lambda x: nn.functional.linear(x, weight, bias),
        "oneDNN packed float32": lambda x: apply(x, packed, bias, "none", [], ""),
        "torch bfloat16": lambda x: nn.functional.linear(x, half_weight, half_bias),
        "oneDNN packed bfloat16": lambda x: apply(x, half_packed, half_bias, "none", [], ""),
    }


def backends(weight: torch.Tensor, bias: torch.Tensor) -> dict[str, Linear]:
    """Return the ways to compute a linear map, by name; torch takes bfloat16 for those in bfloat16, others float32."""
    ways = torch_backends(weight, bias)
    if missing("ONNX Runtime") is None:
        ways["ONNX Runtime float32"] = onnx_linear(weight.numpy(), bias.numpy())
    if missing("OpenVINO") is None:
        for dtype in DTYPES:
            ways[f"OpenVINO {dtype}"] = openvino_linear(weight.numpy(), bias.numpy(), dtype)
    return ways


def products(shape: str) -> dict[str, dict[str, Any]]:
    """Measure a layer's products, weighted as they occur in it."""
    width, inner, _, _ = SHAPES[shape]
    # DNABERT-2 multiplies gate and value at once, so that its second product is half as deep.
    depth = inner // 2 if shape == "dnabert2" else inner
    kinds = [(width, width, 4), (width, inner, 1), (depth, width, 1)]
    total: dict[str, dict[str, Any]] = {}
    for n_in, n_out, times in kinds:
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(n_out, n_in, generator=generator) * n_in**-0.5
        bias, x = torch.randn(n_out, generator=generator), torch.randn(TOKENS, n_in, generator=generator)
        exact = x.double() @ weight.double().T + bias.double()
        ways = backends(weight, bias)
        inputs = {name: x.bfloat16() if name in ("torch bfloat16", "oneDNN packed bfloat16") else x for name in ways}
        seconds = median_seconds({name: lambda f=linear, g=inputs[name]: f(g) for name, linear in ways.items()}, 7)
        for name, linear in ways.items():
            given = inputs[name]
            # Copied, since a runtime may write its next result to the same place.
            result = linear(given).clone()
            row = total.setdefault(name, {"seconds": 0.0, "operations": 0.0, "error": 0.0, "invariant": True})
            row["seconds"] += times * seconds[name]
            row["operations"] += times * 2 * TOKENS * n_in * n_out
            row["error"] = max(row["error"], float((result.double() - exact).abs().max() / exact.abs().max()))
            row["invariant"] &= bool(torch.equal(linear(given[:FEW].contiguous()), result[:FEW]))
    return {
        name: {
            "gflops": round(row["operations"] / row["seconds"] / 1e9, 1),
            "ms_per_layer": round(row["seconds"] * 1e3, 3),
            "relative_error": float(f"{row['error']:.2g}"),
            "batch_invariant": row["invariant"],
        }
        for name, row in total.items()
    }


def joined(shape: str, dtype: torch.dtype) -> dict[str, float]:
    """Measure query, key and value by three products and by one."""
    width = SHAPES[shape][0]
    x, weight, bias = torch.randn(TOKENS, width), torch.randn(3 * width, width), torch.randn(3 * width)
    x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
    parts = list(zip(weight.chunk(3), bias.chunk(3), strict=True))
    seconds = median_seconds(
        {
            "three_ms": lambda: [nn.functional.linear(x, w, b) for w, b in parts],
            "one_ms": lambda: nn.functional.linear(x, weight, bias),
        }
    )
    return {name: round(value * 1e3, 3) for name, value in seconds.items()}


def attention(shape: str, dtype: torch.dtype) -> dict[str, float]:
    """Measure attention within sequences of one length that fill a batch."""
    width, _, heads, length = SHAPES[shape]
    n, size = TOKENS // length, width // heads
    q, k, v = (torch.randn(n, length, heads, size).to(dtype).transpose(1, 2) for _ in range(3))

    def plain() -> torch.Tensor:
        scores = (q @ k.transpose(2, 3)) * size**-0.5
        return scores.softmax(-1) @ v

    def fused() -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(q, k, v)

    def fused_float32() -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(q.float(), k.float(), v.float()).to(dtype)

    works: Works = {"fused": fused, "plain": plain}
    if dtype != torch.float32:
        works["fused_in_float32"] = fused_float32
    seconds = median_seconds(works)
    return {
        **{f"{name}_ms": round(value * 1e3, 3) for name, value in seconds.items()},
        "fused_gflops": round(4 * n * length**2 * width / seconds["fused"] / 1e9, 1),
        "exponentials_per_1000_operations": round(1000 / (4 * size), 2),
    }


def rest(shape: str, dtype: torch.dtype) -> dict[str, float]:
    """Measure what a layer of ESM-2 does beside products and attention."""
    width, inner, heads, _ = SHAPES[shape]
    x, wide = torch.randn(TOKENS, width).to(dtype), torch.randn(TOKENS, inner).to(dtype)
    gain, bias = torch.ones(width).to(dtype), torch.zeros(width).to(dtype)
    vectors = x.unflatten(-1, (heads, -1))
    angles = torch.randn(TOKENS, 1, width // heads // 2)
    cos, sin = angles.cos(), angles.sin()
    seconds = median_seconds(
        {
            "two_norms": lambda: [nn.functional.layer_norm(x, (width,), gain, bias) for _ in range(2)],
            "gelu": lambda: nn.functional.gelu(wide),
            "two_residuals": lambda: [x + x for _ in range(2)],
            "two_rotations": lambda: [rotate(vectors, cos, sin) for _ in range(2)],
        }
    )
    return {f"{name}_ms": round(value * 1e3, 3) for name, value in seconds.items()}


def shares(result: dict[str, Any], dtype: str) -> dict[str, float]:
    """Return the parts of a layer's time."""
    part = result[dtype]
    parts = {
        "products": result["products"][f"torch {dtype}"]["ms_per_layer"],
        "attention": part["attention"]["fused_ms"],
        **{name.removesuffix("_ms"): value for name, value in part["rest"].items()},
    }
    whole = math.fsum(parts.values())
    return {name: round(value / whole, 3) for name, value in parts.items()}


def random_esm2(n_layers: int, width: int, heads: int) -> EsmModel:
    """Return ESM-2 of a size with random weights."""
    torch.manual_seed(0)
    config = esm_config(
        hidden_size=width, num_hidden_layers=n_layers, num_attention_heads=heads, intermediate_size=4 * width
    )
    return EsmModel(config, add_pooling_layer=False).eval()


def random_encoder(shape: str) -> PreTrainedModel:
    """Return an encoder of a shape with random weights: ESM-2 8M, or some layers of DNABERT-2."""
    if shape == "esm2-8m":
        return random_esm2(*SIZES["8M"])
    torch.manual_seed(0)
    return DnaBert2Model(DnaBert2Config(num_hidden_layers=DNABERT2_LAYERS, add_pooling_layer=False)).eval()


def in_bfloat16(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy in bfloat16."""
    half = copy.deepcopy(model)
    return cast_encoder(half, torch.bfloat16) if isinstance(half, EsmModel) else half.bfloat16()


Batch = list[torch.Tensor]
Embed = Callable[[Batch], torch.Tensor]


def packed(model: PreTrainedModel) -> Embed:
    """Return the package's way from sequences, in order of length, to their vectors: nothing is padded."""

    def embed(batch: Batch) -> torch.Tensor:
        ids, lengths = torch.cat(batch), torch.tensor([len(ids) for ids in batch])
        return (
            mean_residue_vectors(model, ids, lengths)
            if isinstance(model, EsmModel)
            else model.embed_packed(ids, lengths)
        )

    return embed


def padded(encoder: Encoder, skipped: int) -> Embed:
    """Return the way by a padded batch, to means over all tokens but so many at both ends."""

    def embed(batch: Batch) -> torch.Tensor:
        ids = nn.utils.rnn.pad_sequence(batch, batch_first=True, padding_value=1)
        mask = torch.zeros_like(ids)
        for row, tokens in zip(mask, batch, strict=True):
            row[: len(tokens)] = 1
        hidden = encoder(ids, mask)
        rows = zip(hidden, batch, strict=True)
        return torch.stack([row[skipped : len(tokens) - skipped].mean(0, dtype=torch.float32) for row, tokens in rows])

    return embed


def encoders(shape: str) -> dict[str, dict[str, Any]]:
    """Measure whole encoders by the package and by runtimes, for sequences of one length, which need no padding."""
    length = SHAPES[shape][3]
    model = random_encoder(shape)
    generator = torch.Generator().manual_seed(1)
    sequences = torch.randint(5, 24, (TOKENS // length, length), generator=generator)
    batch = list(sequences)
    skipped = 1 if isinstance(model, EsmModel) else 0
    double = copy.deepcopy(model).double()
    exact = double(input_ids=sequences, attention_mask=torch.ones_like(sequences)).last_hidden_state
    exact = exact[:, skipped : length - skipped].mean(1)
    ways = {"biomeformer float32": packed(model), "biomeformer bfloat16": packed(in_bfloat16(model))}
    if missing("ONNX Runtime") is None:
        # The exporter records a graph, which inference mode does not allow; bfloat16 has no products there on a CPU.
        with torch.inference_mode(False):
            ways["ONNX Runtime float32"] = padded(onnx_encoder(random_encoder(shape)), skipped)
    if missing("OpenVINO") is None:
        with torch.inference_mode(False):
            traced = random_encoder(shape)
        example = sequences[:2], torch.ones_like(sequences[:2])
        for dtype in DTYPES:
            ways[f"OpenVINO {dtype}"] = padded(openvino_encoder(traced, example, dtype), skipped)
    seconds = median_seconds({name: lambda f=embed: f(batch) for name, embed in ways.items()}, 7)
    mixed = [batch[0][: length // 2], *batch[1:]]
    return {
        name: {
            "ms": round(seconds[name] * 1e3, 1),
            "speed_up": round(seconds[f"biomeformer {name.split()[-1]}"] / seconds[name], 3),
            "relative_error": float(f"{((embed(batch) - exact).norm(dim=1) / exact.norm(dim=1)).max():.2g}"),
            "batch_invariant": torch.equal(embed(mixed), torch.cat([embed([ids]) for ids in mixed])),
        }
        for name, embed in ways.items()
    }


def attention_in_float32(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *args: Any, **options: Any
) -> Any:
    """Compute torch's fused attention in float32."""
    context, _ = ALL_ATTENTION_FUNCTIONS["sdpa"](module, query.float(), key.float(), value.float(), *args, **options)
    return context.to(value.dtype), None


def no_attention(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *args: Any, **options: Any
) -> Any:
    """Return the values in place of attention."""
    return value.transpose(1, 2), None


# What takes the place of attention as the package has it, by the names of transformers' attention functions.
ATTENTIONS = {
    "encoder": "sdpa",
    "plain attention": "eager",
    "attention in float32": "float32",
    "no attention": "none",
}


def size_shares(size: str, attentions: Iterable[str], rounds: int) -> dict[str, dict[str, Any]]:
    """Measure the share of the peak of ESM-2 of a size, for proteins of 254 residues.

    Args:
        size: Of `SIZES`.
        attentions: Of `ATTENTIONS`.
        rounds: Number of rounds.

    Returns:
        By precision, the peak, which is the fastest of square products by torch and by oneDNN with packed weights in
        the same rounds, and of each attention the time and the share by the operations of the whole encoder.
    """
    model = random_esm2(*SIZES[size])
    operations = TOKENS * Shape.of(model.config).flops_per_token(LENGTH)
    ids, lengths = torch.randint(5, 24, (TOKENS,)), torch.full((TOKENS // LENGTH,), LENGTH)

    def embed(encoder: EsmModel, attention: str) -> None:
        encoder.config._attn_implementation = ATTENTIONS[attention]
        mean_residue_vectors(encoder, ids, lengths)

    record = {}
    for dtype in DTYPES:
        encoder = model if dtype == "float32" else in_bfloat16(model)
        works: Works = {name: lambda e=encoder, n=name: embed(e, n) for name in attentions}
        if dtype == "float32":
            works.pop("attention in float32", None)
        squares = {}
        for n in SQUARES:
            x, bias = torch.randn(n, n), torch.zeros(n)
            ways = torch_backends(x, bias)
            x = x.to(getattr(torch, dtype))
            for name in (f"torch {dtype}", f"oneDNN packed {dtype}"):
                squares[f"{name} {n}"] = 2 * n**3, lambda f=ways[name], x=x: f(x)
        seconds = median_seconds({**works, **{name: work for name, (_, work) in squares.items()}}, rounds)
        peak = max(count / seconds[name] for name, (count, _) in squares.items())
        record[dtype] = {
            "peak_gflops": round(peak / 1e9, 1),
            "ms": {name: round(seconds[name] * 1e3, 1) for name in works},
            "share_of_peak": {name: round(operations / seconds[name] / peak, 3) for name in works},
        }
    return record


@torch.inference_mode()
def main() -> int:
    """Measure and write the results; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="*", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--sizes", nargs="*", choices=list(SIZES), default=["8M", "35M", "150M"])
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    ALL_ATTENTION_FUNCTIONS.register("float32", attention_in_float32)
    ALL_ATTENTION_FUNCTIONS.register("none", no_attention)
    reasons = [reason for reason in map(missing, NEEDED) if reason]
    versions = {
        module: import_module(module).__version__ for name in NEEDED if not missing(name) for module in NEEDED[name][:1]
    }
    record: dict[str, Any] = {
        "processor": processor(),
        "torch": torch.__version__,
        **versions,
        "left_out": reasons,
        "tokens": TOKENS,
        "dnabert2_layers": DNABERT2_LAYERS,
        "shapes": {},
        "sizes": {},
    }

    def write() -> None:
        args.output.write_text(json.dumps(record, indent=1) + "\n")

    for size in args.sizes:
        # The larger the size, the less attention matters, and the longer a call takes.
        attentions, rounds = (ATTENTIONS, 15) if size == "8M" else (["encoder", "attention in float32"], 5)
        record["sizes"][size] = size_shares(size, attentions, rounds)
        write()
    for shape in args.shapes:
        result: dict[str, Any] = {"products": products(shape)}
        if shape in ENCODERS:
            result["encoders"] = encoders(shape)
        for dtype in DTYPES:
            precision = getattr(torch, dtype)
            result[dtype] = {"joined": joined(shape, precision)}
            # Attention of DNABERT-2 has distances as a bias, and its layers no positions to rotate by.
            if shape.startswith("esm2"):
                result[dtype] |= {"attention": attention(shape, precision), "rest": rest(shape, precision)}
                result[dtype]["shares"] = shares(result, dtype)
        record["shapes"][shape] = result
        write()
    print(json.dumps(record, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
