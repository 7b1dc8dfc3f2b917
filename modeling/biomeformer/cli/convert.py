"""`biomeformer convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import doing, next_command, record, report_files
from .options import Revision


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC",
            help="Folder or Hub id with pytorch_model.bin, a fair-esm .pt, or any checkpoint to write as ONNX.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Argument(metavar="DST", help="Folder to write, or a file that ends in .onnx.", show_default=False)
    ],
    revision: Revision = None,
) -> None:
    """Convert a DNABERT-2 checkpoint (pytorch_model.bin) or an ESM-2 checkpoint of fair-esm (.pt) to safetensors.

    Only tensors are read from the pickle; code in it is never executed.

    To a DST that ends in .onnx, write a read encoder, with or without centroids, or a genome transformer as an ONNX
    file, which is compared with the model before it is kept.
    """
    from ..errors import CheckpointError
    from .runtime import start

    with doing(f"converting {source}"):
        start()
        if output.suffix == ".onnx":
            from ..checkpoints.onnx_export import export_onnx, load_with_head

            report_files({"ONNX file": export_onnx(load_with_head(source, revision=revision), output)})
            record(source=source)
            next_command("inspect", source)
            return
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
    record(source=source)
    next_command("inspect", folder)
