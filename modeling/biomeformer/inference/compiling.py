"""Compilation of encoders, as an option."""

from __future__ import annotations

import time

import numpy as np

from ..errors import InputError
from ..models.metagenbert import MetagenBertModel
from ..reads import ReadBatch
from .batching import embed_vectors

WARM_UP_READS = (24, 40)


def compile_encoder(model: MetagenBertModel) -> float:
    """Compile an encoder with torch.compile, which fuses the operations between matrix products; for inference.

    Only modules that work token by token are compiled, for any number of tokens at once: one compilation serves every
    batch, and attention keeps its own kernels.

    Args:
        model: With its processor, on its device, changed in place.

    Returns:
        Seconds that compiling took, with two small batches to see it through.

    Raises:
        InputError: The encoder has no such modules, the model has no processor, or there is no compiler here.
    """
    modules = [module for module in model.encoder.modules() if getattr(module, "works_token_by_token", False)]
    if not modules or model.processor is None:
        raise InputError(
            f"a {model.config.encoder_config.model_type} encoder has no modules that can be compiled; leave it out."
        )
    start = time.perf_counter()
    for module in modules:
        module.compile(dynamic=True)
    rng = np.random.default_rng(0)
    try:
        for n_reads in WARM_UP_READS:
            bases = np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, (n_reads, 150))]
            reads = ReadBatch.from_strings([row.tobytes().decode() for row in bases])
            embed_vectors(model, model.processor, reads)
    # Its errors have no common base that is public.
    except RuntimeError as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(
            f"the encoder cannot be compiled here ({reason}); install a C++ compiler, or leave compiling out."
        ) from error
    return time.perf_counter() - start


__all__ = ["compile_encoder"]
