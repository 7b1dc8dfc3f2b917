"""`biomeformer phenotype evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...errors import InputError
from ...io.spreadsheets import write_spreadsheet
from ...io.tables import missing_words
from ...runs.progress import Progress
from ..console import doing, next_command, out, record, report_files
from ..options import Threads
from ..output import open_output
from ..presets import Preset
from .options import (
    Covariates,
    FormerEstimator,
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
    chosen_estimators,
    column_names,
)
from .reading import FurtherBlocks, TargetOptions, feature_set, read_study_tables
from .summary import print_study


def evaluate(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE", help="Folder of `biomeformer embed`, or any table of features.", show_default=False
        ),
    ],
    target: TargetColumn,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")] = Path("phenotype"),
    preset: Preset = None,
    task: Task = "auto",
    metadata: Metadata = None,
    species: Species = None,
    covariates: Covariates = None,
    impute: Impute = False,
    read_vectors: Annotated[
        Path | None,
        typer.Option(
            help="Folder of `fit-centroids --vectors`: adds the mean vector of each sample's reads as a baseline.",
            show_default=False,
        ),
    ] = None,
    refit_centroids: Annotated[
        int | None,
        typer.Option(
            min=2,
            metavar="K",
            help="Fit K centroids on the training samples of each fold, from --read-vectors, and say what centroids of "
            "all samples gain by having seen the test samples.",
            show_default=False,
        ),
    ] = None,
    features: Annotated[
        list[str] | None,
        typer.Option(
            help="Feature set to evaluate, blocks joined by +, such as vectors+covariates; may be repeated.",
            show_default="each block, tables with covariates, all",
        ),
    ] = None,
    positive: Positive = None,
    missing: Missing = None,
    not_missing: NotMissing = None,
    group: Group = None,
    estimator: Models = None,
    model: FormerEstimator = None,
    transform: ModelTransform = None,
    zeros: Zeros = "auto",
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 10,
    repeats: Annotated[int, typer.Option(min=1, help="Repeats, each with other folds.")] = 5,
    permutations: Annotated[
        int, typer.Option(min=0, help="Permutations of the labels; each takes as long as a repeat.")
    ] = 0,
    confounders: Annotated[
        list[str] | None,
        typer.Option(
            help="Metadata columns to test as confounders, separated by commas; none for no test.", show_default="all"
        ),
    ] = None,
    importance: Annotated[
        bool, typer.Option("--importance", help="Permute groups of correlated features on held-out folds.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of folds, models and permutations.")] = 0,
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Cross-validate classifiers of a phenotype from abundance vectors, optionally compared with a species table.

    The cross-validation is nested, repeated and stratified; all fitting and model selection uses only training samples.
    Metadata columns that predict the phenotype too, or explain the features, are tested and warned of. Writes
    scores.csv, predictions.csv (out of fold), centroid_leak.csv (with --refit-centroids), confounders.csv,
    importance.csv (with --importance), study.json and report.html.
    """
    estimator = chosen_estimators(estimator, model)
    if refit_centroids is not None and read_vectors is None:
        raise InputError(
            "--refit-centroids needs the vectors of the samples' reads; give --read-vectors, a folder of "
            "`biomeformer fit-centroids --vectors`."
        )
    words = missing_words(missing or (), not_missing or ())
    folder = open_output(output, "phenotype evaluate", overwrite=overwrite)
    with doing("reading the tables"):
        from ...checkpoints import public_name
        from ...phenotypes import MODELS
        from ...phenotypes.study import run_study

        further = FurtherBlocks(species, covariates, impute)
        read = read_study_tables(table, metadata, TargetOptions(target, task, positive, group, words), further)
        tables, blocks, classes = read.tables, read.blocks, read.target
        inputs = read.inputs | further.record()
        sources = {
            read.main_name: str(table),
            "species": str(species),
            "both": "both side by side",
            "covariates": f"the columns {covariates}",
        }
        sets = {name: [blocks[part] for part in parts] for name, parts in _feature_sets(list(blocks), features).items()}
    if read_vectors is not None:
        with doing("reading the vectors"):
            from ...metagenomes.drawn_vectors import DrawnVectors
            from ...phenotypes.refitting import MEAN_VECTOR, mean_vectors, refitted_tables

            vectors = DrawnVectors.read(read_vectors)
            ids = classes.sample_ids
            sets[MEAN_VECTOR] = [mean_vectors(vectors, ids)]
            if refit_centroids is not None:
                refitted = refitted_tables(vectors, ids, refit_centroids, seed=seed)
                sets |= {name: [refitted_table] for name, refitted_table in refitted.items()}
            inputs["read_vectors"] = {"folder": public_name(read_vectors), "refit_centroids": refit_centroids}
    with Progress() as progress:
        study = run_study(
            sets,
            classes,
            models=estimator or MODELS,
            transform=transform,
            zeros=zeros,
            n_splits=folds,
            n_repeats=repeats,
            n_permutations=permutations,
            seed=seed,
            n_jobs=threads or -1,
            inputs=inputs,
            sources=sources,
            progress=progress.update,
            importance=importance,
        )
    if confounders != ["none"]:
        with doing("testing metadata columns"):
            from dataclasses import replace

            from ...phenotypes.confounding import find_confounders

            confounding = find_confounders(
                read.metadata,
                classes,
                tables[read.main_name],
                name=read.main_name,
                columns=column_names(confounders, read.metadata.columns) or None,
                where=read.where,
                missing=words,
                n_splits=folds,
                n_repeats=repeats,
                seed=seed,
            )
            study = replace(study, confounding=confounding)
    print_study(study)
    leak = None
    if refit_centroids is not None:
        from ...phenotypes.refitting import leak_table

        leak = leak_table(study)
        record(centroid_leak=leak)
        for row in leak.itertuples():
            out(
                f"{row.model}: centroids of all samples gain {row.leak:+.3f} ({row.low:.3f} to {row.high:.3f}) in "
                f"{row.metric} over centroids of the training samples"
            )
    with folder.publish() as partial:
        written = study.write(partial)
        if leak is not None:
            written["leak"] = partial / "centroid_leak.csv"
            write_spreadsheet(leak, written["leak"], index=False)
        with doing("drawing the report"):
            from ...reports.phenotype import phenotype_report

            written["report"] = phenotype_report(study, partial / "report.html", tables=tables)
    report_files({name: output / path.name for name, path in written.items()})
    given = [] if metadata is None else ["--metadata", metadata]
    next_command("phenotype", "robustness", table, "--target", target, *given)


def _feature_sets(blocks: list[str], chosen: list[str] | None) -> dict[str, list[str]]:
    """Return the blocks of each feature set, by its name: those of `--features`, or by default a useful choice."""
    if chosen:
        each = [feature_set(text, blocks) for text in chosen]
        return {" + ".join(parts): parts for parts in each}
    sets = {name: [name] for name in blocks}
    tables = [name for name in blocks if name != "covariates"]
    if len(tables) > 1:
        sets["both"] = tables
    if "covariates" in blocks:
        sets |= {f"{name} + covariates": [name, "covariates"] for name in tables}
        if len(tables) > 1:
            sets["all"] = blocks
    return sets
