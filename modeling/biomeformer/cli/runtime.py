"""Bringing torch and transformers up, quietly, once a command needs them."""

from __future__ import annotations

import os
import warnings


def start(threads: int | None = None) -> None:
    """Import torch and transformers with their progress bars and remarks off.

    Args:
        threads: CPU threads to compute with; the libraries' own choice where None.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(threads)
    warnings.filterwarnings("ignore")

    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if threads is not None:
        torch.set_num_threads(threads)
