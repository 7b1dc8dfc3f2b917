"""`biomeformer phenotype transfer`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import InputError
from ...io.atomic import write_json
from ...io.spreadsheets import write_spreadsheet
from ...io.tables import missing_words
from ...version import versions
from ..console import doing, next_command, out, record, report_files
from ..options import Threads
from ..output import open_output
from .options import (
    Covariates,
    FormerEstimator,
    Impute,
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
)
from .reading import FurtherBlocks, TargetOptions, read_labelled_cohort, table_record, with_columns
from .summary import score_line

if TYPE_CHECKING:
    import pandas as pd

    from ...phenotypes.cohort_transfer import LabelledCohort


def transfer(
    tables: Annotated[
        list[Path],
        typer.Argument(metavar="TABLE...", help="Cohorts to train on, or to leave out in turn.", show_default=False),
    ],
    target: TargetColumn,
    test: Annotated[
        Path | None, typer.Option(help="Cohort to test on.", show_default="each of the others in turn")
    ] = None,
    leave_out_column: Annotated[
        str | None,
        typer.Option(help="Column of one table, such as the study, each of whose values is left out in turn."),
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
    species: Species = None,
    covariates: Covariates = None,
    impute: Impute = False,
    estimator: Models = None,
    model: FormerEstimator = None,
    transform: ModelTransform = None,
    zeros: Zeros = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Seed of models and bootstraps.")] = 0,
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Train on cohorts and test on another, or leave out each cohort, or each study of one table, in turn.

    The penalty of l1 is chosen on folds that leave whole cohorts out. Tables of different checkpoints or preprocessing
    configs are refused. Intervals are over bootstraps of the tested samples. Writes transfer.csv, predictions.csv,
    transfer.json (settings, tables with their digests, warnings) and report.html.
    """
    estimator = chosen_estimators(estimator, model)
    if leave_out_column is not None and (len(tables) > 1 or test is not None):
        raise InputError("--leave-out-column leaves out the studies of one table; give one table and no --test.")
    words = missing_words(missing or (), not_missing or ())
    folder = open_output(output, "phenotype transfer", overwrite=overwrite)
    with doing("reading the tables"):
        import pandas as pd

        from ...checkpoints.source import public_record
        from ...phenotypes import MODELS, leave_one_out
        from ...phenotypes import transfer as transfer_to
        from ...phenotypes.leave_out import split_cohort, transfer_predictions
        from ...phenotypes.study import DEFAULT_TRANSFORMS, score_columns

        options = TargetOptions(target, task, positive, None, words)
        further = FurtherBlocks(species, covariates, impute)

        def read(path: Path) -> tuple[LabelledCohort, pd.DataFrame, str]:
            return read_labelled_cohort(path, metadata, options, further)

        tested = None if test is None else read(test)[0]
        if leave_out_column is None:
            cohorts = [read(path)[0] for path in tables]
        else:
            whole, columns, where = read(tables[0])
            whole, known = with_columns(
                whole, columns, [leave_out_column], categorical=[leave_out_column], where=where, missing=words
            )
            cohorts = split_cohort(whole, known[leave_out_column])
    rows, all_results = [], []
    for name in estimator or MODELS:
        settings: dict[str, Any] = {
            "transform": transform or DEFAULT_TRANSFORMS.get(name, "none"),
            "zeros": zeros,
            "seed": seed,
            "n_jobs": threads or -1,
        }
        with doing(f"{name}: training and testing"):
            if tested is None:
                results = leave_one_out(cohorts, name, **settings)
            else:
                results = [transfer_to(cohorts, tested, name, **settings)]
        all_results += results
        for result in results:
            trained_on, tested_on = result.trained_on, result.tested_on
            out(f"{' + '.join(trained_on)} -> {tested_on}, {name}: {score_line(result.task, result.scores)}")
            if result.learned_nothing:
                out("warning: this model learned nothing (it predicts the same for every sample); no result.")
            row: dict[str, Any] = {"trained_on": ";".join(trained_on), "tested_on": tested_on, "model": name}
            row["learned_nothing"] = result.learned_nothing
            rows.append(row | score_columns(result.scores))
    from ...reports.transfer import reading_remarks, transfer_report, transfer_warnings

    with folder.publish() as partial:
        tested_cohorts = cohorts if tested is None else [tested]
        write_spreadsheet(pd.DataFrame(rows), partial / "transfer.csv", index=False)
        write_spreadsheet(transfer_predictions(all_results, tested_cohorts), partial / "predictions.csv")
        cohorts_read = cohorts if tested is None else [*cohorts, tested]
        paths = {str(path): path for path in (*tables, *([] if test is None else [test]))}
        transfer_record = {
            "target": target,
            "task": tested_cohorts[0].target.kind,
            "leave_out_column": leave_out_column,
            "models": list(estimator or MODELS),
            "transform": transform,
            "zeros": zeros,
            "seed": seed,
            "tables": {name: table_record(path) for name, path in paths.items()},
            **further.record(),
            "notes": reading_remarks(cohorts_read, "notes"),
            "warnings": [*reading_remarks(cohorts_read, "warnings"), *transfer_warnings(all_results)],
            "versions": versions(),
        }
        write_json(partial / "transfer.json", public_record(transfer_record), ensure_ascii=False)
        with doing("drawing the report"):
            transfer_report(
                all_results,
                tested_cohorts,
                partial / "report.html",
                column=leave_out_column,
                trained_on=[] if tested is None else cohorts,
            )
    report_files(
        {
            "scores": output / "transfer.csv",
            "predictions": output / "predictions.csv",
            "all": output / "transfer.json",
            "report": output / "report.html",
        }
    )
    record(target=target, scores=rows, notes=transfer_record["notes"], warnings=transfer_record["warnings"])
    given = [] if metadata is None else ["--metadata", metadata]
    next_command("phenotype", "robustness", *tables, "--target", target, *given)
