"""`biomeformer demo`."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer

from .console import note
from .options import Threads

MODEL = "metagenbert-mini"


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")] = Path("biomeformer-demo"),
    threads: Threads = None,
    overwrite: Annotated[bool, typer.Option(help="Replace results in a folder that is not empty.")] = False,
) -> None:
    """Embed the example cohort with the checkpoint that ships in the package.

    The cohort is simulated: twelve small samples in two groups, from public genomes.
    """
    from .embed import run

    with as_file(files("biomeformer") / "example_cohort") as folder:
        note(f"the example cohort (simulated reads): {folder / 'cohort.csv'}")
        run(folder / "cohort.csv", MODEL, output, threads=threads, colour_by="group", overwrite=overwrite)
