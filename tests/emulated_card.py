"""A CUDA device that is not there: its tensors hold their numbers in the CPU's memory and refuse the CPU's tensors.

Each operation runs on the CPU, after a look at where its tensors lie: as on a card, tensors of two devices do not mix,
but for numbers alone (0 dimensions), and copies go to and fro only where they are asked for. What ran on the device is
kept, and how much memory its tensors took.
"""

from __future__ import annotations

import weakref
from collections import Counter

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CARD = torch.device("cuda:0")
# torch's own code takes a tensor of the card for one of the meta device, as in `to(other)`.
CARD_TYPES = ("cuda", "meta")


class CardTensor(torch.Tensor):
    """A tensor that says it is on a card."""

    @staticmethod
    def __new__(cls, held):
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device="meta",
        )
        tensor.held = held
        return tensor

    @property
    def device(self):
        """Of the emulated card; to torch's own code it is the meta device, which every build has."""
        return CARD

    def __repr__(self):
        return f"CardTensor({self.held})"

    def tolist(self):
        """As torch does on CUDA, but not for subclasses."""
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        raise AssertionError(f"{function} was called outside the emulated card")


class EmulatedCard(TorchDispatchMode):
    """While it is entered, `device="cuda"` means the emulated card.

    Attributes:
        ran: How often each operation ran there, by name without overload.
        peak: Most bytes its tensors took at once.
        precisions: Of float32 matrix products, as torch was set when one ran.
    """

    def __init__(self):
        super().__init__()
        self.ran, self.peak, self.precisions = Counter(), 0, set()
        self._bytes, self._tensors = {}, Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = function._schema.name.removeprefix("aten::")
        tensors = [item for item in tree_leaves((args, kwargs)) if isinstance(item, torch.Tensor)]
        on_card = [item for item in tensors if isinstance(item, CardTensor)]
        if name == "_local_scalar_dense":
            self.ran[name] += 1
            return function(*tree_map(self._unwrap, args))
        target = kwargs.pop("device", None)
        if target is not None:
            kwargs["device"] = torch.device("cpu")
        if name == "_to_copy":
            goes_there = isinstance(args[0], CardTensor) if target is None else target.type in CARD_TYPES
        elif name == "copy_":
            goes_there = isinstance(args[0], CardTensor)
        else:
            if on_card:
                strangers = [item for item in tensors if not isinstance(item, CardTensor) and item.dim()]
                if strangers:
                    raise AssertionError(f"{function} mixes tensors of the card and of the CPU")
            goes_there = bool(on_card) if target is None else target.type in CARD_TYPES
        if goes_there:
            self.ran[name] += 1
            if name in ("mm", "addmm", "bmm", "baddbmm"):
                self.precisions.add(torch.backends.cuda.matmul.fp32_precision)
        result = function(*tree_map(self._unwrap, args), **tree_map(self._unwrap, kwargs))
        if not goes_there:
            return result
        if name.endswith("_") and not name.startswith("_") and isinstance(args[0], CardTensor):
            return args[0]
        return tree_map(self._wrap, result)

    @staticmethod
    def _unwrap(value):
        return value.held if isinstance(value, CardTensor) else value

    def _wrap(self, value):
        if not isinstance(value, torch.Tensor):
            return value
        tensor = CardTensor(value)
        storage = value.untyped_storage()
        key = storage._cdata
        self._bytes[key] = storage.nbytes()
        self._tensors[key] += 1
        self.peak = max(self.peak, sum(self._bytes.values()))
        weakref.finalize(tensor, self._forget, key)
        return tensor

    def _forget(self, key):
        self._tensors[key] -= 1
        if not self._tensors[key]:
            del self._tensors[key], self._bytes[key]


def install(monkeypatch, free=80 << 30):
    """Make torch say that there is one card, with so many bytes free."""
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    # In a thread of its own, where the mode is not entered.
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor.clone())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "Emulated")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (free, free))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device=None: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device=None: 0)


def put_on_card(module):
    """Move a module's weights and buffers to the card that is entered, in place."""
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                part._parameters[name] = torch.nn.Parameter(value.detach().to(CARD), requires_grad=False)
        for name, value in part._buffers.items():
            if value is not None:
                part._buffers[name] = value.detach().to(CARD)
    return module
