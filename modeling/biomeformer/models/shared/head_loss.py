"""The losses of the models' heads, under the conventions of transformers' Trainer."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

REGRESSION = "regression"
SINGLE_LABEL = "single_label_classification"
MULTI_LABEL = "multi_label_classification"
# Label of an element that does not count, such as a token that was not masked.
IGNORED = -100


def head_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    config: Any,
    *,
    num_items_in_batch: torch.Tensor | int | None = None,
    class_weights: torch.Tensor | None = None,
    smoothing: float = 0.0,
) -> torch.Tensor:
    """Compute the loss of a classifier or a regression by `config.problem_type`.

    A problem type that is None is inferred as in transformers, and set in the config: regression for one label,
    classification for whole numbers, otherwise several labels at once.

    Args:
        logits: `(batch, num_labels)`.
        labels: Class numbers `(batch,)`, zeros and ones `(batch, num_labels)` for several labels at once, or numbers
            `(batch,)` or `(batch, num_labels)` for regression.
        config: Config of the model.
        num_items_in_batch: Number of labels in all micro-batches of a step of the optimizer, on all processes; the sum
            is then divided by it, so that accumulated gradients are those of one large batch. None takes the mean.
        class_weights: `(num_labels,)`, factor of the loss of each class, for single-label classification.
        smoothing: Fraction of a label that is distributed over all classes, for single-label classification.

    Raises:
        ValueError: The problem type is unknown.
    """
    if config.problem_type is None:
        is_whole = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
        config.problem_type = REGRESSION if logits.shape[1] == 1 else SINGLE_LABEL if is_whole else MULTI_LABEL
    reduction = "mean" if num_items_in_batch is None else "sum"
    labels = labels.to(logits.device)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if config.problem_type == REGRESSION:
        loss = nn.functional.mse_loss(logits.reshape(labels.shape), labels.to(logits.dtype), reduction=reduction)
    elif config.problem_type == MULTI_LABEL:
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction=reduction)
    elif config.problem_type == SINGLE_LABEL:
        loss = nn.functional.cross_entropy(
            logits, labels.flatten(), weight=class_weights, label_smoothing=smoothing, reduction=reduction
        )
    else:
        raise ValueError(
            f"problem_type {config.problem_type!r} of the config is unknown; give {REGRESSION}, {SINGLE_LABEL} or "
            f"{MULTI_LABEL}."
        )
    return _per_item(loss, num_items_in_batch)


def masked_lm_loss(
    logits: torch.Tensor, labels: torch.Tensor, *, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Compute the cross-entropy of masked tokens.

    Args:
        logits: `(batch, length, vocab_size)`.
        labels: Token ids `(batch, length)`; positions with -100 do not count.
        num_items_in_batch: As for `head_loss`; None takes the mean over the masked tokens.

    Returns:
        The loss. It is 0, with gradients of 0, if no token is masked, as in a batch of reads of unknown bases only: the
        mean of no numbers would be NaN, and would end a training.
    """
    flat = labels.to(logits.device).flatten()
    loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), flat, ignore_index=IGNORED, reduction="sum")
    n_items = (flat != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
    return _per_item(loss, n_items.clamp_min(1) if isinstance(n_items, torch.Tensor) else max(n_items, 1))


def _per_item(loss: torch.Tensor, num_items_in_batch: torch.Tensor | int | None) -> torch.Tensor:
    if isinstance(num_items_in_batch, torch.Tensor):
        num_items_in_batch = num_items_in_batch.to(loss.device)
    return loss if num_items_in_batch is None else loss / num_items_in_batch


__all__ = ["head_loss", "masked_lm_loss"]
