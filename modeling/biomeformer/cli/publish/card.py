"""`biomeformer publish card`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...errors import InputError
from ..console import doing, next_command, note, out, record, report_files


def card(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A checkpoint, or a dataset (see `publish dataset`).", show_default=False),
    ],
    repo: Annotated[str | None, typer.Option("--id", help="NAMESPACE/NAME on the Hub, of a new card.")] = None,
    license_id: Annotated[
        str | None, typer.Option("--license", help="Licence of a new card, such as cc-by-4.0.")
    ] = None,
    title: Annotated[str | None, typer.Option("--title", help="Title of a new card.", show_default="the name")] = None,
    with_code: Annotated[
        bool, typer.Option("--with-code", help="Add the model's code, so that it loads without biomeformer installed.")
    ] = False,
) -> None:
    """Write the card of a model or dataset.

    The first run writes card.toml, with TODOs for what the files do not say. Once it is filled in, the same command
    writes README.md (the card, from card.toml and the files beside it) and SHA256SUMS.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give a checkpoint, or what `biomeformer export` wrote.")
    with doing("reading the folder"):
        from ...hub.entry import is_table, write_entry
        from ...hub.generated import write_generated
        from ...hub.manifest import ENTRY, REPO_ID, load_entry, set_remote_code
        from ...hub.training_datasets import training_dataset
    path = folder / ENTRY
    if not path.is_file():
        if repo is None or not REPO_ID.fullmatch(repo):
            raise InputError(
                f"{folder} has no {ENTRY} yet; give --id NAMESPACE/NAME, its name on the Hub, to write one."
            )
        write_entry(folder, repo, license_id, title)
        report_files({"entry": path})
        record(repo=repo)
        note(f"fill in every TODO in {path}, then write the card")
        next_command("publish", "card", folder)
        return
    if repo is not None or license_id is not None or title is not None:
        raise InputError(f"{path} exists already; change id, license and title in it.")
    if with_code:
        if is_table(folder) or training_dataset(folder) is not None:
            raise InputError(f"{folder} is a dataset, which has no code; leave out --with-code.")
        with doing("writing code"):
            from ...hub.remote_code import export_remote_code

            code = export_remote_code(folder)
            set_remote_code(path)
        out(f"code       {len(code)} files")
    with doing("writing the card"):
        entry = load_entry(folder)
        written = write_generated(folder, entry)
        is_dataset = is_table(folder) or training_dataset(folder) is not None
    report_files({"card" if path.name == "README.md" else path.name: path for path in written})
    record(repo=entry.id)
    next_command("publish", "dataset" if is_dataset else "model", folder, entry.id)
