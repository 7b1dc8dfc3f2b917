"""Processes and devices of a training run: plain data parallelism, with a full model per process."""

from __future__ import annotations

import os
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType

from ..errors import InputError, reason_of
from ..runs.devices import device_name
from ..runs.process_group import ProcessGroup

# Environment variables by which Accelerate's launcher requests a strategy that shards a model's weights.
SHARDING_SWITCHES = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}
SHARDED_DIMENSIONS = {
    "DP_SHARD": "sharded data parallelism",
    "TP": "tensor parallelism",
    "CP": "context parallelism",
    "SP": "sequence parallelism",
}
# Environment variables in which torchrun, `accelerate launch` and MPI launchers give the number of processes.
WORLD_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def make_accelerator(
    mixed_precision: str, *, cpu: bool = False, processes: ProcessGroup | None = None, **options: Any
) -> Accelerator:
    """Make the Accelerator of a training recipe, or refuse a setup in which the recipe would not train correctly.

    Recipes evaluate and save the unwrapped model on the main process, so each process must hold all weights.

    Args:
        mixed_precision: `auto` (bf16 on a GPU that supports it), `bf16` or `no`.
        cpu: Whether to run on the CPU only.
        processes: The processes of the job, which meet at a barrier first: Accelerate would wait forever for a process
            that has failed on its input.
        **options: Passed to `Accelerator`.

    Raises:
        InputError: The launcher requests a strategy that shards the model (FSDP, DeepSpeed, Megatron-LM; tensor,
            context or sequence parallelism); the number of processes launched differs from that of the run; the
            precision is unknown, or bf16 was requested and the GPU does not support it; or a tracker is not installed.
    """
    if mixed_precision not in ("auto", "bf16", "no"):
        raise InputError(f"mixed_precision is {mixed_precision!r}; give auto, bf16 or no.")
    if processes is not None:
        processes.barrier()
    # Checked before the Accelerator is created, which would first require the strategy's package.
    strategy = _requested_sharding()
    if strategy is not None:
        raise _sharding_refused(strategy)
    if mixed_precision == "auto":
        has_bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
        mixed_precision = "bf16" if has_bf16 and not cpu else "no"
    try:
        accelerator = Accelerator(cpu=cpu, mixed_precision=mixed_precision, **options)
    except (ValueError, ImportError) as error:
        reason = reason_of(error, None)
        tracker = f", tracker {options['log_with']}" if options.get("log_with") else ""
        raise InputError(f"{reason} (mixed_precision {mixed_precision}{tracker})") from error
    kind = accelerator.distributed_type
    if kind is not DistributedType.NO and not kind.name.startswith("MULTI_"):
        raise _sharding_refused(kind.value)
    n_launched = max(int(os.environ.get(name) or 1) for name in WORLD_SIZES)
    if n_launched != accelerator.num_processes:
        raise InputError(
            f"the launcher started {n_launched} processes, but this one trains among {accelerator.num_processes}: on "
            f"{accelerator.device} each would train a model of its own in one folder; give the recipe --cpu to share "
            "the work on CPUs, or start one process."
        )
    return accelerator


def describe_device(accelerator: Accelerator) -> str:
    """Describe the hardware of a run: device, processes, CPU cores and precision."""
    name = device_name(accelerator.device)
    precision = "float32" if accelerator.mixed_precision == "no" else accelerator.mixed_precision
    n_ranks = accelerator.num_processes
    return f"{name}, {n_ranks} process{'es' if n_ranks > 1 else ''}, {os.cpu_count()} cores, {precision}"


def _requested_sharding() -> str | None:
    """Return the sharding strategy that the launcher's environment requests, or None."""
    for variable, name in SHARDING_SWITCHES.items():
        if os.environ.get(variable, "false").lower() in ("true", "1"):
            return name
    if os.environ.get("ACCELERATE_USE_PARALLELISM_CONFIG", "false").lower() in ("true", "1"):
        for dimension, name in SHARDED_DIMENSIONS.items():
            if int(os.environ.get(f"PARALLELISM_CONFIG_{dimension}_SIZE") or 1) > 1:
                return name
    return None


def _sharding_refused(strategy: str) -> InputError:
    return InputError(
        f"{strategy} is not supported: the recipes evaluate and save the whole model on one process, and {strategy} "
        "splits its weights among them; launch with plain data parallelism (accelerate launch --multi_gpu, or one "
        "process), and use gradient accumulation or smaller batches where memory is short."
    )


__all__ = ["describe_device", "make_accelerator"]
