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
        Path,
        typer.Argument(
            metavar="DIR",
            help="With its card: an export of `export --format datasets`, a folder of `sequences prepare`, or the "
            "folder dataset of `genome embed --format datasets`.",
            show_default=False,
        ),
    ],
    repo: Repo,
    push: Push = False,
    private: Private = False,
    revision: Branch = None,
    create_pr: CreatePr = False,
    tag: Tag = None,
    message: Message = None,
) -> None:
    """Publish abundance vectors, prepared sequences or embedded genomes: list each file; --push commits.

    Columns that seem to hold personal data are refused, unless personal_columns in card.toml names them.
    """
    with doing("checking the dataset"):
        from ...hub.contents import dataset_contents

        contents = dataset_contents(folder)
    carry_out(contents, repo, push, private=private, revision=revision, create_pr=create_pr, tag=tag, message=message)
