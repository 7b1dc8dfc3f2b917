"""Import of torch and transformers, without their messages, once a command needs them."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from logging import DEBUG
from typing import TYPE_CHECKING

from ..runs.garbage_collection import paused_collection
from ..runs.progress import logger
from .console import note

if TYPE_CHECKING:
    import torch

    from ..runs.process_group import ProcessGroup


def start(threads: int | None = None, *, models: bool = True) -> None:
    """Import torch and transformers with their progress bars and messages off.

    Args:
        threads: CPU threads to compute with; the libraries' own choice where None.
        models: Whether to import the base class of models too, which takes most of the time; without, it is imported
            when a model is.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(threads)
    warnings.filterwarnings("ignore")

    is_first = "torch" not in sys.modules
    with paused_collection():
        import torch
        from transformers.utils import logging

        if models:
            import transformers.modeling_utils  # noqa: F401
    if is_first:
        # Later searches for garbage leave out what has been imported.
        gc.freeze()

    if logger.isEnabledFor(DEBUG):
        logging.set_verbosity_info()
    else:
        logging.set_verbosity_error()
    logging.disable_progress_bar()
    if threads is not None:
        torch.set_num_threads(threads)


def note_device(device: torch.device, processes: ProcessGroup | None = None) -> None:
    """Print on stderr which device a loaded model is on; every process does, since each has its own."""
    from ..runs.devices import describe_device

    if processes is None or processes.size == 1:
        note(f"Using {describe_device(device)}.")
    else:
        note(f"Process {processes.rank} of {processes.size} is using {describe_device(device)}.")
