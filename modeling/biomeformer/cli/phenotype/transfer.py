"""`biomeformer phenotype transfer`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ...io.spreadsheets import write_spreadsheet
from ...io.tables import missing_words
from ..console import doing, out, report_files
from ..options import Threads
from ..output import open_output
from .options import (
    Covariates,
    Impute,
    Missing,
    Models,
    ModelTransform,
    NotMissing,
    Overwrite,
    Positive,
    TargetColumn,
    Task,
    Zeros,
)
from .reading import read_cohort_table
from .summary import score_line


def transfer(
    tables: Annotated[
        list[Path],
        typer.Argument(metavar="TABLE...", help="Cohorts to train on, or to leave out in turn.", show_default=False),
    ],
    target: TargetColumn,
    test: Annotated[
        Path | None, typer.Option(help="Cohort to test on.", show_default="each of the others in turn")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")] = Path("transfer"),
    task: Task = "auto",
    metadata: Annotated[
        Path | None,
        typer.Option(help="CSV or TSV with the targets of all cohorts.", show_default="the tables' own columns"),
    ] = None,
    positive: Positive = None,
    missing: Missing = None,
    not_missing: NotMissing = None,
    covariates: Covariates = None,
    impute: Impute = False,
    model: Models = None,
    transform: ModelTransform = None,
    zeros: Zeros = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Seed of models and bootstraps.")] = 0,
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Train on cohorts and test on another, or leave out each cohort in turn.

    The penalty of l1 is chosen on folds that leave whole cohorts out. Tables of different checkpoints or preprocessing
    configs are refused. Intervals are over bootstraps of the tested samples. Writes transfer.csv.
    """
    words = missing_words(missing or (), not_missing or ())
    folder = open_output(output, "phenotype transfer", overwrite=overwrite)
    with doing("reading the tables"):
        import pandas as pd

        from ...phenotypes import MODELS, leave_one_out
        from ...phenotypes import transfer as transfer_to
        from ...phenotypes.study import DEFAULT_TRANSFORMS, score_columns

        cohorts = [
            read_cohort_table(path, metadata, target, positive, words, task, covariates, impute) for path in tables
        ]
        tested = (
            None
            if test is None
            else read_cohort_table(test, metadata, target, positive, words, task, covariates, impute)
        )
    rows = []
    for name in model or MODELS:
        options: dict[str, Any] = {
            "transform": transform or DEFAULT_TRANSFORMS.get(name, "none"),
            "zeros": zeros,
            "seed": seed,
            "n_jobs": threads or -1,
        }
        with doing(f"{name}: training and testing"):
            if tested is None:
                results = leave_one_out(cohorts, name, **options)
            else:
                results = [transfer_to(cohorts, tested, name, **options)]
        for result in results:
            trained_on, tested_on = result.trained_on, result.tested_on
            out(f"{' + '.join(trained_on)} -> {tested_on}, {name}: {score_line(result.task, result.scores)}")
            if result.learned_nothing:
                out("warning: this model learned nothing (it predicts the same for every sample); no result.")
            row: dict[str, Any] = {"trained_on": ";".join(trained_on), "tested_on": tested_on, "model": name}
            row["learned_nothing"] = result.learned_nothing
            rows.append(row | score_columns(result.scores))
    with folder.publish() as partial:
        write_spreadsheet(pd.DataFrame(rows), partial / "transfer.csv", index=False)
    report_files({"scores": output / "transfer.csv"})
