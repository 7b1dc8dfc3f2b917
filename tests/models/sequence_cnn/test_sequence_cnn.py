"""The convolutional baseline."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import correlate
from transformers import AutoModelForSequenceClassification

from biomeformer.models.sequence_cnn import SequenceCnnConfig, SequenceCnnForSequenceClassification


def cnn(**sizes) -> SequenceCnnForSequenceClassification:
    torch.manual_seed(0)
    return SequenceCnnForSequenceClassification(SequenceCnnConfig(n_filters=8, hidden_size=8, **sizes)).eval()


@pytest.mark.parametrize("normalization", ["layer", "weights"])
@pytest.mark.parametrize("length", [1, 3, 50, 201])
def test_padding_changes_nothing(length, normalization):
    model, ids = cnn(normalization=normalization), torch.randint(0, 5, (2, length), generator=torch.manual_seed(1))
    padded = torch.cat([ids, torch.zeros(2, 37, dtype=torch.long)], 1)
    mask = torch.ones_like(padded)
    mask[:, length:] = 0
    with torch.no_grad():
        alone = model(ids, torch.ones_like(ids)).logits
        torch.testing.assert_close(model(padded, mask).logits, alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize("normalization", ["layer", "weights"])
def test_saved_and_loaded(tmp_path, normalization):
    model, ids = cnn(num_labels=3, normalization=normalization), torch.randint(1, 5, (2, 60))
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert isinstance(loaded, SequenceCnnForSequenceClassification)
    with torch.no_grad():
        found = loaded(ids, labels=torch.tensor([0, 2]))
        assert torch.equal(found.logits, model(ids).logits) and found.logits.shape == (2, 3)
    assert found.loss == pytest.approx(torch.nn.functional.cross_entropy(found.logits, torch.tensor([0, 2])).item())


def test_filters_are_standardized():
    """Compared with SciPy's correlation of filters standardized by NumPy."""
    model = cnn(normalization="weights", kernel_sizes=(5,))
    layer, generator = model.convolutions[0], torch.manual_seed(2)
    with torch.no_grad():
        layer.weight.copy_(torch.rand(layer.weight.shape, generator=generator) * 3 + 1)
        layer.gain.copy_(torch.rand(layer.gain.shape, generator=generator) + 0.5)
        signal = torch.rand(1, 4, 30, generator=generator)
        outputs = layer(signal)[0].numpy()
    for i, weight in enumerate(layer.weight.detach().double().numpy()):
        # Mean 0, and the norm is the gain: a standard deviation of gain over the root of the number of inputs.
        filters = (weight - weight.mean()) / weight.std() / np.sqrt(weight.size) * layer.gain[i].item()
        expected = sum(correlate(signal[0, base].double().numpy(), filters[base], "same") for base in range(4))
        np.testing.assert_allclose(outputs[i], expected + layer.bias[i].item(), atol=1e-5)


def test_an_offset_common_to_all_inputs_of_a_standardized_filter_has_no_effect():
    layer = cnn(normalization="weights").convolutions[1]
    signal = torch.rand(1, 8, 40, generator=torch.manual_seed(3))
    inner = slice(4, -4)
    with torch.no_grad():
        torch.testing.assert_close(layer(signal + 5)[..., inner], layer(signal)[..., inner], atol=1e-4, rtol=0)


def test_bad_kernel_sizes_are_refused():
    with pytest.raises(ValueError, match="kernel_sizes are"):
        SequenceCnnConfig(kernel_sizes=())


def test_an_unknown_normalization_is_refused():
    with pytest.raises(ValueError, match="normalization is 'batch'; give layer or weights"):
        SequenceCnnConfig(normalization="batch")
