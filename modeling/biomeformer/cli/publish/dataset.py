"""`biomeformer publish dataset`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..console import doing
from .options import Branch, CreatePr, Message, Private, Push, Repo, Tag
from .showing import carry_out


def dataset(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Of `export --format datasets`, with its card.", show_default=False)
    ],
    repo: Repo,
    push: Push = False,
    private: Private = False,
    revision: Branch = None,
    create_pr: CreatePr = False,
    tag: Tag = None,
    message: Message = None,
) -> None:
    """Publish abundance vectors as a dataset: shows each file and what would change; --push does it.

    Columns that seem to be about single persons are refused until card.toml names them as meant.
    """
    with doing("checking the dataset"):
        from ...hub.contents import dataset_contents

        contents = dataset_contents(folder)
    carry_out(contents, repo, push, private=private, revision=revision, create_pr=create_pr, tag=tag, message=message)
