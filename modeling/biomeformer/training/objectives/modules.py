"""Pretraining objectives. Each is one module, so that Accelerate can distribute it.

Their `forward` returns the summed loss of a micro-batch and the number of its terms, as the training loop expects.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForMaskedLM, PreTrainedModel

from ...checkpoints.loader import load_from
from ...checkpoints.source import open_checkpoint
from ...errors import InputError
from .contrastive import instance_mixup_loss, weighted_simclr_loss
from .masking import IGNORED, mask_tokens

logger = logging.getLogger(__name__)


class MaskedLanguageModelling(nn.Module):
    """Masked language modelling as for DNABERT-2, on any encoder with a masked-language-model head.

    Args:
        encoder: The encoder; a copy of its weights is trained, which `release` copies back.
        tokenizer: A tokenizer with a `[MASK]` token.
        mask_fraction: Fraction of tokens to mask.
        source: Checkpoint whose head is used; a new head if it has none, or if this is None.
        revision: Branch, tag or commit of `source`.

    Raises:
        InputError: The tokenizer has no `[MASK]`, or transformers has no such head for the encoder.
    """

    def __init__(
        self,
        encoder: PreTrainedModel,
        tokenizer: Any,
        mask_fraction: float = 0.15,
        source: str | None = None,
        revision: str | None = None,
    ) -> None:
        super().__init__()
        if getattr(tokenizer, "mask_token_id", None) is None:
            raise InputError("mlm needs a tokenizer with a [MASK] token; a k-mer encoder learns from species instead.")
        self.model = _with_language_model_head(encoder, source, revision)
        self.tokenizer, self.mask_fraction = tokenizer, mask_fraction

    @property
    def heads(self) -> list[nn.Parameter]:
        """Parameters outside the encoder."""
        encoder = {id(p) for p in self.model.base_model.parameters()}
        return [p for p in self.model.parameters() if id(p) not in encoder]

    def prepare(self, batch: dict[str, torch.Tensor], rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """Mask tokens and pad: `input_ids`, `attention_mask` and `labels` `(n_reads, longest)`."""
        ids, lengths = batch["input_ids"].numpy(), batch["lengths"].numpy()
        hidden, labels = mask_tokens(
            ids,
            self.tokenizer.all_special_ids,
            self.tokenizer.mask_token_id,
            len(self.tokenizer),
            rng,
            self.mask_fraction,
        )
        prepared = {
            "input_ids": _pad(hidden, lengths, self.tokenizer.pad_token_id),
            "attention_mask": _pad(np.ones_like(ids), lengths, 0),
            "labels": _pad(labels, lengths, IGNORED),
        }
        return {name: torch.from_numpy(value) for name, value in prepared.items()}

    def forward(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the summed cross-entropy of the masked tokens, and their number."""
        logits = self.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        labels = batch["labels"].flatten()
        loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), labels, ignore_index=IGNORED, reduction="sum")
        return loss, (labels != IGNORED).sum()

    def release(self, encoder: PreTrainedModel) -> None:
        """Copy the trained weights back to `encoder`."""
        trained = {name: value.detach().cpu() for name, value in self.model.base_model.state_dict().items()}
        left_over = encoder.load_state_dict(trained, strict=False).unexpected_keys
        if left_over:
            raise RuntimeError(f"The language model has weights that the encoder lacks, such as {left_over[0]}.")


def _with_language_model_head(encoder: PreTrainedModel, source: str | None, revision: str | None) -> PreTrainedModel:
    """Combine the encoder's weights with its checkpoint's language-model head, or with a new head if it has none."""
    try:
        model = AutoModelForMaskedLM.from_config(encoder.config)
    except ValueError as error:
        raise InputError(
            f"mlm cannot train a {encoder.config.model_type}: transformers knows no language-model head for it."
        ) from error
    if source is not None:
        checkpoint = open_checkpoint(source, revision=revision)
        missing: set[str] = set()
        # The encoder of a MetagenBERT checkpoint has no such head.
        is_encoder = checkpoint.model_type != "metagenbert"
        if is_encoder:
            model, info = load_from(checkpoint, type(model), new_head=True, output_loading_info=True)
            missing = info["missing_keys"]
        if not is_encoder or any(not key.startswith(f"{model.base_model_prefix}.") for key in missing):
            logger.warning("%s has no language-model head; a new one is trained with it.", source)
    names = model.base_model.state_dict().keys()
    weights = {name: value.cpu() for name, value in encoder.state_dict().items() if name in names}
    model.base_model.load_state_dict(weights)
    return model


def _pad(packed_ids: np.ndarray, lengths: np.ndarray, value: int) -> np.ndarray:
    """Pad packed ids `(n_tokens,)` to int64 `(n_reads, longest)`."""
    mask = np.arange(int(lengths.max())) < lengths[:, None]
    padded = np.full(mask.shape, value, np.int64)
    padded[mask] = packed_ids
    return padded


class SpeciesClassification(nn.Module):
    """Cross-entropy of a read's unit vector against one learned unit vector per species.

    Args:
        encoder: An encoder with `embed_packed`.
        n_species: Number of species.
        scale: Factor of the cosine similarities.
    """

    def __init__(self, encoder: PreTrainedModel, n_species: int, scale: float = 20.0) -> None:
        super().__init__()
        if not hasattr(encoder, "embed_packed"):
            raise InputError(f"Species are learned from packed reads, which a {encoder.config.model_type} cannot take.")
        self.encoder, self.scale = encoder, scale
        self.weight = nn.Parameter(torch.randn(n_species, encoder.config.hidden_size))

    @property
    def heads(self) -> list[nn.Parameter]:
        """Parameters outside the encoder."""
        return [self.weight]

    def logits(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return scaled cosine similarities `(n_reads, n_species)`."""
        vectors = self.encoder.embed_packed(batch["input_ids"], batch["lengths"])
        vectors, weight = (nn.functional.normalize(v, dim=-1) for v in (vectors, self.weight))
        logits: torch.Tensor = self.scale * vectors @ weight.T
        return logits

    def forward(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, int]:
        """Return the summed cross-entropy of reads, and their number."""
        species = batch["species"]
        return nn.functional.cross_entropy(self.logits(batch).float(), species, reduction="sum"), len(species)


class ContrastiveLearning(nn.Module):
    """Contrastive learning as for DNABERT-S, on mean token vectors after a two-layer projection.

    Args:
        encoder: An encoder with `embed_packed` and `embed_packed_mixed`.
        projection_size: Size of the projected vectors.
        temperature: Divisor of the similarities.
        mixup_alpha: Parameter of the Beta distribution of mixing shares.
    """

    def __init__(
        self, encoder: PreTrainedModel, projection_size: int = 128, temperature: float = 0.05, mixup_alpha: float = 1.0
    ) -> None:
        super().__init__()
        if not hasattr(encoder, "embed_packed_mixed"):
            raise InputError(
                f"contrastive learning mixes inside the encoder, and a {encoder.config.model_type} cannot."
            )
        self.encoder, self.temperature, self.mixup_alpha = encoder, temperature, mixup_alpha
        size = encoder.config.hidden_size
        self.projection = nn.Sequential(
            nn.Linear(size, size, bias=False), nn.ReLU(), nn.Linear(size, projection_size, bias=False)
        )

    @property
    def heads(self) -> list[nn.Parameter]:
        """Parameters outside the encoder."""
        return list(self.projection.parameters())

    def prepare(self, batch: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """Draw the partners, shares and layer of a mixup."""
        alpha, n_pairs = self.mixup_alpha, len(batch["species"])
        share = rng.beta(alpha, alpha, n_pairs)
        batch["weights"] = torch.from_numpy(np.maximum(share, 1 - share).astype(np.float32))
        batch["partners"] = torch.from_numpy(rng.permutation(n_pairs))
        batch["layer"] = int(rng.integers(self.encoder.num_mixup_layers))
        return batch

    def forward(self, batch: dict[str, Any]) -> tuple[torch.Tensor, int]:
        """Return the summed loss of pairs, and their number: mixup if the batch has partners, else weighted SimCLR."""
        second = self.encoder.embed_packed(batch["second_input_ids"], batch["second_lengths"])
        reads = (batch["input_ids"], batch["lengths"])
        mixed = "partners" in batch
        if mixed:
            first = self.encoder.embed_packed_mixed(*reads, batch["partners"], batch["weights"], batch["layer"])
        else:
            first = self.encoder.embed_packed(*reads)
        first, second = (nn.functional.normalize(self.projection(v), dim=-1) for v in (first, second))
        species, temperature = batch["species"], self.temperature
        if mixed:
            partners = batch["partners"].to(first.device)
            loss = instance_mixup_loss(first, second, species, partners, batch["weights"], temperature)
        else:
            loss = weighted_simclr_loss(first, second, species, temperature)
        return loss * len(species), len(species)


__all__ = ["ContrastiveLearning", "MaskedLanguageModelling", "SpeciesClassification"]
