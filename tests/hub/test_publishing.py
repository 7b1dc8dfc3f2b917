"""Publishing over HTTP: what is shown, what is sent, what is refused. Functions that are not tests run as clients."""

import hashlib
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from biomeformer.checkpoints import resolve_checkpoint
from biomeformer.errors import CheckpointError, InputError
from biomeformer.hub.contents import dataset_contents, model_contents
from biomeformer.hub.entry import write_entry
from biomeformer.hub.generated import write_generated
from biomeformer.hub.manifest import load_entry
from biomeformer.hub.remote_code import export_remote_code
from biomeformer.metagenomes import describe_by_genomes
from biomeformer.metagenomes.abundance_table import table_file
from biomeformer.metagenomes.cluster_descriptions import NAME as DESCRIPTIONS
from biomeformer.metagenomes.cluster_extraction import write_cluster_reads
from biomeformer.metagenomes.export import export_table
from biomeformer.reads import ReferenceGenome, SampleReads
from factories import random_sequences, tiny_metagenbert, write_fastq
from hub_factories import fill_in, small_table

ROOT = Path(__file__).resolve().parents[2]


def carded(folder, repo_id="lab/x"):
    """Give a folder a card."""
    write_entry(folder, repo_id, "cc-by-4.0")
    fill_in(folder)
    write_generated(folder, load_entry(folder))
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A checkpoint that may be published."""
    folder = tmp_path_factory.mktemp("finished") / "model"
    tiny_metagenbert().save_pretrained(folder)
    (folder / "training_record.json").write_text(json.dumps({"device": "cpu", "read_encoder": "dnabert2"}))
    return carded(folder)


@pytest.fixture
def model(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "model")


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "dataset"
    folder.mkdir()
    export_table(small_table().without_columns(["age"]), folder, "datasets")
    return carded(folder, "lab/table")


def publish(folder, repo_id="lab/x", revision=None, **options):
    """Compare and push, without the checks that a test of its own is about."""
    from biomeformer.errors import BiomeformerError
    from biomeformer.hub.contents import Contents
    from biomeformer.hub.manifest import load_entry
    from biomeformer.hub.publishing import plan_upload, push

    folder = Path(folder)
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "card.toml"]
    kind = "dataset" if (folder / "data").is_dir() else "model"
    files = {path.relative_to(folder).as_posix(): path for path in paths}
    contents = Contents(folder, load_entry(folder), kind, files)
    try:
        plan = plan_upload(contents, repo_id, revision=revision)
        done = push(plan, **options)
    except BiomeformerError as error:
        return {"error": str(error), "type": type(error).__name__}
    states = {file.name: file.state for file in plan.files}
    return {"states": states, "kept": plan.kept, "commit": done.commit, "n_sent": done.n_sent, "url": done.url}


def run(*arguments):
    """The command line."""
    from biomeformer.cli.app import app

    app(list(map(str, arguments)), prog_name="biomeformer")


def written(folder):
    """What should be in a repository."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "card.toml"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def stored(hub, repo_id="lab/x", **options):
    """What is in one."""
    files = hub.files(repo_id, **options)
    files.pop(".gitattributes", None)
    return files


def test_the_command_shows_and_then_does(hub, hub_process, model):
    shown = hub_process(run, "publish", "model", model, "lab/x", token="hf_ada")
    assert shown.exit_code == 0, shown.output
    assert not hub.exists("lab/x", "model") and not [one for one in hub.requests if one.method in ("POST", "PUT")]
    for name, content in written(model).items():
        (line,) = [line for line in shown.output.splitlines() if f"  {name} " in line]
        assert line.split()[0] == "new" and len(line.split()[-1]) == 64 and content
    assert "model lab/x (new, public), main at no commit" in shown.output
    assert "dry run: nothing was sent" in shown.output

    done = hub_process(run, "publish", "model", model, "lab/x", "--push", "--tag", "v1", token="hf_ada")
    assert done.exit_code == 0 and stored(hub) == written(model)
    head = hub.head("lab/x")
    assert f"published  {len(written(model))} files as commit {head}" in done.output
    assert hub.head("lab/x", revision="v1") == head
    assert hub.commits("lab/x")[0].title == "Publish x"
    assert "hf_ada" not in shown.output + done.output

    again = hub_process(publish, model, token="hf_ada").check()
    assert again["n_sent"] == 0 and again["commit"] == head and set(again["states"].values()) == {"same"}
    assert hub.head("lab/x") == head and len(hub.commits("lab/x")) == 2


def test_hub_upload_is_the_same_command(hub, hub_command, dataset):
    result = hub_command(["hub_upload.py", "dataset", str(dataset), "lab/table", "--push"], token="hf_ada")
    assert result.exit_code == 0, result.output
    assert stored(hub, "lab/table", repo_type="dataset") == written(dataset)
    help_text = hub_command(["hub_upload.py", "model", "--help"]).output
    assert "--create-pr" in help_text and "--token" not in help_text


def test_what_changed_is_sent_and_nothing_is_deleted(hub, hub_process, model):
    assert hub_process(publish, model, token="hf_ada").check()["n_sent"] == len(written(model))
    hub.commit("lab/x", {"notes.txt": b"by hand"}, title="By hand")
    record = model / "training_record.json"
    record.write_text(json.dumps({"device": "cpu", "n_epochs": 3}))
    hub.requests.clear()
    found = hub_process(publish, model, token="hf_ada").check()
    changed = [name for name, state in found["states"].items() if state != "same"]
    assert changed == ["training_record.json"] and found["n_sent"] == 1 and found["kept"] == ("notes.txt",)
    assert stored(hub) == written(model) | {"notes.txt": b"by hand"}
    assert not hub.sent("PUT /storage")


def test_an_interrupted_upload_is_taken_up_again(hub, hub_process, tmp_path):
    folder = tmp_path / "two"
    model = tiny_metagenbert()
    model.save_pretrained(folder)
    shutil.copyfile(folder / "model.safetensors", folder / "model-extra.safetensors")
    with (folder / "model-extra.safetensors").open("ab") as file:
        file.write(b"more")
    carded(folder)
    extra = folder / "model-extra.safetensors"
    # The second large file breaks off half-way, and its repetitions are refused.
    digest = hashlib.sha256(extra.read_bytes()).hexdigest()
    hub.fail(f"PUT /storage/.*{digest}", times=20, status=403)
    broken = hub_process(publish, folder, token="hf_ada").check()
    assert broken["type"] == "PublishError" and "what has arrived is not sent again" in broken["error"]
    assert "X-Signature" not in broken["error"] and hub.head("lab/x") and "model.safetensors" not in hub.files("lab/x")
    assert [one.status for one in hub.sent("PUT /storage") if one.status == 200] == [200]
    hub.heal()
    hub.requests.clear()
    found = hub_process(publish, folder, token="hf_ada").check()
    assert found["n_sent"] == len(written(folder)) and stored(hub) == written(folder)
    # What had arrived was not sent again.
    assert len(hub.sent("PUT /storage")) == 1 and hub.sent(f"PUT /storage/.*{digest}")


def test_someone_commits_meanwhile(hub, hub_process, model):
    hub_process(publish, model, token="hf_ada").check()
    (model / "training_record.json").write_text("{}")
    hub.on("POST .*/commit/main", lambda: hub.commit("lab/x", {"README.md": b"# theirs"}, title="Theirs"))
    found = hub_process(publish, model, token="hf_ada").check()
    assert found["type"] == "PublishError" and "someone has committed since it was compared" in found["error"]
    assert hub.files("lab/x")["README.md"] == b"# theirs" and hub.commits("lab/x")[0].title == "Theirs"
    # Looked at again, it is the card that changes, on top of theirs.
    found = hub_process(publish, model, token="hf_ada").check()
    assert found["states"]["README.md"] == "changed" and stored(hub) == written(model)


@pytest.mark.parametrize(
    ("token", "repo", "words"),
    [
        ("hf_wrong", "lab/x", "the Hub does not accept the token"),
        (None, "lab/x", "the Hub does not accept the token, or there is none; run `hf auth login`"),
        ("hf_reader", "lab/x", "this token may not write there"),
        ("hf_bob", "lab/x", "this token may not write there"),
    ],
)
def test_tokens_without_write_access_are_refused(hub, hub_process, model, token, repo, words):
    found = hub_process(publish, model, repo, token=token).check()
    assert found["type"] == "PublishError" and words in found["error"] and str(token) not in found["error"]
    assert not hub.exists(repo, "model")


def test_private_repositories_are_hidden_from_others(hub, hub_process, model):
    hub_process(publish, model, token="hf_ada", private=True).check()
    assert hub.repository("lab/x", "model").private
    # To those who may not see it, it is as if it were not there; and then it is.
    found = hub_process(publish, model, token="hf_bob").check()
    assert found["type"] == "PublishError"
    assert hub_process(publish, model, token="hf_ada", private=True).check()["n_sent"] == 0
    hub.commit("lab/y", {"a": b"b"})
    text = (model / "card.toml").read_text()
    (model / "card.toml").write_text(text.replace("lab/x", "lab/y"))
    found = hub_process(publish, model, "lab/y", token="hf_ada", private=True).check()
    assert "lab/y exists and is public" in found["error"] and stored(hub, "lab/y") == {"a": b"b"}


def test_branches_tags_and_pull_requests(hub, hub_process, model):
    first = hub_process(publish, model, token="hf_ada", tag="v1").check()["commit"]
    assert "has a tag 'v1' already" not in str(hub_process(publish, model, token="hf_ada", tag="v1").check())
    (model / "training_record.json").write_text("{}")
    on_branch = hub_process(publish, model, token="hf_ada", revision="next").check()
    assert hub.head("lab/x") == first and hub.head("lab/x", revision="next") == on_branch["commit"]
    assert on_branch["n_sent"] == 1 and stored(hub, revision="next") == written(model)
    pull = hub_process(publish, model, token="hf_ada", create_pr=True).check()
    assert "/discussions/1" in pull["url"] and hub.head("lab/x") == first
    assert stored(hub, revision="refs/pr/1") == written(model)
    moved = hub_process(publish, model, token="hf_ada", tag="v1").check()
    assert "has a tag 'v1' already" in moved["error"] and hub.head("lab/x", revision="v1") == first
    for options, words in (
        ({"create_pr": True, "tag": "v2"}, "leave out --tag and --revision"),
        ({"create_pr": True, "revision": "next"}, "leave out --tag and --revision"),
    ):
        assert words in hub_process(publish, model, token="hf_ada", **options).check()["error"]


def test_a_hub_that_is_not_there(hub, hub_process, model):
    hub.fail(".*", times=500, status=400)
    found = hub_process(publish, model, token="hf_ada").check()
    assert found["type"] == "PublishError" and "the Hub answered 400" in found["error"]
    hub.reset()
    pushed = hub_process(run, "publish", "model", model, "lab/x", "--push", token="hf_ada", offline=True)
    assert pushed.exit_code == 2 and "--push needs the network" in pushed.output and not hub.exists("lab/x", "model")
    shown = hub_process(show_offline, model, offline=True).check()
    assert "HF_HUB_OFFLINE is set, so nothing was compared with the Hub" in shown[0] and set(shown[1]) == {"?"}


def show_offline(folder):
    from biomeformer.hub.contents import Contents
    from biomeformer.hub.manifest import load_entry
    from biomeformer.hub.publishing import plan_upload

    contents = Contents(folder, load_entry(folder), "model", {"config.json": folder / "config.json"})
    plan = plan_upload(contents, "lab/x")
    return plan.remarks, [file.state for file in plan.files]


def test_collection_command_publishes_again_and_refuses_missing_repositories(hub, hub_process, model, dataset):
    hub_process(publish, model, token="hf_ada").check()
    hub_process(publish, dataset, "lab/table", token="hf_ada").check()
    arguments = ["publish", "collection", "Gut", "lab", "--model", "lab/x", "--dataset", "lab/table"]
    shown = hub_process(run, *arguments, token="hf_ada")
    assert shown.exit_code == 0 and "dry run: nothing was changed" in shown.output
    for _ in range(2):
        done = hub_process(run, *arguments, "--push", token="hf_ada")
        assert done.exit_code == 0 and "/collections/lab/gut" in done.output, done.output
    missing = hub_process(run, *arguments, "--model", "lab/none", "--push", token="hf_ada")
    assert missing.exit_code == 1 and "lab/none: the Hub has no such repository" in missing.output


def embed(name, fastq, **options):
    """Counts by a model, in a process that knows its id alone."""
    import biomeformer

    loaded = biomeformer.load(name, **options)
    sample = loaded.embed_sample(fastq)
    return {"counts": sample.counts, "hash": loaded.weights_sha256, "commit": loaded.config._commit_hash}


def embed_by_auto(name, fastq):
    from transformers import AutoModel, AutoProcessor, pipeline

    import biomeformer  # noqa: F401

    loaded = AutoModel.from_pretrained(name)
    processor = AutoProcessor.from_pretrained(name)
    assert type(processor).__name__ == "MetagenBertProcessor"
    by_pipeline = pipeline("metagenome-embedding", model=name)(fastq)["counts"]
    return loaded.embed_sample(fastq).counts, by_pipeline


def test_loaded_by_id_it_counts_the_same(hub, hub_process, model, tmp_path):
    fastq = write_fastq(tmp_path / "reads.fastq", random_sequences(80, seed=5))
    local = hub_process(embed, str(model), fastq).check()
    first = hub_process(publish, model, token="hf_ada", tag="v1", private=True).check()["commit"]
    found = hub_process(embed, "lab/x", fastq, token="hf_ada")
    assert found.check()["hash"] == local["hash"] and found.value["commit"] == first
    assert np.array_equal(found.value["counts"], local["counts"]) and local["counts"].sum() == 80
    # A new model on main; the tag and the commit stay what they were.
    other = tmp_path / "other"
    tiny_metagenbert(seed=8).save_pretrained(other)
    carded(other)
    second = hub_process(publish, other, token="hf_ada").check()["commit"]
    latest = hub_process(embed, "lab/x", fastq, token="hf_ada").check()
    assert latest["commit"] == second and latest["hash"] != local["hash"]
    for revision in ("v1", first):
        pinned = hub_process(embed, "lab/x", fastq, revision=revision, token="hf_ada", cache=found.cache).check()
        assert pinned["commit"] == first and np.array_equal(pinned["counts"], local["counts"])
    # From the cache, without the network.
    hub.requests.clear()
    offline = hub_process(embed, "lab/x", fastq, revision="v1", cache=found.cache, offline=True).check()
    assert np.array_equal(offline["counts"], local["counts"]) and not hub.requests
    by_auto = hub_process(embed_by_auto, "lab/x", fastq, cache=found.cache, offline=True).check()
    assert all(np.array_equal(counts, by_auto[0]) for counts in by_auto) and by_auto[0].sum() == 80
    refused = hub_process(embed, "lab/x", fastq, token=None)
    assert refused.exit_code and refused.error.startswith("CheckpointNotFoundError")


def test_changed_weights_are_refused_on_loading(hub, hub_process, model, tmp_path):
    fastq = write_fastq(tmp_path / "reads.fastq", random_sequences(20, seed=5))
    hub_process(publish, model, token="hf_ada").check()
    weights = bytearray((model / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    hub.tamper("lab/x", "model.safetensors", bytes(weights))
    found = hub_process(embed, "lab/x", fastq)
    assert found.error.startswith("CheckpointError") and "is not the file that SHA256SUMS of lab/x names" in found.error
    config = json.loads((model / "config.json").read_text())
    config["encoder_config"]["trust_remote_code"] = True
    hub.commit("lab/x", {"config.json": json.dumps(config).encode()})
    found = hub_process(embed, "lab/x", fastq)
    assert found.error.startswith("CheckpointError") and "config.json sets trust_remote_code" in found.error


def test_a_pickle_on_the_hub_is_refused(hub, hub_process, model, tmp_path):
    fastq = write_fastq(tmp_path / "reads.fastq", random_sequences(20, seed=5))
    files = {name: content for name, content in written(model).items() if name.endswith(".json")}
    hub.commit("lab/x", files | {"pytorch_model.bin": b"PK\x03\x04"})
    found = hub_process(embed, "lab/x", fastq)
    assert found.error.startswith("CheckpointNotFoundError")
    assert "lab/x has no weights as safetensors, and a pickle is never loaded" in found.error
    assert not hub.sent("GET .*pytorch_model")


def read_table(name):
    import datasets

    import biomeformer

    table = biomeformer.AbundanceTable.read(name)
    rows = datasets.load_dataset(name, split="train")
    joined = biomeformer.AbundanceTable.join([table])
    return (
        table.counts,
        np.asarray(rows["counts"]),
        np.asarray(rows["abundance"]),
        joined.provenance,
        rows["disease"][:],
    )


def test_published_dataset_is_read_back_online_and_offline(hub, hub_process, dataset):
    found = hub_process(publish, dataset, "lab/table", token="hf_ada").check()
    assert found["url"].endswith("/datasets/lab/table")
    table = small_table()
    loaded = hub_process(read_table, "lab/table")
    again = hub_process(read_table, "lab/table", cache=loaded.cache, offline=True)
    for counts, rows, abundance, provenance, disease in (loaded.check(), again.check()):
        assert np.array_equal(counts, table.counts) and np.array_equal(rows, table.counts)
        assert np.array_equal(abundance, table.abundance) and provenance == table.provenance
        assert disease == list(table.metadata["disease"])


def test_a_table_published_again_replaces_its_rows(hub, hub_process, dataset, tmp_path):
    hub_process(publish, dataset, "lab/table", token="hf_ada").check()
    first = table_file(dataset).name
    table = small_table()
    shutil.rmtree(dataset / "data")
    for name in ("README.md", "provenance.json"):
        (dataset / name).unlink()
    entry = (dataset / "card.toml").read_text()
    (dataset / "card.toml").unlink()
    export_table(replace(table, counts=table.counts[:, ::-1].copy()), dataset, "datasets")
    (dataset / "card.toml").write_text(entry)
    write_generated(dataset, load_entry(dataset))
    hub_process(publish, dataset, "lab/table", token="hf_ada").check()
    files = hub.files("lab/table", repo_type="dataset")
    assert f"data/{first}" not in files and f"data/{table_file(dataset).name}" in files
    counts, rows, *_ = hub_process(read_table, "lab/table").check()
    assert np.array_equal(counts, table.counts[:, ::-1]) and np.array_equal(rows, counts)


# What must not go, seen without a Hub.


def spoil_with_pickle(folder):
    torch.save({"a": torch.zeros(2)}, folder / "pytorch_model.bin")


def spoil_with_reads(folder):
    write_fastq(folder / "notes.txt", random_sequences(3))


def spoil_with_table(folder):
    (folder / "people.csv").write_text("patient,age\nAda,36\n")
    text = (folder / "card.toml").read_text()
    (folder / "card.toml").write_text('files = ["people.csv"]\n' + text)


def spoil_with_link(folder):
    (folder.parent / "secret").write_text("secret")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to(folder.parent / "secret")


def spoil_weights(folder):
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)


def spoil_config(**changes):
    def spoil(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_with_pickle, r"pytorch_model\.bin is a pickle, which can run code"),
        (spoil_with_reads, r"notes\.txt seems to hold reads or sequences \(it begins as FASTQ"),
        (spoil_with_table, r"people\.csv is a table, and people\.csv would go with the model"),
        (spoil_with_link, "is a link to .*secret, outside of what is published"),
        (lambda folder: (folder / "optimizer.json").write_text("{}"), r"optimizer\.json is not named by the manifest"),
        (lambda folder: (folder / "code.py").write_text("print()"), r"code\.py is not named by the manifest"),
        (spoil_weights, r"README\.md is not what its files and its entry say now"),
        (lambda folder: (folder / "README.md").write_text("# mine"), r"README\.md is not what its files"),
        (lambda folder: (folder / "README.md").unlink(), r"README\.md is missing"),
        (lambda folder: (folder / "card.toml").unlink(), r"has no card\.toml, which says what only you know"),
        (spoil_config(trust_remote_code=True), r"config\.json sets trust_remote_code"),
        (spoil_config(auto_map={"AutoModel": "evil--code.Model"}), r"config\.json has an auto_map"),
        (spoil_config(architectures=["EvilModel"]), "its class 'EvilModel' is unknown"),
    ],
)
def test_what_is_refused(model, spoil, words):
    spoil(model)
    with pytest.raises((InputError, CheckpointError), match=words):
        model_contents(model)


def describe(model):
    """Descriptions of a model's clusters by one genome of random bases."""
    sequence = np.frombuffer("".join(random_sequences(1, 5000, 5000)).encode(), np.uint8)
    genome = ReferenceGenome("g", sequence, {"genus": "Genus"})
    return describe_by_genomes(model, lambda: [genome], ["genus"], reads_per_genome=50)


@pytest.mark.usefixtures("forked_load_check")
def test_descriptions_of_the_same_weights_are_published(model):
    describe(tiny_metagenbert()).write(model / DESCRIPTIONS)
    with pytest.raises(InputError, match=r"README\.md is not what its files"):
        model_contents(model)
    carded(model)
    assert "| Clusters described | in `cluster_descriptions.parquet`, by 50 reads" in (model / "README.md").read_text()
    assert DESCRIPTIONS in model_contents(model).files


@pytest.mark.usefixtures("forked_load_check")
def test_descriptions_of_other_weights_are_not_published(model, dataset):
    other = describe(tiny_metagenbert(seed=8))
    other.write(model / DESCRIPTIONS)
    carded(model)
    with pytest.raises(CheckpointError, match=r"describes the clusters of other weights.*or remove the file"):
        model_contents(model)
    (model / DESCRIPTIONS).write_bytes(b"PAR1")
    with pytest.raises(InputError, match="biomeformer clusters describe"):
        model_contents(model)
    other.write(dataset / DESCRIPTIONS)
    with pytest.raises(InputError, match="describes the clusters of other weights than the table's"):
        dataset_contents(dataset)
    describe(tiny_metagenbert()).write(dataset / DESCRIPTIONS)
    assert DESCRIPTIONS in dataset_contents(dataset).files


def test_reads_of_clusters_are_not_published(model, tmp_path):
    """Whatever they are called later."""
    sample = SampleReads.single(write_fastq(tmp_path / "r.fastq", random_sequences(30)))
    for name in ("c.fastq", "c.fastq.gz", "c.fasta"):
        write_cluster_reads(tiny_metagenbert(), sample, range(7), tmp_path / name)
        for kept in (name, "notes.txt"):
            shutil.copy(tmp_path / name, model / kept)
            with pytest.raises(InputError, match="seems to hold reads or sequences"):
                model_contents(model)
            (model / kept).unlink()


def spoil_record(**values):
    def spoil(folder):
        (folder / "training_record.json").write_text(json.dumps({"device": "cpu"} | values))

    return spoil


def spoil_card(text):
    def spoil(folder):
        (folder / "card.toml").write_text((folder / "card.toml").read_text().replace("Words of", f"{text} of", 1))
        write_generated(folder, load_entry(folder))

    return spoil


def spoil_header(folder):
    weights = load_file(folder / "model.safetensors")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt", "made_by": "ada@lab.org"})
    write_generated(folder, load_entry(folder))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            spoil_record(encoder="/home/ada/esm"),
            r"training_record\.json, encoder: .*path of a machine \(/home/ada/esm\)",
        ),
        (spoil_record(runs=[{"at": "D:\\runs\\esm"}]), r"runs\[0\]\.at: it holds a path of a machine"),
        (
            spoil_record(environment={"HF": "hf_" + "a1B2" * 8}),
            r"environment\.HF: it holds a token or password \(hf_a…\)",
        ),
        (
            spoil_record(contact="ada@lab.org"),
            r"contact: it holds an e-mail address \(ada@lab\.org\), .* allowed in card",
        ),
        (spoil_record(by="made by lovelace"), r"by: it holds a user name \(lovelace\)"),
        (spoil_card("See ada@lab.org, words"), r"README\.md, line \d+: it holds an e-mail address"),
        (spoil_card("In /scratch/ada/runs, words"), r"README\.md, line \d+: it holds a path of a machine"),
        (spoil_header, r"model\.safetensors, header\.made_by: it holds an e-mail address"),
    ],
)
def test_what_would_be_disclosed_is_refused_by_file_and_field(model, spoil, words, monkeypatch):
    monkeypatch.setattr("biomeformer.hub.disclosure.user_names", lambda: ("lovelace",))
    spoil(model)
    with pytest.raises(InputError, match=words) as caught:
        model_contents(model)
    assert "a1B2a1B2" not in str(caught.value)


@pytest.mark.usefixtures("forked_load_check")
def test_what_is_public_on_purpose_is_allowed_except_for_tokens(model):
    spoil_record(contact="ada@lab.org", cluster="/scratch/shared/models")(model)
    text = (model / "card.toml").read_text()
    (model / "card.toml").write_text('allowed = ["ada@lab.org", "/scratch/shared/models", "hf_"]\n' + text)
    assert "training_record.json" in model_contents(model).files
    spoil_record(key="hf_" + "a1B2" * 8)(model)
    with pytest.raises(InputError, match="it holds a token or password"):
        model_contents(model)


def test_a_dataset_that_discloses_a_path_or_token_is_refused(dataset):
    assert dataset_contents(dataset).files
    provenance = json.loads((dataset / "provenance.json").read_text())
    (dataset / "provenance.json").write_text(json.dumps(provenance | {"model": "/home/ada/model"}))
    with pytest.raises(InputError, match=r"provenance\.json, model: it holds a path of a machine"):
        dataset_contents(dataset)
    (dataset / "provenance.json").write_text(json.dumps(provenance))
    file = table_file(dataset)
    table = pq.read_table(file)
    metadata = table.schema.metadata | {b"pandas": json.dumps({"creator": "/home/ada/x"}).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), file)
    write_generated(dataset, load_entry(dataset))
    with pytest.raises(InputError, match=r"train-\S+\.parquet, metadata pandas\.creator: it holds a path of a machine"):
        dataset_contents(dataset)


@pytest.mark.parametrize("name", ["model-old.safetensors", "model_2.safetensors", "protein_encoder/extra.safetensors"])
def test_weights_that_are_not_loaded_do_not_go(model, name):
    (model / name).parent.mkdir(exist_ok=True)
    shutil.copy(model / "model.safetensors", model / name)
    write_generated(model, load_entry(model))
    with pytest.raises(InputError, match=f"{name} is not named by the manifest"):
        model_contents(model)


@pytest.mark.usefixtures("forked_load_check")
def test_all_shards_go_and_no_others(tmp_path):
    folder = tmp_path / "sharded"
    tiny_metagenbert().save_pretrained(folder, max_shard_size="8KB")
    carded(folder)
    shards = {path.name for path in folder.glob("model-*.safetensors")}
    files = model_contents(folder).files
    assert len(shards) > 2 and shards | {"model.safetensors.index.json"} <= set(files)


def test_wildcards_and_missing_files_of_an_entry_are_refused(model):
    text = (model / "card.toml").read_text()
    (model / "card.toml").write_text('files = ["*"]\n' + text)
    with pytest.raises(InputError, match=r"files has '\*'; name each file, without wildcards"):
        model_contents(model)
    (model / "card.toml").write_text('files = ["absent.txt"]\n' + text)
    with pytest.raises(InputError, match=r"files names 'absent\.txt', and .* has no such file"):
        model_contents(model)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "processor_config.json").unlink(), "does not load in a fresh process: .*contract"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "does not load in a fresh process: .*tokenizer"),
    ],
)
def test_a_checkpoint_that_does_not_load(model, spoil, words):
    spoil(model)
    (model / "README.md").unlink()
    try:
        write_generated(model, load_entry(model))
    except CheckpointError as error:
        # Some of what the card says is in the preprocessing config.
        assert "processor_config" in words or "min_read_length" in str(error)
        return
    with pytest.raises(CheckpointError, match=words):
        model_contents(model)


@pytest.mark.usefixtures("forked_load_check")
def test_code_goes_only_as_it_is_exported(model):
    code = export_remote_code(model)
    with pytest.raises(CheckpointError, match=r"config\.json has an auto_map"):
        model_contents(model)
    (model / "card.toml").write_text("remote_code = true\n" + (model / "card.toml").read_text())
    write_generated(model, load_entry(model))
    assert "trust_remote_code=True" in (model / "README.md").read_text()
    contents = model_contents(model)
    assert {path.name for path in code} <= set(contents.files)
    modeling = model / "modeling_metagenbert.py"
    modeling.write_text(modeling.read_text() + "\nprint('hello')\n")
    with pytest.raises(CheckpointError, match=r"modeling_metagenbert\.py is not the code of this version"):
        model_contents(model)


def test_columns_about_single_persons(tmp_path):
    folder = tmp_path / "dataset"
    folder.mkdir()
    table = small_table()
    columns = table.metadata.assign(SubjectID=[f"p{i}" for i in range(12)], sampled=["2020-01-02"] * 12)
    export_table(replace(table, metadata=columns), folder, "datasets")
    carded(folder, "lab/table")
    with pytest.raises(InputError, match=r"columns that seem to be about single persons \(age: .*SubjectID.*sampled"):
        dataset_contents(folder)
    with pytest.raises(InputError, match=r"export --drop age,SubjectID,sampled"):
        dataset_contents(folder)
    text = (folder / "card.toml").read_text()
    (folder / "card.toml").write_text('personal_columns = ["age"]\n' + text)
    with pytest.raises(InputError, match=r"single persons \(SubjectID.*sampled"):
        dataset_contents(folder)
    (folder / "card.toml").write_text('personal_columns = ["age", "SubjectID", "sampled"]\n' + text)
    data = table_file(folder).relative_to(folder).as_posix()
    assert set(dataset_contents(folder).files) == {"README.md", data, "provenance.json"}
    write_fastq(folder / "reads.fastq", random_sequences(2))
    with pytest.raises(InputError, match=r"reads\.fastq seems to hold reads"):
        dataset_contents(folder)
    with pytest.raises(InputError, match="holds an abundance table; publish it with: biomeformer publish dataset"):
        model_contents(folder)


def test_a_shipped_checkpoint_by_the_manifest():
    contents = model_contents(Path(resolve_checkpoint("genome-transformer-mini")), ROOT / "model_cards")
    assert contents.entry.id == "biomeformer/genome-transformer-mini"
    assert "protein_encoder/model.safetensors" in contents.files and "SHA256SUMS" in contents.files
    result = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=contents.folder, capture_output=True, text=True)
    assert result.returncode == 0 and result.stdout.count(": OK") == 2


def encoder_origin(name, revision):
    from biomeformer import load_read_encoder
    from biomeformer.checkpoints.source import model_source

    encoder, _ = load_read_encoder(name, revision=revision)
    return model_source(encoder)


def test_read_encoders_know_their_commit(hub, hub_process, tmp_path):
    folder = tmp_path / "encoder"
    model = tiny_metagenbert()
    model.encoder.save_pretrained(folder)
    model.processor.tokenizer.save_pretrained(folder)
    carded(folder)
    assert 'load_read_encoder("lab/x")' in (folder / "README.md").read_text()
    commit = hub_process(publish, folder, token="hf_ada", tag="v1").check()["commit"]
    found = hub_process(encoder_origin, "lab/x", "v1")
    assert found.check() == {"id": "lab/x", "revision": commit}
    offline = hub_process(encoder_origin, "lab/x", "v1", cache=found.cache, offline=True)
    assert offline.check() == found.value
