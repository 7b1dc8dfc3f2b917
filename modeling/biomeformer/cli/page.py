"""`biomeformer app`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import doing, next_command, note, out, record
from .options import DEFAULT_DEVICE, Device, Threads
from .units import parse_bytes


def app(
    model: Annotated[
        str, typer.Option("--model", "-m", help="Checkpoint that embeds samples: shipped, a folder, or a Hub id.")
    ] = "metagenbert-mini",
    phenotype_model: Annotated[
        str | None,
        typer.Option(help="Checkpoint of `biomeformer phenotype train` on vectors of --model.", show_default="none"),
    ] = None,
    genome_model: Annotated[str, typer.Option(help="Checkpoint of a genome transformer.")] = "genome-transformer-mini",
    cohort: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of `biomeformer embed` by --model, to show samples beside.",
            show_default="the example cohort",
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port to listen on.", show_default="the first free from 7860")
    ] = None,
    max_upload: Annotated[str, typer.Option(help="Largest file that is accepted.")] = "200MB",
    max_reads: Annotated[int, typer.Option(min=1, help="Most reads of a sample.")] = 500_000,
    device: Device = DEFAULT_DEVICE,
    threads: Threads = None,
) -> None:
    """Open a page in which the models can be tried: drop reads or a genome, see and download what becomes of them.

    The page is served on this machine alone (127.0.0.1), works offline, and keeps nothing: an upload is deleted once
    its result is computed, and the result when its page is closed. Ctrl-C ends it.
    """
    largest = parse_bytes(max_upload, "--max-upload")
    from .runtime import note_device, start

    with doing("loading the models"):
        start(threads)
        from ..app import Analyses, Limits, serve

        analyses = Analyses.load(
            model,
            phenotype_model=phenotype_model,
            genome_model=genome_model,
            cohort=cohort,
            device=device,
            limits=Limits(largest, max_reads),
        )
    note_device(analyses.model.device)

    def on_start(url: str) -> None:
        out(f"page  {url}")
        record(url=url)
        next_command("embed", "cohort.csv", "--model", model, "--output", "results")
        note("Ctrl-C ends it and deletes what was uploaded.")

    serve(analyses, port=port, on_start=on_start)
