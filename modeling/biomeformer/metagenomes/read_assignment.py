"""The cluster of each read of a batch in memory."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import torch

from ..inference.batching import (
    check_batch_tokens,
    is_lookup_encoder,
    iter_token_batches,
    map_per_core,
    read_budget,
    to_device,
)
from ..models.metagenbert import MetagenBertModel
from ..reads import ReadBatch
from .sample import require_processor

NOT_USED = -1


@torch.inference_mode()
def assign_reads(model: MetagenBertModel, batch: ReadBatch, batch_tokens: int | None = None) -> np.ndarray:
    """Assign each read of a batch to its nearest centroid, as the counts of a sample do.

    Args:
        model: Model with its processor, on the device to use.
        batch: The reads.
        batch_tokens: Token budget of one pass through the encoder.

    Returns:
        Number of the cluster of each read, int64 `(n_reads,)`; -1 of reads that the preprocessing config leaves out. Of
        reads that it cuts into windows, the cluster that holds most of these.

    Raises:
        InputError: `batch_tokens` is not positive, or the model has no processor.
        RunError: A single read does not fit into the device's memory.
    """
    packed = require_processor(model).encode_reads(batch.sequence, batch.offsets)
    budget = read_budget(model, check_batch_tokens(batch_tokens, model))
    clusters = np.full(len(batch), NOT_USED, np.int64)
    of_window = np.empty(len(packed.lengths), np.int64)

    def assign_pass(input_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return model.assign_packed(to_device(input_ids, model.device), lengths).cpu()

    @torch.inference_mode()
    def assign(part: tuple[torch.Tensor, torch.Tensor, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        input_ids, lengths, positions = part
        return torch.cat(list(budget.passes(assign_pass, input_ids, lengths))).numpy(), positions

    parts = iter_token_batches(packed, budget.tokens, sort=not is_lookup_encoder(model))
    with closing(map_per_core(assign, parts, model.device)) as assigned:
        for numbers, positions in assigned:
            of_window[positions] = numbers
    if len(packed.rows) == packed.read_stats["n_used"]:
        clusters[packed.rows] = of_window
        return clusters
    # The cluster of most of a read's windows; of equally many, the first in number.
    votes = np.zeros((len(batch), model.config.n_clusters), np.int32)
    np.add.at(votes, (packed.rows, of_window), 1)
    rows = np.unique(packed.rows)
    clusters[rows] = votes[rows].argmax(1)
    return clusters


__all__ = ["NOT_USED", "assign_reads"]
