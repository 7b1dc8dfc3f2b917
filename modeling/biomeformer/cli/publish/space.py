"""`biomeformer publish space`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..console import doing
from .options import Branch, CreatePr, Message, Private, Push, Tag
from .showing import carry_out


def space(
    repo: Annotated[str, typer.Argument(metavar="REPO", help="NAMESPACE/NAME of the Space.", show_default=False)],
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder with README.md (its front matter), app.py and requirements.txt.",
            show_default="the one of the package",
        ),
    ] = None,
    push: Push = False,
    private: Private = False,
    revision: Branch = None,
    create_pr: CreatePr = False,
    tag: Tag = None,
    message: Message = None,
) -> None:
    """Publish the page of `biomeformer app` as a Space: list each file and what would change; --push commits.

    Checked first: the front matter of README.md, an exact version of every requirement, and that nothing else is in the
    folder. The Space installs biomeformer, which must be where its requirements.txt says.
    """
    with doing("checking the folder"):
        from ...hub.space import SHIPPED, space_contents

        contents = space_contents(repo, SHIPPED if folder is None else folder)
    carry_out(contents, repo, push, private=private, revision=revision, create_pr=create_pr, tag=tag, message=message)
