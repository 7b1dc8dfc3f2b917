"""Options that publishing verbs share."""

from __future__ import annotations

from typing import Annotated

import typer

Repo = Annotated[
    str, typer.Argument(metavar="REPO", help="NAMESPACE/NAME on the Hub, as the card says.", show_default=False)
]
Push = Annotated[bool, typer.Option("--push", help="Do it. Without, it is only shown.")]
Private = Annotated[bool, typer.Option("--private", help="Make a new repository private.")]
Branch = Annotated[str | None, typer.Option("--revision", help="Branch to publish on.", show_default="main")]
CreatePr = Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead of committing.")]
Tag = Annotated[str | None, typer.Option("--tag", help="Name for the commit, such as v1.", show_default=False)]
Message = Annotated[str | None, typer.Option("--message", help="Of the commit.", show_default="Publish and the title")]
