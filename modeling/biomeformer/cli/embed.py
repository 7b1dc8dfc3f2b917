"""`biomeformer embed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import SampleProgress, doing, note, report_files
from .options import BatchTokens, Cohort, Device, Revision, Seed, Threads
from .output import check_output, staged

RESULTS = {"table": "abundance.parquet", "figure": "cohort.png", "report": "report.html"}


def embed(
    cohort: Cohort,
    model: Annotated[
        str,
        typer.Option("--model", "-m", help="A shipped checkpoint, a folder, or a Hub id.", show_default=False),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.", show_default=False)],
    read_fraction: Annotated[
        float, typer.Option(help="Share of each sample's reads to use, chosen by a hash of the read's number.")
    ] = 1.0,
    seed: Seed = 0,
    device: Device = "cpu",
    dtype: Annotated[
        str, typer.Option(help="float32, bfloat16 or float16, of the encoder; distances stay float32.")
    ] = "float32",
    batch_tokens: BatchTokens = None,
    threads: Threads = None,
    revision: Revision = None,
    colour_by: Annotated[
        str | None, typer.Option(help="Cohort column that colours the figure.", show_default="chosen")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace results in a folder that is not empty.")] = False,
) -> None:
    """Embed a cohort's reads and write its abundance table, figure and report.

    Writes abundance.parquet (counts, tallies, phenotypes, provenance), cohort.png and report.html to the output folder,
    all of them or none.
    """
    run(
        cohort,
        model,
        output,
        read_fraction=read_fraction,
        seed=seed,
        device=device,
        dtype=dtype,
        batch_tokens=batch_tokens,
        threads=threads,
        revision=revision,
        colour_by=colour_by,
        overwrite=overwrite,
    )


def run(
    cohort: Path,
    model: str,
    output: Path,
    *,
    read_fraction: float = 1.0,
    seed: int = 0,
    device: str = "cpu",
    dtype: str = "float32",
    batch_tokens: int | None = None,
    threads: int | None = None,
    revision: str | None = None,
    colour_by: str | None = None,
    title: str | None = None,
    overwrite: bool = False,
) -> None:
    """Embed a cohort and say where the results are."""
    from ..errors import InputError
    from ..reads import read_cohort
    from ..reads.subsampling import check_read_fraction
    from .runtime import start

    check_output(output, overwrite=overwrite, can_overwrite=True)
    check_read_fraction(read_fraction)
    samples = read_cohort(cohort)
    if colour_by is not None and colour_by not in samples.columns:
        there = ", ".join(samples.columns) or "none"
        raise InputError(f"--colour-by: {cohort} has no column {colour_by!r} beside the reads'; it has {there}.")
    with doing(f"loading {model}"):
        start(threads)
        from ..loading import load
        from ..reports import cohort_figure, cohort_report

        title = title or f"{cohort.stem}, embedded with {Path(model).name}"
        loaded = load(model, revision=revision, device=device, dtype=dtype)
    with SampleProgress(len(samples)) as progress:
        table = loaded.embed_cohort(
            samples, read_fraction=read_fraction, seed=seed, batch_tokens=batch_tokens, progress=progress.update
        )
    note(f"{progress.n_reads:,} reads of {progress.n_done} samples, {progress.reads_per_second:,.0f} reads/s")
    with doing("drawing the figure and the report"), staged(output) as folder:
        table.write(folder / RESULTS["table"])
        cohort_figure(table, folder / RESULTS["figure"], colour_by=colour_by, title=title)
        cohort_report(table, folder / RESULTS["report"], colour_by=colour_by, title=title)
    report_files({what: output / name for what, name in RESULTS.items()})
