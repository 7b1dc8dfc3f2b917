"""Model folders are exported alone, so what loads them lies in each."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest

import biomeformer
from biomeformer import bridge

PACKAGE = Path(biomeformer.__file__).parent
MODEL_FOLDERS = ("dnabert2", "genome_transformer", "kmer_encoder", "metagenbert", "sequence_cnn")
# Functions that a model folder copies from another one.
COPIED_FUNCTIONS = {
    ("genome_transformer", "dnabert2"): ("is_traced",),
    ("kmer_encoder", "dnabert2"): ("is_traced", "to_device"),
    ("metagenbert", "dnabert2"): ("is_traced",),
}


SHARED = {name: MODEL_FOLDERS for name in ("head_loss.py", "strict_loading.py")}
SHARED["sentence_vectors.py"] = ("kmer_encoder", "metagenbert")


@pytest.mark.parametrize(("folder", "name"), [(folder, name) for name in SHARED for folder in SHARED[name]])
def test_model_folders_have_the_shared_files_beside_their_own(folder, name):
    # Links in the repository; a wheel has copies.
    models = PACKAGE / "models"
    assert (models / folder / name).read_bytes() == (models / "shared" / name).read_bytes()


@pytest.mark.parametrize("folders", COPIED_FUNCTIONS, ids="-".join)
def test_copied_functions_are_equal(folders):
    copy, original = (importlib.import_module(f"biomeformer.models.{name}.modeling_{name}") for name in folders)
    for name in COPIED_FUNCTIONS[folders]:
        assert inspect.getsource(getattr(copy, name)) == inspect.getsource(getattr(original, name)), name


@pytest.mark.parametrize("folder", MODEL_FOLDERS)
def test_every_model_reaches_the_package_by_the_bridge(folder):
    modeling = importlib.import_module(f"biomeformer.models.{folder}.modeling_{folder}")
    assert modeling.StrictPreTrainedModel.bridge.load_strict is bridge.load_strict
    package = importlib.import_module(f"biomeformer.models.{folder}")
    public = [getattr(package, name) for name in package.__all__]
    models = [cls for cls in public if isinstance(cls, type) and hasattr(cls, "base_model_prefix")]
    assert models
    for cls in models:
        assert issubclass(cls, modeling.StrictPreTrainedModel), cls.__name__
