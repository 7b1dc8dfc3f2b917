"""`biomeformer phenotype train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ...errors import InputError
from ...io.atomic import atomic_directory, write_json
from ...io.tables import missing_words
from ...runs.progress import Progress
from ..console import doing, next_command, note, record, report_files
from ..options import Revision, Threads
from ..output import check_output, hold_output
from ..presets import Preset
from .options import (
    Covariates,
    Group,
    Impute,
    Metadata,
    Missing,
    ModelTransform,
    NotMissing,
    Positive,
    Species,
    TargetColumn,
    Task,
    Zeros,
)
from .reading import FurtherBlocks, StudyTables, TargetOptions, feature_set, read_study_tables
from .summary import print_study

if TYPE_CHECKING:
    from ...models.metagenbert import MetagenBertModel


def train(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE", help="Folder of `biomeformer embed`, or any table of features.", show_default=False
        ),
    ],
    target: TargetColumn,
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoint folder to write.", show_default=False)],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The checkpoint that embedded the table.", show_default=False)
    ] = None,
    preset: Preset = None,
    estimator: Annotated[
        Literal["l1", "lasso", "forest", "boosting"],
        typer.Option(help="What is fitted; lasso is the one published with MetagenBERT."),
    ] = "l1",
    task: Task = "auto",
    metadata: Metadata = None,
    species: Species = None,
    covariates: Covariates = None,
    impute: Impute = False,
    features: Annotated[
        str | None,
        typer.Option(help="Blocks to fit on, joined by +, such as vectors+covariates.", show_default="all"),
    ] = None,
    positive: Positive = None,
    missing: Missing = None,
    not_missing: NotMissing = None,
    group: Group = None,
    transform: ModelTransform = None,
    zeros: Zeros = "auto",
    folds: Annotated[
        int, typer.Option(min=2, help="Folds of the cross-validation that estimates its performance.")
    ] = 10,
    force: Annotated[bool, typer.Option("--force", help="Write a checkpoint even if the fit learned nothing.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of folds and model.")] = 0,
    threads: Threads = None,
    revision: Revision = None,
) -> None:
    """Fit an estimator on abundance vectors, a species table, covariates or any of them, and write it as a checkpoint.

    L1 or lasso on the vectors of `biomeformer embed` alone becomes the head of the checkpoint that embedded them, with
    encoder and centroids. All others become a predictor, which names the tables that it needs. The score shown, and
    kept in training_record.json, is cross-validated; the checkpoint is fitted on all samples. A fit that learned
    nothing makes no checkpoint without --force.
    """
    check_output(output)
    words = missing_words(missing or (), not_missing or ())
    hold_output(output)
    from ..runtime import start

    with doing("reading the tables"):
        start(threads)
        from ...checkpoints.loading import load
        from ...checkpoints.source import model_source, public_record
        from ...metagenomes.windows import adopt_windows
        from ...phenotypes.checkpoint import check_same_provenance

        further = FurtherBlocks(species, covariates, impute)
        read = read_study_tables(table, metadata, TargetOptions(target, task, positive, group, words), further)
        chosen = feature_set(features, read.blocks) if features else list(read.blocks)
        names = [name for name in read.blocks if name in chosen]
        is_head = estimator in ("l1", "lasso") and names == ["vectors"]
        if model is None and is_head:
            raise InputError(
                f"{estimator} on vectors alone becomes the head of the checkpoint that embedded them; give that by "
                "--model."
            )
        if model is not None and "vectors" not in names:
            raise InputError(f"--model embeds vectors, and the features are {' and '.join(names)}; leave it out.")
    loaded = None
    if model is not None:
        with doing(f"loading {model}"):
            loaded = load(model, revision=revision)
            adopt_windows(loaded, read.tables["vectors"].provenance)
            check_same_provenance(loaded, read.tables["vectors"].provenance)
    settings: dict[str, Any] = {
        "zeros": zeros,
        "n_splits": folds,
        "seed": seed,
        "n_jobs": threads or -1,
        "force": force,
    }
    with Progress() as progress:
        settings["progress"] = progress.update
        if is_head:
            assert loaded is not None
            trained, study, computed = _train_head(loaded, table, read, estimator, transform or "clr", settings)
        else:
            trained, study, computed = _train_predictor(loaded, read, names, further, estimator, transform, settings)
    print_study(study)
    with atomic_directory(output, locked=True) as partial:
        trained.save_pretrained(partial)
        base = trained.base_model if loaded is None else model_source(loaded)
        training_record = {"base_model": base, **study.record, **computed}
        write_json(partial / "training_record.json", public_record(training_record))
    if not is_head:
        note(f"the predictor needs {trained.needs}")
    report_files({"checkpoint": output})
    record(estimator=estimator, features=names, needs=None if is_head else trained.needs)
    next_command("phenotype", "predict", output, table)


def _train_head(
    model: MetagenBertModel, table: Path, read: StudyTables, estimator: str, transform: str, settings: dict[str, Any]
) -> tuple[Any, Any, dict[str, Any]]:
    """Return the model with a linear head, its study, and what computed them."""
    from ...metagenomes import AbundanceTable
    from ...metagenomes.cohort import computed_by
    from ...phenotypes import train_checkpoint

    trained, study = train_checkpoint(
        model, AbundanceTable.read(table), read.target, estimator=estimator, transform=transform, **settings
    )
    return trained, study, computed_by(model)


def _train_predictor(
    model: MetagenBertModel | None,
    read: StudyTables,
    names: list[str],
    further: FurtherBlocks,
    estimator: str,
    transform: str | None,
    settings: dict[str, Any],
) -> tuple[Any, Any, dict[str, Any]]:
    """Return the predictor, its study, and what computed them."""
    from ...checkpoints.source import model_source
    from ...phenotypes import train_predictor

    origins = [str(read.paths.get(name, f"the columns {further.covariates}")) for name in names]
    predictor, study = train_predictor(
        {name: read.blocks[name] for name in names},
        read.target,
        estimator,
        transform=transform,
        base_model=None if model is None else model_source(model) | {"weights_sha256": model.weights_sha256},
        impute=further.impute,
        inputs=read.inputs | further.record(),
        sources={" + ".join(names): " and ".join(origins)},
        **settings,
    )
    return predictor, study, {"device": "cpu", "versions": predictor.versions}
