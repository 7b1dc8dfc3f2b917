"""What would be published, on the terminal; and then the publishing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import InputError
from ..console import doing, note, one_line, out
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
    """Show what publishing a folder would do, and do it where `push`."""
    from ...hub.publishing import check_options, plan_upload
    from ...hub.publishing import push as publish

    with doing(f"comparing with {repo}"):
        plan = plan_upload(contents, repo, revision=revision)
    check_options(plan, private, create_pr, tag)
    if push and plan.exists is None:
        raise InputError("--push needs the network, and HF_HUB_OFFLINE is set; unset it.")
    show_card(contents)
    show_plan(plan, private)
    if not push:
        note("nothing was sent; --push does it")
        return
    options: dict[str, Any] = {"private": private, "create_pr": create_pr, "tag": tag, "message": message}
    done = publish(plan, **options)
    if done.n_sent:
        out(f"published  {done.n_sent} files as commit {done.commit}")
    else:
        out(f"published  nothing to send: commit {done.commit} holds it all")
    if done.tag is not None:
        out(f"tag        {done.tag}")
    out(f"see        {done.url}")


def show_card(contents: Contents) -> None:
    """The card, in full where somebody looks."""
    import sys

    text = (contents.folder / "README.md").read_text(encoding="utf-8")
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(text.split("---\n", 2)[-1]))
        return
    n_lines = len(text.splitlines())
    out(f"card       {contents.folder / 'README.md'} ({n_lines} lines): {contents.entry.texts['title']}")


def show_plan(plan: UploadPlan, private: bool) -> None:
    """Files with size, hash and what becomes of them."""
    kind = plan.contents.repo_type
    what = {
        None: "not asked",
        False: f"new, {'private' if private else 'public'}",
        True: f"exists, {'private' if plan.private else 'public'}",
    }[plan.exists]
    out(f"to         {kind} {plan.repo_id} ({what}), {plan.revision} at {(plan.parent or 'no commit')[:12]}")
    out(f"license    {plan.contents.entry.license}")
    width = max(len(file.name) for file in plan.files)
    for file in plan.files:
        out(f"  {file.state:<7}  {one_line(file.name):<{width}}  {size(file.size):>9}  {file.sha256}")
    for name in plan.kept:
        out(f"  {'kept':<7}  {one_line(name)} (on the Hub alone; nothing there is deleted)")
    n, total = len(plan.to_send), sum(file.size for file in plan.to_send)
    out(f"to send    {n} of {len(plan.files)} files, {size(total)}")
    for remark in plan.remarks:
        note(f"note: {remark}")
