"""Files: what has to be sent and how, large files, commits, downloads."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any
from urllib.parse import unquote, urlencode

from .repositories import HubError, Repository
from .routing import REPOSITORY, REVISION, WEB, Call, Reply, route


@route("POST", f"{REPOSITORY}/preupload/{REVISION}")
def preupload(call: Call, kind: str, name: str, revision: str) -> Reply:
    """Say for each file which way it has to come, and what is there already."""
    repository, _ = call.for_writing(kind, name, call.flag("create_pr"))
    head, files = repository.resolve(unquote(revision)), []
    for wish in call.json["files"]:
        large = call.hub.is_large(wish["path"], base64.b64decode(wish["sample"]), wish["size"])
        mode = "lfs" if large else "regular"
        answer = {"path": wish["path"], "uploadMode": mode, "shouldIgnore": False}
        if there := head.files.get(wish["path"]):
            answer["oid"] = there.etag
        files.append(answer)
    return Reply({"files": files, "commitOid": head.id})


@route("POST", rf"{WEB}\.git/info/lfs/objects/batch")
def lfs_batch(call: Call, kind: str | None, name: str) -> Reply:
    """Say where to put large files; those that are there have no `actions`."""
    wish = call.json
    repository, _ = call.for_writing(kind, name, create_pr="ref" not in wish)
    objects = []
    for item in wish["objects"]:
        entry = {"oid": item["oid"], "size": item["size"]}
        if item["oid"] not in repository.large:
            verify = f"{call.hub.url}/{repository.prefix}.git/info/lfs/objects/verify"
            entry["actions"] = {"upload": {"href": _storage(call, repository, item["oid"])}, "verify": {"href": verify}}
        objects.append(entry)
    return Reply({"transfer": "basic", "objects": objects})


@route("POST", rf"{WEB}\.git/info/lfs/objects/verify")
def lfs_verify(call: Call, kind: str | None, name: str) -> Reply:
    """Confirm that a large file arrived."""
    repository, _ = call.for_writing(kind, name, create_pr=True)
    wish = call.json
    if len(repository.large.get(wish["oid"], b"")) != wish["size"]:
        raise HubError(404, f"The object {wish['oid']} of {wish['size']} bytes is not there.")
    return Reply({})


def _signature(repository: Repository, oid: str) -> str:
    return hashlib.sha256(f"{repository.prefix}/{oid}/{repository.created}".encode()).hexdigest()[:32]


def _storage(call: Call, repository: Repository, oid: str, path: str = "") -> str:
    query = {"X-Signature": _signature(repository, oid)} | ({"filename": path} if path else {})
    return f"{call.hub.storage_url}/storage/{repository.kind}/{repository.id}/{oid}?{urlencode(query)}"


@route("PUT GET HEAD", "/storage/(?P<kind>[^/]+)/(?P<name>[^/]+/[^/]+)/(?P<oid>[0-9a-f]{64})")
def storage(call: Call, kind: str, name: str, oid: str) -> Reply:
    """Take or give a large file; the signature in the address stands for the right to it, a token for nothing."""
    repository = call.hub.repositories.get((kind, unquote(name)))
    if repository is None or call.query.get("X-Signature") != [_signature(repository, oid)]:
        raise HubError(403, "Access Denied")
    if call.request.method == "PUT":
        if hashlib.sha256(call.content).hexdigest() != oid:
            raise HubError(400, "The content does not have the announced checksum.")
        repository.large[oid] = call.content
        return Reply(headers={"ETag": f'"{hashlib.md5(call.content).hexdigest()}"'})
    return _content(call, repository.large[oid], hashlib.md5(oid.encode()).hexdigest())


def _content(call: Call, content: bytes, etag: str) -> Reply:
    reply = Reply(content, headers={"ETag": f'"{etag}"', "Accept-Ranges": "bytes"})
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", call.request.headers.get("range", ""))
    if not match or match.groups() == ("", ""):
        return reply
    first, last = match.groups()
    start = int(first) if first else max(len(content) - int(last), 0)
    stop = min(int(last) + 1, len(content)) if first and last else len(content)
    if start >= stop:
        return Reply(b"", 416, {"Content-Range": f"bytes */{len(content)}"})
    reply.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
    reply.status, reply.body = 206, content[start:stop]
    return reply


@route("GET HEAD", f"{WEB}/(?:resolve|raw)/{REVISION}/(?P<path>.+)")
def resolve(call: Call, kind: str | None, name: str, revision: str, path: str) -> Reply:
    """A file, or for a large one the way to its store."""
    repository = call.repository(kind, name, files=True)
    commit = repository.resolve(unquote(revision))
    head = {"X-Repo-Commit": commit.id}
    file = commit.files.get(unquote(path))
    if file is None:
        reply = Reply.of_error(HubError(404, "Entry not found", "EntryNotFound"))
    elif not file.lfs:
        reply = _content(call, file.content, file.oid)
    else:
        head |= {"X-Linked-Etag": f'"{file.etag}"', "X-Linked-Size": str(len(file.content))}
        head["Location"] = _storage(call, repository, file.sha256, unquote(path))
        reply = Reply(b"Found. Redirecting", 302)
    reply.headers |= head
    return reply


@route("POST", f"{REPOSITORY}/commit/{REVISION}")
def commit(call: Call, kind: str, name: str, revision: str) -> Reply:
    """Commit what the lines of the body say."""
    create_pr = call.flag("create_pr")
    repository, user = call.for_writing(kind, name, create_pr)
    lines = [json.loads(line) for line in call.content.splitlines() if line.strip()]
    if not lines or lines[0]["key"] != "header":
        raise HubError(400, "The first line of a commit has to be its header.")
    header, changes = lines[0]["value"], []
    for line in lines[1:]:
        verb, value = line["key"], line["value"]
        if verb not in ("file", "lfsFile", "deletedFile", "deletedFolder"):
            raise HubError(400, f"Unknown operation {verb}.")
        given: Any = None
        if verb == "file":
            given = base64.b64decode(value["content"])
        elif verb == "lfsFile":
            given = value["oid"], value.get("size")
        changes.append((verb, value["path"], given))
    made, proposal = repository.commit(
        changes,
        title=header["summary"],
        description=header.get("description", ""),
        author=user.name,
        revision=unquote(revision),
        parent=header.get("parentCommit"),
        create_pr=create_pr,
    )
    web = f"{call.hub.url}/{repository.prefix}"
    body = {"success": True, "commitOid": made.id, "commitUrl": f"{web}/commit/{made.id}", "hookOutput": ""}
    if proposal:
        body["pullRequestUrl"] = f"{web}/discussions/{proposal.number}"
    return Reply(body)
