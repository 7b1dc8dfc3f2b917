"""`biomeformer demo`."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
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
    from ..reads import read_cohort
    from ..runs.run_folder import is_run_folder, run_items_of
    from .embed import embed

    with as_file(files("biomeformer") / "example_cohort") as folder:
        note(f"the example cohort (simulated reads): {folder / 'cohort.csv'}")
        table = folder / "cohort.csv"
        names = tuple(sample.sample_id for sample in read_cohort(table))
        is_earlier_demo = is_run_folder(output)
        if is_earlier_demo and run_items_of(output) != names:
            raise InputError(f"--output {output} holds a run of other samples; give another folder.")
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
