"""How a request finds the function that answers it, and what both have at hand."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlencode

from .repositories import HubError, Repository

if TYPE_CHECKING:
    from .server import LocalHub, Request, User

VERBS = "revision|tree|refs|commits|paths-info|preupload|commit|tag|branch|discussions|settings|auth-check"
REPOSITORY = rf"/api/(?P<kind>models|datasets|spaces)/(?P<name>[^/]+(?:/(?!(?:{VERBS})(?:/|$))[^/]+)?)"
WEB = r"/(?P<kind>datasets/|spaces/)?(?P<name>[^/]+(?:/[^/]+)?)"
REVISION = r"(?P<revision>refs/(?:pr|convert)/[^/]+|[^/]+)"


@dataclass
class Reply:
    """An answer; a body that is not bytes is sent as JSON."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kind = "application/octet-stream" if isinstance(self.body, bytes) else "application/json; charset=utf-8"
        self.headers.setdefault("Content-Type", kind)

    @classmethod
    def of_error(cls, error: HubError) -> Reply:
        """The Hub's answer to a request that it refuses."""
        headers = {"X-Error-Message": " ".join(error.body.pop("header", error.message).split())}
        if error.code:
            headers["X-Error-Code"] = error.code
        return cls({"error": error.message, **error.body}, error.status, headers)


@dataclass
class Call:
    """A request, what it brought, and the Hub it reached."""

    hub: LocalHub
    request: Request
    content: bytes

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.content or b"{}")

    @property
    def query(self) -> dict[str, list[str]]:
        """The query's values by name."""
        return parse_qs(self.request.query, keep_blank_values=True)

    def flag(self, name: str) -> bool:
        """Whether the query switches something on."""
        return self.query.get(name, [""])[-1].lower() in ("1", "true")

    def user(self) -> User | None:
        """Whose token it is; None without one."""
        token = self.request.token
        if token is None:
            return None
        if token not in self.hub.users:
            raise HubError(401, "Invalid username or password.", header="Invalid credentials in Authorization header")
        return self.hub.users[token]

    def known_user(self) -> User:
        """Whose token it is; there has to be one."""
        user = self.user()
        if user is None:
            raise HubError(401, "Invalid username or password.")
        return user

    def writer(self, namespace: str, kind: str = "models", own: bool = True) -> User:
        """The user, who has a token for writing and, with `own`, may write to the namespace."""
        user = self.known_user()
        if own and not user.owns(namespace):
            noun = kind.removesuffix("s")
            message = f'You don\'t have the rights to create a {noun} under the namespace "{namespace}".'
            raise HubError(403, message + '\nLogged in as "' + user.name + '"')
        if not user.can_write:
            raise HubError(403, "Forbidden: you must use a write token to upload to a repository.")
        return user

    def repository(self, kind: str | None, name: str, files: bool = False) -> Repository:
        """A repository that the user may see, and with `files` whose files the user may read."""
        user = self.user()
        repository = self.hub.repositories.get(((kind or "models").rstrip("/"), unquote(name)))
        if repository is None or (repository.private and not (user and user.owns(repository.namespace))):
            # Without a token the Hub does not tell a private repository from a missing one.
            if user is None:
                raise HubError(401, "Invalid username or password.", "RepoNotFound", header="Repository not found")
            raise HubError(404, "Repository not found", "RepoNotFound")
        if files and repository.gated and not (user and user.owns(repository.namespace)):
            message = f"Access to {repository.kind.removesuffix('s')} {repository.id} is restricted."
            raise HubError(403 if user else 401, message, "GatedRepo")
        return repository

    def for_writing(self, kind: str | None, name: str, create_pr: bool = False) -> tuple[Repository, User]:
        """A repository to which the user may write, or with `create_pr` propose a change."""
        repository = self.repository(kind, name)
        user = self.known_user()
        if not create_pr and not user.owns(repository.namespace):
            raise HubError(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")
        return repository, self.writer(repository.namespace, repository.kind, own=False)

    def page(self, items: list[Any]) -> Reply:
        """One page of a list, with the address of the next."""
        start, size = int(self.query.get("cursor", ["0"])[0]), self.hub.page_size
        reply = Reply(items[start : start + size])
        if start + size < len(items):
            query = urlencode({**self.query, "cursor": [str(start + size)]}, doseq=True)
            reply.headers["Link"] = f'<{self.hub.url}{self.request.path}?{query}>; rel="next"'
        return reply


Route = Callable[..., Reply]
ROUTES: list[tuple[str, re.Pattern[str], Route]] = []


def route(methods: str, pattern: str) -> Callable[[Route], Route]:
    """Let a function answer requests whose whole path matches; named groups are its arguments, still quoted."""

    def register(function: Route) -> Route:
        ROUTES.append((methods, re.compile(pattern), function))
        return function

    return register
