"""Repositories: making, describing, listing, naming."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import parse_qs, unquote

from . import cards
from .repositories import Commit, HubError, Repository, StoredFile
from .routing import REPOSITORY, REVISION, Call, Reply, route


@route("GET", "/api/whoami-v2")
def whoami(call: Call) -> Reply:
    """Who a token belongs to."""
    user = call.known_user()
    orgs = [{"type": "org", "name": org, "fullname": org, "roleInOrg": "write"} for org in user.orgs]
    token = {"type": "access_token", "accessToken": {"displayName": "t", "role": "write" if user.can_write else "read"}}
    return Reply(
        {"type": "user", "id": user.name, "name": user.name, "fullname": user.name, "orgs": orgs, "auth": token}
    )


@route("GET", "/api/agent-harnesses")
def agent_harnesses(call: Call) -> Reply:
    """The client asks for this list once a cache folder."""
    return Reply({"standardEnvVars": [], "harnesses": {}})


@route("POST", "/api/validate-yaml")
def validate_yaml(call: Call) -> Reply:
    """Check a card's metadata."""
    errors, warnings = cards.problems(call.json["content"])
    body = {"errors": [{"message": e} for e in errors], "warnings": [{"message": w} for w in warnings]}
    return Reply(body, 400 if errors else 200)


@route("POST", "/api/repos/create")
def create(call: Call) -> Reply:
    """Make a repository."""
    wish = call.json
    kind = wish.get("type", "model") + "s"
    namespace = wish.get("organization") or call.known_user().name
    user = call.writer(namespace, kind)
    repo_id = f"{namespace}/{wish['name']}"
    url = f"{call.hub.url}/{repo_id if kind == 'models' else f'{kind}/{repo_id}'}"
    if (kind, repo_id) in call.hub.repositories:
        raise HubError(409, f"You already created this {kind.removesuffix('s')} repo", url=url)
    private = wish.get("visibility") == "private" or bool(wish.get("private"))
    call.hub.repositories[kind, repo_id] = Repository(kind, repo_id, user.name, private)
    return Reply({"url": url, "name": repo_id, "id": repo_id})


@route("DELETE", "/api/repos/delete")
def delete(call: Call) -> Reply:
    """Remove a repository."""
    wish = call.json
    name = f"{wish.get('organization') or call.known_user().name}/{wish['name']}"
    repository, _ = call.for_writing(wish.get("type", "model") + "s", name)
    del call.hub.repositories[repository.kind, repository.id]
    return Reply({})


@route("PUT", f"{REPOSITORY}/settings")
def settings(call: Call, kind: str, name: str) -> Reply:
    """Change who sees a repository."""
    repository, _ = call.for_writing(kind, name)
    wish = call.json
    if "visibility" in wish:
        repository.private = wish["visibility"] == "private"
    repository.private = wish.get("private", repository.private)
    repository.gated = wish.get("gated", repository.gated)
    return Reply({"private": repository.private, "gated": repository.gated})


@route("GET", rf"{REPOSITORY}/auth-check(?P<write>/write)?")
def auth_check(call: Call, kind: str, name: str, write: str | None) -> Reply:
    """Tell whether the user may read, or write."""
    if write:
        call.for_writing(kind, name)
    call.repository(kind, name, files=True)
    return Reply({})


@route("GET", r"/api/(?P<kind>models|datasets|spaces)")
def repositories(call: Call, kind: str) -> Reply:
    """List what the user may see."""
    user, (author, search) = call.user(), (call.query.get(key, [""])[0] for key in ("author", "search"))
    visible = [
        repository
        for (k, _), repository in sorted(call.hub.repositories.items())
        if k == kind
        and author in ("", repository.namespace)
        and search in repository.id
        and (not repository.private or (user and user.owns(repository.namespace)))
    ]
    return call.page([_info(repository, repository.resolve("main"), False) for repository in visible])


@route("GET", f"{REPOSITORY}(?:/revision/{REVISION})?")
def info(call: Call, kind: str, name: str, revision: str | None) -> Reply:
    """Describe a repository at a revision."""
    repository = call.repository(kind, name)
    body = _info(repository, repository.resolve(unquote(revision or "main")), call.flag("blobs"))
    if wanted := call.query.get("expand") or call.query.get("expand[]"):
        body = {key: value for key, value in body.items() if key in {"_id", "id", *wanted}}
    return Reply(body)


def _info(repository: Repository, commit: Commit, blobs: bool) -> dict[str, Any]:
    card = _text(commit, "README.md")
    try:
        values = cards.metadata(card) or {}
    except ValueError:
        values = {}
    siblings = []
    for path, file in sorted(commit.files.items()):
        sibling: dict[str, Any] = {"rfilename": path}
        if blobs:
            sibling |= {"size": len(file.content), "blobId": file.oid}
            if file.lfs:
                sibling["lfs"] = {"size": len(file.content), "sha256": file.sha256, "pointerSize": file.pointer_size}
        siblings.append(sibling)
    body: dict[str, Any] = {
        "_id": hashlib.sha1(repository.prefix.encode()).hexdigest()[:24],
        "id": repository.id,
        "author": repository.namespace,
        "sha": commit.id,
        "createdAt": repository.created,
        "lastModified": commit.date,
        "private": repository.private,
        "gated": repository.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": values.get("tags") or [],
        "cardData": values,
        "siblings": siblings,
        "usedStorage": sum(map(len, repository.large.values())),
    }
    if repository.kind == "models":
        config = json.loads(_text(commit, "config.json") or "{}")
        body |= {key: values[key] for key in ("pipeline_tag", "library_name", "model-index") if key in values}
        kept = ("architectures", "model_type", "auto_map")
        body |= {"modelId": repository.id, "config": {key: config[key] for key in kept if key in config}}
    return body


def _text(commit: Commit, path: str) -> str:
    return commit.files[path].content.decode() if path in commit.files else ""


@route("GET", f"{REPOSITORY}/tree/{REVISION}(?:/(?P<path>.*))?")
def tree(call: Call, kind: str, name: str, revision: str, path: str | None) -> Reply:
    """List a folder."""
    repository = call.repository(kind, name)
    commit, folder = repository.resolve(unquote(revision)), unquote(path or "").strip("/")
    entries = _entries(repository, commit, call.flag("expand"))
    inside = {p: entry for p, entry in entries.items() if not folder or p.startswith(folder + "/")}
    if folder and not inside:
        raise HubError(404, f'{folder} does not exist on "{unquote(revision)}"', "EntryNotFound")
    if not call.flag("recursive"):
        depth = folder.count("/") + 1 if folder else 0
        inside = {p: entry for p, entry in inside.items() if p.count("/") == depth}
    return call.page(list(inside.values()))


def _entries(repository: Repository, commit: Commit, expand: bool = False) -> dict[str, dict[str, Any]]:
    entries = {}
    for path, file in commit.files.items():
        parts = path.split("/")
        for n in range(1, len(parts)):
            folder = "/".join(parts[:n])
            oid = hashlib.sha1(f"{commit.id}/{folder}".encode()).hexdigest()
            entries[folder] = {"type": "directory", "oid": oid, "size": 0, "path": folder}
        entries[path] = {"type": "file", "oid": file.oid, "size": len(file.content), "path": path}
        if file.lfs:
            pointer = {"oid": file.sha256, "size": len(file.content), "pointerSize": file.pointer_size}
            entries[path]["lfs"] = pointer
    if expand:
        history = repository.history(commit.id)
        for path, entry in entries.items():
            last = next(c for c in history if _part(c, path) != _part(repository.commits.get(c.parent or ""), path))
            entry["lastCommit"] = {"id": last.id, "title": last.title, "date": last.date}
    return dict(sorted(entries.items()))


def _part(commit: Commit | None, path: str) -> dict[str, StoredFile]:
    return {p: f for p, f in (commit.files if commit else {}).items() if p == path or p.startswith(path + "/")}


@route("POST", f"{REPOSITORY}/paths-info/{REVISION}")
def paths_info(call: Call, kind: str, name: str, revision: str) -> Reply:
    """Describe some paths; those that are missing are left out."""
    repository = call.repository(kind, name)
    if "json" in call.request.headers.get("content-type", ""):
        paths, expand = call.json["paths"], bool(call.json.get("expand"))
    else:
        form = parse_qs(call.content.decode())
        paths, expand = form.get("paths", []), form.get("expand", [""])[0].lower() == "true"
    entries = _entries(repository, repository.resolve(unquote(revision)), expand)
    return Reply([entries[path.strip("/")] for path in paths if path.strip("/") in entries])


@route("GET", f"{REPOSITORY}/refs")
def refs(call: Call, kind: str, name: str) -> Reply:
    """List branches, tags and pull requests."""
    repository = call.repository(kind, name)
    body: dict[str, list[dict[str, str]]] = {"branches": [], "converts": [], "tags": []}
    if call.flag("include_prs"):
        body["pullRequests"] = []
    groups = {"refs/heads/": "branches", "refs/tags/": "tags", "refs/pr/": "pullRequests"}
    for ref, target in repository.refs.items():
        for prefix, group in groups.items():
            if ref.startswith(prefix) and group in body:
                short = ref if group == "pullRequests" else ref.removeprefix(prefix)
                body[group].append({"name": short, "ref": ref, "targetCommit": target})
    return Reply(body)


@route("GET", f"{REPOSITORY}/commits/{REVISION}")
def commits(call: Call, kind: str, name: str, revision: str) -> Reply:
    """List a revision's commits, newest first."""
    return call.page(
        [
            {"id": c.id, "title": c.title, "message": c.description, "authors": [{"user": c.author}], "date": c.date}
            for c in call.repository(kind, name).history(unquote(revision))
        ]
    )


@route("POST", f"{REPOSITORY}/tag/{REVISION}")
def create_tag(call: Call, kind: str, name: str, revision: str) -> Reply:
    """Name a commit."""
    repository, _ = call.for_writing(kind, name)
    ref = f"refs/tags/{call.json['tag']}"
    if ref in repository.refs:
        raise HubError(409, f"Tag reference exists already: {ref}")
    repository.refs[ref] = repository.resolve(unquote(revision)).id
    return Reply({})


@route("DELETE", f"{REPOSITORY}/tag/(?P<tag>[^/]+)")
def delete_tag(call: Call, kind: str, name: str, tag: str) -> Reply:
    """Take a tag away."""
    repository, _ = call.for_writing(kind, name)
    if repository.refs.pop(f"refs/tags/{unquote(tag)}", None) is None:
        raise HubError(404, f"Invalid rev id: {unquote(tag)}", "RevisionNotFound")
    return Reply({})


@route("POST DELETE", f"{REPOSITORY}/branch/(?P<branch>[^/]+)")
def branch(call: Call, kind: str, name: str, branch: str) -> Reply:
    """Make or remove a branch."""
    repository, _ = call.for_writing(kind, name)
    ref = f"refs/heads/{unquote(branch)}"
    if call.request.method == "DELETE":
        if ref == "refs/heads/main":
            raise HubError(403, "Cannot delete the default branch")
        if repository.refs.pop(ref, None) is None:
            raise HubError(404, f"Invalid rev id: {unquote(branch)}", "RevisionNotFound")
    elif ref in repository.refs:
        raise HubError(409, f"Reference already exists: {ref}")
    else:
        repository.refs[ref] = repository.resolve(call.json.get("startingPoint") or "main").id
    return Reply({})
