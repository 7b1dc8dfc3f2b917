"""A hash of weights, which identifies a model whatever it is called."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch


def hash_weights(weights: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 over names, shapes, types and values of weights, in the order of their names."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


__all__ = ["hash_weights"]
