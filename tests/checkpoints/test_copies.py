"""Model folders are exported alone, so each has its own copy of what loads them."""

from __future__ import annotations

from pathlib import Path

import pytest

import biomeformer
from biomeformer import bridge

PACKAGE = Path(biomeformer.__file__).parent
MODEL_FOLDERS = ("dnabert2", "genome_transformer", "kmer_encoder", "metagenbert", "sequence_cnn")
MARK = "\n# Copied from biomeformer/checkpoints/strict_loading.py\n"


@pytest.mark.parametrize("folder", MODEL_FOLDERS)
def test_copies_of_strict_loading_are_equal(folder):
    copy = (PACKAGE / folder / "strict_loading.py").read_text()
    assert copy.count(MARK) == 1
    assert copy.replace(MARK, "") == (PACKAGE / "checkpoints" / "strict_loading.py").read_text()


@pytest.mark.parametrize("folder", MODEL_FOLDERS)
def test_every_model_reaches_the_package_by_the_bridge(folder):
    module = getattr(biomeformer, folder)
    assert module.StrictPreTrainedModel.bridge is bridge
    models = [cls for cls in vars(module).values() if isinstance(cls, type) and hasattr(cls, "from_pretrained")]
    for cls in models:
        if hasattr(cls, "base_model_prefix"):
            assert issubclass(cls, module.StrictPreTrainedModel)
