"""What the Hub holds: repositories with commits, branches, tags, pull requests and large files; no HTTP here."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

MAIN = "refs/heads/main"
INITIAL_FILES = {".gitattributes": b"*.parquet filter=lfs diff=lfs merge=lfs -text\n*.safetensors filter=lfs -text\n"}


class HubError(Exception):
    """An answer other than success.

    Args:
        status: HTTP status.
        message: The Hub's sentence, in the body as `error` and in the header `X-Error-Message`.
        code: Value of the header `X-Error-Code`, by which the client chooses its exception.
        **body: Further fields of the body.
    """

    def __init__(self, status: int, message: str, code: str | None = None, **body: Any) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.body = status, message, code, body


def now() -> str:
    """The time as the Hub writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def git_oid(content: bytes) -> str:
    """Git's id of a blob: 40 hex digits."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass(frozen=True)
class StoredFile:
    """A file of a commit; `oid` is git's id of the blob, which for a large file is the pointer to `sha256`."""

    content: bytes
    lfs: bool
    oid: str
    sha256: str
    pointer_size: int = 0

    @classmethod
    def of(cls, content: bytes, lfs: bool) -> StoredFile:
        """The file of these bytes."""
        sha256 = hashlib.sha256(content).hexdigest()
        if not lfs:
            return cls(content, False, git_oid(content), sha256)
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(content)}\n".encode()
        return cls(content, True, git_oid(pointer), sha256, len(pointer))

    @property
    def etag(self) -> str:
        """By which the client names the file in its cache."""
        return self.sha256 if self.lfs else self.oid


@dataclass(frozen=True)
class Commit:
    """A state of a repository; `id` is made of all the rest."""

    id: str
    parent: str | None
    title: str
    description: str
    author: str
    date: str
    files: Mapping[str, StoredFile] = field(repr=False)


@dataclass
class PullRequest:
    """A proposed change; its commits are at `refs/pr/<number>`."""

    number: int
    title: str
    author: str
    description: str
    base: str
    date: str = field(default_factory=now)
    status: str = "open"


class Repository:
    """One model or dataset repository.

    Args:
        kind: `models`, `datasets` or `spaces`.
        repo_id: `namespace/name`.
        author: Name of who makes it.
        private: Whether only its namespace sees it.
    """

    def __init__(self, kind: str, repo_id: str, author: str, private: bool = False) -> None:
        self.kind, self.id, self.private, self.gated = kind, repo_id, private, False
        self.created = now()
        self.commits: dict[str, Commit] = {}
        self.refs: dict[str, str] = {}
        self.large: dict[str, bytes] = {}
        self.pull_requests: list[PullRequest] = []
        files = {path: StoredFile.of(content, False) for path, content in INITIAL_FILES.items()}
        self.refs[MAIN] = self._store(None, files, "initial commit", "", author).id

    @property
    def namespace(self) -> str:
        """User or organisation that owns it."""
        return self.id.split("/")[0]

    @property
    def prefix(self) -> str:
        """Of its web address."""
        return self.id if self.kind == "models" else f"{self.kind}/{self.id}"

    def ref_of(self, revision: str) -> str | None:
        """Full name of the branch, tag or pull request that a revision names, or None."""
        for ref in (revision, f"refs/heads/{revision}", f"refs/tags/{revision}"):
            if ref in self.refs:
                return ref
        return None

    def resolve(self, revision: str) -> Commit:
        """Commit of a branch, a tag, `refs/pr/N` or a commit's id of 7 digits or more."""
        if ref := self.ref_of(revision):
            return self.commits[self.refs[ref]]
        if re.fullmatch("[0-9a-f]{7,40}", revision):
            found = [commit for commit_id, commit in self.commits.items() if commit_id.startswith(revision)]
            if len(found) == 1:
                return found[0]
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def history(self, revision: str) -> list[Commit]:
        """Commits of a revision, newest first."""
        commits = [self.resolve(revision)]
        while commits[-1].parent:
            commits.append(self.commits[commits[-1].parent])
        return commits

    def file(self, revision: str, path: str) -> tuple[Commit, StoredFile]:
        """A file and the commit in which it was found."""
        commit = self.resolve(revision)
        if path not in commit.files:
            raise HubError(404, "Entry not found", "EntryNotFound")
        return commit, commit.files[path]

    def _store(
        self, parent: str | None, files: Mapping[str, StoredFile], title: str, description: str, author: str
    ) -> Commit:
        date = now()
        tree = "\n".join(f"{file.oid} {path}" for path, file in sorted(files.items()))
        # The number of commits keeps two equal changes within one tick of the clock apart.
        text = "\0".join([tree, str(parent), author, date, title, description, str(len(self.commits))])
        commit_id = hashlib.sha1(text.encode()).hexdigest()
        commit = Commit(commit_id, parent, title, description, author, date, dict(files))
        self.commits[commit_id] = commit
        return commit

    def commit(
        self,
        changes: list[tuple[str, str, Any]],
        *,
        title: str,
        description: str = "",
        author: str,
        revision: str = "main",
        parent: str | None = None,
        create_pr: bool = False,
    ) -> tuple[Commit, PullRequest | None]:
        """Apply changes as one commit, or refuse all of them.

        Args:
            changes: `(verb, path, value)`: `file` with bytes, `lfsFile` with `(sha256, size)`, `deletedFile` and
                `deletedFolder`.
            title: First line of the message.
            description: Rest of it.
            author: Name.
            revision: Branch or pull request it goes on.
            parent: The commit which has to be the head; with `create_pr`, the one to start from.
            create_pr: Propose it instead.
        """
        ref = self.ref_of(revision)
        if ref is None or ref.startswith("refs/tags/"):
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        base = self.commits[self.refs[ref]]
        if parent and create_pr:
            base = self.resolve(parent)
        elif parent and not base.id.startswith(parent):
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        files = dict(base.files)
        for verb, path, value in changes:
            self._apply(files, verb, path, value)
        commit = self._store(base.id, files, title, description, author)
        if not create_pr:
            self.refs[ref] = commit.id
            return commit, None
        proposal = PullRequest(len(self.pull_requests) + 1, title, author, description, ref)
        self.pull_requests.append(proposal)
        self.refs[f"refs/pr/{proposal.number}"] = commit.id
        return commit, proposal

    def _apply(self, files: dict[str, StoredFile], verb: str, path: str, value: Any) -> None:
        if verb == "file":
            files[path] = StoredFile.of(value, False)
        elif verb == "lfsFile":
            content = self.large.get(value[0])
            if content is None or (value[1] is not None and value[1] != len(content)):
                raise HubError(400, f"LFS pointer pointed to a file that does not exist: {path}")
            files[path] = StoredFile.of(content, True)
        else:
            folder = path.rstrip("/") + "/"
            gone = [p for p in files if (p.startswith(folder) if verb == "deletedFolder" else p == path)]
            if not gone:
                raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
            for name in gone:
                del files[name]

    def merge(self, number: int, author: str) -> Commit:
        """Bring a pull request's files onto its base; refused where both changed one file."""
        proposal = self.pull_request(number)
        theirs, ours = self.commits[self.refs[f"refs/pr/{number}"]], self.commits[self.refs[proposal.base]]
        mine = {commit.id for commit in self.history(ours.id)}
        ancestor = next(commit for commit in self.history(theirs.id) if commit.id in mine)
        files = dict(ours.files)
        for path in {*ancestor.files, *theirs.files}:
            before, after = ancestor.files.get(path), theirs.files.get(path)
            if before == after:
                continue
            if ours.files.get(path) not in (before, after):
                raise HubError(409, f"This pull request has conflicts in {path}.")
            files.pop(path, None)
            if after is not None:
                files[path] = after
        title = f"{proposal.title} (#{number})"
        commit = self._store(ours.id, files, title, proposal.description, author)
        self.refs[proposal.base], proposal.status = commit.id, "merged"
        return commit

    def pull_request(self, number: int) -> PullRequest:
        """A pull request by its number."""
        if not 1 <= number <= len(self.pull_requests):
            raise HubError(404, "Discussion not found")
        return self.pull_requests[number - 1]

    def tamper(self, path: str, content: bytes) -> None:
        """Put other bytes where those of the head of main are, in every commit and without new ids."""
        _, old = self.file("main", path)
        if old.lfs:
            self.large[old.sha256] = content
        for commit_id, commit in self.commits.items():
            files = {p: replace(f, content=content) if f.oid == old.oid else f for p, f in commit.files.items()}
            self.commits[commit_id] = replace(commit, files=files)
