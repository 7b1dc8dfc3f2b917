"""The convolutional baseline."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from biomeformer.models.sequence_cnn import SequenceCnnConfig, SequenceCnnForSequenceClassification


def cnn(**sizes) -> SequenceCnnForSequenceClassification:
    torch.manual_seed(0)
    return SequenceCnnForSequenceClassification(SequenceCnnConfig(n_filters=8, hidden_size=8, **sizes)).eval()


@pytest.mark.parametrize("length", [1, 3, 50, 201])
def test_padding_changes_nothing(length):
    model, ids = cnn(), torch.randint(0, 5, (2, length), generator=torch.manual_seed(1))
    padded = torch.cat([ids, torch.zeros(2, 37, dtype=torch.long)], 1)
    mask = torch.ones_like(padded)
    mask[:, length:] = 0
    with torch.no_grad():
        alone = model(ids, torch.ones_like(ids)).logits
        torch.testing.assert_close(model(padded, mask).logits, alone, atol=1e-6, rtol=0)


def test_saved_and_loaded(tmp_path):
    model, ids = cnn(num_labels=3), torch.randint(1, 5, (2, 60))
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert isinstance(loaded, SequenceCnnForSequenceClassification)
    with torch.no_grad():
        found = loaded(ids, labels=torch.tensor([0, 2]))
        assert torch.equal(found.logits, model(ids).logits) and found.logits.shape == (2, 3)
    assert found.loss == pytest.approx(torch.nn.functional.cross_entropy(found.logits, torch.tensor([0, 2])).item())


def test_bad_kernel_sizes_are_refused():
    with pytest.raises(ValueError, match="kernel_sizes are"):
        SequenceCnnConfig(kernel_sizes=())
