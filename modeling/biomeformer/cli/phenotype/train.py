"""`biomeformer phenotype train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...io.atomic import atomic_directory, write_json
from ...io.tables import missing_words
from ...runs.progress import Progress
from ..console import doing, out, report_files
from ..options import Revision, Threads
from ..output import check_output, hold_output
from .options import Group, Metadata, Missing, NotMissing, Positive, TargetColumn, Task, Transform, Zeros
from .reading import note_assumptions
from .summary import study_lines


def train(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="Folder of `biomeformer embed`.", show_default=False)],
    model: Annotated[
        str, typer.Option("--model", "-m", help="The checkpoint that embedded the table.", show_default=False)
    ],
    target: TargetColumn,
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoint folder to write.", show_default=False)],
    task: Task = "auto",
    metadata: Metadata = None,
    positive: Positive = None,
    missing: Missing = None,
    not_missing: NotMissing = None,
    group: Group = None,
    transform: Annotated[Transform, typer.Option(help="Transform of the abundance vectors.")] = "clr",
    zeros: Zeros = "auto",
    folds: Annotated[
        int, typer.Option(min=2, help="Folds of the cross-validation that estimates its performance.")
    ] = 10,
    force: Annotated[bool, typer.Option("--force", help="Write a checkpoint even if the fit learned nothing.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of folds and model.")] = 0,
    threads: Threads = None,
    revision: Revision = None,
) -> None:
    """Fit an L1-penalized logistic regression and write it with encoder and centroids as one checkpoint.

    The score shown, and kept in training_record.json, is cross-validated; the checkpoint is fitted on all samples. A
    fit that learned nothing makes no checkpoint without --force.
    """
    check_output(output)
    words = missing_words(missing or (), not_missing or ())
    hold_output(output)
    from ..runtime import start

    with doing(f"loading {model}"):
        start(threads)
        from ...checkpoints.loading import load
        from ...checkpoints.source import model_source, public_record
        from ...metagenomes import AbundanceTable
        from ...metagenomes.cohort import computed_by
        from ...metagenomes.windows import adopt_windows
        from ...phenotypes import make_target, read_metadata, train_checkpoint

        abundance = AbundanceTable.read(table)
        columns, where = abundance.metadata, str(table)
        if metadata is not None:
            columns, where = read_metadata(metadata), str(metadata)
        classes = make_target(
            columns,
            target,
            abundance.sample_ids,
            positive=positive,
            group_column=group,
            where=where,
            missing=words,
            task=task,
        )
        note_assumptions(classes, task)
        loaded = load(model, revision=revision)
        adopt_windows(loaded, abundance.provenance)
    with Progress() as progress:
        trained, study = train_checkpoint(
            loaded,
            abundance,
            classes,
            transform=transform,
            zeros=zeros,
            n_splits=folds,
            seed=seed,
            n_jobs=threads or -1,
            force=force,
            progress=progress.update,
        )
    for line in study_lines(study):
        out(line)
    with atomic_directory(output, locked=True) as partial:
        trained.save_pretrained(partial)
        record = {"base_model": model_source(loaded), **study.record, **computed_by(loaded)}
        write_json(partial / "training_record.json", public_record(record))
    report_files({"checkpoint": output})
