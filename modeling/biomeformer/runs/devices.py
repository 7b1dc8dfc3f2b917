"""Devices by name."""

from __future__ import annotations

import torch

from ..errors import InputError

# The name that leaves the choice to the package.
AUTO = "auto"
# What errors of other types than torch's own say where memory ran out: CUDA's outside torch's allocator, those of
# cuBLAS and cuDNN for a handle, a plan or a workspace, MPS's, and those of a CPU's allocator on Linux and Windows.
OUT_OF_MEMORY = (
    "out of memory",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "host_allocation_failed",
    "device_allocation_failed",
    "can't allocate memory",
    "not enough memory",
)


def automatic_device() -> str:
    """Return the device type that `auto` means on this machine: `cuda` where there is a CUDA device, else `cpu`.

    Apple's GPU is taken only when asked for by name: it has no float64, which distances to centroids are compared in.
    """
    return "cuda" if torch.cuda.is_available() else "cpu"


def resolve_device(device: str) -> torch.device:
    """Resolve the name of a device, and make a CUDA device the calling thread's current one.

    Events, streams and pinned copies belong to the current device, so it must be the one that the model is on.

    Args:
        device: `cpu`, `cuda` (the current CUDA device), `cuda:N`, `mps`, or `auto` (see `automatic_device`).

    Returns:
        The device; of CUDA with its index.

    Raises:
        InputError: The name is unknown, or there is no such device here.
    """
    try:
        resolved = torch.device(automatic_device() if device == AUTO else device)
    except RuntimeError as error:
        raise InputError(f"device {device!r} is unknown; give auto, cpu, cuda, cuda:N or mps.") from error
    if resolved.type == "cuda":
        n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (resolved.index or 0) >= n_devices:
            advice = "name one of them, or start no more processes than that" if n_devices else "use --device cpu"
            raise InputError(f"device {device!r} was asked for and {n_devices} CUDA devices are here; {advice}.")
        if resolved.index is None:
            resolved = torch.device("cuda", torch.cuda.current_device())
        torch.cuda.set_device(resolved)
    elif resolved.type == "mps":
        if not torch.backends.mps.is_available():
            raise InputError(f"device {device!r} was asked for and there is none here; use --device cpu.")
    elif resolved.type != "cpu":
        raise InputError(f"device {device!r} is not supported; give auto, cpu, cuda, cuda:N or mps.")
    return resolved


def device_name(device: torch.device) -> str:
    """Return the name of a device for records: a CUDA device's model, or the type of another."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def describe_device(device: torch.device) -> str:
    """Describe a device for messages: `cuda:0 (NVIDIA H100 80GB HBM3)`, or `the CPU (2 threads)`."""
    if device.type == "cuda":
        return f"{device} ({device_name(device)})"
    if device.type == "cpu":
        n_threads = torch.get_num_threads()
        return f"the CPU ({n_threads} thread{'s' if n_threads > 1 else ''})"
    return str(device)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that a device is out of memory, so that a smaller batch may fit.

    accelerate's `should_reduce_batch_size` is not used: it does not know cuBLAS's and cuDNN's failed allocations, and
    counts `CUDNN_STATUS_NOT_SUPPORTED` among them, which a smaller batch does not change.
    """
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    message = str(error).lower()
    return isinstance(error, RuntimeError) and any(part in message for part in OUT_OF_MEMORY)


__all__ = ["AUTO", "automatic_device", "describe_device", "device_name", "is_out_of_memory", "resolve_device"]
