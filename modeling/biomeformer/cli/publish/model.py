"""`biomeformer publish model`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..console import doing
from .options import Branch, CreatePr, Message, Private, Push, Repo, Tag
from .showing import carry_out


def model(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A checkpoint with its card.", show_default=False)],
    repo: Repo,
    push: Push = False,
    private: Private = False,
    revision: Branch = None,
    create_pr: CreatePr = False,
    tag: Tag = None,
    message: Message = None,
    manifest: Annotated[
        Path | None,
        typer.Option(help="Folder of a models.toml with its card entry.", show_default="card.toml in DIR"),
    ] = None,
) -> None:
    """Publish a checkpoint: list each file and what would change; --push commits.

    Checked first: the checkpoint loads in a fresh process, its weights are safetensors, its card is complete and
    matches them, and the folder holds nothing else. All files go in one commit; nothing on the Hub is deleted.
    """
    with doing("checking the checkpoint"):
        from ...hub.contents import model_contents

        contents = model_contents(folder, manifest)
    carry_out(contents, repo, push, private=private, revision=revision, create_pr=create_pr, tag=tag, message=message)
