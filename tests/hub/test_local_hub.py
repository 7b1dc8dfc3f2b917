"""The local Hub answers the real clients as the Hub does: other tests here rest on it.

Functions that are not tests run in processes of their own, which are clients.
"""

import hashlib
import json
import signal
import sys
import threading
from pathlib import Path

import pytest

LARGE = bytes(range(256)) * 40
CARD = "---\nlicense: mit\ntags: [biology]\npipeline_tag: feature-extraction\n---\n# x\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two small files and two large ones."""
    path = tmp_path / "model"
    (path / "encoder").mkdir(parents=True)
    (path / "README.md").write_text(CARD)
    (path / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 12, "num_attention_heads": 2}))
    (path / "model.safetensors").write_bytes(LARGE)
    (path / "encoder" / "weights.safetensors").write_bytes(LARGE[::-1])
    return path


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def upload(folder, repo_id="lab/x", **options):
    from huggingface_hub import HfApi

    create = {key: options.pop(key) for key in ("private", "repo_type") if key in options}
    api = HfApi()
    api.create_repo(repo_id, exist_ok=True, **create)
    info = api.upload_folder(repo_id=repo_id, folder_path=folder, repo_type=create.get("repo_type"), **options)
    return {"oid": info.oid, "pr": info.pr_revision, "url": str(info.repo_url)}


def download(repo_id="lab/x", **options):
    from huggingface_hub import snapshot_download

    path = Path(snapshot_download(repo_id, **options))
    return {"name": path.name, "files": contents(path)}


def look(repo_id="lab/x"):
    from huggingface_hub import HfApi

    api = HfApi()
    info = api.model_info(repo_id, files_metadata=True)
    tree = list(api.list_repo_tree(repo_id, recursive=True, expand=True))
    files = [item for item in tree if hasattr(item, "lfs")]
    (paths,) = api.get_paths_info(repo_id, ["encoder/weights.safetensors", "missing"])
    refs = api.list_repo_refs(repo_id, include_pull_requests=True)
    return {
        "info": (info.id, info.sha, info.private, info.pipeline_tag, info.card_data.license, info.config["model_type"]),
        "blobs": {file.rfilename: file.blob_id for file in info.siblings},
        "tree": {
            item.path: (item.lfs and item.lfs.sha256, item.last_commit.title) for item in tree if hasattr(item, "lfs")
        },
        "folders": [item.path for item in tree if item not in files],
        "path": (paths.path, paths.size, paths.lfs.size),
        "branches": [(ref.name, ref.target_commit) for ref in refs.branches],
        "commits": [(commit.commit_id, commit.title, commit.authors) for commit in api.list_repo_commits(repo_id)],
        "exists": [api.file_exists(repo_id, name) for name in ("config.json", "missing.json")],
    }


def test_upload_list_and_download(hub, hub_process, folder):
    hub.page_size = 2
    try:
        made = hub_process(upload, folder, token="hf_ada").check()
        seen = hub_process(look).check()
    finally:
        hub.page_size = 1000
    assert made["oid"] == hub.head("lab/x") and len(made["oid"]) == 40
    assert made["url"] == f"{hub.url}/lab/x" and made["pr"] is None
    files = hub.files("lab/x")
    assert files.pop(".gitattributes") and files == contents(folder)
    commits = hub.commits("lab/x")
    assert [commit.title for commit in commits] == ["Upload folder using huggingface_hub", "initial commit"]
    assert commits[0].parent == commits[1].id and commits[1].parent is None

    # More entries than a page holds.
    assert seen["info"] == ("lab/x", made["oid"], False, "feature-extraction", "mit", "bert")
    readme = (folder / "README.md").read_bytes()
    assert seen["blobs"]["README.md"] == hashlib.sha1(b"blob %d\0" % len(readme) + readme).hexdigest()
    assert set(seen["blobs"]) == set(seen["tree"]) == {*files, ".gitattributes"} and seen["folders"] == ["encoder"]
    assert seen["tree"]["model.safetensors"] == (hashlib.sha256(LARGE).hexdigest(), commits[0].title)
    assert seen["tree"][".gitattributes"] == (None, "initial commit")
    assert seen["path"] == ("encoder/weights.safetensors", len(LARGE), len(LARGE))
    assert seen["branches"] == [("main", made["oid"])]
    assert seen["commits"] == [(commit.id, commit.title, ["ada"]) for commit in commits]
    assert seen["exists"] == [True, False]

    hub.requests.clear()
    got = hub_process(download).check()
    assert got["name"] == made["oid"]
    assert got["files"].pop(".gitattributes") and got["files"] == files
    # Large files come from the other host, and only there.
    stored = [request for request in hub.sent("^GET /storage/")]
    assert sorted(request.query.split("filename=")[1] for request in stored) == [
        "encoder%2Fweights.safetensors",
        "model.safetensors",
    ]


def test_tokens_do_not_reach_the_store_of_large_files(hub, hub_process, folder):
    hub_process(upload, folder, private=True, token="hf_ada").check()
    hub_process(download, token="hf_ada").check()
    stored = hub.sent("^(PUT|GET) /storage/")
    assert len(stored) == 4 and {request.token for request in stored} == {None}
    assert all(request.headers["host"] == hub.storage_url.removeprefix("http://") for request in stored)
    assert {request.token for request in hub.sent("/(resolve|commit|preupload)/")} == {"hf_ada"}


def test_unchanged_files_make_no_commit(hub, hub_process, folder):
    first = hub_process(upload, folder, token="hf_ada").check()
    hub.requests.clear()
    assert hub_process(upload, folder, token="hf_ada").check() == first
    assert not hub.sent("^PUT ") and not hub.sent("/commit/") and len(hub.commits("lab/x")) == 2
    (folder / "config.json").write_text("{}")
    (folder / "encoder/weights.safetensors").unlink()
    assert hub_process(upload, folder, delete_patterns="encoder/*", token="hf_ada").check()["oid"] != first["oid"]
    (commit,) = hub.sent("/commit/")
    assert not hub.sent("^PUT ") and commit.sent < 1000
    assert set(hub.files("lab/x")) == {".gitattributes", "README.md", "config.json", "model.safetensors"}


def test_parent_commit_conflict(hub, hub_process, folder):
    parent = hub.commit("lab/x", {"a.txt": b"a"})
    hub.on("POST .*/commit/main", lambda: hub.commit("lab/x", {"b.txt": b"b"}))
    refused = hub_process(upload, folder, parent_commit=parent, token="hf_ada")
    assert refused.exit_code == 1 and refused.error.startswith("HfHubHTTPError: ")
    assert "412 " in refused.error and "A commit has happened since. Please refresh and try again." in refused.error
    assert set(hub.files("lab/x")) == {".gitattributes", "a.txt", "b.txt"}
    made = hub_process(upload, folder, parent_commit=hub.head("lab/x"), token="hf_ada").check()
    assert hub.commits("lab/x")[0].id == made["oid"] and "b.txt" in hub.files("lab/x")


def propose_and_merge(folder):
    from huggingface_hub import HfApi

    api = HfApi()
    info = api.upload_folder(repo_id="lab/x", folder_path=folder, create_pr=True, commit_message="Please")
    listed = [(d.num, d.title, d.author, d.status) for d in api.get_repo_discussions("lab/x")]
    details = api.get_discussion_details("lab/x", info.pr_num)
    names = [ref.name for ref in api.list_repo_refs("lab/x", include_pull_requests=True).pull_requests]
    inside = api.list_repo_files("lab/x", revision=info.pr_revision)
    return info.pr_url, info.pr_revision, listed, details.target_branch, names, inside


def merge(repo_id, number):
    from huggingface_hub import HfApi

    HfApi().merge_pull_request(repo_id, number)


def test_pull_request_of_somebody_without_rights(hub, hub_process, folder):
    head = hub.commit("lab/x", {"a.txt": b"a"})
    url, revision, listed, target, refs, inside = hub_process(propose_and_merge, folder, token="hf_bob").check()
    assert (url, revision, refs) == (f"{hub.url}/lab/x/discussions/1", "refs/pr/1", ["refs/pr/1"])
    assert listed == [(1, "Please", "bob", "open")] and target == "refs/heads/main"
    assert hub.head("lab/x") == head and "model.safetensors" in inside and "a.txt" in inside
    assert hub.files("lab/x", revision="refs/pr/1")["model.safetensors"] == LARGE
    assert "403 Forbidden" in hub_process(merge, "lab/x", 1, token="hf_bob").error
    hub.commit("lab/x", {"b.txt": b"b"})
    hub_process(merge, "lab/x", 1, token="hf_ada").check()
    assert {"a.txt", "b.txt", "model.safetensors"} <= set(hub.files("lab/x"))
    assert hub_process(upload, folder, token="hf_bob").error.count("create_pr=1") == 1


def tags_and_branches():
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

    api = HfApi()
    seen = {}
    api.create_tag("lab/x", tag="v1", tag_message="one")
    try:
        api.create_tag("lab/x", tag="v1")
    except HfHubHTTPError as error:
        seen["again"] = error.response.status_code
    api.create_tag("lab/x", tag="v1", exist_ok=True)
    api.create_branch("lab/x", branch="next/one")
    api.upload_file(repo_id="lab/x", path_or_fileobj=b"new", path_in_repo="a.txt", revision="next/one")
    for revision in ("main", "v1", "next/one"):
        seen[revision] = Path(api.hf_hub_download("lab/x", "a.txt", revision=revision)).read_text()
    seen["old"] = Path(api.hf_hub_download("lab/x", "a.txt", revision=api.model_info("lab/x").sha[:10])).read_text()
    seen["tags"] = [(tag.name, tag.target_commit) for tag in api.list_repo_refs("lab/x").tags]
    api.delete_tag("lab/x", tag="v1")
    for name, wrong in (
        ("gone", lambda: api.delete_tag("lab/x", tag="v1")),
        ("download", lambda: api.hf_hub_download("lab/x", "a.txt", revision="v1", force_download=True)),
        ("commit", lambda: api.upload_file(repo_id="lab/x", path_or_fileobj=b"", path_in_repo="b", revision="v9")),
    ):
        try:
            wrong()
        except RevisionNotFoundError as error:
            seen[name] = type(error).__name__
    return seen


def test_tags_branches_and_revisions(hub, hub_process):
    head = hub.commit("lab/x", {"a.txt": b"old"})
    seen = hub_process(tags_and_branches, token="hf_ada").check()
    assert seen.pop("tags") == [("v1", head)]
    texts = {"main": "old", "v1": "old", "next/one": "new", "old": "old"}
    missing = dict.fromkeys(("gone", "download", "commit"), "RevisionNotFoundError")
    assert seen == {"again": 409, **texts, **missing}
    assert hub.head("lab/x") == head == hub.commits("lab/x", revision="next/one")[1].id


def test_who_may_read(hub, hub_process):
    hub.commit("lab/secret", {"a.txt": b"a"}, private=True)
    hub.commit("lab/open", {"a.txt": b"a"})
    for token in ("hf_ada", "hf_reader"):
        assert hub_process(download, "lab/secret", token=token).check()["files"]["a.txt"] == b"a"
    assert hub_process(download, "lab/open").check()["files"]["a.txt"] == b"a"
    for token, status in ((None, 401), ("hf_bob", 404)):
        hub.requests.clear()
        refused = hub_process(download, "lab/secret", token=token)
        assert refused.error.startswith("RepositoryNotFoundError: ") and f"{status} Client Error" in refused.error
        missing = hub_process(download, "lab/missing", token=token)
        assert missing.error.startswith("RepositoryNotFoundError: ") and f"{status} Client Error" in missing.error
        assert {request.status for request in hub.sent("/api/models/lab/")} == {status}
    wrong = hub_process(download, "lab/open", token="hf_wrong")
    assert wrong.error.startswith("HfHubHTTPError: ") and "Invalid username or password." in wrong.error


def administrate():
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api, seen = HfApi(), {}
    seen["user"] = (api.whoami()["name"], [org["name"] for org in api.whoami()["orgs"]])
    for name, action in (
        ("create", lambda: api.create_repo("lab/new")),
        ("again", lambda: api.create_repo("lab/new")),
        ("exists", lambda: api.create_repo("lab/x", exist_ok=True)),
        ("elsewhere", lambda: api.create_repo("other/new")),
        ("read", lambda: api.auth_check("lab/x")),
        ("write", lambda: api.auth_check("lab/x", write=True)),
        ("upload", lambda: api.upload_file(repo_id="lab/x", path_or_fileobj=b"b", path_in_repo="b.txt")),
        ("tag", lambda: api.create_tag("lab/x", tag="v1")),
        ("hide", lambda: api.update_repo_settings("lab/x", private=True)),
        ("delete", lambda: api.delete_repo("lab/new")),
    ):
        try:
            action()
            seen[name] = 200
        except HfHubHTTPError as error:
            seen[name] = error.response.status_code
    return seen


def test_who_may_write(hub, hub_process):
    hub.commit("lab/x", {"a.txt": b"a"})
    read_only = hub_process(administrate, token="hf_reader").check()
    assert read_only.pop("user") == ("ada", ["lab"])
    assert {name for name, status in read_only.items() if status == 200} == {"exists", "read"}
    assert {status for name, status in read_only.items() if name != "delete"} == {200, 403}
    assert read_only["delete"] == 404 and "b.txt" not in hub.files("lab/x") and not hub.exists("lab/new")
    stranger = hub_process(administrate, token="hf_bob").check()
    assert {name for name, status in stranger.items() if status == 200} == {"exists", "read"}
    owner = hub_process(administrate, token="hf_ada").check()
    assert {name: status for name, status in owner.items() if status != 200 and name != "user"} == {
        "again": 409,
        "elsewhere": 403,
    }
    assert hub.repository("lab/x").private and hub.files("lab/x")["b.txt"] == b"b" and not hub.exists("lab/new")


def test_an_interrupted_upload_goes_on(hub, hub_process, folder):
    second = hashlib.sha256(LARGE[::-1]).hexdigest()
    # The connection breaks within the second file; the client's own second attempt is refused for good.
    hub.fail(f"PUT /storage/.*{second}", after_bytes=1000)
    hub.fail(f"PUT /storage/.*{second}", status=403)
    broken = hub_process(upload, folder, token="hf_ada")
    assert broken.exit_code == 1 and "weights.safetensors" in broken.error
    assert [(r.status, r.sent) for r in hub.sent(f"PUT .*{second}")] == [(0, 1000), (403, len(LARGE))]
    assert [commit.title for commit in hub.commits("lab/x")] == ["initial commit"] and not hub.sent("/commit/")
    hub.requests.clear()
    hub_process(upload, folder, token="hf_ada").check()
    (put,) = hub.sent("^PUT ")
    assert second in put.path and put.sent == len(LARGE)
    assert hub.files("lab/x")["model.safetensors"] == LARGE and len(hub.commits("lab/x")) == 2


def test_a_killed_upload_leaves_no_commit(hub, hub_process, folder):
    reached, go = threading.Event(), threading.Event()

    def hold():
        reached.set()
        go.wait(30)

    hub.on("POST .*/lfs/objects/verify", hold)
    process = hub_process.start(upload, folder, token="hf_ada")
    assert reached.wait(60)
    process.kill()
    assert process.wait().exit_code == -signal.SIGKILL
    go.set()
    assert len(hub.commits("lab/x")) == 1 and not hub.sent("/commit/")
    assert hub_process(upload, folder, token="hf_ada").check()["oid"] == hub.head("lab/x")


def test_download_goes_on_where_it_broke(hub, hub_process):
    # The client keeps whole pieces of 10 MiB.
    content = LARGE * 1200
    hub.commit("lab/x", {"model.safetensors": content})
    hub.fail("GET /storage/", after_bytes=11 << 20)
    got = hub_process(download)
    assert got.check()["files"]["model.safetensors"] == content and "Trying to resume" in got.output
    first, second = hub.sent("GET /storage/")
    assert "range" not in first.headers and first.status == 0
    assert second.headers["range"] == f"bytes={10 << 20}-" and second.status == 206


def test_the_cache_serves_offline(hub, hub_process, tmp_path):
    hub.commit("lab/x", {"a.txt": b"a", "model.safetensors": LARGE})
    online = hub_process(download, cache=tmp_path)
    hub.requests.clear()
    assert hub_process(download, cache=tmp_path, offline=True).check() == online.check()
    assert hub_process(download, offline=True).error.startswith("LocalEntryNotFoundError: ")
    assert hub.requests == []
    # A second look asks for what changed and fetches nothing else.
    hub.commit("lab/x", {"a.txt": b"b"})
    assert hub_process(download, cache=tmp_path).check()["files"]["a.txt"] == b"b"
    assert len(hub.sent("GET .*/resolve/")) == 1 and not hub.sent("GET /storage/")


def test_faults_and_tampering(hub, hub_process, tmp_path):
    hub.commit("lab/x", {"a.txt": b"a", "model.safetensors": LARGE})
    hub.fail("GET /api/models/lab/x", times=1, status=418)
    assert "418" in hub_process(download).error
    head, oid = hub.head("lab/x"), hashlib.sha256(LARGE).hexdigest()
    hub.tamper("lab/x", "model.safetensors", LARGE[:-1] + b"!")
    hub.tamper("lab/x", "a.txt", b"z")
    got = hub_process(download, cache=tmp_path).check()
    assert got["name"] == head == hub.head("lab/x")
    assert got["files"]["model.safetensors"] == LARGE[:-1] + b"!" and got["files"]["a.txt"] == b"z"
    assert (tmp_path / "hub/models--lab--x/snapshots" / head / "model.safetensors").resolve().name == oid


def collect():
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api, seen = HfApi(), []
    made = api.create_collection("Gut models", namespace="lab", description="d")
    assert api.create_collection("Gut models", namespace="lab", exists_ok=True).slug == made.slug
    api.add_collection_item(made.slug, "lab/x", "model", note="a note")
    api.add_collection_item(made.slug, "lab/x", "model", exists_ok=True)
    for action in (
        lambda: api.create_collection("Gut models", namespace="lab"),
        lambda: api.add_collection_item(made.slug, "lab/x", "model"),
        lambda: api.add_collection_item(made.slug, "lab/missing", "model"),
    ):
        try:
            action()
        except HfHubHTTPError as error:
            seen.append(error.response.status_code)
    there = api.get_collection(made.slug)
    items = [(item.item_id, item.item_type, item.note) for item in there.items]
    return made.slug, there.title, items, [c.slug for c in api.list_collections(owner="lab")], seen


def test_collections_are_created_filled_and_listed(hub, hub_process):
    hub.commit("lab/x", {"a.txt": b"a"})
    slug, title, items, listed, refused = hub_process(collect, token="hf_ada").check()
    assert slug.startswith("lab/gut-models-") and title == "Gut models" and listed == [slug]
    assert items == [("lab/x", "model", "a note")] and refused == [409, 409, 404]


@pytest.mark.parametrize(
    ("card", "word"),
    [("---\nlicense: mine\n---\n", "license"), ("---\na: [\n---\n", "YAML"), ("---\ntags: [1]\n---\n", "tags")],
)
def test_a_wrong_card_is_refused_before_anything_is_sent(hub, hub_process, folder, card, word):
    (folder / "README.md").write_text(card)
    refused = hub_process(upload, folder, token="hf_ada")
    assert refused.error.startswith("ValueError: Invalid metadata in README.md.") and word in refused.error
    assert not hub.sent("/(preupload|commit)/") and not hub.sent("^PUT ")


def rows(repo_id, **options):
    from datasets import load_dataset

    loaded = load_dataset(repo_id, **options)
    return {name: split.to_list() for name, split in loaded.items()}


def test_load_dataset_reads_parquet_files(hub, hub_process, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = [{"sample_id": "a", "counts": [1, 2]}, {"sample_id": "b", "counts": [3, 4]}]
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "train.parquet")
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train.parquet\n---\n"
    data = tmp_path / "data"
    data.mkdir()
    (data / "README.md").write_text(card)
    (data / "data").mkdir()
    (tmp_path / "train.parquet").rename(data / "data/train.parquet")
    hub_process(upload, data, repo_type="dataset", private=True, token="hf_ada").check()
    cache = tmp_path / "cache"
    hub.requests.clear()
    online = hub_process(rows, "lab/x", token="hf_ada", cache=cache).check()
    assert online == {"train": table}
    assert {request.status for request in hub.requests if request.status >= 400} <= {404}
    hub.requests.clear()
    assert hub_process(rows, "lab/x", cache=cache, offline=True).check() == online and hub.requests == []
    assert "lab/x" in hub_process(rows, "lab/x").error


def push_rows():
    from datasets import Dataset, load_dataset

    for values in ([1, 2], [1, 2, 3]):
        Dataset.from_dict({"a": values}).push_to_hub("ada/rows")
    return load_dataset("ada/rows")["train"]["a"][:], list(load_dataset("ada/rows", streaming=True)["train"])


def test_pushed_dataset_is_read_back_and_streamed(hub, hub_process):
    table, streamed = hub_process(push_rows, token="hf_ada").check()
    assert table == [1, 2, 3] and streamed == [{"a": 1}, {"a": 2}, {"a": 3}]
    titles = [commit.title for commit in hub.commits("ada/rows", "dataset")]
    assert titles == ["Upload dataset", "Upload dataset", "initial commit"]


def configurations(*wanted):
    from transformers import AutoConfig

    seen = []
    for name, revision in wanted:
        try:
            config = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False)
            seen.append((type(config).__name__, config.hidden_size))
        except OSError as error:
            seen.append(str(error).split(" is not a local folder")[0])
    return seen


def test_auto_config_reads_the_revision_online_and_offline(hub, hub_process, folder, tmp_path):
    old = hub.commit("lab/x", contents(folder))
    hub.commit("lab/x", {"config.json": b'{"model_type": "bert", "hidden_size": 24}'})
    wanted = [("lab/x", "main"), ("lab/x", old), ("lab/missing", "main")]
    online = hub_process(configurations, *wanted, cache=tmp_path).check()
    assert online == [("BertConfig", 24), ("BertConfig", 12), "lab/missing"]
    hub.commit("lab/x", {"config.json": None})
    hub.requests.clear()
    assert hub_process(configurations, *wanted[:2], cache=tmp_path, offline=True).check() == online[:2]
    assert hub.requests == []


def surroundings():
    import os
    import socket

    from huggingface_hub import constants, get_token

    try:
        socket.create_connection(("192.0.2.1", 80), timeout=1)
        reached = "connected"
    except AssertionError as error:
        reached = str(error)
    print("to output")
    return {
        "endpoint": constants.ENDPOINT,
        # The constant may go by a file descriptor of the process.
        "cache": os.path.realpath(constants.HF_HUB_CACHE),
        "offline": constants.HF_HUB_OFFLINE,
        "token": get_token(),
        "reached": reached,
        "cwd": os.getcwd(),
        "proxies": [name for name in os.environ if name.lower().endswith(("http_proxy", "https_proxy"))],
    }


def test_processes_have_their_environment(hub, hub_process, hub_command, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_machine")
    monkeypatch.setenv("HTTPS_PROXY", "http://192.0.2.1:1")
    ran = hub_process(surroundings, cache=tmp_path / "a")
    seen = ran.check()
    assert seen["endpoint"] == hub.url and seen["cache"] == str(tmp_path / "a/hub") and ran.cache == tmp_path / "a"
    assert (seen["offline"], seen["token"], seen["proxies"]) == (False, None, [])
    assert "tried to connect" in seen["reached"] and ran.output == "to output\n"
    seen = hub_process(surroundings, token="hf_bob", offline=True, cwd=tmp_path).check()
    assert (seen["offline"], seen["token"], seen["cwd"]) == (True, "hf_bob", str(tmp_path))
    code = (
        "import os, socket, sys; print(os.environ['HF_ENDPOINT'], input()); socket.create_connection(('192.0.2.1', 1))"
    )
    fresh = hub_command([sys.executable, "-c", code], token="hf_bob", text="typed")
    assert fresh.exit_code == 1 and f"{hub.url} typed" in fresh.output and "tried to connect" in fresh.output


def end(code):
    raise SystemExit(code)


def sleep():
    threading.Event().wait()


def test_how_processes_end(hub_process):
    assert hub_process(end, 3).exit_code == 3 and hub_process(end, None).exit_code == 0
    said = hub_process(end, "no")
    assert said.exit_code == 1 and said.output == "no\n" and said.error is None
    assert hub_process(sleep, timeout=0.5).exit_code is None
    failed = hub_process(contents, 5)
    assert failed.error.startswith("AttributeError: 'int'") and "Traceback" in failed.output
    with pytest.raises(AssertionError, match="AttributeError"):
        failed.check()
