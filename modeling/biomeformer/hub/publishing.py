"""Publish a checked folder on the Hub: plan what would change, then commit it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
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
from ..io.dataset_files import is_shard
from ..metagenomes.abundance_table import DATASET_SPLIT
from .contents import Contents

NEW, CHANGED, SAME, UNKNOWN = "new", "changed", "same", "?"
MAIN = "main"


@dataclass(frozen=True)
class PlannedFile:
    """A file to publish.

    Attributes:
        name: Path in the repository.
        path: Path on this machine.
        size: Size in bytes.
        sha256: SHA-256 of the content.
        state: `new`, `changed` or `same`; `?` if the Hub was not asked.
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
        revision: Branch to commit to.
        files: Files of the folder.
        kept: Files of the repository that the folder does not have; they stay.
        replaced: Files of the repository that hold a table's rows as they were published before, under another name;
            they are deleted, since a dataset is all of its files.
        exists: Whether the repository exists; None if the Hub was not asked.
        private: Whether the repository is private.
        parent: Commit of the branch that was compared with; None if the repository or branch is yet to be created.
        remarks: Notes for the publisher.
    """

    contents: Contents
    repo_id: str
    revision: str
    files: tuple[PlannedFile, ...]
    kept: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
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
    """Result of publishing.

    Attributes:
        url: Page of the repository, or of the pull request.
        commit: Commit that holds the files.
        n_sent: Number of files sent.
        tag: Tag of the commit, if one was set.
    """

    url: str
    commit: str
    n_sent: int
    tag: str | None = None


def plan_upload(
    contents: Contents, repo_id: str, *, revision: str | None = None, api: HfApi | None = None
) -> UploadPlan:
    """Compare a folder with a repository. Sends nothing.

    Args:
        contents: The folder.
        repo_id: `NAMESPACE/NAME`, as on its card.
        revision: Branch; main by default.
        api: Client; by default one with the token of the environment or of the login.

    Returns:
        The plan. Offline, it lists the files only.

    Raises:
        InputError: The card names another repository.
        PublishError: The Hub refuses the token, or cannot be reached.
    """
    if contents.entry.id != repo_id:
        raise InputError(
            f"{contents.entry.path} is the card of {contents.entry.id}, not of {repo_id}; correct its id, or publish "
            "to that one."
        )
    api, branch = api or HfApi(), revision or MAIN
    local = {name: (path, path.stat().st_size, hash_file(path)) for name, path in contents.files.items()}
    try:
        with hub_errors(repo_id):
            exists, private, parent, remote = _remote(api, repo_id, contents.repo_type, branch)
    except OfflineModeIsEnabled:
        files = tuple(PlannedFile(name, *values, UNKNOWN) for name, values in sorted(local.items()))
        remarks = ("HF_HUB_OFFLINE is set, so nothing was compared with the Hub",)
        return UploadPlan(contents, repo_id, branch, files, remarks=remarks)
    files = tuple(
        PlannedFile(name, path, size, digest, _state(path, size, digest, remote.get(name)))
        for name, (path, size, digest) in sorted(local.items())
    )
    others = sorted(name for name in remote if name not in local and name != ".gitattributes")
    is_dataset = contents.repo_type == "dataset"
    replaced = tuple(name for name in others if is_dataset and is_shard(name, DATASET_SPLIT))
    kept = tuple(name for name in others if name not in replaced)
    return UploadPlan(contents, repo_id, branch, files, kept, replaced, exists, private, parent)


def push(
    plan: UploadPlan,
    *,
    private: bool = False,
    create_pr: bool = False,
    tag: str | None = None,
    message: str | None = None,
    api: HfApi | None = None,
) -> Published:
    """Carry out a plan, as one commit on top of the one that was compared with.

    Nothing in the repository is deleted but earlier files of a table's rows (`UploadPlan.replaced`). Content that an
    interrupted attempt sent is not sent again. The Hub refuses the commit if the branch has changed since the plan was
    made.

    Args:
        plan: Plan to carry out.
        private: Create a new repository as private; an existing one must be private already.
        create_pr: Open a pull request instead of committing to the branch.
        tag: Tag for the commit.
        message: Commit message.
        api: As for `plan_upload`.

    Raises:
        InputError: Options contradict each other or the repository.
        PublishError: The Hub refuses, cannot be reached, or has changed in the meantime.
    """
    api, repo_type = api or HfApi(), plan.contents.repo_type
    check_options(plan, private, create_pr, tag)
    parent = plan.parent
    with hub_errors(plan.repo_id):
        if not plan.exists:
            sdk = "gradio" if repo_type == "space" else None
            api.create_repo(plan.repo_id, repo_type=repo_type, private=private, exist_ok=False, space_sdk=sdk)
        if parent is None:
            if plan.revision != MAIN:
                api.create_branch(plan.repo_id, repo_type=repo_type, branch=plan.revision, exist_ok=False)
            parent = str(api.repo_info(plan.repo_id, repo_type=repo_type, revision=plan.revision).sha)
        files, commit = plan.to_send, parent
        url = f"{api.endpoint}/{'' if repo_type == 'model' else f'{repo_type}s/'}{plan.repo_id}"
        if files or plan.replaced:
            info = api.create_commit(
                plan.repo_id,
                [
                    *(CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=file.path) for file in files),
                    *(CommitOperationDelete(path_in_repo=name) for name in plan.replaced),
                ],
                commit_message=message or f"Publish {plan.contents.entry.texts['title']}",
                repo_type=repo_type,
                revision=plan.revision,
                create_pr=create_pr,
                parent_commit=parent,
            )
            commit, url = info.oid, info.pr_url or url
        if tag is not None:
            _tag(api, plan, tag, commit)
    return Published(url, commit, len(files), tag)


def check_options(plan: UploadPlan, private: bool, create_pr: bool, tag: str | None) -> None:
    """Check that options of `push` agree with each other and with the repository.

    Raises:
        InputError: They do not agree.
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
    """Add models and datasets to a collection, created if none has that title.

    Args:
        title: Title of the collection.
        namespace: User or organisation.
        items: Ids with their repository types, `model` or `dataset`.
        description: Description of a new collection, at most 150 characters.
        private: Create a new collection as private.
        api: As for `plan_upload`.

    Returns:
        URL of the collection.

    Raises:
        PublishError: The Hub refuses, cannot be reached, or has no such item.
    """
    api = api or HfApi()
    for repo_id, repo_type in items:
        with hub_errors(repo_id):
            api.repo_info(repo_id, repo_type=repo_type)
    with hub_errors(f"{namespace}'s collection {title!r}"):
        created = api.create_collection(
            title, namespace=namespace, description=description, private=private, exists_ok=True
        )
        for repo_id, repo_type in items:
            api.add_collection_item(created.slug, repo_id, item_type=repo_type, exists_ok=True)  # type: ignore[arg-type]
    return str(created.url)


@contextmanager
def hub_errors(subject: str) -> Iterator[None]:
    """Raise the Hub's errors as a PublishError of one sentence.

    Args:
        subject: Repository or collection that the message names.

    Raises:
        PublishError: The Hub refused or could not be reached.
    """
    try:
        yield
    except OfflineModeIsEnabled:
        raise
    except LocalTokenNotFoundError as error:
        raise PublishError(
            f"{subject}: there is no token to publish with; log in with `hf auth login`, or set HF_TOKEN."
        ) from error
    except HfHubHTTPError as error:
        raise PublishError(_http_reason(subject, error)) from error
    except (HTTPError, OSError, RuntimeError) as error:
        # The client reports a failed upload of a large file as a RuntimeError.
        if isinstance(error, RuntimeError) and not isinstance(error.__cause__, (HTTPError, OSError)):
            raise
        # The message of an HTTP error may hold signed URLs.
        cause = error.__cause__
        detail = f"HTTP {cause.response.status_code}" if isinstance(cause, HfHubHTTPError) else str(cause or "")
        reason = " ".join(f"{error} {detail}".split()) or type(error).__name__
        raise PublishError(
            f"{subject}: the Hub could not be reached or broke off ({reason}); run the same command again, what has "
            "arrived is not sent again."
        ) from error


def _http_reason(subject: str, error: HfHubHTTPError) -> str:
    status = error.response.status_code
    server_message = " ".join((error.server_message or "").split())
    if status == 401:
        return f"{subject}: the Hub does not accept the token, or there is none; run `hf auth login` or set HF_TOKEN."
    if status == 403:
        reason = server_message or "forbidden"
        return f"{subject}: this token may not write there ({reason}); use one with write access."
    if status == 404:
        return f"{subject}: the Hub has no such repository or revision that this token may see; check the name."
    if status == 409:
        return (
            f"{subject} exists already: it was created in the meantime, or this token may not see it; look at it, then "
            "run the command again, or choose another name."
        )
    if status == 412:
        return (
            f"{subject}: someone has committed since it was compared, so nothing was committed; run the command again "
            "and look at what would change now."
        )
    advice = "run the same command again, what has arrived is not sent again"
    return f"{subject}: the Hub answered {status} ({server_message or 'no reason given'}); {advice}."


def _remote(
    api: HfApi, repo_id: str, repo_type: str, branch: str
) -> tuple[bool, bool | None, str | None, dict[str, RepoFile]]:
    """Return whether a repository exists, whether it is private, the commit of the branch, and its files by path."""
    try:
        info = api.repo_info(repo_id, repo_type=repo_type)
    except RepositoryNotFoundError as error:
        if error.response.status_code == 401 and api.token is None and _has_token():
            # The Hub hides every repository from an invalid token; this raises if that is the reason.
            api.whoami()
        return False, None, None, {}
    try:
        commit = (
            str(info.sha) if branch == MAIN else str(api.repo_info(repo_id, repo_type=repo_type, revision=branch).sha)
        )
    except RevisionNotFoundError:
        # A new branch starts from main.
        tree = api.list_repo_tree(repo_id, repo_type=repo_type, recursive=True)
        return True, bool(info.private), None, {item.path: item for item in tree if isinstance(item, RepoFile)}
    tree = api.list_repo_tree(repo_id, repo_type=repo_type, revision=commit, recursive=True)
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
    commits = {ref.name: ref.target_commit for ref in refs.tags}
    if tag in commits:
        if commits[tag] == commit:
            return
        raise PublishError(
            f"{plan.repo_id} has a tag {tag!r} already, of commit {commits[tag][:12]}, and tags do not move: others "
            "rely on them; choose a new one. The files were published."
        )
    api.create_tag(plan.repo_id, tag=tag, revision=commit, repo_type=plan.contents.repo_type)


__all__ = ["PlannedFile", "Published", "UploadPlan", "plan_upload", "publish_collection", "push"]
