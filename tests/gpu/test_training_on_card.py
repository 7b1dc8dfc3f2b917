"""Five optimiser steps of what the recipes train, in bfloat16: finite, learning, and near float32 on the CPU."""

from __future__ import annotations

import copy
import os

import numpy as np
import pytest
import torch
from speed_shapes import READ_SHAPES, bpe_tokenizer

from biomeformer import GenomeTransformerConfig, GenomeTransformerForSequenceClassification
from biomeformer.models.dnabert2 import DnaBert2Config, DnaBert2Model
from biomeformer.training.objectives.modules import ContrastiveLearning, MaskedLanguageModelling, SpeciesClassification

SMALL = bool(os.environ.get("BIOMEFORMER_GPU_SMALL"))
N_READS = 64
STEPS = 5
OBJECTIVES = {
    "mlm": lambda encoder, tokenizer: MaskedLanguageModelling(encoder, tokenizer),
    "species": lambda encoder, tokenizer: SpeciesClassification(encoder, 16),
    "contrastive": lambda encoder, tokenizer: ContrastiveLearning(encoder),
    "mixup": lambda encoder, tokenizer: ContrastiveLearning(encoder),
}


def read_batch(name: str, objective) -> dict:
    """A batch as the recipe prepares it."""
    rng = np.random.default_rng(0)
    batch = {"species": torch.from_numpy(np.arange(N_READS) % 16)}
    for prefix in ("", "second_"):
        lengths = rng.integers(12, 60, N_READS)
        batch[f"{prefix}input_ids"] = torch.from_numpy(rng.integers(5, 100, lengths.sum()))
        batch[f"{prefix}lengths"] = torch.from_numpy(lengths)
    return objective.prepare(batch, rng) if name in ("mlm", "mixup") else batch


def losses(module, batch, device, dtype) -> list[float]:
    """Of five steps on one batch, all of which is on the device, as DistributedDataParallel has it."""
    module = copy.deepcopy(module).to(device).train()
    batch = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4)
    history = []
    for _ in range(STEPS):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = module(batch)
        if isinstance(loss, tuple):
            # The objectives of pretraining give the summed loss and its weight.
            loss = loss[0] / loss[1]
        loss.backward()
        for name, parameter in module.named_parameters():
            assert parameter.grad is None or torch.isfinite(parameter.grad).all(), f"gradient of {name}"
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        history.append(loss.item())
    return history


def compare(module, batch, device, record_property) -> None:
    want = losses(module, batch, torch.device("cpu"), torch.float32)
    got = losses(module, batch, device, torch.bfloat16)
    record_property("losses", [round(value, 4) for value in got])
    record_property("losses_float32_cpu", [round(value, 4) for value in want])
    assert np.isfinite(got).all() and got[-1] < got[0]
    np.testing.assert_allclose(got, want, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_read_encoder_trains_as_on_the_cpu(name, device, record_property):
    sizes, vocab_size = READ_SHAPES["tiny" if SMALL else "dnabert2"]
    # Without dropout, which draws other numbers on another device; fewer layers, for the CPU's part.
    config = DnaBert2Config(
        vocab_size=vocab_size,
        **sizes | {"num_hidden_layers": 2},
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        add_pooling_layer=False,
    )
    torch.manual_seed(0)
    objective = OBJECTIVES[name](DnaBert2Model(config), bpe_tokenizer(vocab_size))
    compare(objective, read_batch(name, objective), device, record_property)


class GenomeLoss(torch.nn.Module):
    """The genome transformer's loss, of a batch in a dict."""

    def __init__(self, model) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.model(**batch).loss


@pytest.mark.parametrize("checkpointing", [False, True])
def test_genome_transformer_trains_as_on_the_cpu(checkpointing, device, record_property):
    sizes = {"protein_size": 24, "hidden_size": 32, "intermediate_size": 64} if SMALL else {}
    config = GenomeTransformerConfig(
        **sizes, num_hidden_layers=2, num_labels=3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    torch.manual_seed(0)
    model = GenomeTransformerForSequenceClassification(config)
    if checkpointing:
        model.gradient_checkpointing_enable()
    n_genes = 50 if SMALL else 500
    mask = torch.ones(4, n_genes, dtype=torch.int64)
    mask[1, n_genes // 2 :] = 0
    batch = {
        "proteins": torch.randn(4, n_genes, config.protein_size),
        "attention_mask": mask,
        "contig_ids": (torch.arange(n_genes) // 20).expand(4, -1),
        "labels": torch.tensor([0, 1, 2, 1]),
    }
    compare(GenomeLoss(model), batch, device, record_property)
