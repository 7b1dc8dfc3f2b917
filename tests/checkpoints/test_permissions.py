"""Everything that is saved can be read by whom the umask allows, weights included."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from biomeformer import SequenceClassifier
from biomeformer.pipelines.metagenome import MetagenomeEmbeddingPipeline
from checkpoint_kinds import KINDS
from factories import tiny_metagenbert
from hub_factories import sequence_checkpoint


def save_model(folder: Path) -> None:
    tiny_metagenbert().save_pretrained(folder)


def save_shards(folder: Path) -> None:
    tiny_metagenbert().save_pretrained(folder, max_shard_size="8KB")


def save_encoder(folder: Path) -> None:
    tiny_metagenbert().encoder.save_pretrained(folder)


def save_pipeline(folder: Path) -> None:
    MetagenomeEmbeddingPipeline(tiny_metagenbert()).save_pretrained(folder)


def save_bert_classifier(folder: Path) -> None:
    KINDS["sequences, bert"].make(folder.with_name("made"), False)
    SequenceClassifier.load(folder.with_name("made")).save(folder)


SAVES = [save_model, save_shards, save_encoder, save_pipeline, sequence_checkpoint, save_bert_classifier]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("umask", [0o022, 0o002])
@pytest.mark.parametrize("save", SAVES)
def test_saved_files_have_the_permissions_of_the_umask(tmp_path, save, umask):
    before = os.umask(umask)
    try:
        save(tmp_path / "model")
    finally:
        os.umask(before)
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "model").rglob("*") if path.is_file()}
    assert any(name.endswith(".safetensors") for name in files)
    assert set(files.values()) == {0o666 & ~umask}, files
