"""The HTTP side: a server on 127.0.0.1, its log of requests, and faults to order."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from . import content_routes, repository_routes, social_routes  # noqa: F401
from .repositories import Commit, HubError, Repository, StoredFile
from .routing import ROUTES, Call, Reply

KINDS = {"model": "models", "dataset": "datasets", "space": "spaces"}


@dataclass
class Request:
    """A request as it came in.

    Attributes:
        method: Of HTTP.
        path: As sent, percent-encoded, without the query.
        query: What followed `?`.
        token: The bearer token, or None.
        headers: Names in small letters.
        sent: Bytes of the body that arrived.
        status: Of the answer; 0 where the connection was dropped, or while it is being served.
    """

    method: str
    path: str
    query: str
    token: str | None
    headers: dict[str, str] = field(repr=False)
    sent: int = 0
    status: int = 0

    @property
    def line(self) -> str:
        """`METHOD path?query`: what the patterns of `fail`, `on` and `sent` are searched in."""
        return f"{self.method} {self.path}" + (f"?{self.query}" if self.query else "")


@dataclass(frozen=True)
class User:
    """Who a token stands for."""

    name: str
    token: str
    can_write: bool
    orgs: tuple[str, ...]

    def owns(self, namespace: str) -> bool:
        """Whether the user is, or belongs to, this namespace."""
        return namespace in (self.name, *self.orgs)


@dataclass
class _Rule:
    pattern: re.Pattern[str]
    times: int = 1
    status: int = 500
    after_bytes: int | None = None
    function: Callable[[], Any] | None = None


class LocalHub:
    """A Hub for tests. `with LocalHub() as hub:` serves at `hub.url` until the block ends.

    Large files live at `hub.storage_url`, which is another host to the client, as on the real Hub: tokens must not go
    there, and the answer to a large file's address is a redirection.

    Attributes:
        url: What `HF_ENDPOINT` has to be.
        storage_url: Where large files are.
        requests: All requests so far; `requests.clear()` empties it.
        lfs_suffixes: Files of these names are large ones.
        lfs_threshold: And files of this many bytes or more.
        page_size: Entries of a page where the Hub answers in pages.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.lfs_suffixes: tuple[str, ...] = (".safetensors", ".parquet", ".arrow", ".bin", ".npy", ".npz", ".gz")
        self.lfs_threshold = 10 * 1024 * 1024
        self.page_size = 1000
        self.lock = threading.RLock()
        self.users: dict[str, User] = {}
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.collections: dict[str, dict[str, Any]] = {}
        self._faults: list[_Rule] = []
        self._calls: list[_Rule] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{port}"
        self.storage_url = f"http://{_second_name()}:{port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> LocalHub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add_user(self, name: str, token: str, can_write: bool = True, orgs: Iterable[str] = ()) -> None:
        """Make a token valid. A user may have several."""
        with self.lock:
            self.users[token] = User(name, token, can_write, tuple(orgs))

    def reset(self) -> None:
        """Forget repositories, collections, requests, faults and callbacks; users stay."""
        with self.lock:
            for state in (self.repositories, self.collections, self.requests, self._faults, self._calls):
                state.clear()

    def repository(self, repo_id: str, repo_type: str = "model") -> Repository:
        """A repository's state.

        Raises:
            KeyError: Where there is none.
        """
        return self.repositories[KINDS[repo_type], repo_id]

    def exists(self, repo_id: str, repo_type: str = "model") -> bool:
        """Whether the repository is there."""
        return (KINDS[repo_type], repo_id) in self.repositories

    def head(self, repo_id: str, repo_type: str = "model", revision: str = "main") -> str:
        """Id of a revision's commit, 40 hex digits."""
        with self.lock:
            return self.repository(repo_id, repo_type).resolve(revision).id

    def files(self, repo_id: str, repo_type: str = "model", revision: str = "main") -> dict[str, bytes]:
        """A revision's files by path, `.gitattributes` of the first commit among them."""
        with self.lock:
            files = self.repository(repo_id, repo_type).resolve(revision).files
            return {path: file.content for path, file in sorted(files.items())}

    def commits(self, repo_id: str, repo_type: str = "model", revision: str = "main") -> list[Commit]:
        """A revision's commits, newest first; the last one is the Hub's own `initial commit`."""
        with self.lock:
            return self.repository(repo_id, repo_type).history(revision)

    def commit(
        self,
        repo_id: str,
        files: Mapping[str, bytes | None],
        repo_type: str = "model",
        revision: str = "main",
        title: str = "Change by someone else",
        author: str = "someone",
        private: bool = False,
    ) -> str:
        """Commit past the client, making the repository where it is missing.

        Args:
            repo_id: `namespace/name`.
            files: Contents by path; None deletes.
            repo_type: `model` or `dataset`.
            revision: Branch.
            title: Message.
            author: Name.
            private: Of a repository that is made.

        Returns:
            The commit's id.
        """
        with self.lock:
            kind = KINDS[repo_type]
            if (kind, repo_id) not in self.repositories:
                self.repositories[kind, repo_id] = Repository(kind, repo_id, author, private)
            repository = self.repositories[kind, repo_id]
            changes: list[tuple[str, str, Any]] = []
            for path, content in files.items():
                if content is None:
                    changes.append(("deletedFile", path, None))
                elif self.is_large(path, content, len(content)):
                    file = StoredFile.of(content, True)
                    repository.large[file.sha256] = content
                    changes.append(("lfsFile", path, (file.sha256, len(content))))
                else:
                    changes.append(("file", path, content))
            return repository.commit(changes, title=title, author=author, revision=revision)[0].id

    def tamper(self, repo_id: str, path: str, content: bytes, repo_type: str = "model") -> None:
        """Change a file's stored bytes; commit ids, ETags and hashes stay what they were."""
        with self.lock:
            self.repository(repo_id, repo_type).tamper(path, content)

    def fail(self, pattern: str, times: int = 1, status: int = 500, after_bytes: int | None = None) -> None:
        """Let the next matching requests fail.

        The client repeats most requests after 429 and 5xx and after a lost connection (five times, waiting 1, 2, 4, 8
        and 8 s), but not after 4xx: a failure that has to last and be fast is one of 4xx.

        Args:
            pattern: Regular expression, searched in `METHOD path?query`.
            times: How many requests.
            status: The answer.
            after_bytes: Instead of an answer, drop the connection after so many bytes of the request's body, or of the
                answer's where the request has none.
        """
        with self.lock:
            self._faults.append(_Rule(re.compile(pattern), times, status, after_bytes))

    def heal(self) -> None:
        """Forget all faults."""
        with self.lock:
            self._faults.clear()

    def on(self, pattern: str, function: Callable[[], Any]) -> None:
        """Call `function()` once, just before the next matching request is served."""
        with self.lock:
            self._calls.append(_Rule(re.compile(pattern), function=function))

    def sent(self, pattern: str) -> list[Request]:
        """Requests so far whose `METHOD path?query` matches."""
        return [request for request in list(self.requests) if re.search(pattern, request.line)]

    def is_large(self, path: str, sample: bytes, size: int) -> bool:
        """Whether a file of this name, beginning and size goes to the large files' store."""
        return size > 0 and (path.endswith(self.lfs_suffixes) or size >= self.lfs_threshold or b"\0" in sample)

    def take(self, rules: str, line: str) -> _Rule | None:
        """Use up one fault or callback for a request."""
        with self.lock:
            kept: list[_Rule] = getattr(self, f"_{rules}")
            for rule in kept:
                if rule.pattern.search(line):
                    rule.times -= 1
                    if not rule.times:
                        kept.remove(rule)
                    return rule
            return None


def _second_name() -> str:
    try:
        addresses = {str(info[4][0]) for info in socket.getaddrinfo("localhost", None)}
    except OSError:
        addresses = set()
    return "localhost" if "127.0.0.1" in addresses else "127.0.0.1"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: LocalHub

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are in `LocalHub.requests`."""

    def _serve(self) -> None:
        hub, url = self.server.hub, urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        token = headers.get("authorization", "").removeprefix("Bearer ") or None
        request = Request(self.command, url.path, url.query, token, headers)
        hub.requests.append(request)
        if call := hub.take("calls", request.line):
            assert call.function is not None
            call.function()
        fault = hub.take("faults", request.line)
        has_body = "chunked" in headers.get("transfer-encoding", "") or int(headers.get("content-length", 0)) > 0
        cut = fault.after_bytes if fault else None
        body = self._body(headers, cut if has_body else None)
        request.sent = len(body)
        if cut is not None and has_body:
            self._drop()
            return
        if fault and cut is None:
            reply = Reply.of_error(HubError(fault.status, "The local Hub was told to fail."))
        else:
            reply = self._answer(Call(hub, request, body))
        request.status = 0 if cut is not None else reply.status
        self._send(reply, cut)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = _serve

    def _body(self, headers: dict[str, str], limit: int | None) -> bytes:
        if "chunked" not in headers.get("transfer-encoding", ""):
            length = int(headers.get("content-length", 0))
            return self.rfile.read(length if limit is None else min(limit, length))
        parts: list[bytes] = []
        while (size := int(self.rfile.readline().split(b";")[0], 16)) > 0:
            parts.append(self.rfile.read(size))
            self.rfile.readline()
            if limit is not None and sum(map(len, parts)) >= limit:
                return b"".join(parts)[:limit]
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, call: Call) -> Reply:
        try:
            for methods, pattern, function in ROUTES:
                if call.request.method in methods.split() and (match := pattern.fullmatch(call.request.path)):
                    with call.hub.lock:
                        return function(call, **match.groupdict())
            raise HubError(404, "Sorry, we can't find the page you are looking for.")
        except HubError as error:
            return Reply.of_error(error)

    def _send(self, reply: Reply, cut: int | None) -> None:
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        self.send_header("X-Request-Id", f"Root=local-{len(self.server.hub.requests)}")
        self.send_header("Content-Length", str(len(body)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self._drop()

    def _drop(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
