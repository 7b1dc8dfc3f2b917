"""Measure what stands between ESM-2 or DNABERT-2 on a CPU and the peak of its matrix products.

One thread, by processor time, the best of several calls, for a batch of 1,024 tokens (`DEFAULT_BATCH_TOKENS`):

* products: a layer's three kinds of linear maps by torch, by oneDNN with weights packed once (through torch), and by
  ONNX Runtime (float32), in 10^9 operations per second; how far each is from float64; and whether a row's result is
  equal to the last bit in batches of 1,024 and of 300 rows, as exact batch invariance needs;
* joined: query, key and value by one product instead of three;
* of ESM-2, attention by torch's fused kernel and by plain products with softmax, for proteins of one length; the rest,
  normalisations, GELU, residual sums and rotary positions; and the share of each in a layer.

    python benchmarks/cpu_backends.py --shapes esm2-8m esm2-650m dnabert2
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers import processor
from torch import nn

from biomeformer.inference.packed_esm import rotate

RESULTS = Path(__file__).parent / "results" / "cpu_backends.json"
TOKENS, FEW = 1024, 300
# Hidden size, intermediate size (of the first product of the feed-forward part), heads, tokens per sequence.
SHAPES = {
    "esm2-8m": (320, 1280, 20, 256),
    "esm2-650m": (1280, 5120, 20, 256),
    "dnabert2": (768, 6144, 12, 32),
}


def best_seconds(work: Callable[[], Any], calls: int = 4) -> float:
    """Return the least processor time of some calls, after one to warm up."""
    work()
    times = []
    for _ in range(calls):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def onnx_linear(weight: np.ndarray, bias: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return a linear map in ONNX Runtime, on one thread."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, weight.shape[1]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, weight.shape[0]])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda x: np.asarray(session.run(None, {"x": x})[0])


def backends(weight: torch.Tensor, bias: torch.Tensor) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """Return the ways to compute a linear map of float32 inputs, by name; results are float32."""
    half_weight, half_bias = weight.bfloat16(), bias.bfloat16()
    reorder, apply = torch.ops.mkldnn._reorder_linear_weight, torch.ops.mkldnn._linear_pointwise
    packed = reorder(weight, TOKENS)
    half_packed = reorder(half_weight, TOKENS)
    runtime = onnx_linear(weight.numpy(), bias.numpy())
    return {
        "torch float32": lambda x: nn.functional.linear(x, weight, bias),
        "oneDNN packed float32": lambda x: apply(x, packed, bias, "none", [], ""),
        "ONNX Runtime float32": lambda x: torch.from_numpy(runtime(x.numpy())),
        "torch bfloat16": lambda x: nn.functional.linear(x, half_weight, half_bias),
        "oneDNN packed bfloat16": lambda x: apply(x, half_packed, half_bias, "none", [], ""),
    }


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
        for name, linear in backends(weight, bias).items():
            given = x.bfloat16() if "bfloat16" in name else x
            result = linear(given)
            row = total.setdefault(name, {"seconds": 0.0, "operations": 0.0, "error": 0.0, "invariant": True})
            row["seconds"] += times * best_seconds(lambda f=linear, g=given: f(g))
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
    three = best_seconds(lambda: [nn.functional.linear(x, w, b) for w, b in parts])
    one = best_seconds(lambda: nn.functional.linear(x, weight, bias))
    return {"three_ms": round(three * 1e3, 3), "one_ms": round(one * 1e3, 3)}


def attention(shape: str, dtype: torch.dtype) -> dict[str, float]:
    """Measure attention within sequences of one length that fill a batch."""
    width, _, heads, length = SHAPES[shape]
    n, size = TOKENS // length, width // heads
    q, k, v = (torch.randn(n, length, heads, size).to(dtype).transpose(1, 2) for _ in range(3))

    def plain() -> torch.Tensor:
        scores = (q @ k.transpose(2, 3)) * size**-0.5
        return scores.softmax(-1) @ v

    fused = best_seconds(lambda: nn.functional.scaled_dot_product_attention(q, k, v))
    return {
        "fused_ms": round(fused * 1e3, 3),
        "plain_ms": round(best_seconds(plain) * 1e3, 3),
        "fused_gflops": round(4 * n * length**2 * width / fused / 1e9, 1),
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
    return {
        "two_norms_ms": round(2e3 * best_seconds(lambda: nn.functional.layer_norm(x, (width,), gain, bias)), 3),
        "gelu_ms": round(1e3 * best_seconds(lambda: nn.functional.gelu(wide)), 3),
        "two_residuals_ms": round(2e3 * best_seconds(lambda: x + x), 3),
        "two_rotations_ms": round(2e3 * best_seconds(lambda: rotate(vectors, cos, sin)), 3),
    }


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


@torch.inference_mode()
def main() -> int:
    """Measure and write the results; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    record: dict[str, Any] = json.loads(args.output.read_text()) if args.output.exists() else {"shapes": {}}
    record |= {"processor": processor(), "torch": torch.__version__, "tokens": TOKENS}
    square = {dtype: torch.randn(1024, 1024).to(getattr(torch, dtype)) for dtype in ("float32", "bfloat16")}
    record["peak_gflops"] = {
        dtype: round(2 * 1024**3 / best_seconds(lambda x=x: x @ x, 8) / 1e9, 1) for dtype, x in square.items()
    }
    for shape in args.shapes:
        result: dict[str, Any] = {"products": products(shape)}
        for dtype in ("float32", "bfloat16"):
            precision = getattr(torch, dtype)
            result[dtype] = {"joined": joined(shape, precision)}
            # Attention of DNABERT-2 has distances as a bias, and its layers no positions to rotate by.
            if shape.startswith("esm2"):
                result[dtype] |= {"attention": attention(shape, precision), "rest": rest(shape, precision)}
                result[dtype]["shares"] = shares(result, dtype)
        record["shapes"][shape] = result
        args.output.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
