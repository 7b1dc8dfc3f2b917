"""Options shared by the phenotype commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

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
    list[str] | None, typer.Option(help="l1, forest or boosting; may be repeated.", show_default="all three")
]
ModelTransform = Annotated[
    Transform | None, typer.Option(help="Transform of the features.", show_default="clr for l1, none for trees")
]
Zeros = Annotated[
    Literal["auto", "fixed", "sq", "gbm"],
    typer.Option(
        help="Zeros of log-ratios: fixed (1/n²), or by depth sq or gbm (Bayesian-multiplicative; need counts). "
        "auto: sq for counts, fixed for shares."
    ),
]
Overwrite = Annotated[bool, typer.Option(help="Replace what this command wrote to the folder.")]
