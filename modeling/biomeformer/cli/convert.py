"""`biomeformer convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import doing, report_files
from .options import Revision


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC", help="Folder or Hub id with pytorch_model.bin, or a fair-esm .pt.", show_default=False
        ),
    ],
    output: Annotated[Path, typer.Argument(metavar="DST", help="Folder to write.", show_default=False)],
    revision: Revision = None,
) -> None:
    """Convert a DNABERT-2 checkpoint (pytorch_model.bin) or an ESM-2 checkpoint of fair-esm (.pt) to safetensors.

    Only tensors are read from the pickle; code in it is never executed.
    """
    from ..errors import CheckpointError
    from .runtime import start

    with doing(f"converting {source}"):
        start()
        from ..checkpoints.conversion_dnabert2 import convert_checkpoint
        from ..checkpoints.errors import format_load_error

        try:
            if source.endswith(".pt"):
                from ..checkpoints.conversion_fair_esm import convert_fair_esm

                folder = convert_fair_esm(source, output)
            else:
                folder = convert_checkpoint(source, output, revision=revision)
        except (OSError, ValueError) as error:
            raise CheckpointError(format_load_error(source, error)) from error
    report_files({"checkpoint": folder})
