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
from biomeformer.checkpoints import public_name, resolve_checkpoint
from biomeformer.checkpoints.integrity import checksums, parse_checksums, verify_checksums, verify_files, weight_hashes
from biomeformer.checkpoints.source import (
    CheckpointSource,
    model_source,
    open_checkpoint,
    public_record,
    resolve_commit,
)
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


@pytest.mark.parametrize(
    "write",
    [
        lambda lines: lines.replace("  ", " *"),
        lambda lines: lines.replace("  ", "  ./"),
        lambda lines: lines.replace("\n", "\r\n"),
        lambda lines: "\ufeff" + lines.replace("  ", " *./").replace("\n", "\r\n"),
    ],
    ids=["binary mode", "relative", "CRLF", "byte-order mark"],
)
def test_changed_weights_are_refused_however_their_checksums_are_written(tmp_path, write):
    tiny_metagenbert().save_pretrained(tmp_path)
    sums = write(checksums(weight_hashes(tmp_path)))
    change_weights(tmp_path, lambda state: state["centroids"].add_(1))
    (tmp_path / "SHA256SUMS").write_bytes(sums.encode())
    with pytest.raises(CheckpointError, match="is not the file that SHA256SUMS"):
        biomeformer.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("\r\n \n", "is empty"),
        ("no checksum", "line 1 is no SHA-256 and file name"),
        (f"{'0' * 64}  other.safetensors\n", "does not name model.safetensors"),
        (f"{'0' * 64}  model.safetensors\n{'1' * 64}  ./model.safetensors\n", "names model.safetensors twice"),
    ],
)
def test_checksums_that_verify_nothing_are_refused(tmp_path, text, words):
    tiny_metagenbert().save_pretrained(tmp_path)
    (tmp_path / "SHA256SUMS").write_text(text)
    with pytest.raises(CheckpointError, match=words):
        biomeformer.load(tmp_path)


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("nowhere"), lambda path: path.mkdir()])
def test_checksums_that_cannot_be_read_do_not_switch_verification_off(tmp_path, make):
    tiny_metagenbert().save_pretrained(tmp_path)
    make(tmp_path / "SHA256SUMS")
    with pytest.raises(CheckpointError, match="SHA256SUMS is no file or a broken link"):
        biomeformer.load(tmp_path)


def test_checksums_that_cannot_be_fetched_are_not_assumed_absent(tmp_path, monkeypatch):
    tiny_metagenbert().save_pretrained(tmp_path)
    source = CheckpointSource("lab/x", "lab/x", "", {}, {})

    def fail(*args, **kwargs):
        raise OSError("timed out")

    monkeypatch.setattr("biomeformer.checkpoints.source.cached_file", fail)
    monkeypatch.setattr("biomeformer.checkpoints.source.is_offline_mode", lambda: False)
    with pytest.raises(CheckpointError, match=r"SHA256SUMS of lab/x could not be fetched .*could not be verified"):
        verify_checksums(source, ["model.safetensors"])


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json", "adapter_model.bin"])
def test_any_file_of_an_adapter_is_refused_unless_asked_for(tmp_path, name):
    tiny_metagenbert().save_pretrained(tmp_path)
    (tmp_path / name).write_bytes(b"{}")
    source = open_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match=f"has an adapter \\({name}\\) beside its weights"):
        verify_files(source)
    assert verify_files(source, with_adapter=True)


@pytest.mark.parametrize("link", ["file", "folder"])
def test_an_index_that_leads_out_of_the_folder_by_a_link_is_refused(sharded, tmp_path, link):
    index = sharded / "model.safetensors.index.json"
    values = json.loads(index.read_text())
    name = values["weight_map"]["centroids"]
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.move(sharded / name, outside / name)
    if link == "file":
        (sharded / name).symlink_to(outside / name)
    else:
        (sharded / "part").symlink_to(outside)
        weight_map = {key: f"part/{name}" if file == name else file for key, file in values["weight_map"].items()}
        index.write_text(json.dumps(values | {"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match=r"which is a link to .*outside of the checkpoint"):
        biomeformer.load(sharded)


def test_links_within_a_checkpoint_and_its_cache_are_followed(sharded, tmp_path):
    """The cache of the Hub's client links to blobs."""
    repository = tmp_path / "models--lab--x"
    (repository / "blobs").mkdir(parents=True)
    (repository / "snapshots" / COMMIT).mkdir(parents=True)
    for path in sharded.iterdir():
        shutil.copy(path, repository / "blobs" / path.name)
        (repository / "snapshots" / COMMIT / path.name).symlink_to(f"../../blobs/{path.name}")
    assert verify_files(open_checkpoint(repository / "snapshots" / COMMIT))
    first = min(sharded.glob("*.safetensors"))
    first.rename(sharded / "first")
    first.symlink_to("first")
    assert verify_files(open_checkpoint(sharded))


@pytest.mark.parametrize("file", ["config.json", "processor_config.json", "model.safetensors.index.json"])
@pytest.mark.parametrize("depth", [150, 100_000])
def test_a_config_nested_too_deeply_is_refused(sharded, file, depth):
    (sharded / file).write_text(f'{{"a": {"[" * depth}{"]" * depth}}}')
    with pytest.raises(CheckpointError, match=f"{file} is not valid JSON .it is nested more than 100 deep"):
        biomeformer.load(sharded)


def test_a_config_of_unlikely_size_is_refused_unread(sharded):
    with (sharded / "config.json").open("r+b") as file:
        file.truncate(10**12)
    with pytest.raises(CheckpointError, match="it has 1,000,000 MB, and configs at most 64"):
        biomeformer.load(sharded)


def test_a_config_of_more_layers_than_weights_is_refused_unbuilt(tmp_path):
    KINDS["genome"].make(tmp_path / "model", False)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 10**9}))
    with pytest.raises(CheckpointError, match="says 1,000,000,000 layers"):
        GenomeTransformerForSequenceClassification.from_pretrained(tmp_path / "model")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("metagenbert-mini", "metagenbert-mini"),
        (resolve_checkpoint("metagenbert-mini"), "metagenbert-mini"),
        (f"{resolve_checkpoint('genome-transformer-mini')}/protein_encoder", "genome-transformer-mini/protein_encoder"),
        ("lab/model", "lab/model"),
        ("lab/model/protein_encoder", "lab/model/protein_encoder"),
        ("/somewhere/else/model", "model"),
        ("../runs/model", "model"),
        ("D:\\runs\\model", "model"),
        (f"/cache/models--lab--x/snapshots/{COMMIT}", "lab/x"),
        ("", ""),
    ],
)
def test_public_names_of_checkpoints_are_no_paths(path, name):
    assert public_name(path) == name


def test_public_records_hold_no_paths_of_the_machine_and_tell_checkpoints_apart(tmp_path):
    for i, folder in enumerate(("a", "b")):
        tiny_metagenbert(seed=i).save_pretrained(tmp_path / folder / "model")
    record = {
        "config": {"model": str(tmp_path / "a" / "model"), "seed": 1, "path": tmp_path / "x.csv"},
        "classes": ["/x", "/a class/of two", "https://huggingface.co/lab/x", "lab/x"],
    }
    public = public_record(record)
    assert str(tmp_path) not in json.dumps(public) and public["classes"] == record["classes"]
    assert public["config"]["model"].startswith("model (weights ") and public["config"]["path"] == "x.csv"
    assert public_record(str(tmp_path / "b" / "model")) != public["config"]["model"]
    source = model_source(biomeformer.load(tmp_path / "a" / "model"))
    assert source == {
        "id": "model",
        "revision": None,
        "weights_sha256": weight_hashes(tmp_path / "a" / "model")["model.safetensors"],
    }
