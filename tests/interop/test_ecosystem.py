"""Libraries that take models of transformers take ours: one test for each."""

from __future__ import annotations

import copy

import evaluate
import numpy as np
import pytest
import torch
from accelerate import Accelerator, dispatch_model
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    pipeline,
)

from biomeformer.checkpoints import resolve_checkpoint
from biomeformer.metrics import EVALUATE_MODULE
from biomeformer.models.dnabert2 import DnaBert2ForMaskedLM, DnaBert2ForSequenceClassification
from biomeformer.models.genome_transformer import GenomeTransformerProcessor
from biomeformer.models.kmer_encoder import (
    KmerEncoderConfig,
    KmerEncoderForSequenceClassification,
    KmerEncoderModel,
    KmerTokenizer,
)
from biomeformer.models.metagenbert import MetagenBertModel
from factories import bpe_tokenizer, random_genome_transformer, random_sequences, tiny_dnabert2, tiny_metagenbert


def labelled_reads(tokenizer, n=32):
    """Reads rich in A or in C, the second of which is too short for a token of three bases."""
    rng = np.random.default_rng(0)
    reads = [
        "".join(rng.choice(list("ACGT"), 40, p=[0.7, 0.1, 0.1, 0.1] if i % 2 else [0.1, 0.7, 0.1, 0.1]))
        for i in range(n)
    ]
    reads[1] = "AA"
    data = Dataset.from_dict({"sequence": reads, "label": [i % 2 for i in range(n)]})
    return data.map(lambda rows: tokenizer(rows["sequence"]), batched=True, remove_columns=["sequence"])


def kmer_classifier():
    torch.manual_seed(0)
    return KmerEncoderForSequenceClassification(
        KmerEncoderConfig(k=3, hidden_size=16, num_gate_heads=2, classifier_dropout=0.0)
    )


def arguments(folder, **options):
    defaults = {"report_to": [], "use_cpu": True, "disable_tqdm": True, "per_device_train_batch_size": 8}
    return TrainingArguments(output_dir=str(folder), **(defaults | {"save_strategy": "no"} | options))


def test_trainer_learns_from_datasets_and_scores_with_evaluate(tmp_path, monkeypatch):
    monkeypatch.setattr("evaluate.config.HF_EVALUATE_OFFLINE", True)
    tokenizer = KmerTokenizer(k=3, canonical=False)
    data, roc_auc = labelled_reads(tokenizer), evaluate.load(EVALUATE_MODULE, "roc_auc")

    def score(output):
        probabilities = torch.softmax(torch.tensor(output.predictions), 1).numpy()
        return roc_auc.compute(references=output.label_ids, predictions=probabilities)

    trainer = Trainer(
        kmer_classifier(),
        arguments(tmp_path, num_train_epochs=6, learning_rate=0.05),
        train_dataset=data,
        eval_dataset=data,
        processing_class=tokenizer,
        compute_metrics=score,
    )
    assert isinstance(trainer.data_collator, DataCollatorWithPadding)
    trainer.train()
    assert trainer.evaluate()["eval_roc_auc"] > 0.9
    trainer.save_model(str(tmp_path / "model"))
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    again = AutoTokenizer.from_pretrained(tmp_path / "model")
    batch = again(["ACGTACGTTT"], return_tensors="pt")
    assert torch.equal(model(**batch).logits, trainer.model.eval()(**batch).logits)


def test_a_language_model_from_a_base_checkpoint_trains_with_a_collator(tmp_path, caplog):
    tokenizer = bpe_tokenizer()
    tiny_dnabert2().save_pretrained(tmp_path / "base")
    with pytest.raises(ValueError, match=r"holds no language-model head; .* or train a new one with new_head=True"):
        AutoModelForMaskedLM.from_pretrained(tmp_path / "base")
    model = DnaBert2ForMaskedLM.from_pretrained(tmp_path / "base", new_head=True)
    assert "The head of this DnaBert2ForMaskedLM is new" in caplog.text and "UNEXPECTED" not in caplog.text
    data = Dataset.from_dict(dict(tokenizer(random_sequences(16))))
    before = model.cls.predictions.transform.dense.weight.clone()
    trainer = Trainer(
        model,
        arguments(tmp_path, max_steps=2),
        train_dataset=data,
        data_collator=DataCollatorForLanguageModeling(tokenizer),
    )
    assert np.isfinite(trainer.train().training_loss)
    assert not torch.equal(before, model.cls.predictions.transform.dense.weight)


def test_trainer_takes_the_processor_of_genomes(tmp_path):
    processor = GenomeTransformerProcessor(protein_size=24, max_genes=60)
    rng = np.random.default_rng(0)
    rows = [{"genes": rng.normal(size=(3 + i, 24)).tolist(), "labels": i % 2} for i in range(6)]

    def collate(rows):
        genes = [np.array(row["genes"], np.float32) for row in rows]
        batch = processor(genes, [np.zeros(len(one), int) for one in genes])
        return {**batch, "labels": torch.tensor([row["labels"] for row in rows])}

    trainer = Trainer(
        random_genome_transformer(),
        arguments(tmp_path, max_steps=2, remove_unused_columns=False),
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(rows),
        data_collator=collate,
        processing_class=processor,
    )
    trainer.train()
    assert np.isfinite(trainer.evaluate()["eval_loss"])
    trainer.save_model(str(tmp_path / "model"))
    saved = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    assert saved.processor.preprocessing == processor.preprocessing


def test_adapters_of_peft_are_saved_and_loaded(tmp_path):
    base = DnaBert2ForSequenceClassification(tiny_dnabert2().config).eval()
    original = copy.deepcopy(base)
    model = get_peft_model(base, LoraConfig(target_modules=["Wqkv", "gated_layers"], r=2, init_lora_weights=False))
    batch = bpe_tokenizer()(random_sequences(3), padding=True, return_tensors="pt")
    batch.pop("token_type_ids", None)
    model(**batch, labels=torch.tensor([0, 1, 0])).loss.backward()
    trained = {name for name, value in model.named_parameters() if value.grad is not None}
    assert trained and all("lora_" in name for name in trained)
    model.eval().save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(original, tmp_path).eval()
    torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits)
    assert not torch.allclose(loaded(**batch).logits, loaded.get_base_model()(**batch).logits + 1)


@torch.no_grad()
def test_accelerate_prepares_and_offloads_to_disk(tmp_path):
    model = DnaBert2ForSequenceClassification(tiny_dnabert2().config).eval()
    batch = bpe_tokenizer()(random_sequences(3), padding=True, return_tensors="pt")
    batch.pop("token_type_ids", None)
    expected = model(**batch).logits
    assert torch.equal(Accelerator(cpu=True).prepare(model)(**batch).logits, expected)
    offloaded = dispatch_model(
        model, {"": "cpu", "bert.encoder": "disk"}, main_device="cpu", offload_dir=str(tmp_path), force_hooks=True
    )
    assert any(value.is_meta for value in offloaded.parameters())
    torch.testing.assert_close(offloaded(**batch).logits, expected)


@pytest.mark.parametrize("gated", [False, True])
def test_captum_attributes_to_kmers_in_the_order_of_the_read(gated):
    captum = pytest.importorskip("captum.attr")
    torch.manual_seed(0)
    config = KmerEncoderConfig(k=3, hidden_size=8, num_gate_heads=2 * gated, initializer_range=0.5)
    model = KmerEncoderForSequenceClassification(config).eval()
    batch = KmerTokenizer(k=3, canonical=not gated)(["ACGTTGCAAC", "ACGTTG"], padding=True, return_tensors="pt")
    method = captum.LayerIntegratedGradients(
        lambda ids, mask: model(ids, attention_mask=mask).logits[:, 1], model.kmer_encoder.embeddings
    )
    baseline = torch.zeros_like(batch["input_ids"])
    attributions, error = method.attribute(
        batch["input_ids"],
        baselines=baseline,
        additional_forward_args=(batch["attention_mask"],),
        n_steps=100,
        return_convergence_delta=True,
    )
    assert attributions.shape[:2] == batch["input_ids"].shape
    assert attributions[1, 4:].abs().max() == 0 and attributions[0].abs().max() > 0
    assert error.abs().max() < 0.05


def test_captum_attributes_to_layers_in_the_order_of_the_batch():
    captum = pytest.importorskip("captum.attr")
    model = DnaBert2ForSequenceClassification(tiny_dnabert2().config).eval()
    batch = bpe_tokenizer()(random_sequences(3, 20, 60), padding=True, return_tensors="pt")
    ids, mask = batch["input_ids"], batch["attention_mask"]
    # Of unlike lengths, not in order of length: inside, tokens are packed by length.
    assert mask.sum(1).tolist() != sorted(mask.sum(1).tolist())
    for layer in (model.bert.embeddings.word_embeddings, model.bert.encoder.layer[0]):
        method = captum.LayerGradientXActivation(lambda ids, mask: model(ids, attention_mask=mask).logits[:, 1], layer)
        together = method.attribute(ids, additional_forward_args=(mask,))
        assert together.shape[:2] == ids.shape
        for row, length in enumerate(mask.sum(1)):
            alone = method.attribute(ids[row : row + 1, :length], additional_forward_args=(None,))
            torch.testing.assert_close(together[row, :length], alone[0], atol=1e-6, rtol=1e-4)
            assert together[row, length:].abs().sum() == 0


@pytest.mark.parametrize("kind", ["dnabert2", "k-mers", "gated k-mers"])
def test_sentence_transformers_gives_the_encoders_own_vectors(kind, tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    gated = kind.startswith("gated")
    torch.manual_seed(0)
    if kind == "dnabert2":
        model, tokenizer = tiny_dnabert2(), bpe_tokenizer()
    else:
        config = KmerEncoderConfig(k=3, hidden_size=8, num_gate_heads=2 * gated, initializer_range=0.5)
        model, tokenizer = KmerEncoderModel(config).eval(), KmerTokenizer(k=3, canonical=not gated)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    reads = random_sequences(5)
    tokens = [torch.tensor(tokenizer(read)["input_ids"]) for read in reads]
    with torch.no_grad():
        expected = model.embed_packed(torch.cat(tokens), torch.tensor([len(ids) for ids in tokens]))
    vectors = sentence_transformers.SentenceTransformer(str(tmp_path), device="cpu").encode(reads)
    np.testing.assert_allclose(vectors, expected.numpy(), atol=1e-6)


def test_sentence_transformers_gives_the_read_vectors_of_a_metagenbert(tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    # Lower case is known to the preprocessing config and not to the tokenizer; all reads are truncated.
    reads = [read.lower() for read in random_sequences(5)]
    own = tiny_metagenbert(max_length=20, pooling="mean_over_max_length")
    own.save_pretrained(tmp_path / "own")
    for name in ("metagenbert-mini", str(tmp_path / "own")):
        model = MetagenBertModel.from_pretrained(name)
        with torch.no_grad():
            expected = np.concatenate([model(**model.processor(read)).read_embeddings.numpy() for read in reads])
        vectors = sentence_transformers.SentenceTransformer(resolve_checkpoint(name), device="cpu")
        np.testing.assert_allclose(vectors.encode(reads, batch_size=2), expected, atol=1e-6)
        assert vectors.get_embedding_dimension() == model.config.hidden_size
        vectors.save(str(tmp_path / "again"))
        again = sentence_transformers.SentenceTransformer(str(tmp_path / "again"), device="cpu")
        np.testing.assert_allclose(again.encode(reads), expected, atol=1e-6)
        assert MetagenBertModel.from_pretrained(tmp_path / "again").weights_sha256 == model.weights_sha256
        with pytest.raises(ValueError, match="gives no token"):
            vectors.encode(["N" * 40])


def test_feature_extraction_gives_token_vectors(tmp_path):
    model, tokenizer = tiny_dnabert2(), bpe_tokenizer()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (read,) = random_sequences(1)
    vectors = torch.tensor(pipeline("feature-extraction", model=str(tmp_path))(read))
    with torch.no_grad():
        expected = AutoModel.from_pretrained(tmp_path)(torch.tensor([tokenizer(read)["input_ids"]])).last_hidden_state
    torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=1e-4)


def test_a_metagenbert_offloaded_to_disk_says_how_to_assign_reads(tmp_path):
    """Its forward pass runs; reads are assigned by arithmetic on the centroids, which must be there."""
    tiny_metagenbert(min_read_length=8).save_pretrained(tmp_path / "model")
    options = {"device_map": {"": "disk"}, "offload_folder": tmp_path / "offloaded"}
    model = MetagenBertModel.from_pretrained(tmp_path / "model", **options)
    assert model(**model.processor(["ACGTTGCAACGG" * 4])).cluster_ids.shape == (1,)
    (tmp_path / "r.fastq").write_text(f"@a\n{'ACGTTGCAACGG' * 4}\n+\n{'I' * 48}\n")
    with pytest.raises(ValueError, match=r"The centroids are offloaded .*load it without device_map"):
        model.embed_sample(tmp_path / "r.fastq")
