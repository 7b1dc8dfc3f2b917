"""The models under transformers' Trainer: accumulated gradients are those of one batch, and evaluation is current."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import Trainer, TrainingArguments

from biomeformer.models.dnabert2 import DnaBert2Config, DnaBert2ForMaskedLM, DnaBert2ForSequenceClassification
from biomeformer.models.genome_transformer import (
    GenomeTransformerConfig,
    GenomeTransformerForSequenceClassification,
)
from biomeformer.models.kmer_encoder import KmerEncoderConfig, KmerEncoderForSequenceClassification
from biomeformer.models.sequence_cnn import SequenceCnnConfig, SequenceCnnForSequenceClassification

N_ROWS, LENGTH, N_LABELS = 16, 12, 3
SMALL_BERT = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def dnabert2(labels):
    return DnaBert2ForSequenceClassification(DnaBert2Config(**SMALL_BERT, **labels))


def masked_lm(labels):
    return DnaBert2ForMaskedLM(DnaBert2Config(**SMALL_BERT))


def genome_transformer(labels):
    return GenomeTransformerForSequenceClassification(
        GenomeTransformerConfig(
            protein_size=8,
            hidden_size=16,
            num_hidden_layers=1,
            intermediate_size=32,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            **labels,
        )
    )


def kmer_encoder(labels):
    return KmerEncoderForSequenceClassification(
        KmerEncoderConfig(k=3, hidden_size=16, num_gate_heads=2, classifier_dropout=0.0, **labels)
    )


def sequence_cnn(labels):
    return SequenceCnnForSequenceClassification(
        SequenceCnnConfig(n_filters=8, kernel_sizes=[3], pool_size=2, hidden_size=8, hidden_dropout_prob=0.0, **labels)
    )


MODELS = [dnabert2, genome_transformer, kmer_encoder, sequence_cnn]
PROBLEMS = {
    "single_label_classification": lambda rng: rng.integers(N_LABELS, size=N_ROWS).tolist(),
    "multi_label_classification": lambda rng: rng.integers(2, size=(N_ROWS, N_LABELS)).astype(float).tolist(),
    "regression": lambda rng: rng.normal(size=N_ROWS).tolist(),
}


def rows(model, labels):
    rng = np.random.default_rng(1)
    if isinstance(model, GenomeTransformerForSequenceClassification):
        inputs = {"proteins": rng.normal(size=(N_ROWS, LENGTH, 8)).astype(np.float32).tolist()}
    else:
        inputs = {"input_ids": rng.integers(1, 5, size=(N_ROWS, LENGTH)).tolist()}
    return Dataset.from_dict({**inputs, "labels": labels})


def make(factory, problem):
    torch.manual_seed(0)
    n_labels = 1 if problem == "regression" else N_LABELS
    return factory({"num_labels": n_labels, "problem_type": problem})


def one_step(model, data, folder, batch_size, **options):
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=N_ROWS // batch_size,
        max_steps=1,
        learning_rate=0.1,
        optim="sgd",
        max_grad_norm=0.0,
        lr_scheduler_type="constant",
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        **options,
    )
    trainer = Trainer(model, arguments, train_dataset=data, eval_dataset=data)
    loss = trainer.train().training_loss
    return loss, torch.cat([value.detach().flatten() for value in model.parameters()]), trainer


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("factory", MODELS, ids=lambda factory: factory.__name__)
def test_accumulated_gradients_are_those_of_one_batch(factory, problem, tmp_path):
    labels = PROBLEMS[problem](np.random.default_rng(0))
    loss, weights, trainer = one_step(whole := make(factory, problem), rows(whole, labels), tmp_path, N_ROWS)
    other_loss, others, _ = one_step(model := make(factory, problem), rows(model, labels), tmp_path, 4)
    assert other_loss == pytest.approx(loss, rel=1e-5)
    assert torch.allclose(others, weights, atol=1e-6)
    before = torch.cat([value.detach().flatten() for value in make(factory, problem).parameters()])
    assert not torch.allclose(before, weights, atol=1e-4)
    assert np.isfinite(trainer.evaluate()["eval_loss"])


def test_masked_tokens_count_equally_whatever_the_batches(tmp_path):
    # Sequences with unlike numbers of masked tokens: a mean of means would weight them unequally.
    rng = np.random.default_rng(2)
    labels = rng.integers(5, 40, size=(N_ROWS, LENGTH))
    for row, n_masked in enumerate(rng.integers(1, LENGTH, size=N_ROWS)):
        labels[row, n_masked:] = -100
    loss, weights, _ = one_step(whole := make(masked_lm, None), rows(whole, labels.tolist()), tmp_path, N_ROWS)
    other_loss, others, _ = one_step(model := make(masked_lm, None), rows(model, labels.tolist()), tmp_path, 2)
    assert other_loss == pytest.approx(loss, rel=1e-5)
    assert torch.allclose(others, weights, atol=1e-6)


def test_the_loss_is_that_of_torch_by_problem_type():
    rng = np.random.default_rng(0)
    for problem, expected in (
        ("single_label_classification", torch.nn.CrossEntropyLoss()),
        ("multi_label_classification", torch.nn.BCEWithLogitsLoss()),
        ("regression", torch.nn.MSELoss()),
    ):
        labels = torch.tensor(PROBLEMS[problem](rng))
        for factory in MODELS:
            model = make(factory, problem).eval()
            data = rows(model, labels.tolist()).with_format("torch")[:]
            output = model(**data)
            logits = output.logits.squeeze(1) if problem == "regression" else output.logits
            assert output.loss.item() == pytest.approx(expected(logits, labels).item(), rel=1e-6)
            loss, logits = model(**data, return_dict=False)[:2]
            assert torch.equal(loss, output.loss) and torch.equal(logits, output.logits)


def fused_step(model, inputs):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    model(**inputs).loss.backward()
    optimizer.step()


def edit_data(model, inputs):
    model.kmer_encoder.embeddings.weight.data[1:] *= -3


def edit_by_numpy(model, inputs):
    model.kmer_encoder.gates.weight.detach().numpy()[1:] += np.arange(2, dtype=np.float32)


def move_to_float16_and_back(model, inputs):
    model.to(torch.float16).to(torch.float32)


@pytest.mark.parametrize("change", [fused_step, edit_data, edit_by_numpy, move_to_float16_and_back])
@torch.no_grad()
def test_a_kmer_encoder_evaluates_with_the_weights_it_has_now(change):
    model = make(kmer_encoder, "single_label_classification").eval()
    data = rows(model, [0] * N_ROWS).with_format("torch")[:]
    before = model(**data).logits
    with torch.enable_grad():
        change(model, data)
    fresh = make(kmer_encoder, "single_label_classification").eval()
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(model(**data).logits, fresh(**data).logits)
    assert not torch.equal(model(**data).logits, before)


def test_the_hash_of_weights_follows_every_change():
    from factories import tiny_metagenbert

    model = tiny_metagenbert()
    hashes = [model.weights_sha256]
    model.centroids.data[0] += 1
    hashes.append(model.weights_sha256)
    model.centroids.detach().numpy()[1] += 1
    hashes.append(model.weights_sha256)
    model.half()
    hashes.append(model.weights_sha256)
    assert len(set(hashes)) == 4
