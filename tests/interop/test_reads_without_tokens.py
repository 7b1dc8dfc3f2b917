"""Reads of N only, empty ones and ones shorter than a k-mer, in every way to make batches of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import DataCollatorForLanguageModeling, DataCollatorWithPadding, Trainer, TrainingArguments

from biomeformer import MetagenBertProcessor
from biomeformer.errors import InputError
from biomeformer.models.dnabert2 import DnaBert2ForMaskedLM, DnaBert2ForSequenceClassification
from biomeformer.models.kmer_encoder import (
    KmerEncoderConfig,
    KmerEncoderForSequenceClassification,
    KmerEncoderModel,
    KmerTokenizer,
)
from biomeformer.models.sequence_cnn import SequenceCnnConfig, SequenceCnnForSequenceClassification
from biomeformer.reads import GenomeSet
from biomeformer.training.objectives import ContrastiveLearning, MaskedLanguageModelling, ReadSource
from factories import bpe_tokenizer, random_genome_transformer, random_sequences, tiny_dnabert2

# The first micro-batch of four has no base at all.
READS = ["N" * 40, "N", "", "NN", *random_sequences(6), "A", "N" * 9]


def kmers(**options):
    torch.manual_seed(0)
    return KmerEncoderConfig(k=3, hidden_size=8, **options)


def with_kmers(**options):
    config = kmers(**options)
    tokenizer = KmerTokenizer(k=3, canonical=not config.num_gate_heads)
    return KmerEncoderForSequenceClassification(config), tokenizer, DataCollatorWithPadding(tokenizer)


def with_bpe(cls, collator):
    tokenizer = bpe_tokenizer()
    return cls(tiny_dnabert2().config), tokenizer, collator(tokenizer)


def cnn():
    tokenizer = KmerTokenizer(k=1, canonical=False)
    model = SequenceCnnForSequenceClassification(SequenceCnnConfig(n_filters=8, hidden_size=8))
    return model, tokenizer, DataCollatorWithPadding(tokenizer)


TRAINED = {
    "masked language model": lambda: with_bpe(DnaBert2ForMaskedLM, DataCollatorForLanguageModeling),
    "read encoder": lambda: with_bpe(DnaBert2ForSequenceClassification, DataCollatorWithPadding),
    "k-mers": with_kmers,
    "gated k-mers": lambda: with_kmers(num_gate_heads=2),
    "convolutions": cnn,
}


@pytest.mark.parametrize("name", TRAINED)
def test_trainer_has_finite_losses(name, tmp_path):
    model, tokenizer, collator = TRAINED[name]()
    columns = dict(tokenizer(READS))
    columns.pop("token_type_ids", None)
    if not isinstance(model, DnaBert2ForMaskedLM):
        columns["labels"] = [i % 2 for i in range(len(READS))]
    data = Dataset.from_dict(columns)
    arguments = TrainingArguments(
        str(tmp_path),
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
        per_device_train_batch_size=4,
        per_device_eval_batch_size=4,
        num_train_epochs=2,
        train_sampling_strategy="sequential",
    )
    trainer = Trainer(model, arguments, train_dataset=data, eval_dataset=data, data_collator=collator)
    assert np.isfinite(trainer.train().training_loss) and np.isfinite(trainer.evaluate()["eval_loss"])
    assert all(torch.isfinite(value).all() for value in model.parameters())
    with torch.no_grad():
        batch = collator([data[0], data[1], data[3]])
        assert torch.isfinite(model(**batch).logits).all()


def test_a_language_model_with_nothing_masked_has_no_loss_and_no_gradient():
    model = DnaBert2ForMaskedLM(tiny_dnabert2().config).eval()
    ids = torch.tensor([[1, 7, 9, 2]])
    for n_items in ({}, {"num_items_in_batch": torch.tensor(0)}, {"num_items_in_batch": 5}):
        loss = model(ids, labels=torch.full_like(ids, -100), **n_items).loss
        loss.backward()
        assert loss == 0 and all(value.grad is None or value.grad.abs().sum() == 0 for value in model.parameters())
    labels = torch.tensor([[-100, 7, -100, 3]])
    expected = torch.nn.functional.cross_entropy(model(ids).logits[0], labels[0])
    torch.testing.assert_close(model(ids, labels=labels).loss, expected)


def genome_set(sequences):
    names = [f"g{i}" for i in range(len(sequences))]
    arrays = [np.frombuffer(sequence.encode(), np.uint8) for sequence in sequences]
    return GenomeSet(names, names, names, arrays, names)


@pytest.mark.parametrize("pairs", [False, True])
def test_pretraining_draws_reads_with_tokens_only(pairs):
    """Of genomes with long stretches of N; of nothing else it is an error."""
    rng = np.random.default_rng(0)
    half_n = ["".join(rng.choice(list("ACGT"), 3000)) + "N" * 600 for _ in range(3)]
    source = ReadSource(genome_set(half_n), MetagenBertProcessor(KmerTokenizer(k=3)), seed=0)
    encoder = KmerEncoderModel(kmers())
    for key in range(30):
        batch = source.batch((key,), 6, (40, 60), 0.0, pairs=pairs)
        assert batch["lengths"].min() > 0 and len(batch["species"]) == len(batch["lengths"])
        if pairs:
            objective = ContrastiveLearning(encoder)
            loss, n_terms = objective(objective.prepare(batch, np.random.default_rng(key)))
            assert torch.isfinite(loss) and n_terms > 0
    nothing = ReadSource(genome_set(["N" * 500] * 3), MetagenBertProcessor(KmerTokenizer(k=3)), seed=0)
    with pytest.raises(InputError, match="give no tokens; draw longer ones, or look for N"):
        nothing.batch((0,), 6, (40, 60), 0.0, pairs=pairs)


def test_pretraining_of_a_language_model_leaves_reads_of_n_out():
    rng = np.random.default_rng(0)
    half_n = ["".join(rng.choice(list("ACGT"), 1000)) + "N" * 1000 for _ in range(3)]
    tokenizer = bpe_tokenizer()
    source = ReadSource(genome_set(half_n), MetagenBertProcessor(tokenizer), seed=0)
    objective = MaskedLanguageModelling(tiny_dnabert2(), tokenizer)
    n_reads = 0
    for key in range(20):
        batch = source.batch((key,), 3, (40, 60), 0.0)
        n_reads += len(batch["lengths"])
        loss, _ = objective(objective.prepare(batch, np.random.default_rng(key)))
        assert torch.isfinite(loss)
    assert 0 < n_reads < 60


def test_genomes_without_genes_are_refused():
    model = random_genome_transformer()
    mask = torch.tensor([[1, 1, 0], [0, 0, 0]])
    for pooling in ("mean", "cls", "attention"):
        model = random_genome_transformer(pooling=pooling)
        with pytest.raises(ValueError, match="genome 1 of the batch has no gene"):
            model(proteins=torch.randn(2, 3, 24), attention_mask=mask)
        with pytest.raises(ValueError, match="genome 0 of the batch has no gene"):
            model(proteins=torch.randn(1, 0, 24))
