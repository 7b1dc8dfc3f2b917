"""A phenotype's head in the checkpoint: exact, saved, loaded, and from FASTQ to probabilities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import AutoModel

import biomeformer
from biomeformer import MetagenBertForPhenotypeClassification, MetagenBertModel
from biomeformer.errors import InputError
from biomeformer.models.metagenbert.modeling_metagenbert import transform_abundance
from biomeformer.phenotypes import make_model, transform_shares, with_linear_head
from biomeformer.phenotypes.evaluation import inner_folds
from biomeformer.phenotypes.models import predict_target
from factories import random_sequences, tiny_metagenbert, write_fastq

K = 7


def counts(n=60, seed=0):
    """Counts with zeros among them."""
    rng = np.random.default_rng(seed)
    return rng.poisson(rng.gamma(0.5, 40, (n, K)) + (np.arange(K) == 0)).astype(np.int64) + (np.arange(K) == 3)


def fitted(kind, transform, n_classes):
    values = counts()
    labels = np.arange(len(values)) % n_classes
    matrix = transform_shares(values / values.sum(1, keepdims=True), transform)
    if kind == "searched":
        model = make_model("l1", n_classes, inner_folds(labels, None, 0), 0)
    elif kind == "scaled":
        model = make_pipeline(StandardScaler(), LogisticRegression(C=10))
    else:
        model = LogisticRegression(C=100)
    return model.fit(matrix, labels)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("transform", ["none", "clr", "ilr"])
@pytest.mark.parametrize("kind", ["searched", "scaled", "plain"])
def test_a_linear_classifier_moves_exactly(tmp_path, kind, transform, n_classes):
    classifier = fitted(kind, transform, n_classes)
    names = ["healthy", "ill", "very ill"][:n_classes]
    whole = with_linear_head(tiny_metagenbert(n_clusters=K), classifier, names, transform)
    new = counts(40, seed=1)
    expected = classifier.predict_proba(transform_shares(new / new.sum(1, keepdims=True), transform))
    assert expected.std(0).max() > 1e-3 or kind == "searched"
    np.testing.assert_allclose(whole.predict_counts(new), expected, atol=1e-6)
    whole.save_pretrained(tmp_path / "model")
    again = MetagenBertForPhenotypeClassification.from_pretrained(tmp_path / "model")
    assert np.array_equal(again.predict_counts(new), whole.predict_counts(new))
    assert again.config.id2label == dict(enumerate(names)) and again.config.num_labels == n_classes


def test_from_reads_to_a_phenotype(tmp_path):
    model = tiny_metagenbert(n_clusters=K)
    whole = with_linear_head(model, fitted("scaled", "clr", 2), ["healthy", "ill"], "clr")
    path = write_fastq(tmp_path / "r.fastq.gz", random_sequences(80, seed=4))
    whole.save_pretrained(tmp_path / "model")
    again = MetagenBertForPhenotypeClassification.from_pretrained(tmp_path / "model")
    found = again.predict(path)
    assert list(found) == ["healthy", "ill"] and sum(found.values()) == pytest.approx(1)
    sample = model.embed_sample(path)
    assert found["ill"] == pytest.approx(whole.predict_counts(sample.counts[None])[0, 1])
    assert again.predict(path, read_fraction=0.5) != found
    # The same folder is a model of vectors for whoever wants these.
    base = biomeformer.load(tmp_path / "model")
    assert isinstance(base, MetagenBertModel) and np.array_equal(base.embed_sample(path).counts, sample.counts)
    assert base.weights_sha256 == model.weights_sha256 == again.metagenbert.weights_sha256
    assert isinstance(AutoModel.from_pretrained(tmp_path / "model"), MetagenBertModel)


def test_a_checkpoint_without_a_head_gets_a_new_one(tmp_path):
    tiny_metagenbert(n_clusters=K).save_pretrained(tmp_path / "model")
    torch.manual_seed(0)
    whole = MetagenBertForPhenotypeClassification.from_pretrained(tmp_path / "model", num_labels=4)
    assert whole.head.weight.shape == (4, K) and torch.isfinite(whole.head.weight).all()
    assert whole.head.weight.std() > 0 and (whole.head.bias == 0).all()
    assert torch.equal(whole.metagenbert.centroids, biomeformer.load(tmp_path / "model").centroids)
    assert not whole.metagenbert.centroids.requires_grad and whole.head.weight.requires_grad


@pytest.mark.parametrize("problem", ["single_label_classification", "multi_label_classification", "regression"])
def test_kinds_of_phenotypes(problem):
    config = tiny_metagenbert(n_clusters=K).config
    config.problem_type, config.num_labels = problem, 1 if problem == "regression" else 3
    torch.manual_seed(1)
    whole = MetagenBertForPhenotypeClassification(config)
    values = torch.from_numpy(counts(5))
    labels = {
        "single_label_classification": torch.tensor([0, 1, 2, 0, 1]),
        "multi_label_classification": torch.tensor([[0, 1, 1]] * 5),
        "regression": torch.tensor([1.0, 2, 3, 4, 5]),
    }[problem]
    output = whole(values, labels=labels)
    logits = output.logits
    expected = {
        "single_label_classification": lambda: -logits.log_softmax(1)[torch.arange(5), labels].mean(),
        "multi_label_classification": lambda: (
            -(labels * logits.sigmoid().log() + (1 - labels) * (1 - logits.sigmoid()).log()).mean()
        ),
        "regression": lambda: ((logits[:, 0] - labels) ** 2).mean(),
    }[problem]()
    assert output.loss.item() == pytest.approx(expected.item())
    output.loss.backward()
    assert whole.head.weight.grad.abs().sum() > 0
    predicted = whole.predict_counts(values.numpy())
    if problem == "single_label_classification":
        np.testing.assert_allclose(predicted.sum(1), 1)
    elif problem == "multi_label_classification":
        np.testing.assert_allclose(predicted, logits.sigmoid().detach().numpy())
    else:
        np.testing.assert_allclose(predicted, logits.detach().numpy())


def test_the_head_and_the_centroids_stay_exact():
    whole = with_linear_head(tiny_metagenbert(n_clusters=K), fitted("plain", "none", 2), ["a", "b"], "none")
    before = whole.predict_counts(counts())
    whole = whole.to(torch.bfloat16)
    assert whole.head.weight.dtype == whole.metagenbert.centroids.dtype == torch.float32
    assert whole.metagenbert.encoder.embeddings.word_embeddings.weight.dtype == torch.bfloat16
    assert np.array_equal(whole.predict_counts(counts()), before)


def test_the_transform_is_scikit_bios():
    values = counts()
    for transform in ("none", "clr"):
        ours = transform_abundance(torch.from_numpy(values), transform).numpy()
        np.testing.assert_allclose(ours, transform_shares(values / values.sum(1, keepdims=True), transform), atol=1e-12)


def test_zeros_are_replaced_by_depth_in_the_checkpoint_as_in_training():
    values = counts()
    np.testing.assert_allclose(
        transform_abundance(torch.from_numpy(values), "clr", "sq").numpy(),
        transform_shares(values.astype(float), "clr", "sq"),
        atol=1e-12,
    )
    matrix, labels = transform_shares(values.astype(float), "clr", "sq"), np.arange(len(values)) % 2
    classifier = LogisticRegression(C=100).fit(matrix, labels)
    model = tiny_metagenbert(n_clusters=K)
    whole = with_linear_head(model, classifier, ["a", "b"], "clr", "sq")
    np.testing.assert_allclose(whole.predict_counts(values), classifier.predict_proba(matrix), atol=1e-6)
    with pytest.raises(InputError, match="sample by sample, which the rule 'gbm' does not"):
        with_linear_head(model, classifier, ["a", "b"], "clr", "gbm")


def test_classifiers_that_do_not_move():
    model = tiny_metagenbert(n_clusters=K)
    forest = RandomForestClassifier(5).fit(counts(), np.arange(60) % 2)
    with pytest.raises(InputError, match="RandomForestClassifier is not a linear classifier"):
        with_linear_head(model, forest, ["a", "b"], "none")
    linear = LogisticRegression().fit(counts()[:, :5], np.arange(60) % 2)
    with pytest.raises(InputError, match="5 features and the model 7 clusters"):
        with_linear_head(model, linear, ["a", "b"], "none")
    with pytest.raises(InputError, match="2 classes and 3 names"):
        with_linear_head(model, fitted("plain", "none", 2), ["a", "b", "c"], "none")
    with pytest.raises(InputError, match="'log'; give none, clr, ilr"):
        with_linear_head(model, fitted("plain", "none", 2), ["a", "b"], "log")


@pytest.mark.parametrize("task", ["regression", "multi_label"])
@pytest.mark.parametrize("transform", ["clr", "ilr"])
def test_a_model_of_numbers_or_labels_moves_exactly(tmp_path, task, transform):
    values = counts()
    matrix = transform_shares(values / values.sum(1, keepdims=True), transform)
    rng = np.random.default_rng(0)
    number = 30 + 2 * matrix[:, 0] + 0.1 * rng.normal(size=len(values))
    labels = np.stack([number > 30, number > np.median(number), np.arange(len(values)) % 2], 1).astype(int)
    names, problem = (["bmi"], "regression") if task == "regression" else (list("abc"), "multi_label_classification")
    inner = inner_folds(np.arange(len(values)) % 2, None, 0)
    model = make_model("l1", len(names), inner, 0, task=task).fit(matrix, number if task == "regression" else labels)
    whole = with_linear_head(tiny_metagenbert(n_clusters=K), model, names, transform, problem_type=problem)
    new = counts(40, seed=1)
    rows = transform_shares(new / new.sum(1, keepdims=True), transform)
    expected = predict_target(model, rows, task, len(names))
    assert expected.std(0).max() > 0.01
    np.testing.assert_allclose(whole.predict_counts(new), expected, rtol=1e-5, atol=1e-5)
    whole.save_pretrained(tmp_path / "model")
    again = MetagenBertForPhenotypeClassification.from_pretrained(tmp_path / "model")
    assert np.array_equal(again.predict_counts(new), whole.predict_counts(new))
    assert again.config.problem_type == problem and list(again.config.id2label.values()) == names
