"""DeepSets heads: blind to order and padding, saved and loaded whole, for every kind of label."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from biomeformer import MetagenBertForPhenotypeClassification
from biomeformer.errors import InputError
from biomeformer.metagenomes import ReadSet, read_set
from biomeformer.models.metagenbert import MetagenBertConfig
from biomeformer.phenotypes import with_deep_sets_head
from biomeformer.reads import SampleReads
from factories import random_sequences, tiny_metagenbert, write_fastq

POOLING = ["mean", "sum", "max", "attention"]


def tiny(pooling="attention", **options):
    torch.manual_seed(1)
    options = {"set_size": 8, "set_reads": 24, "head_hidden_size": 16, **options}
    return with_deep_sets_head(tiny_metagenbert(min_read_length=20), ["a", "b"], set_pooling=pooling, **options)


def random_sets(n=3, size=7, width=24):
    generator = torch.Generator().manual_seed(0)
    elements = torch.randn(n, size, width, generator=generator)
    weights = torch.rand(n, size, generator=generator)
    if n > 1:
        weights[1, 4:] = 0
    return elements, weights


@pytest.mark.parametrize("pooling", POOLING)
def test_order_padding_and_scale_of_weights_do_not_matter(pooling):
    model = tiny(pooling)
    elements, weights = random_sets()
    logits = model(elements=elements, weights=weights).logits
    order = torch.randperm(7, generator=torch.Generator().manual_seed(2))
    padded = torch.cat([elements[:, order], torch.full((3, 2, 24), torch.inf)], 1)
    padding = torch.cat([3 * weights[:, order], torch.zeros(3, 2)], 1)
    torch.testing.assert_close(model(elements=padded, weights=padding).logits, logits, atol=1e-5, rtol=1e-5)
    alone = model(elements=elements[1:2, :4], weights=weights[1:2, :4]).logits
    torch.testing.assert_close(alone, logits[1:2], atol=1e-5, rtol=1e-5)
    changed = elements.clone()
    changed[0, 0] += 1
    assert (model(elements=changed, weights=weights).logits[0] - logits[0]).abs().max() > 1e-4


def test_poolings_by_hand():
    elements, weights = random_sets(1, 3)
    for pooling in ("mean", "sum", "max"):
        head = tiny(pooling).head
        shares = weights[0] / weights.sum()
        hidden = head.element(torch.cat([elements[0], (3 * shares).log()[:, None]], 1))
        pooled = {"mean": shares @ hidden, "sum": 3 * shares @ hidden, "max": hidden.amax(0)}[pooling]
        torch.testing.assert_close(head(elements, weights)[0], head.whole(pooled), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("pooling", POOLING)
def test_the_published_layout_is_phi_pooling_rho(tmp_path, pooling):
    """Written out with torch's functions, from the weights alone."""
    model = tiny(pooling, head_layout="published", pooled_hidden_size=12)
    elements, weights = random_sets()
    state = model.head.state_dict()
    assert [tuple(state[f"{name}.weight"].shape) for name in ("element.0", "whole.0", "whole.3")] == [
        (16, 24),
        (12, 16),
        (2, 12),
    ]
    linear, leaky = torch.nn.functional.linear, torch.nn.functional.leaky_relu
    for i, n in enumerate((7, 4, 7)):
        phi = leaky(linear(elements[i, :n], state["element.0.weight"], state["element.0.bias"]))
        if pooling == "attention":
            scores = linear(phi, state["attention.0.weight"], state["attention.0.bias"]).tanh()
            scores = linear(scores, state["attention.2.weight"], state["attention.2.bias"])
            assert state["attention.0.weight"].shape == (5, 16)
            pooled = (scores.softmax(0) * phi).sum(0)
        else:
            pooled = {"mean": phi.mean(0), "sum": phi.sum(0), "max": phi.amax(0)}[pooling]
        rho = leaky(linear(pooled, state["whole.0.weight"], state["whole.0.bias"]))
        expected = linear(rho, state["whole.3.weight"], state["whole.3.bias"])
        logits = model(elements=elements, weights=weights).logits[i]
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    model.save_pretrained(tmp_path)
    again = MetagenBertForPhenotypeClassification.from_pretrained(tmp_path)
    assert torch.equal(
        again(elements=elements, weights=weights).logits, model(elements=elements, weights=weights).logits
    )


def test_dropout_of_the_published_layout_is_that_of_phi_and_rho():
    head = tiny("mean", head_layout="published", head_dropout=0.4, pooled_dropout=0.2).head
    assert [layer.p for layer in head.modules() if isinstance(layer, torch.nn.Dropout)] == [0.4, 0.2]


def test_shares_count_in_every_pooling():
    elements, weights = random_sets(1)
    for pooling in POOLING:
        model = tiny(pooling)
        even = model(elements=elements).logits
        assert (model(elements=elements, weights=weights).logits - even).abs().max() > 1e-4


def test_round_trip_and_precision(tmp_path):
    model = tiny(head_dropout=0.0)
    model.head.set_scale(torch.full((24,), 0.5), torch.zeros(24))
    assert (model.head.input_scale == 1e-6).all()
    model.head.set_scale(torch.full((24,), 0.5), torch.full((24,), 2.0))
    elements, weights = random_sets()
    logits = model(elements=elements, weights=weights).logits
    model.save_pretrained(tmp_path)
    again, info = MetagenBertForPhenotypeClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and again.config.id2label == {0: "a", 1: "b"} and not again.training
    assert torch.equal(again(elements=elements, weights=weights).logits, logits)
    half = MetagenBertForPhenotypeClassification.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.metagenbert.encoder.dtype == torch.bfloat16
    assert torch.equal(half(elements=elements, weights=weights).logits, logits)
    assert torch.equal(model.bfloat16()(elements=elements, weights=weights).logits, logits)


def test_a_plain_checkpoint_gets_a_new_head(tmp_path):
    tiny_metagenbert().save_pretrained(tmp_path)
    options = {"head": "deep_sets", "set_pooling": "mean"}
    model = MetagenBertForPhenotypeClassification.from_pretrained(tmp_path, new_head=True, **options)
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert float(model.head.element[0].weight.detach().std()) > 0.05 and (model.head.input_scale == 1).all()


def test_a_head_of_another_kind_is_refused(tmp_path):
    tiny().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="do not fit the config"):
        MetagenBertForPhenotypeClassification.from_pretrained(tmp_path, head="linear")
    with pytest.raises(ValueError, match="of another shape"):
        MetagenBertForPhenotypeClassification.from_pretrained(tmp_path, head_hidden_size=20)


def test_reads_are_embedded_with_gradients():
    model = tiny("mean")
    packed = model.processor.encode_reads(
        np.frombuffer("".join(reads := random_sequences(7)).encode(), np.uint8), np.cumsum([0, *map(len, reads)])
    )
    ids, lengths = torch.from_numpy(packed.input_ids), torch.from_numpy(packed.lengths)
    found = model(input_ids=ids, lengths=lengths, set_sizes=torch.tensor([3, 4]), labels=torch.tensor([0, 1]))
    with torch.no_grad():
        vectors = model.metagenbert.embed_packed(ids, lengths)
    for i, rows in enumerate((slice(0, 3), slice(3, 7))):
        torch.testing.assert_close(model(elements=vectors[None, rows]).logits[0], found.logits[i], atol=1e-5, rtol=1e-5)
    found.loss.backward()
    assert model.metagenbert.encoder.embeddings.word_embeddings.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("problem", "labels"),
    [
        ("multi_label_classification", torch.tensor([[1.0, 0], [0, 0], [1, 1]])),
        ("regression", torch.tensor([[0.2, 1.0], [3.0, 1.0], [1.0, 1.0]])),
    ],
)
def test_other_kinds_of_labels(problem, labels):
    model = tiny()
    model.config.problem_type = problem
    elements, weights = random_sets()
    found = model(elements=elements, weights=weights, labels=labels)
    if problem == "regression":
        assert float(found.loss.detach()) == pytest.approx(
            float((found.logits - labels).square().mean().detach()), rel=1e-5
        )
        expected = found.logits.double().mean(0)
    else:
        expected = found.logits.double().sigmoid().mean(0)
    np.testing.assert_allclose(model.predict_sets(elements.numpy(), weights.numpy()), expected.detach(), rtol=1e-6)


def test_sets_of_a_sample(tmp_path):
    model = tiny()
    reads = SampleReads.single(write_fastq(tmp_path / "r.fastq", random_sequences(50)))
    own = read_set(model.metagenbert, reads, elements="centroids", size=6, n_reads=40)
    assert own.vectors.shape == (6, 24) and own.weights.sum() == pytest.approx(1) and own.weights.min() > 0
    again = read_set(model.metagenbert, reads, elements="centroids", size=6, n_reads=40)
    np.testing.assert_array_equal(again.vectors, own.vectors)
    other = read_set(model.metagenbert, reads, elements="centroids", size=6, n_reads=40, seed=1)
    assert not np.array_equal(other.vectors, own.vectors)
    few = read_set(model.metagenbert, reads, elements="centroids", size=99, n_reads=5)
    assert len(few.weights) == 5
    some = read_set(model.metagenbert, reads, elements="reads", size=6, n_reads=20)
    np.testing.assert_allclose(some.weights, 1 / 20)
    assert some.vectors.shape == (20, 24)
    write_fastq(tmp_path / "short.fastq", ["ACGT"] * 3)
    with pytest.raises(InputError, match=r"short.fastq: none of 3 reads drawn can be used"):
        read_set(model.metagenbert, SampleReads.single(tmp_path / "short.fastq"), elements="reads", size=6, n_reads=20)
    with pytest.raises(InputError, match="elements is 'genes'"):
        read_set(model.metagenbert, reads, elements="genes", size=6, n_reads=20)


def test_parts_hold_every_element_once():
    vectors = np.arange(14, dtype=np.float32)[:, None]
    elements, weights = ReadSet(vectors, np.full(14, 1 / 14, np.float32)).parts(5)
    assert elements.shape == (3, 5, 1) and (weights > 0).sum(1).tolist() == [5, 5, 4]
    assert sorted(elements[weights > 0].ravel().tolist()) == list(range(14))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "mlp"}, "head 'mlp' is not one of linear, deep_sets"),
        ({"set_pooling": "median"}, "set_pooling 'median'"),
        ({"set_elements": "genes"}, "set_elements 'genes'"),
        ({"set_size": 0}, "set_size is 0"),
        ({"set_size": 9, "set_reads": 8}, "set_reads is 8 and set_size 9"),
    ],
)
def test_bad_configs_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MetagenBertConfig(**options)
