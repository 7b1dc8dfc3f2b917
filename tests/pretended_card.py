"""A CUDA card that is not there: tensors that say they are on it, compute on the CPU, and refuse to meet CPU tensors.

torch's fake tensors cannot stand in, since packed batches are laid out by values (`lengths.tolist()`), which they lack.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

# A torch without CUDA refuses to index tensors that say they are on it; of devices it knows, meta is one more.
CARD = torch.device("meta")
aten = torch.ops.aten
# What real CUDA allows between devices: copies, and indices on the CPU into a tensor on the card.
COPIES = {aten._to_copy.default, aten.copy_.default}
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}


class OnCard(torch.Tensor):
    """A tensor that says it is on the card."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> OnCard:
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), dtype=inner.dtype, device=CARD
        )
        made.inner = inner
        return made

    def __repr__(self) -> str:
        return f"OnCard({self.inner!r})"

    def tolist(self) -> Any:
        """As torch does on CUDA, and not for subclasses."""
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(function, args, kwargs or {})


def compute(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Do an operation on the CPU; its results are where they would be.

    Raises:
        RuntimeError: Tensors of both devices meet, as they must not on a machine with a card.
    """
    tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, torch.Tensor)]
    held = [value for value in tensors if isinstance(value, OnCard)]
    # CUDA takes numbers from the CPU, as tensors without dimensions.
    strangers = [value for value in tensors if not isinstance(value, OnCard) and value.dim() > 0]
    may_meet = function in COPIES or (function in INDEXING and isinstance(tensors[0], OnCard))
    if held and strangers and not may_meet:
        raise RuntimeError(f"{function}: Expected all tensors to be on the same device, but found the card and cpu")
    target = kwargs.get("device")
    kwargs = {**kwargs, "device": torch.device("cpu")} if target is not None else kwargs
    args, kwargs = tree_map_only(OnCard, lambda value: value.inner, (args, kwargs))
    result = function(*args, **kwargs)
    if function in (aten.copy_.default, aten.index_put_.default):
        there = isinstance(tensors[0], OnCard)
    else:
        there = bool(held) if target is None else torch.device(target) == CARD
    if not there:
        return result
    # In place, the tensor itself comes back.
    by_inner = {id(value.inner): value for value in held}

    def placed(value: torch.Tensor) -> torch.Tensor:
        return by_inner[id(value)] if id(value) in by_inner else OnCard(value)

    return tree_map_only(torch.Tensor, placed, result)


class PretendedCard(TorchDispatchMode):
    """Tensors made on the card are made, and operations on both devices at once are refused."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(function, args, kwargs or {})


@contextmanager
def pretended_card() -> Iterator[None]:
    """A card for the tensors made within."""
    with pytest.MonkeyPatch.context() as patch, PretendedCard():
        patch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
        patch.setattr(torch, "is_autocast_enabled", lambda *_: False)
        yield


def to_card(module: nn.Module) -> nn.Module:
    """Put a module's weights and buffers on the card, in place."""
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                part._parameters[name] = nn.Parameter(OnCard(value.detach()), requires_grad=False)
        for name, value in part._buffers.items():
            if value is not None:
                part._buffers[name] = OnCard(value.detach())
    return module


def from_card(tensor: torch.Tensor) -> torch.Tensor:
    """The values of a tensor on the card.

    Raises:
        AssertionError: It is not there.
    """
    assert isinstance(tensor, OnCard), f"a result is on {tensor.device}"
    return tensor.inner
