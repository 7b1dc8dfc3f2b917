"""Options shared by the phenotype commands."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

import typer

from ...errors import InputError
from ..console import note

Transform = Literal["none", "clr", "ilr"]
TargetColumn = Annotated[
    str, typer.Option("--target", "-t", help="Column with the classes, numbers or labels.", show_default=False)
]
Task = Annotated[
    Literal["auto", "classification", "regression", "multilabel"],
    typer.Option(
        help="What the column holds: classes, numbers, or labels joined by ';'. auto: numbers if more than 20 differ."
    ),
]
Metadata = Annotated[
    Path | None, typer.Option(help="CSV or TSV with the target.", show_default="the table's own columns")
]
Positive = Annotated[list[str] | None, typer.Option(help="Value to predict against all others; may be repeated.")]
Species = Annotated[
    Path | None,
    typer.Option(
        help="Species table of the same samples: MetaPhlAn, BIOM, CSV, curatedMetagenomicData.", show_default=False
    ),
]
Covariates = Annotated[
    str | None,
    typer.Option(help="Columns of the metadata beside the features, such as age,sex.", show_default=False),
]
Impute = Annotated[
    bool, typer.Option("--impute", help="Allow missing covariates: the median of the training samples, or a word.")
]
Group = Annotated[str | None, typer.Option(help="Column with subjects or batches, which no two folds share.")]
Missing = Annotated[
    list[str] | None,
    typer.Option("--missing", help="Further word for a missing value, such as None; may be repeated."),
]
NotMissing = Annotated[
    list[str] | None,
    typer.Option(
        "--not-missing", help="Word that is a class here though it commonly means missing, such as NA; may be repeated."
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--estimator",
        "--classifier",
        help="l1, forest, boosting, or lasso (as published with MetagenBERT); may be repeated.",
        show_default="the first three",
    ),
]
Strata = Annotated[str | None, typer.Option(help="Column of blocks, such as the study: permutations stay within them.")]
Categorical = Annotated[
    list[str] | None,
    typer.Option(help="Column whose numbers are names of classes, such as numbered batches; may be repeated."),
]
ModelTransform = Annotated[
    Transform | None, typer.Option(help="Transform of the features.", show_default="clr for l1, none for trees")
]
Zeros = Annotated[
    Literal["auto", "fixed", "sq", "gbm", "epsilon"],
    typer.Option(
        help="Zeros of log-ratios: fixed (1/n²), epsilon (1e-12 is added to every share), or by depth sq or gbm "
        "(Bayesian-multiplicative; need counts). "
        "auto: sq for counts, fixed for shares."
    ),
]
Overwrite = Annotated[bool, typer.Option(help="Replace what this command wrote to the folder.")]


def column_names(given: list[str] | None, columns: Collection[str]) -> list[str]:
    """Return the columns that an option names: one by one, or several separated by commas."""
    names = []
    for text in given or []:
        names += [text] if text in columns else [part.strip() for part in text.split(",") if part.strip()]
    return list(dict.fromkeys(names))


def chosen_estimators(estimator: list[str] | None, model: list[str] | None) -> list[str] | None:
    """Return the estimators given by `--estimator`, or by `--model`, as version 0.1 called it.

    Raises:
        InputError: `--model` was given and names no estimator: it is a checkpoint in every other command.
    """
    if not model:
        return estimator
    from ...phenotypes.models import ESTIMATORS

    if not set(model) <= set(ESTIMATORS):
        raise InputError(
            "--model names a checkpoint, which this command does not take; choose what is fitted by --estimator, one "
            f"of {', '.join(ESTIMATORS)}."
        )
    note(f"note: --model {' '.join(model)} is read as --estimator; --model is a checkpoint in every other command")
    return [*(estimator or ()), *model]


# The name of `--estimator` in version 0.1.
FormerEstimator = Annotated[list[str] | None, typer.Option("--model", "-m", hidden=True)]
