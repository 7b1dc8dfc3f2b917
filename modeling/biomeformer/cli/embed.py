"""`biomeformer embed`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from ..runs.progress import RunProgress
from .console import doing, next_command, note, record, report_files
from .options import (
    DEFAULT_DEVICE,
    AllowSharedFiles,
    BatchTokens,
    Cohort,
    Device,
    Resume,
    Revision,
    Seed,
    Threads,
    Timeout,
)
from .output import check_run_output
from .runs import list_failures, watch_run

if TYPE_CHECKING:
    from ..metagenomes import AbundanceTable


def embed(
    cohort: Cohort,
    model: Annotated[
        str,
        typer.Option("--model", "-m", help="A shipped checkpoint, a folder, or a Hub id.", show_default=False),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write, or of a run to resume.", show_default=False)
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
        bool, typer.Option("--compile", help="Compile the encoder first: takes seconds per run, for an NVIDIA GPU.")
    ] = False,
    windows: Annotated[
        bool,
        typer.Option(
            "--windows", help="Cut longer reads into windows of --max-length, each counted by itself, for long reads."
        ),
    ] = False,
    max_length: Annotated[
        int | None,
        typer.Option(min=1, help="With --windows: their length in tokens.", show_default="the checkpoint's"),
    ] = None,
    batch_tokens: BatchTokens = None,
    threads: Threads = None,
    revision: Revision = None,
    colour_by: Annotated[
        str | None, typer.Option(help="Cohort column that colours the figure.", show_default="chosen")
    ] = None,
    title: Annotated[
        str | None, typer.Option(help="Title of the figure and the report.", show_default="cohort and model")
    ] = None,
    report: Annotated[
        bool, typer.Option(help="Draw the figure and the report; without, the same command draws them later.")
    ] = True,
    resume: Resume = True,
    overwrite: Annotated[bool, typer.Option(help="Delete the run that the folder holds, and start over.")] = False,
    fail_fast: Annotated[bool, typer.Option(help="Stop at the first sample that fails.")] = False,
    timeout: Timeout = 10.0,
    allow_shared_files: AllowSharedFiles = False,
) -> None:
    """Embed a cohort's reads and write its abundance table, figure and report.

    Each finished sample is kept in the output folder at once: after an interruption the same command resumes with the
    samples that are left, and a sample that fails does not stop the others. `biomeformer status` shows where a run
    stands. At the end it writes abundance.parquet (counts, read_stats, phenotypes, provenance), then draws cohort.png
    and report.html. Under `accelerate launch` the processes share the samples.
    """
    from ..reads import read_cohort
    from ..reads.subsampling import check_read_fraction
    from .runtime import start

    check_run_output(output, overwrite=overwrite)
    check_read_fraction(read_fraction)
    if max_length is not None and not windows:
        raise InputError("--max-length is the length of windows; add --windows, or leave it out.")
    samples = read_cohort(cohort, allow_shared_files=allow_shared_files)
    if colour_by is not None and colour_by not in samples.columns:
        columns = ", ".join(samples.columns) or "none"
        raise InputError(f"--colour-by: {cohort} has no column {colour_by!r} beside the reads'; it has {columns}.")
    with doing(f"loading {model}"):
        start(threads)
        from ..checkpoints.loading import load
        from ..inference import compiling
        from ..metagenomes.cluster_descriptions import NAME
        from ..metagenomes.cohort import RESULTS, run_cohort
        from ..metagenomes.windows import use_windows
        from ..runs.process_group import ProcessGroup

    with ProcessGroup.from_environment(timeout * 60) as processes:
        with doing(f"loading {model}"):
            loaded = load(model, revision=revision, device=processes.device(device), dtype=dtype)
            if windows:
                use_windows(loaded, max_length)
        if dtype == "float8" and not compile_encoder and processes.is_main:
            note("float8 without --compile moves more data than it saves; add --compile for speed.")
        if compile_encoder:
            with doing("compiling the encoder, once for this run"):
                seconds = compiling.compile_encoder(loaded)
            note(f"Compiled the encoder in {seconds:.1f} s, once for this run.")
        progress = RunProgress(len(samples), processes)
        run_options = {"resume": resume, "overwrite": overwrite, "fail_fast": fail_fast}
        with watch_run(progress, output, device=loaded.device, **run_options) as control:
            outcome = run_cohort(
                loaded,
                samples,
                output,
                read_fraction=read_fraction,
                seed=seed,
                batch_tokens=batch_tokens,
                control=control,
            )
    # The other processes have ended.
    if not processes.is_main:
        return
    if processes.size == 1:
        n_done = progress.n_done - progress.n_failed
        note(f"{progress.n_units:,} reads of {n_done} samples, {progress.units_per_second:,.0f} reads/s")
    if outcome.result is not None:
        title = title or f"{cohort.stem}, embedded with {Path(model).name}"
        results = {what: output / name for what, name in (RESULTS | {"clusters": NAME}).items()}
        if report:
            with doing("drawing the figure and the report"):
                _write_reports(outcome.result, output, colour_by, title, outcome.failed)
        elif earlier := [path for what in ("figure", "report") if (path := results.pop(what)).is_file()]:
            note(f"{' and '.join(path.name for path in earlier)} in {output} may show an earlier table.")
        report_files({what: path for what, path in results.items() if path.is_file()})
        record(sample_ids=outcome.result.sample_ids, read_stats=outcome.result.read_stats)
        after_table(output, outcome.result)
    record(n_samples=len(samples), failed=outcome.failed)
    list_failures(outcome.failed, output)
    outcome.raise_for_failures()


def after_table(folder: Path, table: AbundanceTable) -> None:
    """Print a command that takes an abundance table further."""
    if len(table.metadata.columns):
        next_command("phenotype", "evaluate", folder, "--target", table.metadata.columns[0])
    else:
        next_command("export", folder, "--format", "csv")


def _write_reports(
    table: AbundanceTable, output: Path, colour_by: str | None, title: str, failed: dict[str, str]
) -> None:
    from ..io.atomic import atomic_write, wrap_write_errors
    from ..metagenomes.cluster_descriptions import find_descriptions
    from ..metagenomes.cohort import RESULTS
    from ..reports import cohort_figure, cohort_report
    from ..runs.run_folder import lock_of_run

    descriptions = find_descriptions(table.provenance, output)
    shown: dict[str, Any] = {"colour_by": colour_by, "title": title, "descriptions": descriptions}
    with wrap_write_errors(output), lock_of_run(output):
        with atomic_write(output / RESULTS["figure"]) as figure:
            cohort_figure(table, figure, **shown)
        cohort_report(table, output / RESULTS["report"], failed=failed, **shown)
