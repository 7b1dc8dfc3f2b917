"""Matrix products in float8, as an option."""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedModel

from ..errors import InputError
from ..models.metagenbert import MetagenBertModel

FLOAT8 = torch.float8_e4m3fn
# NVIDIA's GPUs multiply in float8 from this compute capability on (Ada and Hopper).
CAPABILITY = (8, 9)
# Both sizes of a weight must be multiples of this.
MULTIPLE = 16
# torch's kernel for Hopper reads the scales of so many rows at once, also beyond the last (pytorch/pytorch#133334).
SCALES_READ = 256


class Float8Linear(nn.Module):
    """A Linear that multiplies in float8 (e4m3) and adds up in float32, for inference.

    Each row of the input and of the weight has a scale of its own, so that its largest number is float8's.

    Args:
        linear: Its weight is rounded, its bias kept.
    """

    weight: torch.Tensor
    scale: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        values, scale = to_float8(linear.weight.detach())
        self.register_buffer("weight", values)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Apply the layer, as a Linear does: `(..., in_features)` to `(..., out_features)`."""
        values, scale = to_float8(inputs.flatten(0, -2))
        # Padded to the end of what the kernel reads.
        scale = nn.functional.pad(scale, (0, 0, 0, -len(scale) % SCALES_READ))[: len(scale)]
        product = torch._scaled_mm(
            values, self.weight.T, scale_a=scale, scale_b=self.scale.T, bias=self.bias, out_dtype=inputs.dtype
        )
        return product.unflatten(0, inputs.shape[:-1])


def to_float8(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows as float8 and the float32 scale `(n_rows, 1)` that gives them back."""
    scale = rows.abs().amax(1, keepdim=True).float().clamp_min(1e-12) / torch.finfo(FLOAT8).max
    return (rows / scale).to(FLOAT8), scale


def use_float8(model: MetagenBertModel) -> None:
    """Let the Linears of an encoder's layers multiply in float8; embeddings, norms and attention stay as they are.

    On a GPU this is for compiled encoders (`compile_encoder`): rounding and scaling, each by itself, move more memory
    than the products save.

    Args:
        model: Its encoder in bfloat16, changed in place.

    Raises:
        InputError: The encoder is not in bfloat16 or has no Linears, or the device has no float8.
    """
    device, encoder = model.device, model.encoder
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < CAPABILITY:
        raise InputError(f"{torch.cuda.get_device_name(device)} has no products in float8; use bfloat16.")
    if device.type not in ("cuda", "cpu"):
        raise InputError(f"device {device.type} has no products in float8; use bfloat16 or float32.")
    linears = [
        (parent, name, child)
        for parent in encoder.modules()
        for name, child in parent.named_children()
        if type(child) is nn.Linear and not any(size % MULTIPLE for size in child.weight.shape)
    ]
    if not linears or encoder.dtype != torch.bfloat16:
        raise InputError("float8 is for encoders in bfloat16 whose Linears are multiples of 16 wide; use bfloat16.")
    for parent, name, child in linears:
        setattr(parent, name, Float8Linear(child))


def precision(encoder: PreTrainedModel) -> str:
    """Return `float32`, `bfloat16`, `float16`, or `float8` for an encoder that multiplies in it."""
    if any(isinstance(module, Float8Linear) for module in encoder.modules()):
        return "float8"
    return str(next(encoder.parameters()).dtype).removeprefix("torch.")


__all__ = ["Float8Linear", "precision", "to_float8", "use_float8"]
