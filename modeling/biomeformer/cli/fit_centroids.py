"""`biomeformer fit-centroids`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import InputError, SamplesFailedError
from ..runs.progress import RunProgress
from .console import doing, next_command, note, out, record, report_files
from .options import DEFAULT_DEVICE, AllowSharedFiles, BatchTokens, Cohort, Device, Revision, Threads, Timeout
from .output import check_output, hold_output
from .presets import Preset
from .runs import list_failures, watch_run
from .units import parse_bytes

if TYPE_CHECKING:
    from ..models.metagenbert import MetagenBertProcessor

Pooling = Literal["mean", "mean_over_max_length", "cls"]


def fit_centroids(
    cohort: Cohort,
    read_encoder: Annotated[
        str,
        typer.Option(
            help="Encoder: a folder, Hub id or, with --translate, fair-esm's name of an ESM-2; of a MetagenBERT "
            "checkpoint its encoder.",
            show_default=False,
        ),
    ],
    n_clusters: Annotated[
        list[int],
        typer.Option(
            "--n-clusters",
            "-k",
            min=1,
            help="Number of centroids; repeat for further models.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Checkpoint folder to write; with several K, one folder per K in it.",
            show_default=False,
        ),
    ],
    preset: Preset = None,
    reads_per_sample: Annotated[int, typer.Option(min=1, help="Reads drawn from each sample.")] = 10_000,
    n_iterations: Annotated[int, typer.Option(min=1, help="Iterations of k-means.")] = 20,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of the draw and of k-means.")] = 0,
    spherical: Annotated[bool, typer.Option(help="Scale read vectors and centroids to unit length.")] = False,
    min_points_per_centroid: Annotated[
        int | None, typer.Option(min=1, help="Warn if there are fewer reads per centroid.", show_default="no warning")
    ] = None,
    max_points_per_centroid: Annotated[
        int | None,
        typer.Option(min=1, help="Fit on a random sample of so many reads per centroid.", show_default="all reads"),
    ] = None,
    pooling: Annotated[
        Pooling | None,
        typer.Option(help="How a read's token vectors are pooled.", show_default="the encoder's checkpoint's, or mean"),
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(
            min=1, help="Longest read in tokens; the tail is cut.", show_default="the checkpoint's, or the encoder's"
        ),
    ] = None,
    windows: Annotated[
        bool,
        typer.Option(
            "--windows", help="Cut longer reads into windows of --max-length, each a point of its own, for long reads."
        ),
    ] = False,
    translate: Annotated[
        bool,
        typer.Option("--translate", help="Translate reads to their longest open frame, for encoders of proteins."),
    ] = False,
    vectors: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the drawn reads' vectors, kept for other numbers of clusters.",
            show_default="OUTPUT.vectors, deleted at the end",
        ),
    ] = None,
    max_memory: Annotated[
        str,
        typer.Option(help="Memory a process may take for reads, vectors, centroids; vectors beyond it stay on disk."),
    ] = "4GB",
    device: Device = DEFAULT_DEVICE,
    batch_tokens: BatchTokens = None,
    threads: Threads = None,
    revision: Revision = None,
    timeout: Timeout = 10.0,
    allow_shared_files: AllowSharedFiles = False,
) -> None:
    """Learn centroids from a cohort's reads and write encoder and centroids as one checkpoint.

    Reads are drawn by a hash of their numbers, embedded, and clustered by k-means. An interrupted draw
    resumes when the same command is given again. Under `accelerate launch` the processes share the work.
    """
    check_output(output)
    hold_output(output)
    allowed = parse_bytes(max_memory, "--max-memory")
    if len(set(n_clusters)) < len(n_clusters):
        raise InputError("--n-clusters: a number of clusters is given twice; give each once.")
    folder = vectors if vectors is not None else output.with_name(f"{output.name}.vectors")
    from ..reads import read_cohort
    from .runtime import note_device, start

    samples = read_cohort(cohort, allow_shared_files=allow_shared_files)
    with doing(f"loading {read_encoder}"):
        start(threads)
        from ..checkpoints.loading import load_encoder_with_processor
        from ..io.atomic import atomic_directory, wrap_write_errors
        from ..metagenomes.centroids import fit_several_centroids, memory_needed
        from ..runs.process_group import ProcessGroup

    with ProcessGroup.from_environment(timeout * 60) as processes:
        with doing(f"loading {read_encoder}"):
            asked: dict[str, Any] = {
                "pooling": pooling,
                "max_length": max_length,
                "truncation": "windows" if windows else None,
                "translation": "longest_frame" if translate else None,
            }
            encoder, processor = load_encoder_with_processor(
                read_encoder,
                revision=revision,
                device=processes.device(device),
                **{field: value for field, value in asked.items() if value is not None},
            )
        for what in described(processor) if processes.is_main else ():
            note(what)
        note_device(encoder.device, processes)
        if processes.is_main:
            is_capped = max_points_per_centroid is not None
            least = memory_needed(n_clusters, encoder.config.hidden_size, reads_per_sample, is_capped=is_capped)
            share = len(samples) * reads_per_sample * encoder.config.hidden_size * 4 / processes.size
            storage = "in memory" if least + share <= allowed else "on disk"
            note(
                f"each process takes at most {allowed / 1e9:.2f} GB beside the model: {least / 1e9:.2f} GB to work, "
                f"and up to {share / 1e9:.2f} GB of vectors {storage}"
            )

        def on_iteration(iteration: int, objective: dict[int, float]) -> None:
            for k, value in objective.items() if processes.is_main else ():
                which = "" if len(objective) == 1 else f"K = {k}, "
                out(f"{which}iteration {iteration:>3}: objective {value:.6g}")

        with watch_run(RunProgress(len(samples), processes), folder) as control:
            try:
                fits = fit_several_centroids(
                    samples,
                    encoder,
                    processor,
                    n_clusters=n_clusters,
                    n_iterations=n_iterations,
                    reads_per_sample=reads_per_sample,
                    seed=seed,
                    spherical=spherical,
                    min_points_per_centroid=min_points_per_centroid,
                    max_points_per_centroid=max_points_per_centroid,
                    batch_tokens=batch_tokens,
                    vectors=folder,
                    max_memory=allowed,
                    on_iteration=on_iteration,
                    control=control,
                )
            except SamplesFailedError as error:
                list_failures(error.failed, folder)
                raise
    if not processes.is_main:
        return
    for fit in fits:
        kmeans = fit.kmeans
        points = "windows of reads" if processor.truncation == "windows" else "reads"
        sampled = "" if kmeans.n_trained == kmeans.n_points else f", fitted on {kmeans.n_trained:,} of them"
        out(f"{len(kmeans.centroids)} clusters of {kmeans.n_points:,} {points}{sampled}, {kmeans.n_empty} empty")
    fields = ("n_points", "n_trained", "n_empty", "device")
    record(
        fits=[
            {"n_clusters": len(fit.kmeans.centroids)} | {name: getattr(fit.kmeans, name) for name in fields}
            for fit in fits
        ]
    )
    with wrap_write_errors(output):
        output.absolute().parent.mkdir(parents=True, exist_ok=True)
        if len(fits) == 1:
            written = {"checkpoint": fits[0].save(output, locked=True)}
        else:
            names = {len(fit.kmeans.centroids): fit for fit in fits}
            with atomic_directory(output, locked=True) as partial:
                for k, fit in names.items():
                    fit.save(partial / f"k{k}")
            written = {f"K = {k}": output / f"k{k}" for k in names}
    again = "" if fits[0].kmeans.resident else ", which read the vectors again in each iteration"
    out(f"k-means ran on {fits[0].kmeans.device}{again}")
    if vectors is None:
        shutil.rmtree(folder, ignore_errors=True)
    report_files(written)
    next_command("embed", cohort, "--model", next(iter(written.values())), "--output", "results")


def described(processor: MetagenBertProcessor) -> list[str]:
    """Return what the preprocessing config makes of reads beside tokens, a sentence each."""
    lines = []
    if processor.translation != "none":
        lines.append("reads are translated to their longest open frame")
    if processor.kmer_size is not None:
        lines.append(
            f"reads are written as {processor.kmer_size}-mers with blanks between, as the vocabulary is of them"
        )
    if processor.max_length is not None:
        rest = "cut into windows" if processor.truncation == "windows" else "truncated"
        lines.append(f"reads of more than {processor.max_length:,} tokens are {rest}")
    return lines
