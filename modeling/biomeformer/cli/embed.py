"""`biomeformer embed`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import BiomeformerError, InputError, RankStopped, RunInterrupted
from ..runs.progress import RunProgress
from .console import doing, note, one_line, report_files
from .options import DEFAULT_DEVICE, BatchTokens, Cohort, Device, Revision, Seed, Threads, Timeout
from .output import check_output

if TYPE_CHECKING:
    from ..metagenomes import AbundanceTable
    from ..runs.process_group import ProcessGroup

MOST_LISTED = 50


def embed(
    cohort: Cohort,
    model: Annotated[
        str,
        typer.Option("--model", "-m", help="A shipped checkpoint, a folder, or a Hub id.", show_default=False),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write, or to go on with.", show_default=False)
    ],
    read_fraction: Annotated[
        float, typer.Option(help="Share of each sample's reads to use, chosen by a hash of the read's number.")
    ] = 1.0,
    seed: Seed = 0,
    device: Device = DEFAULT_DEVICE,
    dtype: Annotated[
        str,
        typer.Option(
            help="float32, bfloat16, float16 or float8 (on GPUs that have it), of the encoder; distances stay float32."
        ),
    ] = "float32",
    compile_encoder: Annotated[
        bool, typer.Option("--compile", help="Compile the encoder first: some seconds a run, for an NVIDIA GPU.")
    ] = False,
    batch_tokens: BatchTokens = None,
    threads: Threads = None,
    revision: Revision = None,
    colour_by: Annotated[
        str | None, typer.Option(help="Cohort column that colours the figure.", show_default="chosen")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with a run found in the folder.")] = True,
    overwrite: Annotated[bool, typer.Option(help="Begin anew in a folder that holds a run or other files.")] = False,
    fail_fast: Annotated[bool, typer.Option(help="Stop at the first sample that fails.")] = False,
    timeout: Timeout = 10.0,
) -> None:
    """Embed a cohort's reads and write its abundance table, figure and report.

    Each finished sample is kept in the output folder at once: after an interruption the same command goes on with the
    samples that are left, and a sample that fails does not stop the others. `biomeformer status` tells where a run
    stands. At the end it writes abundance.parquet (counts, read_stats, phenotypes, provenance), cohort.png and
    report.html. Under `accelerate launch` the processes share the samples.
    """
    run(
        cohort,
        model,
        output,
        read_fraction=read_fraction,
        seed=seed,
        device=device,
        dtype=dtype,
        compile_encoder=compile_encoder,
        batch_tokens=batch_tokens,
        threads=threads,
        revision=revision,
        colour_by=colour_by,
        resume=resume,
        overwrite=overwrite,
        fail_fast=fail_fast,
        timeout=timeout,
    )


def run(
    cohort: Path,
    model: str,
    output: Path,
    *,
    read_fraction: float = 1.0,
    seed: int = 0,
    device: str = DEFAULT_DEVICE,
    dtype: str = "float32",
    compile_encoder: bool = False,
    batch_tokens: int | None = None,
    threads: int | None = None,
    revision: str | None = None,
    colour_by: str | None = None,
    title: str | None = None,
    resume: bool = True,
    overwrite: bool = False,
    fail_fast: bool = False,
    timeout: float = 10.0,
) -> None:
    """Embed a cohort and say where the results are."""
    from ..reads import read_cohort
    from ..reads.subsampling import check_read_fraction
    from .runtime import noting_device, start

    check_output(output, overwrite=overwrite or (output / "run").is_dir(), can_overwrite=True)
    check_read_fraction(read_fraction)
    samples = read_cohort(cohort)
    if colour_by is not None and colour_by not in samples.columns:
        there = ", ".join(samples.columns) or "none"
        raise InputError(f"--colour-by: {cohort} has no column {colour_by!r} beside the reads'; it has {there}.")
    with doing(f"loading {model}"):
        start(threads)
        from ..checkpoints.loading import load
        from ..inference import compiling
        from ..metagenomes.cohort import RESULTS, run_cohort
        from ..runs.interruption import Interruption
        from ..runs.process_group import ProcessGroup

    with ProcessGroup.from_environment(timeout * 60) as processes:
        with doing(f"loading {model}"):
            loaded = load(model, revision=revision, device=processes.device(device), dtype=dtype)
        if dtype == "float8" and not compile_encoder and processes.is_main:
            note("float8 without --compile moves more data than it saves; add --compile for speed.")
        if compile_encoder:
            with doing("compiling the encoder, once for this run"):
                took = compiling.compile_encoder(loaded)
            note(f"Compiled the encoder in {took:.1f} s, once for this run.")
        with Interruption() as interruption, RunProgress(len(samples), processes) as progress:

            def check() -> None:
                interruption.check()
                progress.draw()

            try:
                outcome = run_cohort(
                    loaded,
                    samples,
                    output,
                    read_fraction=read_fraction,
                    seed=seed,
                    batch_tokens=batch_tokens,
                    processes=processes,
                    resume=resume,
                    overwrite=overwrite,
                    fail_fast=fail_fast,
                    progress=progress.advance,
                    on_plan=noting_device(progress.plan, loaded.device, processes),
                    on_sample=progress.finish,
                    check=check,
                )
            except RunInterrupted as error:
                raise explained(error, output, processes) from error
    # The other processes have ended.
    if not processes.is_main:
        return
    if processes.size == 1:
        n_done = progress.n_done - progress.n_failed
        note(f"{progress.n_units:,} reads of {n_done} samples, {progress.units_per_second:,.0f} reads/s")
    if outcome.result is not None:
        title = title or f"{cohort.stem}, embedded with {Path(model).name}"
        with doing("drawing the figure and the report"):
            _write_reports(outcome.result, output, colour_by, title, outcome.failed)
        report_files({what: output / name for what, name in RESULTS.items()})
    list_failures(outcome.failed, output)
    outcome.raise_for_failures()


def _write_reports(
    table: AbundanceTable, output: Path, colour_by: str | None, title: str, failed: dict[str, str]
) -> None:
    from ..io.atomic import atomic_write, wrap_write_errors
    from ..metagenomes.cohort import RESULTS
    from ..reports import cohort_figure, cohort_report

    with wrap_write_errors(output):
        with atomic_write(output / RESULTS["figure"]) as figure:
            cohort_figure(table, figure, colour_by=colour_by, title=title)
        with atomic_write(output / RESULTS["report"]) as report:
            cohort_report(table, report, colour_by=colour_by, title=title, failed=failed)


def explained(error: RunInterrupted, folder: Path, processes: ProcessGroup) -> BiomeformerError:
    """What the command says when a signal stopped it: the main process says it for all."""
    from ..runs.run_folder import run_status

    if not processes.is_main:
        quiet = RankStopped(str(error))
        quiet.exit_code = error.exit_code
        return quiet
    status = run_status(folder)
    return RunInterrupted(
        f"{error}: {status.n_done} of {status.n_samples} samples are done and kept in {folder}; the same command goes "
        "on with the others.",
        error.signal_number,
    )


def list_failures(failed: dict[str, str], folder: Path) -> None:
    """Say which samples failed, and why."""
    for sample_id, reason in list(failed.items())[:MOST_LISTED]:
        note(f"failed  {one_line(sample_id)}: {one_line(reason)}")
    if len(failed) > MOST_LISTED:
        note(f"… and {len(failed) - MOST_LISTED:,} more: biomeformer status {folder}")
