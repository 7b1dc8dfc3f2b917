"""Files of a checkpoint: checksums as `sha256sum` writes them, shards, adapters, parts of a Hub repository."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

import biomeformer
from biomeformer import GenomeTransformerForSequenceClassification
from biomeformer.checkpoints.integrity import checksums, parse_checksums, weight_hashes
from biomeformer.checkpoints.source import model_source, resolve_commit
from biomeformer.cli.inspect import describe
from biomeformer.errors import CheckpointError, CheckpointNotFoundError
from biomeformer.genomes.prediction import protein_encoder_of
from biomeformer.genomes.proteins import load_protein_encoder
from checkpoint_kinds import KINDS, change_weights
from factories import tiny_metagenbert

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def sharded(tmp_path) -> Path:
    """A checkpoint of several files with weights."""
    tiny_metagenbert().save_pretrained(tmp_path / "model", max_shard_size="8KB")
    assert len(list((tmp_path / "model").glob("*.safetensors"))) > 2
    return tmp_path / "model"


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="coreutils are not installed")
@pytest.mark.parametrize("options", [[], ["--binary"]])
def test_checksums_of_sha256sum_are_read(tmp_path, options):
    for name in ("a b.safetensors", "part/model.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    names = ["a b.safetensors", "./part/model.safetensors"]
    text = subprocess.run(["sha256sum", *options, *names], cwd=tmp_path, capture_output=True, text=True).stdout
    assert parse_checksums(text, "") == weight_hashes(tmp_path)
    assert parse_checksums(checksums(weight_hashes(tmp_path)), "") == weight_hashes(tmp_path)


def test_every_shard_is_verified(sharded):
    (sharded / "SHA256SUMS").write_text(checksums(weight_hashes(sharded)))
    whole = biomeformer.load(sharded)
    expected = tiny_metagenbert().state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in whole.state_dict().items())
    lines = (sharded / "SHA256SUMS").read_text().splitlines(keepends=True)
    (sharded / "SHA256SUMS").write_text("".join(lines[:-1]))
    last = lines[-1].split()[1]
    with pytest.raises(CheckpointError, match=f"does not name {last}, whose weights would be loaded unverified"):
        biomeformer.load(sharded)
    (sharded / last).unlink()
    with pytest.raises(CheckpointNotFoundError, match=f"has no {last}"):
        AutoModel.from_pretrained(sharded)


@pytest.mark.parametrize("name", ["../x.safetensors", "/x.safetensors", "..\\x.safetensors", "x.bin"])
def test_weights_named_elsewhere_are_refused(sharded, name):
    index = sharded / "model.safetensors.index.json"
    values = json.loads(index.read_text())
    values["weight_map"]["centroids"] = name
    index.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="is no safetensors file beside it"):
        biomeformer.load(sharded)
    index.unlink()
    config = json.loads((sharded / "config.json").read_text())
    (sharded / "config.json").write_text(json.dumps(config | {"transformers_weights": name}))
    with pytest.raises(CheckpointError, match="is no safetensors file beside it"):
        biomeformer.load(sharded)


def test_pickles_are_not_loaded_on_request(sharded):
    with pytest.raises(CheckpointError, match="use_safetensors=False asks for a pickle"):
        AutoModel.from_pretrained(sharded, use_safetensors=False)
    (sharded / ".metadata").write_bytes(b"\x80\x04")
    with pytest.raises(CheckpointError, match="distributed checkpoint"):
        AutoModel.from_pretrained(sharded)


def test_inspect_says_whether_weights_are_verified(sharded):
    assert describe(str(sharded))["provenance"]["weights_verified"] is False
    (sharded / "SHA256SUMS").write_text(checksums(weight_hashes(sharded)))
    assert describe(str(sharded))["provenance"]["weights_verified"] is True


def test_a_part_of_a_repository_is_verified_by_its_checksums(tmp_path):
    """From the cache of the real client."""
    repository = tmp_path / "models--lab--x"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    folder = repository / "snapshots" / COMMIT
    torch.manual_seed(0)
    KINDS["genome"].make(folder, False)
    (folder / "SHA256SUMS").write_text(checksums(weight_hashes(folder)))
    options = {"cache_dir": str(tmp_path)}
    model = GenomeTransformerForSequenceClassification.from_pretrained("lab/x", **options)
    assert protein_encoder_of(model).name == "lab/x/protein_encoder"
    assert model_source(model) == {"id": "lab/x", "revision": COMMIT}
    with pytest.raises(CheckpointNotFoundError, match="No checkpoint 'lab/y'"):
        resolve_commit("lab/y")
    key = next(iter(load_file(folder / "protein_encoder" / "model.safetensors")))
    change_weights(folder / "protein_encoder", lambda state: state[key].flatten()[:1].add_(1))
    for name in ("lab/x", "lab/x/protein_encoder"):
        with pytest.raises(CheckpointError, match="is not the file that SHA256SUMS of lab/x names"):
            load_protein_encoder(name, **options)
    with pytest.raises(CheckpointError, match="is not the file that SHA256SUMS"):
        load_protein_encoder(folder / "protein_encoder")
    with pytest.raises(CheckpointError, match="is not the file that SHA256SUMS of lab/x names"):
        protein_encoder_of(GenomeTransformerForSequenceClassification.from_pretrained("lab/x", **options))
