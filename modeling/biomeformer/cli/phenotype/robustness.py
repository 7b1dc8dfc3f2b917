"""`biomeformer phenotype robustness`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ...io.spreadsheets import write_spreadsheet
from ...io.tables import missing_words
from ..console import doing, next_command, out, record, report_files
from ..output import open_output
from ..presets import Preset
from .options import Categorical, Missing, NotMissing, Overwrite, Strata, Zeros, column_names
from .reading import TargetOptions, read_labelled_cohort, with_columns


def robustness(
    tables: Annotated[
        list[Path],
        typer.Argument(metavar="TABLE...", help="One table, or one per fraction of the reads.", show_default=False),
    ],
    target: Annotated[str, typer.Option("--target", "-t", help="Column with the groups.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")] = Path("robustness"),
    preset: Preset = None,
    metadata: Annotated[
        Path | None, typer.Option(help="CSV or TSV with the groups.", show_default="the tables' own columns")
    ] = None,
    positive: Annotated[
        list[str] | None, typer.Option(help="Value to compare with all others; may be repeated.")
    ] = None,
    missing: Missing = None,
    not_missing: NotMissing = None,
    zeros: Zeros = "auto",
    center: Annotated[
        Literal["median", "centroid"], typer.Option(help="Center of a group in PERMDISP: spatial median or centroid.")
    ] = "median",
    bias_adjust: Annotated[
        bool, typer.Option("--bias-adjust", help="Enlarge distances of small groups in PERMDISP (Stier et al. 2013).")
    ] = False,
    strata: Strata = None,
    terms: Annotated[
        list[str] | None,
        typer.Option(
            help="Further columns of PERMANOVA, separated by commas, such as age,sex: the groups and each of them are "
            "tested for what they explain beyond all others."
        ),
    ] = None,
    categorical: Categorical = None,
    permutations: Annotated[int, typer.Option(min=9, help="Permutations of the labels.")] = 999,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the permutations.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Test whether groups of samples differ: PERMANOVA, PERMDISP and Shannon entropy.

    Uses Bray-Curtis, Jensen-Shannon and Aitchison distances, with q values (Benjamini-Hochberg) over all tests of all
    tables. PERMANOVA and PERMDISP equal those of R's vegan (adonis2, also by margin, and betadisper). A statistic that
    is undefined has no p value. Writes tests.csv.
    """
    words = missing_words(missing or (), not_missing or ())
    folder = open_output(output, "phenotype robustness", overwrite=overwrite)
    with doing("reading the tables"):
        import numpy as np
        import pandas as pd

        from ...metrics.p_values import benjamini_hochberg, describe_p, format_p
        from ...phenotypes import compare_groups

        cohorts, covariates = [], []
        for path in tables:
            cohort, columns, where = read_labelled_cohort(
                path, metadata, TargetOptions(target, positive=positive, missing=words)
            )
            names = column_names(terms, columns.columns)
            given = [*([strata] if strata else []), *names]
            cohort, known = with_columns(
                cohort,
                columns,
                given,
                categorical=[*(categorical or []), *([strata] if strata else [])],
                where=where,
                missing=words,
            )
            cohorts.append(cohort)
            covariates.append(known)
    rows = []
    for cohort, known in zip(cohorts, covariates, strict=True):
        with doing(f"{cohort.name}: {permutations} permutations"):
            groups = [cohort.target.classes[label] for label in cohort.target.labels]
            tests = compare_groups(
                cohort.blocks[0],
                groups,
                zeros=zeros,
                center=center,
                bias_adjust=bias_adjust,
                strata=None if strata is None else list(map(str, known[strata].values)),
                terms={name: column.values for name, column in known.items() if name != strata},
                group_term=target,
                n_permutations=permutations,
                seed=seed,
            )
            rows += [{"table": cohort.name, **vars(test)} for test in tests]
    for row, q in zip(rows, benjamini_hochberg([row["p"] for row in rows]), strict=True):
        row["q"] = float(q)
        name = " ".join(filter(None, (row["test"], row["term"], row["distance"])))
        line = f"{row['table']}: {name:<27} "
        if np.isnan(row["statistic"]):
            out(f"{line}undefined: {row['note']}")
            continue
        note = f"; {row['note']}" if row["note"] else ""
        out(
            f"{line}statistic {row['statistic']:.4g}, effect {row['effect']:.3g}, "
            f"{describe_p(row['p'], row['n_permutations'])}, q = {format_p(q)}{note}"
        )
    with folder.publish() as partial:
        write_spreadsheet(pd.DataFrame(rows), partial / "tests.csv", index=False)
    report_files({"tests": output / "tests.csv"})
    record(tests=rows)
    columns_of = [] if metadata is None else ["--metadata", str(metadata)]
    next_command("phenotype", "evaluate", tables[0], "--target", target, *columns_of)
