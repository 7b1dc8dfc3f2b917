"""Description of the environment: versions, CUDA devices, the FAISS that is installed, threads."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from importlib import metadata
from typing import Any

import torch

from ..version import __version__
from .faiss_build import faiss_state

LIBRARIES = ("transformers", "accelerate", "datasets", "tokenizers", "safetensors", "numpy")


def describe_environment() -> dict[str, Any]:
    """Return versions, devices and threads, in sections `versions`, `devices`, `faiss` and `threads`.

    Returns:
        Values that JSON can hold; memory in bytes. Of a library that is not installed the version is None.
    """
    return {
        "versions": {
            "biomeformer": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "torch": torch.__version__,
            **{name: installed_version(name) for name in LIBRARIES},
        },
        "devices": _devices(),
        "faiss": asdict(faiss_state()),
        "threads": {
            "torch": torch.get_num_threads(),
            "torch_between_operations": torch.get_num_interop_threads(),
            "cores": os.cpu_count(),
            "cores_of_this_process": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        },
    }


def installed_version(name: str) -> str | None:
    """Return the version of an installed distribution, or None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _devices() -> dict[str, Any]:
    """Return what torch was built for, the GPUs it sees, and why it sees none."""
    build, n_devices = torch.version.cuda or torch.version.hip, torch.cuda.device_count()
    advice = ""
    if build is None:
        advice = "this torch is built for the CPU; on a machine with an NVIDIA GPU install torch's CUDA build."
    elif not torch.cuda.is_available():
        advice = (
            "torch sees no GPU; compare its CUDA build with the driver's version in nvidia-smi, and look at "
            "CUDA_VISIBLE_DEVICES."
        )
        n_devices = 0
    return {
        "torch_cuda_build": build,
        "cudnn": torch.backends.cudnn.version() if build is not None else None,
        "cuda": [_cuda_device(number) for number in range(n_devices)],
        "mps": torch.backends.mps.is_available(),
        "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "advice": advice,
    }


def _cuda_device(number: int) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(number)
    device: dict[str, Any] = {
        "device": f"cuda:{number}",
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "memory_bytes": properties.total_memory,
    }
    try:
        device["free_bytes"] = torch.cuda.mem_get_info(number)[0]
    except RuntimeError as error:
        # A device that another process has for itself, or that is broken.
        device |= {"free_bytes": None, "error": str(error).splitlines()[0]}
    return device


__all__ = ["describe_environment", "installed_version"]
