"""Show on the terminal what would be published, and publish it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import InputError
from ..console import doing, is_recording, next_command, note, one_line, out, record
from ..units import size

if TYPE_CHECKING:
    from ...hub.contents import Contents
    from ...hub.publishing import UploadPlan


def carry_out(
    contents: Contents,
    repo: str,
    push: bool,
    *,
    private: bool,
    revision: str | None,
    create_pr: bool,
    tag: str | None,
    message: str | None,
) -> None:
    """Show what publishing a folder would do, and do it if `push` is set.

    Raises:
        InputError: The options contradict each other, or `push` is set offline.
        PublishError: The Hub refuses or cannot be reached.
    """
    from ...hub.publishing import check_options, plan_upload
    from ...hub.publishing import push as publish

    with doing(f"comparing with {repo}"):
        plan = plan_upload(contents, repo, revision=revision)
    check_options(plan, private, create_pr, tag)
    if push and plan.exists is None:
        raise InputError("--push needs the network, and HF_HUB_OFFLINE is set; unset it.")
    show_card(contents)
    show_plan(plan, private)
    record_plan(plan)
    record(pushed=push)
    if not push:
        note("dry run: nothing was sent; add --push to publish")
        asked: dict[str, str | None] = {"--revision": revision, "--tag": tag, "--message": message}
        words = [word for name, value in asked.items() if value is not None for word in (name, value)]
        words += ["--private"] * private + ["--create-pr"] * create_pr
        if contents.repo_type == "space":
            where = [repo, "--folder", str(contents.folder)]
        else:
            where = [str(contents.folder), repo]
        next_command("publish", contents.repo_type, *where, *words, "--push")
        return
    options: dict[str, Any] = {"private": private, "create_pr": create_pr, "tag": tag, "message": message}
    published = publish(plan, **options)
    if published.n_sent:
        out(f"published  {published.n_sent} files as commit {published.commit}")
    else:
        out(f"published  nothing to send: commit {published.commit} holds all files")
    if published.tag is not None:
        out(f"tag        {published.tag}")
    out(f"see        {published.url}")
    record(published=published)
    if contents.repo_type != "space":
        next_command("publish", "collection", "TITLE", repo.split("/")[0], f"--{contents.repo_type}", repo)


def record_plan(plan: UploadPlan) -> None:
    """Keep each file with its state, size and SHA-256 for `--json`."""
    fields = ("name", "state", "size", "sha256")
    record(
        repo=plan.repo_id,
        repo_type=plan.contents.repo_type,
        license=plan.contents.entry.license,
        revision=plan.revision,
        exists=plan.exists,
        upload=[{name: getattr(file, name) for name in fields} for file in plan.files],
        kept=plan.kept,
        replaced=plan.replaced,
        remarks=plan.remarks,
    )


def show_card(contents: Contents) -> None:
    """Show the card: in full on a terminal, otherwise its path, length and title."""
    import sys

    text = (contents.folder / "README.md").read_text(encoding="utf-8")
    if sys.stdout.isatty() and not is_recording():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(text.split("---\n", 2)[-1]))
        return
    n_lines = len(text.splitlines())
    out(f"card       {contents.folder / 'README.md'} ({n_lines} lines): {contents.entry.texts['title']}")


def show_plan(plan: UploadPlan, private: bool) -> None:
    """Show each file with its state, size and SHA-256."""
    repo_type = plan.contents.repo_type
    state = {
        None: "not asked",
        False: f"new, {'private' if private else 'public'}",
        True: f"exists, {'private' if plan.private else 'public'}",
    }[plan.exists]
    out(f"to         {repo_type} {plan.repo_id} ({state}), {plan.revision} at {(plan.parent or 'no commit')[:12]}")
    out(f"license    {plan.contents.entry.license}")
    width = max(len(file.name) for file in plan.files)
    for file in plan.files:
        out(f"  {file.state:<7}  {one_line(file.name):<{width}}  {size(file.size):>9}  {file.sha256}")
    for name in plan.kept:
        out(f"  {'kept':<7}  {one_line(name)} (only on the Hub; nothing is deleted)")
    for name in plan.replaced:
        out(f"  {'replaced':<7}  {one_line(name)} (the table as it was published before)")
    n, total = len(plan.to_send), sum(file.size for file in plan.to_send)
    out(f"to send    {n} of {len(plan.files)} files, {size(total)}")
    for remark in plan.remarks:
        note(f"note: {remark}")
