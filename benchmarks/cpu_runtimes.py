"""Linear maps and whole encoders by ONNX Runtime and OpenVINO, in one thread of a CPU, for `cpu_backends.py`."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from biomeformer.checkpoints.onnx_export import export_onnx

# The modules that each runtime needs; none is a requirement of the package.
NEEDED = {"ONNX Runtime": ("onnxruntime", "onnx", "onnxscript"), "OpenVINO": ("openvino",)}
PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
# Token ids and attention mask, both `(batch, length)`, to token vectors `(batch, length, hidden_size)`.
Encoder = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@cache
def missing(runtime: str) -> str | None:
    """Return why a runtime cannot be measured, or None."""
    try:
        for module in NEEDED[runtime]:
            import_module(module)
    except ImportError as error:
        return f"{runtime} was left out: {error}"
    return None


def onnx_session(model: bytes | str) -> Any:
    """Load a model, or its file, into ONNX Runtime on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def onnx_linear(weight: np.ndarray, bias: np.ndarray) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a linear map in ONNX Runtime."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, weight.shape[1]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, weight.shape[0]])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    session = onnx_session(model.SerializeToString())
    return lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


def onnx_encoder(model: PreTrainedModel) -> Encoder:
    """Return an encoder in ONNX Runtime."""
    with tempfile.TemporaryDirectory() as folder:
        session = onnx_session(str(export_onnx(model, Path(folder) / "model.onnx")))
    return lambda ids, mask: torch.from_numpy(
        session.run(["last_hidden_state"], {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]
    )


def openvino_request(model: Any, precision: str) -> Any:
    """Return a request to a model compiled by OpenVINO for one thread, in `float32` or `bfloat16`."""
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
    }
    return openvino.Core().compile_model(model, "CPU", settings).create_infer_request()


def openvino_linear(weight: np.ndarray, bias: np.ndarray, precision: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a linear map in OpenVINO of float32 inputs; each float32 result is overwritten by the next."""
    import openvino
    from openvino import opset13

    x = opset13.parameter([-1, weight.shape[1]], np.float32)
    product = opset13.matmul(x, opset13.constant(weight), False, True)
    model = openvino.Model([opset13.add(product, opset13.constant(bias[None]))], [x], "linear")
    request = openvino_request(model, precision)
    return lambda x: torch.from_numpy(request.infer([x.numpy()], share_inputs=True, share_outputs=True)[0])


class _TokenVectors(nn.Module):
    """An encoder with two inputs and one output, to be traced."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=ids, attention_mask=mask).last_hidden_state


def openvino_encoder(model: PreTrainedModel, example: tuple[torch.Tensor, torch.Tensor], precision: str) -> Encoder:
    """Return an encoder in OpenVINO, converted from a trace of the model with `example`, ids and mask."""
    import openvino

    # Without the inference mode of the caller, in which nothing can be traced.
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ids, mask = (tensor.clone() for tensor in example)
        converted = openvino.convert_model(_TokenVectors(model), example_input=(ids, mask))
    request = openvino_request(converted, precision)
    return lambda ids, mask: torch.from_numpy(request.infer([ids.numpy(), mask.numpy()])[0])
