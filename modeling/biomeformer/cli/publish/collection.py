"""`biomeformer publish collection`."""

from __future__ import annotations

from typing import Annotated

import typer

from ...errors import InputError
from ..console import doing, next_command, note, out, record
from .options import Push


def collection(
    title: Annotated[str, typer.Argument(metavar="TITLE", help="Title of the collection.", show_default=False)],
    namespace: Annotated[str, typer.Argument(metavar="NAMESPACE", help="User or organisation.", show_default=False)],
    models: Annotated[list[str] | None, typer.Option("--model", help="Id of a model; repeat for several.")] = None,
    datasets: Annotated[
        list[str] | None, typer.Option("--dataset", help="Id of a dataset; repeat for several.")
    ] = None,
    description: Annotated[str | None, typer.Option(help="At most 150 characters.", show_default=False)] = None,
    push: Push = False,
    private: Annotated[bool, typer.Option("--private", help="Make a new collection private.")] = False,
) -> None:
    """Add published models and datasets to a collection, created if none has that title."""
    items = [*((name, "model") for name in models or ()), *((name, "dataset") for name in datasets or ())]
    if not items:
        raise InputError("a collection needs at least one item; give --model or --dataset.")
    if description is not None and len(description) > 150:
        raise InputError(f"--description has {len(description)} characters; the Hub allows 150.")
    out(f"collection  {namespace}: {title}")
    for name, repo_type in items:
        out(f"  {repo_type:<7}  {name}")
    record(namespace=namespace, title=title, items=[{"id": name, "type": kind} for name, kind in items], pushed=push)
    if not push:
        next_command(*_words(title, namespace, items, description, private))
        note("dry run: nothing was changed; add --push to do it")
        return
    with doing("writing the collection"):
        from ...hub.publishing import publish_collection

        url = publish_collection(title, namespace, items, description=description, private=private)
    out(f"published   {url}")
    record(url=url)


def _words(
    title: str, namespace: str, items: list[tuple[str, str]], description: str | None, private: bool
) -> list[str]:
    """Return the words of the command that publishes the collection."""
    words = ["publish", "collection", title, namespace]
    for name, kind in items:
        words += [f"--{kind}", name]
    words += [] if description is None else ["--description", description]
    return [*words, *["--private"] * private, "--push"]
