"""Options that the subcommands of `biomeformer publish` share."""

from __future__ import annotations

from typing import Annotated

import typer

Repo = Annotated[
    str, typer.Argument(metavar="REPO", help="NAMESPACE/NAME on the Hub, as on the card.", show_default=False)
]
Push = Annotated[bool, typer.Option("--push", help="Publish. Without it, this is a dry run.")]
Private = Annotated[bool, typer.Option("--private", help="Make a new repository private.")]
Branch = Annotated[str | None, typer.Option("--revision", help="Branch to publish on.", show_default="main")]
CreatePr = Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead of committing.")]
Tag = Annotated[str | None, typer.Option("--tag", help="Tag for the commit, such as v1.", show_default=False)]
Message = Annotated[str | None, typer.Option("--message", help="Commit message.", show_default="Publish TITLE")]
