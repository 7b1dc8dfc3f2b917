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
) -> None:
    """Embed the example cohort with the checkpoint that ships in the package.

    The cohort is simulated: twelve small samples in two groups, from public genomes. Results of an earlier demo are
    replaced.
    """
    from ..metagenomes.cohort import RESULTS
    from .embed import embed

    is_earlier_demo = output.is_dir() and {path.name for path in output.iterdir()} <= {*RESULTS.values(), "run"}
    with as_file(files("biomeformer") / "example_cohort") as folder:
        note(f"the example cohort (simulated reads): {folder / 'cohort.csv'}")
        table = folder / "cohort.csv"
        title = f"Example cohort (simulated reads), embedded with {MODEL}"
        embed(
            table,
            MODEL,
            output,
            device="cpu",
            threads=threads,
            colour_by="group",
            title=title,
            overwrite=is_earlier_demo,
        )
