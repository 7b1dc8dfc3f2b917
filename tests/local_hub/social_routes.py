"""Pull requests and collections."""

from __future__ import annotations

import hashlib
import re
from typing import Any
from urllib.parse import unquote

from .repositories import HubError, PullRequest, Repository, now
from .routing import REPOSITORY, Call, Reply, route


@route("GET POST", f"{REPOSITORY}/discussions")
def discussions(call: Call, kind: str, name: str) -> Reply:
    """List pull requests, or open an empty one."""
    if call.request.method == "POST":
        wish = call.json
        if not wish.get("pullRequest"):
            raise HubError(400, "The local Hub has pull requests only.")
        repository, user = call.for_writing(kind, name, create_pr=True)
        _, proposal = repository.commit(
            [], title=wish["title"], description=wish.get("description", ""), author=user.name, create_pr=True
        )
        assert proposal is not None
        return Reply({"num": proposal.number, "pullRequest": True, "url": f"/{repository.prefix}"})
    repository = call.repository(kind, name)
    wanted = call.query.get("status", ["all"])[0]
    found = [_proposal(repository, p) for p in repository.pull_requests if wanted in ("all", p.status)]
    return Reply({"discussions": found, "count": len(found), "start": 0})


@route("GET", rf"{REPOSITORY}/discussions/(?P<number>\d+)")
def discussion(call: Call, kind: str, name: str, number: str) -> Reply:
    """One pull request."""
    repository = call.repository(kind, name)
    proposal = repository.pull_request(int(number))
    body = _proposal(repository, proposal)
    return Reply({**body, "changes": {"base": proposal.base}, "filesWithConflicts": [], "events": [], "diff": ""})


@route("POST", rf"{REPOSITORY}/discussions/(?P<number>\d+)/merge")
def merge(call: Call, kind: str, name: str, number: str) -> Reply:
    """Accept a pull request."""
    repository, user = call.for_writing(kind, name)
    return Reply({"mergeCommitId": repository.merge(int(number), user.name).id})


def _proposal(repository: Repository, proposal: PullRequest) -> dict[str, Any]:
    return {
        "num": proposal.number,
        "title": proposal.title,
        "author": {"name": proposal.author},
        "createdAt": proposal.date,
        "status": proposal.status,
        "isPullRequest": True,
        "repo": {"name": repository.id, "type": repository.kind.removesuffix("s")},
    }


@route("GET POST", "/api/collections")
def collections(call: Call) -> Reply:
    """List collections, or make one."""
    if call.request.method == "GET":
        owners = call.query.get("owner", [])
        wanted = [c for c in call.hub.collections.values() if not owners or c["owner"]["name"] in owners]
        return call.page([{key: value for key, value in c.items() if key != "position"} for c in wanted])
    wish = call.json
    user = call.writer(wish["namespace"], "collections")
    for slug, there in call.hub.collections.items():
        if there["owner"]["name"] == wish["namespace"] and there["title"] == wish["title"]:
            raise HubError(409, "A collection of this title exists already.", slug=slug)
    words = re.sub("[^a-z0-9]+", "-", wish["title"].lower()).strip("-")
    digits = hashlib.sha1(f"{wish['namespace']}/{wish['title']}".encode()).hexdigest()[:24]
    slug = f"{wish['namespace']}/{words}-{digits}"
    call.hub.collections[slug] = {
        "slug": slug,
        "title": wish["title"],
        "description": wish.get("description"),
        "owner": {"name": wish["namespace"], "type": "user" if wish["namespace"] == user.name else "org"},
        "items": [],
        "lastUpdated": now(),
        "position": len(call.hub.collections),
        "private": bool(wish.get("private")),
        "theme": "green",
        "upvotes": 0,
    }
    return Reply(call.hub.collections[slug])


def _collection(call: Call, slug: str) -> dict[str, Any]:
    there = call.hub.collections.get(unquote(slug))
    user = call.user()
    if there is None or (there["private"] and not (user and user.owns(there["owner"]["name"]))):
        raise HubError(404, "Collection not found")
    return there


@route("GET PATCH DELETE", "/api/collections/(?P<slug>[^/]+/[^/]+)")
def collection(call: Call, slug: str) -> Reply:
    """Show, rename or remove a collection."""
    there = _collection(call, slug)
    if call.request.method != "GET":
        call.writer(there["owner"]["name"], "collections")
    if call.request.method == "PATCH":
        there |= {key: value for key, value in call.json.items() if key in ("title", "description", "private")}
    elif call.request.method == "DELETE":
        del call.hub.collections[there["slug"]]
    return Reply(there if call.request.method != "PATCH" else {"data": there})


@route("POST", "/api/collections/(?P<slug>[^/]+/[^/]+)/items")
def add_item(call: Call, slug: str) -> Reply:
    """Put a repository into a collection."""
    there, wish = _collection(call, slug), call.json
    call.writer(there["owner"]["name"], "collections")
    item = wish["item"]
    call.repository(item["type"] + "s", item["id"])
    if any((i["type"], i["id"]) == (item["type"], item["id"]) for i in there["items"]):
        raise HubError(409, "This item is in the collection already.")
    digits = hashlib.sha1(f"{slug}/{item['type']}/{item['id']}".encode()).hexdigest()[:24]
    entry = {"_id": digits, "id": item["id"], "type": item["type"], "position": len(there["items"])}
    if wish.get("note"):
        entry["note"] = {"text": wish["note"], "html": wish["note"]}
    there["items"].append(entry)
    there["lastUpdated"] = now()
    return Reply(there)


@route("DELETE", "/api/collections/(?P<slug>[^/]+/[^/]+)/items/(?P<item>[^/]+)")
def delete_item(call: Call, slug: str, item: str) -> Reply:
    """Take a repository out of a collection."""
    there = _collection(call, slug)
    call.writer(there["owner"]["name"], "collections")
    there["items"] = [entry for entry in there["items"] if entry["_id"] != item]
    return Reply(there)
