"""`biomeformer phenotype depth`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ...errors import InputError, SamplesFailedError
from ...io.tables import missing_words
from ...runs.progress import Progress
from ..console import doing, next_command, note, record, report_files
from ..embed import embed as embed_cohort
from ..options import DEFAULT_DEVICE, AllowSharedFiles, BatchTokens, Device, Revision, Threads
from ..output import open_output
from ..presets import Preset
from .options import (
    Covariates,
    Group,
    Impute,
    Metadata,
    Missing,
    Models,
    ModelTransform,
    NotMissing,
    Overwrite,
    Positive,
    Species,
    TargetColumn,
    Task,
    Zeros,
)
from .reading import FurtherBlocks, TargetOptions, print_remarks, samples_in_all
from .summary import print_study

WRITER, FIGURE = "phenotype depth", "depth.svg"


def depth(
    cohort: Annotated[
        list[Path],
        typer.Argument(
            metavar="COHORT.csv|TABLE...",
            help="A cohort to embed at each depth, or folders of `biomeformer embed` at several.",
            show_default=False,
        ),
    ],
    target: TargetColumn,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write, or to resume.", show_default=False)],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Checkpoint that embeds the cohort.", show_default=False)
    ] = None,
    fraction: Annotated[
        list[float] | None,
        typer.Option(help="Fraction of the reads; may be repeated.", show_default="1, 0.5, 0.1, 0.05, 0.01"),
    ] = None,
    preset: Preset = None,
    task: Task = "auto",
    metadata: Metadata = None,
    species: Species = None,
    covariates: Covariates = None,
    impute: Impute = False,
    positive: Positive = None,
    missing: Missing = None,
    not_missing: NotMissing = None,
    group: Group = None,
    estimator: Models = None,
    transform: ModelTransform = None,
    zeros: Zeros = "auto",
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 10,
    repeats: Annotated[int, typer.Option(min=1, help="Repeats, each with other folds.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of read sampling, folds and models.")] = 0,
    device: Device = DEFAULT_DEVICE,
    dtype: Annotated[str, typer.Option(help="Precision of the encoder: float32, bfloat16 or float16.")] = "float32",
    batch_tokens: BatchTokens = None,
    threads: Threads = None,
    revision: Revision = None,
    overwrite: Overwrite = False,
    allow_shared_files: AllowSharedFiles = False,
) -> None:
    """Evaluate at 100, 50, 10, 5 and 1 % of the reads, and plot the curve.

    The reads of a smaller fraction are a subset of those of a larger one, and the folds are the same at every depth.
    Each depth is a run of `biomeformer embed` in OUTPUT/reads-*; after an interruption the same command resumes. Writes
    scores.csv, predictions.csv, study.json and depth.svg.
    """
    from ...phenotypes.depth import FRACTIONS
    from ...phenotypes.study import STUDY_FILES
    from ...runs.run_folder import is_run_folder

    options = TargetOptions(target, task, positive, group, missing_words(missing or (), not_missing or ()))
    further = FurtherBlocks(species, covariates, impute)
    failure: SamplesFailedError | None = None
    if model is None:
        if fraction or len(cohort) < 2:
            raise InputError(
                "give --model, to embed a cohort at each depth, or two or more folders of `biomeformer embed`, each of "
                "another --read-fraction."
            )
        output_folder = open_output(output, WRITER, overwrite=overwrite)
        folders = cohort
    else:
        if len(cohort) > 1:
            raise InputError(f"--model embeds one cohort, and {len(cohort)} were given; give one.")
        fractions = sorted(set(fraction or FRACTIONS), reverse=True)
        if len(fractions) < 2:
            raise InputError(f"a curve needs two fractions of the reads; --fraction is only {fractions[0]}; give more.")
        folders = [output / f"reads-{share:.6g}" for share in fractions]
        output_folder = open_output(output, WRITER, overwrite=overwrite, resume=any(map(is_run_folder, folders)))
        _check_target(cohort[0], metadata, options, allow_shared_files)
        output.mkdir(parents=True, exist_ok=True)
        # Folders of earlier versions have no record; runs in it have their own.
        output_folder.claim([] if output_folder.ownership() else [*STUDY_FILES, FIGURE], adopt=True)
        for share, folder in zip(fractions, folders, strict=True):
            note(f"{100 * share:.6g} % of the reads")
            try:
                embed_cohort(
                    cohort[0],
                    model,
                    folder,
                    read_fraction=share,
                    seed=seed,
                    device=device,
                    dtype=dtype,
                    batch_tokens=batch_tokens,
                    threads=threads,
                    revision=revision,
                    overwrite=overwrite,
                    allow_shared_files=allow_shared_files,
                )
            except SamplesFailedError as error:
                # The curve is computed from the other samples.
                failure = error
    with doing("reading the tables"):
        from ...metagenomes import AbundanceTable
        from ...phenotypes import MODELS, read_metadata
        from ...phenotypes.depth import depth_name, depth_tables
        from ...phenotypes.study import run_study

        tables = [AbundanceTable.read(folder) for folder in folders]
        by_fraction = depth_tables(tables)
        for share, features in by_fraction.items():
            print_remarks(depth_name(share), features)
        columns, where = tables[0].metadata, str(folders[0])
        if metadata is not None:
            columns, where = read_metadata(metadata), str(metadata)
        ids = next(iter(by_fraction.values())).sample_ids
        beside = further.read_species(columns)
        classes = options.read(columns, samples_in_all(ids, beside), where)
        beside |= further.read_covariates(columns, classes, where, options.missing)
        inputs: dict[str, Any] = {"read_fractions": {depth_name(share): share for share in by_fraction}}
        inputs |= further.record()
    with Progress() as progress:
        study = run_study(
            {depth_name(share): [features, *beside.values()] for share, features in by_fraction.items()},
            classes,
            models=estimator or MODELS,
            transform=transform,
            zeros=zeros,
            n_splits=folds,
            n_repeats=repeats,
            seed=seed,
            n_jobs=threads or -1,
            sources={depth_name(share): f"{depth_name(share)} of the reads" for share in by_fraction},
            inputs=inputs,
            progress=progress.update,
        )
    print_study(study)
    with output_folder.publish() as partial:
        from ...reports.phenotype_figures import depth_figure
        from ...reports.svg import svg

        written = study.write(partial)
        written["figure"] = partial / FIGURE
        written["figure"].write_bytes(svg(depth_figure(study)))
    report_files({name: output / path.name for name, path in written.items()})
    record(read_fractions=inputs["read_fractions"], failed={} if failure is None else failure.failed)
    next_command("phenotype", "evaluate", folders[0], "--target", target)
    if failure is not None:
        raise failure


def _check_target(cohort: Path, metadata: Path | None, options: TargetOptions, allow_shared_files: bool) -> None:
    """Check the target before anything is embedded."""
    from ...phenotypes import read_metadata
    from ...reads import read_cohort

    samples = read_cohort(cohort, allow_shared_files=allow_shared_files)
    columns = samples.metadata() if metadata is None else read_metadata(metadata)
    options.make(columns, [sample.sample_id for sample in samples], str(metadata or cohort))
