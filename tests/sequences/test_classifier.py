"""Classifiers over encoders of several kinds: the same answers alone, in a batch, saved and loaded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from biomeformer.errors import CheckpointError, InputError
from biomeformer.sequences.classifier import SequenceClassifier
from biomeformer.sequences.preprocessing import SequencePreprocessing
from biomeformer.sequences.starting_points import new_classifier, with_lora
from factories import bpe_tokenizer, random_sequences, reverse_complement, tiny_bert, tiny_dnabert2

SEQUENCES = random_sequences(20, 40, 160)


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[str, str]:
    """Names of what fine-tuning may start from."""
    found = {"mini": "metagenbert-mini", "cnn": "cnn"}
    for name, encoder in (("dnabert2", tiny_dnabert2()), ("bert", tiny_bert())):
        folder = tmp_path_factory.mktemp(name)
        encoder.save_pretrained(folder)
        bpe_tokenizer().save_pretrained(folder)
        found[name] = str(folder)
    return found


def made(base: str, names=("no", "yes"), **preprocessing) -> SequenceClassifier:
    preprocessing = {"task": "binary", "thresholds": [0.4]} | preprocessing
    classifier = new_classifier(base, names, SequencePreprocessing(**preprocessing), seed=3)
    # New layers are so small that all answers are alike: make them differ.
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in classifier.model.named_parameters():
            if "classifier" in name or "dense" in name:
                parameter.normal_(std=parameter.shape[-1] ** -0.5)
    classifier.model.eval()
    return classifier


@pytest.mark.parametrize("base", ["mini", "dnabert2", "bert", "cnn"])
def test_batches_change_nothing(bases, base):
    classifier = made(bases[base])
    every = classifier.predict(SEQUENCES)
    assert every.shape == (20, 2) and np.allclose(every.sum(1), 1) and np.ptp(every[:, 0]) > 1e-3
    alone = np.concatenate([classifier.predict([one]) for one in SEQUENCES])
    np.testing.assert_allclose(every, alone, atol=1e-5)
    np.testing.assert_allclose(classifier.predict(SEQUENCES, batch_tokens=1), alone, atol=1e-5)
    np.testing.assert_allclose(classifier.predict([one.lower() for one in SEQUENCES]), every, atol=1e-6)
    assert classifier.predict([]).shape == (0, 2)


@pytest.mark.parametrize("base", ["mini", "dnabert2", "cnn"])
def test_both_strands_are_one(bases, base):
    classifier = made(bases[base], average_strands=True)
    turned = [reverse_complement(one) for one in SEQUENCES]
    np.testing.assert_allclose(classifier.predict(turned), classifier.predict(SEQUENCES), atol=1e-5)
    if base != "mini":
        alone = made(bases[base])
        assert np.abs(alone.predict(turned) - alone.predict(SEQUENCES)).max() > 1e-3


@pytest.mark.parametrize("base", ["mini", "dnabert2", "bert", "cnn"])
def test_saved_and_loaded(bases, base, tmp_path):
    classifier = made(bases[base], names=("other", "enhancer"), average_strands=True, max_tokens=40)
    classifier.save(tmp_path)
    loaded = SequenceClassifier.load(tmp_path)
    assert loaded.preprocessing == classifier.preprocessing and loaded.label_names == [
        "other",
        "enhancer",
    ]
    np.testing.assert_allclose(loaded.predict(SEQUENCES), classifier.predict(SEQUENCES), atol=1e-6)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    with torch.no_grad():
        logits = plain(**classifier.batch(SEQUENCES[:4])).logits
        torch.testing.assert_close(logits, classifier.model(**classifier.batch(SEQUENCES[:4])).logits)


def test_pretrained_weights_are_taken_and_left_out(bases):
    taken, new = (
        made(bases["mini"]),
        new_classifier("metagenbert-mini", "ab", SequencePreprocessing("binary"), from_scratch=True),
    )
    from biomeformer import load

    pretrained = load("metagenbert-mini").encoder.embeddings.weight
    assert torch.equal(taken.model.kmer_encoder.embeddings.weight, pretrained)
    assert new.model.kmer_encoder.embeddings.weight.std() < 0.1 * pretrained.std()


@pytest.mark.parametrize("base", ["mini", "dnabert2", "bert"])
def test_adapters_learn_and_merge(bases, base):
    classifier = made(bases[base])
    before = {name: value.clone() for name, value in classifier.model.state_dict().items()}
    adapted = with_lora(classifier.model, 2, 4, 0.0, None)
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    prefix = classifier.model.base_model_prefix
    assert any("lora_" in name for name in trained) and any("classifier" in name for name in trained)
    assert all("lora_" in name or f".{prefix}." not in name or "pooler" in name for name in trained)
    optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=0.5)
    for _ in range(2):
        adapted(**classifier.batch(SEQUENCES), labels=torch.arange(20) % 2).loss.backward()
        optimizer.step()
    adapted.eval()
    with torch.no_grad():
        learnt = adapted(**classifier.batch(SEQUENCES)).logits
        merged = adapted.merge_and_unload()
        torch.testing.assert_close(merged(**classifier.batch(SEQUENCES)).logits, learnt, atol=1e-4, rtol=1e-4)
    changed = {name for name, value in merged.state_dict().items() if not torch.equal(value, before[name])}
    assert set(merged.state_dict()) == set(before) and any(name.startswith(prefix) for name in changed)


def test_answers_and_labels_follow_the_thresholds():
    logits = torch.tensor([[0.0, 1.0], [2.0, -1.0]])
    binary = SequencePreprocessing("binary", thresholds=[0.8])
    assert binary.labels(binary.predictions(logits), ["no", "yes"]) == ["no", "no"]
    assert SequencePreprocessing("binary").labels(binary.predictions(logits), ["no", "yes"]) == ["yes", "no"]
    several = SequencePreprocessing("multi_label", thresholds=[0.4, 0.9])
    found = several.predictions(logits)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits.double().numpy())))
    assert several.labels(found, ["a", "b"]) == ["a", "a"] and several.labels(1 - found, ["a", "b"]) == ["a", ""]
    value = SequencePreprocessing("regression", mean=10.0, spread=2.0)
    assert value.predictions(logits[:, :1]).tolist() == [[10.0], [14.0]] and value.labels(logits.numpy(), ["x"]) == [
        "",
        "",
    ]
    classes = SequencePreprocessing("multi_class")
    assert classes.labels(classes.predictions(torch.eye(3)), list("abc")) == ["a", "b", "c"]


def test_classifier_refuses_bad_sizes_and_checkpoints(bases, tmp_path):
    with pytest.raises(InputError, match="model_sizes: cnn has no width"):
        new_classifier("cnn", "ab", SequencePreprocessing("binary"), width=3)
    with pytest.raises(InputError, match="kernel_sizes are"):
        new_classifier("cnn", "ab", SequencePreprocessing("binary"), kernel_sizes=[])
    with pytest.raises(CheckpointError, match="not fine-tuned on labelled sequences"):
        SequenceClassifier.load("metagenbert-mini")
    with pytest.raises(InputError, match="has no pretrained encoder that LoRA could adapt"):
        with_lora(made("cnn").model, 2, 4, 0.0, None)
    with pytest.raises(InputError, match="LoRA: "):
        with_lora(made(bases["dnabert2"]).model, 2, 4, 0.0, ["nowhere"])
    made("cnn").model.save_pretrained(tmp_path)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"binary"', '"ternary"'))
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        SequenceClassifier.load(tmp_path)
