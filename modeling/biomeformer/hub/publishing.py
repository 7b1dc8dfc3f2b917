"""From a folder that may be published to a commit on the Hub: what would change, and then the change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    HTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile

from ..checkpoints.integrity import hash_file
from ..errors import InputError, PublishError
from .contents import Contents

NEW, CHANGED, SAME, UNKNOWN = "new", "changed", "same", "?"
MAIN = "main"


@dataclass(frozen=True)
class PlannedFile:
    """A file that would go.

    Attributes:
        name: Path in the repository.
        path: On this machine.
        size: Bytes.
        sha256: Of its content.
        state: `new`, `changed` or `same`, or `?` where the Hub was not asked.
    """

    name: str
    path: Path
    size: int
    sha256: str
    state: str


@dataclass(frozen=True)
class UploadPlan:
    """What publishing a folder would do.

    Attributes:
        contents: The folder.
        repo_id: `NAMESPACE/NAME`.
        revision: Branch.
        files: Those of the folder.
        kept: Those of the repository that the folder does not have; they stay.
        exists: Whether the repository is there; None where the Hub was not asked.
        private: Whether it is private.
        parent: Commit of the branch that the comparison is with; None of a repository or branch to be made.
        remarks: What whoever publishes should know.
    """

    contents: Contents
    repo_id: str
    revision: str
    files: tuple[PlannedFile, ...]
    kept: tuple[str, ...] = ()
    exists: bool | None = None
    private: bool | None = None
    parent: str | None = None
    remarks: tuple[str, ...] = ()

    @property
    def to_send(self) -> list[PlannedFile]:
        """Files that differ from the repository's."""
        return [file for file in self.files if file.state != SAME]


@dataclass(frozen=True)
class Published:
    """What was done.

    Attributes:
        url: Page of the repository, or of the pull request.
        commit: That holds the files now.
        n_sent: Files that were sent.
        tag: That was set.
    """

    url: str
    commit: str
    n_sent: int
    tag: str | None = None


def plan_upload(
    contents: Contents, repo_id: str, *, revision: str | None = None, api: HfApi | None = None
) -> UploadPlan:
    """Compare a folder with a repository, which nothing is sent to.

    Args:
        contents: The folder.
        repo_id: `NAMESPACE/NAME`, as its card says.
        revision: Branch; the main one by default.
        api: Of huggingface_hub; with the token of the environment or login by default.

    Returns:
        The plan. Offline it holds the files alone.

    Raises:
        InputError: The card is of another repository.
        PublishError: The Hub refuses the token, or cannot be reached.
    """
    if contents.entry.id != repo_id:
        raise InputError(
            f"{contents.entry.where} is the card of {contents.entry.id}, not of {repo_id}; correct its id, or publish "
            "to that one."
        )
    api, branch = api or HfApi(), revision or MAIN
    local = {name: (path, path.stat().st_size, hash_file(path)) for name, path in contents.files.items()}
    try:
        with hub_errors(repo_id):
            found = _remote(api, repo_id, contents.repo_type, branch)
    except OfflineModeIsEnabled:
        files = tuple(PlannedFile(name, *values, UNKNOWN) for name, values in sorted(local.items()))
        remarks = (*contents.remarks, "HF_HUB_OFFLINE is set, so nothing was compared with the Hub")
        return UploadPlan(contents, repo_id, branch, files, remarks=remarks)
    exists, private, parent, remote = found
    files = tuple(
        PlannedFile(name, path, size, digest, _state(path, size, digest, remote.get(name)))
        for name, (path, size, digest) in sorted(local.items())
    )
    kept = tuple(sorted(name for name in remote if name not in local and name != ".gitattributes"))
    return UploadPlan(contents, repo_id, branch, files, kept, exists, private, parent, contents.remarks)


def push(
    plan: UploadPlan,
    *,
    private: bool = False,
    create_pr: bool = False,
    tag: str | None = None,
    message: str | None = None,
    api: HfApi | None = None,
) -> Published:
    """Do what a plan says, as one commit on top of the one that was compared with.

    Nothing in the repository is deleted. Content that an interrupted attempt has sent is not sent again. If anyone has
    committed to the branch since the plan was made, the Hub refuses.

    Args:
        plan: Made just before.
        private: Whether a repository that is made is private; an existing one must be so already.
        create_pr: Open a pull request instead of committing to the branch.
        tag: Name for the commit.
        message: Of the commit.
        api: As for `plan_upload`.

    Raises:
        InputError: Options contradict each other or the repository.
        PublishError: The Hub refuses, cannot be reached, or has changed meanwhile.
    """
    api, kind = api or HfApi(), plan.contents.repo_type
    check_options(plan, private, create_pr, tag)
    parent = plan.parent
    with hub_errors(plan.repo_id):
        if not plan.exists:
            api.create_repo(plan.repo_id, repo_type=kind, private=private, exist_ok=False)
        if parent is None:
            if plan.revision != MAIN:
                api.create_branch(plan.repo_id, repo_type=kind, branch=plan.revision, exist_ok=False)
            parent = str(api.repo_info(plan.repo_id, repo_type=kind, revision=plan.revision).sha)
        sent, commit, url = (
            plan.to_send,
            parent,
            f"{api.endpoint}/{'datasets/' if kind == 'dataset' else ''}{plan.repo_id}",
        )
        if sent:
            info = api.create_commit(
                plan.repo_id,
                [CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=file.path) for file in sent],
                commit_message=message or f"Publish {plan.contents.entry.texts['title']}",
                repo_type=kind,
                revision=plan.revision,
                create_pr=create_pr,
                parent_commit=parent,
            )
            commit, url = info.oid, info.pr_url or url
        if tag is not None:
            _tag(api, plan, tag, commit)
    return Published(url, commit, len(sent), tag)


def check_options(plan: UploadPlan, private: bool, create_pr: bool, tag: str | None) -> None:
    """See that options of `push` fit each other and the repository.

    Raises:
        InputError: They do not.
    """
    if create_pr and (tag is not None or plan.revision != MAIN):
        raise InputError(
            "--create-pr opens a pull request on main, whose commit has no tag; leave out --tag and --revision."
        )
    if create_pr and plan.exists is False:
        raise InputError(
            f"{plan.repo_id} does not exist yet, so there is nothing to open a pull request on; leave it out."
        )
    if private and plan.exists and not plan.private:
        raise InputError(
            f"{plan.repo_id} exists and is public, and --private makes new repositories private only; change it on its "
            "settings page first."
        )


def publish_collection(
    title: str,
    namespace: str,
    items: Sequence[tuple[str, str]],
    *,
    description: str | None = None,
    private: bool = False,
    api: HfApi | None = None,
) -> str:
    """Put models and datasets into a collection, which is made where there is none of that title; gives its address.

    Args:
        title: Of the collection.
        namespace: User or organisation.
        items: Ids with their kinds, `model` or `dataset`.
        description: At most 150 characters.
        private: Whether a collection that is made is private.
        api: As for `plan_upload`.

    Raises:
        PublishError: The Hub refuses, cannot be reached, or has no such item.
    """
    api = api or HfApi()
    for repo_id, kind in items:
        with hub_errors(repo_id):
            api.repo_info(repo_id, repo_type=kind)
    with hub_errors(f"{namespace}'s collection {title!r}"):
        found = api.create_collection(
            title, namespace=namespace, description=description, private=private, exists_ok=True
        )
        for repo_id, kind in items:
            api.add_collection_item(found.slug, repo_id, item_type=kind, exists_ok=True)  # type: ignore[arg-type]
    return str(found.url)


@contextmanager
def hub_errors(what: str) -> Iterator[None]:
    """The Hub's errors as one sentence each.

    Raises:
        PublishError: In place of them.
    """
    try:
        yield
    except OfflineModeIsEnabled:
        raise
    except LocalTokenNotFoundError as error:
        raise PublishError(
            f"{what}: there is no token to publish with; log in with `hf auth login`, or set HF_TOKEN."
        ) from error
    except HfHubHTTPError as error:
        raise PublishError(_http_reason(what, error)) from error
    except (HTTPError, OSError, RuntimeError) as error:
        # A large file that did not arrive is a RuntimeError of the client's.
        if isinstance(error, RuntimeError) and not isinstance(error.__cause__, (HTTPError, OSError)):
            raise
        # An HTTP error's own text holds addresses with signatures.
        cause = error.__cause__
        why = f"HTTP {cause.response.status_code}" if isinstance(cause, HfHubHTTPError) else str(cause or "")
        reason = " ".join(f"{error} {why}".split()) or type(error).__name__
        raise PublishError(
            f"{what}: the Hub could not be reached or broke off ({reason}); give the same command again, what has "
            "arrived is not sent again."
        ) from error


def _http_reason(what: str, error: HfHubHTTPError) -> str:
    status = error.response.status_code
    said = " ".join((error.server_message or "").split())
    if status == 401:
        return (
            f"{what}: the Hub does not take the token, or there is none; log in with `hf auth login`, or set HF_TOKEN."
        )
    if status == 403:
        return f"{what}: this token may not write there ({said or 'forbidden'}); use one with write access to it."
    if status == 404:
        return f"{what}: the Hub has no such repository or revision that this token may see; check the name."
    if status == 409:
        return (
            f"{what} exists already: it was made meanwhile, or this token may not see it; look at it, then give the "
            "command again, or choose another name."
        )
    if status == 412:
        return (
            f"{what}: someone has committed since it was compared, so nothing was committed; give the command again "
            "and look at what would change now."
        )
    advice = "give the same command again, what has arrived is not sent again"
    return f"{what}: the Hub answered {status} ({said or 'no reason given'}); {advice}."


def _remote(
    api: HfApi, repo_id: str, kind: str, branch: str
) -> tuple[bool, bool | None, str | None, dict[str, RepoFile]]:
    """Whether a repository is there, is private, the commit of its branch, and its files."""
    try:
        info = api.repo_info(repo_id, repo_type=kind)
    except RepositoryNotFoundError as error:
        if error.response.status_code == 401 and api.token is None and _has_token():
            # With a wrong token the Hub says so of every repository.
            api.whoami()
        return False, None, None, {}
    try:
        commit = str(info.sha) if branch == MAIN else str(api.repo_info(repo_id, repo_type=kind, revision=branch).sha)
    except RevisionNotFoundError:
        # A branch that is made starts from main.
        found = api.list_repo_tree(repo_id, repo_type=kind, recursive=True)
        return True, bool(info.private), None, {item.path: item for item in found if isinstance(item, RepoFile)}
    tree = api.list_repo_tree(repo_id, repo_type=kind, revision=commit, recursive=True)
    return True, bool(info.private), commit, {item.path: item for item in tree if isinstance(item, RepoFile)}


def _has_token() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None


def _state(path: Path, size: int, sha256: str, remote: RepoFile | None) -> str:
    if remote is None:
        return NEW
    if remote.lfs is not None:
        return SAME if remote.lfs.sha256 == sha256 else CHANGED
    if remote.size != size:
        return CHANGED
    blob = hashlib.sha1(f"blob {size}\0".encode() + path.read_bytes(), usedforsecurity=False)
    return SAME if remote.blob_id == blob.hexdigest() else CHANGED


def _tag(api: HfApi, plan: UploadPlan, tag: str, commit: str) -> None:
    refs = api.list_repo_refs(plan.repo_id, repo_type=plan.contents.repo_type)
    taken = {found.name: found.target_commit for found in refs.tags}
    if tag in taken:
        if taken[tag] == commit:
            return
        raise PublishError(
            f"{plan.repo_id} has a tag {tag!r} already, of commit {taken[tag][:12]}, and tags do not move: others rely "
            "on them; choose a new one. The files were published."
        )
    api.create_tag(plan.repo_id, tag=tag, revision=commit, repo_type=plan.contents.repo_type)


__all__ = ["PlannedFile", "Published", "UploadPlan", "plan_upload", "publish_collection", "push"]
